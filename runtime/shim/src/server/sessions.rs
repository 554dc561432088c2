//! Exec and attach: a client on one side, a process's streams on the other.
//!
//! An exec'd process belongs to its client: it is killed when the client goes. Its exit is sent
//! after its output. A client that reads slowly makes the exec'd process wait; one that is
//! attached to a container is dropped instead, for it must not hold up the container.

use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use rustix::event::epoll::EventFlags;
use rustix::process::{Signal, pidfd_send_signal};

use super::containers::stream_channel;
use super::jobs::{JobKind, open_pidfd, read_pid};
use super::pipes::{self, Read, Streams, duplicate};
use super::{Shim, Source, Token, Watched};
use crate::layout::write_atomic;
use crate::log::Stream;
use crate::protocol::{
    ExecRequest, Exit, Fault, FaultCode, Phase, Resize, ServerHello, StreamFrame, channel,
    put_stream_frame,
};
use crate::runtime;
use crate::sys::{self, Now, Status};

/// Output waiting for an exec client beyond which its process is not read from.
const EXEC_BACKLOG: usize = 128 << 10;

/// Output waiting for an attached client beyond which it is dropped.
const ATTACH_BACKLOG: usize = 1 << 20;

#[derive(Debug)]
pub(super) struct Session {
    container: Rc<str>,
    /// None for an attached client.
    process: Option<Process>,
    outputs: [Option<Watched>; 2],
    /// Outputs are not being read, for the client is behind.
    throttled: bool,
    input: Option<Watched>,
    input_pending: Vec<u8>,
    input_ended: bool,
    terminal: Option<OwnedFd>,
}

#[derive(Debug)]
struct Process {
    pid: u32,
    handle: Option<Watched>,
    started_at: i64,
    status: Option<Status>,
}

/// An exec whose runtime command is at work.
#[derive(Debug)]
pub(super) struct PendingExec {
    connection: Token,
    container: Rc<str>,
    streams: Streams,
    size: Option<(u16, u16)>,
    files: ExecFiles,
}

/// Files that live as long as the runtime command.
#[derive(Debug)]
struct ExecFiles {
    process: PathBuf,
    pid: PathBuf,
    /// Where runc writes the process id first; left by one that was killed.
    unfinished_pid: PathBuf,
    log: PathBuf,
}

impl Drop for ExecFiles {
    fn drop(&mut self) {
        for path in [&self.process, &self.pid, &self.unfinished_pid, &self.log] {
            let _ = fs::remove_file(path);
        }
    }
}

impl Session {
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().filter(|p| p.status.is_none()).map(|p| p.pid)
    }
}

impl Shim {
    pub(super) fn open_exec(&mut self, token: Token, request: ExecRequest) -> Result<(), Fault> {
        let exec_dir = self.layout.exec();
        let runtime = self.runtime.clone();
        let container = self.container(&request.name)?;
        if container.state.phase != Phase::Running {
            let text = format!("container {:?} is not running", request.name);
            return Err(Fault::new(FaultCode::WrongPhase, text));
        }
        let file = |kind: &str| exec_dir.join(format!("{token}.{kind}"));
        let files = ExecFiles {
            process: file("json"),
            pid: file("pid"),
            unfinished_pid: exec_dir.join(format!(".{token}.pid")),
            log: file("log"),
        };
        let failed = |error: std::io::Error| {
            Fault::new(FaultCode::Internal, format!("cannot prepare exec: {error}"))
        };
        write_atomic(&files.process, request.process.as_bytes(), false).map_err(failed)?;
        let console = format!("exec/{token}.sock");
        let mut command = runtime.exec(
            &container.request.id,
            &files.process,
            &files.pid,
            &files.log,
            request.tty.then_some(&console),
        );
        let streams = match request.tty {
            true => Streams::console(&mut command, Path::new(&console)),
            false => Streams::pipes(&mut command, request.stdin),
        }
        .map_err(failed)?;
        let pending = PendingExec {
            connection: token,
            container: request.name.as_str().into(),
            streams,
            size: request.size,
            files,
        };
        self.launch(command, JobKind::Exec(pending)).map_err(|failed| failed.0)
    }

