//! Clients that are attached to a container: they see its output and may write
//! to its input, and one that reads slowly is dropped, for it must not hold up
//! the container.

use rustix::event::epoll::EventFlags;

use super::containers::stream_channel;
use super::pipes::duplicate;
use super::sessions::Session;
use super::{Shim, Source, Token};
use crate::log::Stream;
use crate::protocol::{Exit, Fault, FaultCode, ServerHello, put_stream_frame};

/// Output waiting for an attached client beyond which it is dropped.
const ATTACH_BACKLOG: usize = 1 << 20;

impl Shim {
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
