//! The streams that a container or an exec'd process gets.

use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use rustix::pipe::{PipeFlags, pipe_with};

/// The shim's ends of the streams, while the runtime is at work.
#[derive(Debug, Default)]
pub(super) struct Streams {
    pub stdout: Option<OwnedFd>,
    pub stderr: Option<OwnedFd>,
    pub stdin: Option<OwnedFd>,
    console: Option<Console>,
}

#[derive(Debug)]
struct Console {
    listener: UnixListener,
    path: PathBuf,
}

impl Drop for Console {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

impl Streams {
    /// Pipes, wired to the command.
    pub fn pipes(command: &mut Command, with_stdin: bool) -> io::Result<Self> {
        let (stdout, child_stdout) = pipe_with(PipeFlags::CLOEXEC)?;
        let (stderr, child_stderr) = pipe_with(PipeFlags::CLOEXEC)?;
        command.stdout(child_stdout).stderr(child_stderr);
        set_nonblocking(&stdout)?;
        set_nonblocking(&stderr)?;
        let mut streams =
            Streams { stdout: Some(stdout), stderr: Some(stderr), ..Streams::default() };
        if with_stdin {
            let (child_stdin, stdin) = pipe_with(PipeFlags::CLOEXEC)?;
            set_nonblocking(&stdin)?;
            command.stdin(child_stdin);
            streams.stdin = Some(stdin);
        } else {
            command.stdin(Stdio::null());
        }
        Ok(streams)
    }

    /// A socket on which the runtime hands over the terminal. `path` is relative to the working
    /// directory: socket addresses hold 107 bytes.
    pub fn console(command: &mut Command, path: &Path) -> io::Result<Self> {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let _ = std::fs::remove_file(path);
        let listener = UnixListener::bind(path)?;
        listener.set_nonblocking(true)?;
        Ok(Streams {
            console: Some(Console { listener, path: path.to_owned() }),
            ..Streams::default()
        })
    }

    /// After the runtime has ended well: the terminal, when there is one, becomes output and input.
    pub fn take_terminal(&mut self) -> io::Result<Option<OwnedFd>> {
        let Some(console) = self.console.take() else {
            return Ok(None);
        };
        // The runtime has ended, so its message is already in the queue: nothing to wait for.
        let (connection, _) = console.listener.accept()?;
        let terminal = receive_descriptor(&connection)?;
        set_nonblocking(&terminal)?;
        self.stdout = Some(duplicate(&terminal)?);
        self.stdin = Some(duplicate(&terminal)?);
        Ok(Some(terminal))
    }
}

fn receive_descriptor(socket: impl AsFd) -> io::Result<OwnedFd> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut name = [0; 4096];
    recvmsg(socket, &mut [IoSliceMut::new(&mut name)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(mut descriptors) = message
            && let Some(descriptor) = descriptors.next()
        {
            return Ok(descriptor);
        }
    }
    Err(io::Error::new(io::ErrorKind::InvalidData, "the OCI runtime sent no terminal"))
}

pub(super) fn duplicate(fd: impl AsFd) -> io::Result<OwnedFd> {
    Ok(rustix::io::fcntl_dupfd_cloexec(fd, 3)?)
}

fn set_nonblocking(fd: impl AsFd) -> io::Result<()> {
    let flags = fcntl_getfl(&fd)?;
    Ok(fcntl_setfl(&fd, flags | OFlags::NONBLOCK)?)
}

/// What one read from a stream gave.
pub(super) enum Read {
    Data(usize),
    Nothing,
    End,
}

pub(super) fn read(fd: impl AsFd, buffer: &mut [u8]) -> Read {
    match rustix::io::read(fd, buffer) {
        Ok(0) => Read::End,
        Ok(count) => Read::Data(count),
        Err(rustix::io::Errno::WOULDBLOCK | rustix::io::Errno::INTR) => Read::Nothing,
        // A terminal whose last process has gone gives EIO.
        Err(_) => Read::End,
    }
}