    pub(super) fn on_exec_done(&mut self, mut pending: PendingExec, status: Status) {
        let token = pending.connection;
        if status.code != 0 {
            let action = format!("exec in container {:?}", &*pending.container);
            let fault = runtime::fault(&action, status, &pending.files.log);
            return self.refuse(token, fault);
        }
        if let Err(error) = self.begin_session(&mut pending) {
            let text = format!("cannot take over the process: {error}");
            self.refuse(token, Fault::new(FaultCode::Internal, text));
        }
    }

    fn begin_session(&mut self, pending: &mut PendingExec) -> std::io::Result<()> {
        let token = pending.connection;
        let pid = read_pid(&pending.files.pid)?;
        let handle = self.watch(open_pidfd(pid)?, Source::SessionProcess(token), EventFlags::IN)?;
        let mut session = Session {
            container: pending.container.clone(),
            process: Some(Process {
                pid,
                handle: Some(handle),
                started_at: Now::read().unix_millis(),
                status: None,
            }),
            outputs: [None, None],
            throttled: false,
            input: None,
            input_pending: Vec::new(),
            input_ended: false,
            terminal: None,
        };
        let streams = &mut pending.streams;
        let wired = streams.take_terminal().and_then(|terminal| {
            session.terminal = terminal;
            for (stream, fd) in
                [(Stream::Stdout, streams.stdout.take()), (Stream::Stderr, streams.stderr.take())]
            {
                if let Some(fd) = fd {
                    let source = Source::SessionOutput(token, stream);
                    session.outputs[stream.index()] =
                        Some(self.watch(fd, source, EventFlags::IN)?);
                }
            }
            if let Some(fd) = streams.stdin.take() {
                session.input =
                    Some(self.watch(fd, Source::SessionInput(token), EventFlags::empty())?);
            }
            Ok(())
        });
        if let (Some(terminal), Some((width, height))) = (&session.terminal, pending.size) {
            let _ = sys::set_terminal_size(terminal.as_fd(), width, height);
        }
        self.sessions.insert(token, session);
        if wired.is_err() || !self.is_connected(token) {
            // The process exists, so the session stays until it is reaped.
            self.abandon_session(token);
            return wired;
        }
        self.send(token, &ServerHello::Session { pid });
        self.process_input(token);
        Ok(())
    }

    pub(super) fn open_attach(&mut self, token: Token, name: &str) -> Result<(), Fault> {
        let container = self.container(name)?;
        let Some(pid) = container.state.pid else {
            let text = format!("container {name:?} is not running");
            return Err(Fault::new(FaultCode::WrongPhase, text));
        };
        let failed = |error: std::io::Error| {
            Fault::new(FaultCode::Internal, format!("cannot attach: {error}"))
        };
        let input = container.stdin.as_ref().map(duplicate).transpose().map_err(failed)?;
        let terminal = container.terminal.as_ref().map(duplicate).transpose().map_err(failed)?;
        let input = match input {
            Some(fd) => Some(
                self.watch(fd, Source::SessionInput(token), EventFlags::empty()).map_err(failed)?,
            ),
            None => None,
        };
        self.sessions.insert(
            token,
            Session {
                container: name.into(),
                process: None,
                outputs: [None, None],
                throttled: false,
                input,
                input_pending: Vec::new(),
                input_ended: false,
                terminal,
            },
        );
        self.send(token, &ServerHello::Session { pid });
        Ok(())
    }

    /// Frames must wait: the session is not open yet, or its input is full.
    pub(super) fn is_session_busy(&self, token: Token) -> bool {
        match self.sessions.get(&token) {
            Some(session) => !session.input_pending.is_empty(),
            None => self.jobs.values().any(
                |job| matches!(job.kind(), JobKind::Exec(pending) if pending.connection == token),
            ),
        }
    }

