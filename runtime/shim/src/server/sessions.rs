//! Sessions of exec and attach: a client on one side, a process's streams on the other.
//!
//! An exec'd process belongs to its client: it is killed when the client goes. Its exit is sent
//! after its output. A client that reads slowly makes the exec'd process wait. How sessions
//! begin is in `exec` and `attach`.

use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;

use rustix::event::epoll::EventFlags;
use rustix::process::{Signal, pidfd_send_signal};

use super::containers::stream_channel;
use super::jobs::JobKind;
use super::pipes::{self, Read};
use super::{Shim, Token, Watched};
use crate::log::Stream;
use crate::protocol::{Exit, Resize, StreamFrame, channel, put_stream_frame};
use crate::sys::{self, Now, Status};

/// Output waiting for an exec client beyond which its process is not read from.
const EXEC_BACKLOG: usize = 128 << 10;

#[derive(Debug)]
pub(super) struct Session {
    pub(super) container: Rc<str>,
    /// None for an attached client.
    pub(super) process: Option<Process>,
    pub(super) outputs: [Option<Watched>; 2],
    /// Outputs are not being read, for the client is behind.
    pub(super) throttled: bool,
    pub(super) input: Option<Watched>,
    pub(super) input_pending: Vec<u8>,
    pub(super) input_ended: bool,
    pub(super) terminal: Option<OwnedFd>,
}

#[derive(Debug)]
pub(super) struct Process {
    pub(super) pid: u32,
    pub(super) handle: Option<Watched>,
    pub(super) started_at: i64,
    pub(super) status: Option<Status>,
}

impl Session {
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().filter(|p| p.status.is_none()).map(|p| p.pid)
    }
}

impl Shim {
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

    pub(super) fn end_session(&mut self, token: Token, exit: &Exit) {
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
}
