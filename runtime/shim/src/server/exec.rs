//! The beginning of an exec: the runtime is asked for a process, and what it
//! made becomes a session. What the session does is in `sessions`.

use std::fs;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use rustix::event::epoll::EventFlags;

use super::jobs::{JobKind, open_pidfd, read_pid};
use super::pipes::Streams;
use super::sessions::{Process, Session};
use super::{Shim, Source, Token};
use crate::layout::write_atomic;
use crate::log::Stream;
use crate::protocol::{ExecRequest, Fault, FaultCode, Phase, ServerHello};
use crate::runtime;
use crate::sys::{self, Now, Status};

/// An exec whose runtime command is at work.
#[derive(Debug)]
pub(super) struct PendingExec {
    pub(super) connection: Token,
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
}