    pub(super) fn on_session_frame(&mut self, token: Token, frame: StreamFrame) {
        let Some(session) = self.sessions.get_mut(&token) else {
            return;
        };
        match frame.channel {
            channel::STDIN if session.input.is_some() && !session.input_ended => {
                session.input_pending = frame.payload;
                self.write_session_input(token);
            }
            channel::CLOSE if frame.payload == [channel::STDIN] => {
                session.input_ended = true;
                self.write_session_input(token);
            }
            channel::RESIZE => {
                if let (Some(terminal), Ok(size)) =
                    (&session.terminal, serde_json::from_slice::<Resize>(&frame.payload))
                {
                    let _ = sys::set_terminal_size(terminal.as_fd(), size.width, size.height);
                }
            }
            _ => {}
        }
    }

    /// Moves input on, as far as the process takes it.
    pub(super) fn write_session_input(&mut self, token: Token) {
        let Some(session) = self.sessions.get_mut(&token) else {
            return;
        };
        let was_busy = !session.input_pending.is_empty();
        if let Some(input) = &session.input {
            match rustix::io::write(&input.fd, &session.input_pending) {
                Ok(count) => drop(session.input_pending.drain(..count)),
                Err(rustix::io::Errno::WOULDBLOCK | rustix::io::Errno::INTR) => {}
                // The process has closed its input: what comes now is for nobody.
                Err(_) => {
                    session.input_pending.clear();
                    session.input_ended = true;
                }
            }
            let mut interest = EventFlags::empty();
            interest.set(EventFlags::OUT, !session.input_pending.is_empty());
            let _ = self.epoll.modify(&input.fd, input.token, interest);
        } else {
            session.input_pending.clear();
        }
        if session.input_ended && session.input_pending.is_empty() {
            self.end_session_input(token);
        }
        if was_busy && !self.is_session_busy(token) {
            self.update_interest(token);
            // Frames that were read together with the one that had to wait.
            if self.backlog_of_input(token) {
                self.process_input(token);
            }
        }
    }

    fn end_session_input(&mut self, token: Token) {
        let Some(session) = self.sessions.get_mut(&token) else {
            return;
        };
        let is_exec = session.process.is_some();
        let is_terminal = session.terminal.is_some();
        let name = session.container.clone();
        let Some(input) = session.input.take() else {
            return;
        };
        if is_terminal {
            // A terminal has no end of its own: end-of-transmission says it to the reader.
            let _ = rustix::io::write(&input.fd, &[4]);
        }
        self.unwatch(input);
        if !is_exec
            && !is_terminal
            && let Ok(container) = self.container(&name)
        {
            // An end that a client sends is the end of the container's input too.
            container.stdin = None;
        }
    }

    /// Takes output of an exec'd process while its client keeps up.
    pub(super) fn on_session_output(&mut self, token: Token, stream: Stream) {
        loop {
            let backlog = self.backlog(token);
            let Some(session) = self.sessions.get_mut(&token) else {
                return;
            };
            let ended = session.process.as_ref().is_some_and(|p| p.status.is_some());
            let Some(output) = &session.outputs[stream.index()] else {
                return;
            };
            if backlog > EXEC_BACKLOG {
                session.throttled = true;
                for output in session.outputs.iter().flatten() {
                    let _ = self.epoll.modify(&output.fd, output.token, EventFlags::empty());
                }
                return;
            }
            match pipes::read(&output.fd, &mut self.buffer) {
                Read::Data(count) => {
                    let mut frame = Vec::with_capacity(count + 8);
                    put_stream_frame(&mut frame, stream_channel(stream), &self.buffer[..count]);
                    self.send_bytes(token, &frame);
                    if !ended {
                        return;
                    }
                }
                // After its process has ended, an output that is empty has nothing more of it.
                Read::Nothing if !ended => return,
                Read::Nothing | Read::End => {
                    let closed = session.outputs[stream.index()].take();
                    if let Some(closed) = closed {
                        self.unwatch(closed);
                    }
                    let mut frame = Vec::new();
                    put_stream_frame(&mut frame, channel::CLOSE, &[stream_channel(stream)]);
                    self.send_bytes(token, &frame);
                    self.settle_session(token);
                    return;
                }
            }
        }
    }

    pub(super) fn resume_session(&mut self, token: Token) {
        if self.backlog(token) > EXEC_BACKLOG / 2 {
            return;
        }
        let Some(session) = self.sessions.get_mut(&token) else {
            return;
        };
        if !std::mem::take(&mut session.throttled) {
            return;
        }
        for output in session.outputs.iter().flatten() {
            let _ = self.epoll.modify(&output.fd, output.token, EventFlags::IN);
        }
        if session.process.as_ref().is_some_and(|p| p.status.is_some()) {
            // Nothing will be written any more, so no event would come for an empty one.
            for stream in [Stream::Stdout, Stream::Stderr] {
                self.on_session_output(token, stream);
            }
        }
    }

    pub(super) fn on_session_exit(&mut self, token: Token) {
        let Some(process) = self.sessions.get_mut(&token).and_then(|s| s.process.as_mut()) else {
            return;
        };
        let Some(handle) = &process.handle else {
            return;
        };
        let status = match sys::reap(handle.fd.as_fd()) {
            Ok(Some(status)) => status,
            Ok(None) => return,
            Err(error) => {
                eprintln!("cannot read an exit status: {error}");
                Status { code: 255, signal: None }
            }
        };
        process.status = Some(status);
        let handle = process.handle.take();
        if let Some(handle) = handle {
            self.unwatch(handle);
        }
        self.strangers = true;
        for stream in [Stream::Stdout, Stream::Stderr] {
            self.on_session_output(token, stream);
        }
        self.settle_session(token);
    }

    /// Sends the exit, once the process has ended and its output was sent.
    fn settle_session(&mut self, token: Token) {
        let Some(session) = self.sessions.get(&token) else {
            return;
        };
        let Some(Process { status: Some(status), started_at, .. }) = session.process else {
            return;
        };
        if session.outputs.iter().any(Option::is_some) {
            return;
        }
        let exit = Exit {
            code: status.code,
            signal: status.signal,
            oom_killed: false,
            started_at,
            finished_at: Now::read().unix_millis(),
            reason: None,
        };
        self.end_session(token, &exit);
    }

    fn end_session(&mut self, token: Token, exit: &Exit) {
        if let Some(session) = self.sessions.remove(&token) {
            for watched in session.outputs.into_iter().flatten().chain(session.input) {
                self.unwatch(watched);
            }
        }
        if let Ok(json) = serde_json::to_vec(exit) {
            let mut frame = Vec::new();
            put_stream_frame(&mut frame, channel::EXIT, &json);
            self.send_bytes(token, &frame);
        }
        self.finish_connection(token);
    }

    /// The client has gone.
    pub(super) fn abandon_session(&mut self, token: Token) {
        let Some(session) = self.sessions.get_mut(&token) else {
            return;
        };
        let outputs = std::mem::take(&mut session.outputs);
        let input = session.input.take();
        session.terminal = None;
        session.input_pending.clear();
        match session.process.as_ref().and_then(|process| process.handle.as_ref()) {
            Some(handle) => {
                let _ = pidfd_send_signal(&handle.fd, Signal::KILL);
            }
            None => {
                self.sessions.remove(&token);
            }
        }
        for watched in outputs.into_iter().flatten().chain(input) {
            self.unwatch(watched);
        }
    }

    /// Gives the first `count` bytes of the buffer to everybody who is attached.
    pub(super) fn forward_to_attached(&mut self, name: &str, stream: Stream, count: usize) {
        let attached = self.attached(name);
        if attached.is_empty() {
            return;
        }
        let mut frame = Vec::with_capacity(count + 8);
        put_stream_frame(&mut frame, stream_channel(stream), &self.buffer[..count]);
        for token in attached {
            match self.backlog(token) > ATTACH_BACKLOG {
                true => self.close(token),
                false => self.send_bytes(token, &frame),
            }
        }
    }

    pub(super) fn end_attached(&mut self, name: &str, exit: &Exit) {
        for token in self.attached(name) {
            self.end_session(token, exit);
        }
    }

    fn attached(&self, name: &str) -> Vec<Token> {
        self.sessions
            .iter()
            .filter(|(_, session)| session.process.is_none() && &*session.container == name)
            .map(|(token, _)| *token)
            .collect()
    }
}
