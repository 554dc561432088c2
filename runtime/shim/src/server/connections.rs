//! Clients: frames in, frames out, each side bounded.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;

use rustix::event::epoll::EventFlags;
use serde::Serialize;

use super::jobs::Reply;
use super::{READ_CHUNK, Shim, Source, Token};
use crate::protocol::{
    self, ClientHello, Fault, FaultCode, MAX_FRAME, Message, Op, Request, Role, ServerHello,
    VERSION,
};

/// Clients at the same time; an agent, some exec sessions, and room.
const MAX_CONNECTIONS: usize = 256;

/// Output that may wait for a client before it is dropped. It can reconnect and is told the
/// state anew; waiting for it would hold up the pod.
const MAX_OUTPUT: usize = 4 << 20;

#[derive(Debug)]
pub(super) struct Connection {
    stream: UnixStream,
    input: Vec<u8>,
    output: Vec<u8>,
    role: Kind,
    interest: EventFlags,
    /// Ends once everything is written.
    closing: bool,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    New,
    Control,
    Session,
}

impl Connection {
    pub fn is_flushed(&self) -> bool {
        self.output.is_empty()
    }

    pub fn waiting(&self) -> usize {
        self.output.len()
    }
}

impl Shim {
    pub(super) fn accept(&mut self) {
        while let Ok((stream, _)) = self.listener.accept() {
            if self.connections.len() >= MAX_CONNECTIONS || stream.set_nonblocking(true).is_err() {
                continue;
            }
            let token = self.token(Source::Connection);
            if self.epoll.add(&stream, token, EventFlags::IN).is_err() {
                self.sources.remove(&token);
                continue;
            }
            self.connections.insert(
                token,
                Connection {
                    stream,
                    input: Vec::new(),
                    output: Vec::new(),
                    role: Kind::New,
                    interest: EventFlags::IN,
                    closing: false,
                },
            );
        }
    }

    pub(super) fn on_connection(&mut self, token: Token, flags: EventFlags) {
        if flags.contains(EventFlags::OUT) {
            self.flush(token);
        }
        let Some(connection) = self.connections.get_mut(&token) else {
            return;
        };
        let gone = flags.intersects(EventFlags::HUP | EventFlags::ERR);
        if !connection.interest.contains(EventFlags::IN) {
            // Not being read for now; a hang-up would otherwise be reported over and over.
            if gone {
                self.close(token);
            }
            return;
        }
        match connection.stream.read(&mut self.buffer[..READ_CHUNK]) {
            Ok(0) => self.close(token),
            Ok(count) => {
                connection.input.extend_from_slice(&self.buffer[..count]);
                self.process_input(token);
            }
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
                ) => {}
            Err(_) => self.close(token),
        }
    }

    /// Acts on every whole frame that has come.
    pub(super) fn process_input(&mut self, token: Token) {
        loop {
            let busy = self.is_session_busy(token);
            let Some(connection) = self.connections.get_mut(&token) else {
                return;
            };
            let input = &mut connection.input;
            let progress = match connection.role {
                Kind::New => match protocol::decode::<ClientHello>(input) {
                    Ok(Some(hello)) => {
                        self.greet(token, hello);
                        true
                    }
                    Ok(None) => false,
                    Err(error) => {
                        self.refuse(token, Fault::new(FaultCode::Invalid, error.to_string()));
                        return;
                    }
                },
                Kind::Control => match protocol::decode::<Request>(input) {
                    Ok(Some(request)) => {
                        self.serve(token, request);
                        true
                    }
                    Ok(None) => false,
                    Err(_) => {
                        self.close(token);
                        return;
                    }
                },
                Kind::Session if busy => false,
                Kind::Session => match protocol::take_stream_frame(input) {
                    Ok(Some(frame)) => {
                        self.on_session_frame(token, frame);
                        true
                    }
                    Ok(None) => false,
                    Err(_) => {
                        self.close(token);
                        return;
                    }
                },
            };
            if !progress {
                break;
            }
        }
        if let Some(connection) = self.connections.get_mut(&token) {
            connection.input.shrink_to(READ_CHUNK);
            if connection.input.len() > MAX_FRAME + 4 {
                self.close(token);
                return;
            }
        }
        self.update_interest(token);
    }

    fn greet(&mut self, token: Token, hello: ClientHello) {
        if hello.version != VERSION {
            let text = format!(
                "this shim speaks protocol version {VERSION}, the client {}",
                hello.version
            );
            return self.refuse(token, Fault::new(FaultCode::Version, text));
        }
        match hello.role {
            Role::Control => {
                self.set_role(token, Kind::Control);
                let containers = self.containers.values().map(|c| c.state.clone()).collect();
                self.send(
                    token,
                    &ServerHello::Control { version: VERSION, pid: std::process::id(), containers },
                );
            }
            Role::Exec(request) => {
                self.set_role(token, Kind::Session);
                if let Err(fault) = self.open_exec(token, request) {
                    self.refuse(token, fault);
                }
            }
            Role::Attach { name } => {
                self.set_role(token, Kind::Session);
                if let Err(fault) = self.open_attach(token, &name) {
                    self.refuse(token, fault);
                }
            }
        }
    }

    fn set_role(&mut self, token: Token, role: Kind) {
        if let Some(connection) = self.connections.get_mut(&token) {
            connection.role = role;
        }
    }

    fn serve(&mut self, token: Token, request: Request) {
        let reply = Reply { connection: token, id: request.id };
        let done = match request.op {
            Op::Create(create) => self.create(create),
            Op::Kill { name, signal, all } => self.kill(&name, signal, all),
            Op::Start { name } => match self.start(&name, reply) {
                Ok(()) => return,
                refused => refused,
            },
            Op::Delete { name } => match self.delete(&name, reply) {
                Ok(false) => return,
                result => result.map(drop),
            },
            Op::Shutdown => self.leave(),
        };
        self.reply(reply, done);
    }

    fn leave(&mut self) -> Result<(), Fault> {
        if self.containers.is_empty() {
            self.leaving = true;
            return Ok(());
        }
        let names: Vec<&str> = self.containers.keys().map(AsRef::as_ref).collect();
        Err(Fault::new(
            FaultCode::WrongPhase,
            format!("the pod still has containers: {}", names.join(", ")),
        ))
    }

    pub(super) fn reply(&mut self, reply: Reply, result: Result<(), Fault>) {
        self.send(reply.connection, &Message::Reply { id: reply.id, result });
    }

    /// Tells every control connection.
    pub(super) fn broadcast(&mut self, message: &Message) {
        let tokens: Vec<Token> = self
            .connections
            .iter()
            .filter(|(_, connection)| connection.role == Kind::Control)
            .map(|(token, _)| *token)
            .collect();
        for token in tokens {
            self.send(token, message);
        }
    }

    /// Answers with a fault and ends the connection.
    pub(super) fn refuse(&mut self, token: Token, fault: Fault) {
        self.send(token, &ServerHello::Refused(fault));
        self.finish_connection(token);
    }

    /// Ends the connection once its output is written.
    pub(super) fn finish_connection(&mut self, token: Token) {
        if let Some(connection) = self.connections.get_mut(&token) {
            connection.closing = true;
        }
        self.flush(token);
    }

    pub(super) fn send<T: Serialize>(&mut self, token: Token, value: &T) {
        match protocol::encode(value) {
            Ok(frame) => self.send_bytes(token, &frame),
            Err(error) => self.complain("cannot encode a frame", error),
        }
    }

    pub(super) fn send_bytes(&mut self, token: Token, bytes: &[u8]) {
        let Some(connection) = self.connections.get_mut(&token) else {
            return;
        };
        if connection.output.len() + bytes.len() > MAX_OUTPUT {
            return self.close(token);
        }
        connection.output.extend_from_slice(bytes);
        self.flush(token);
    }

    /// Writes what the client takes without waiting.
    pub(super) fn flush(&mut self, token: Token) {
        let Some(connection) = self.connections.get_mut(&token) else {
            return;
        };
        let mut written = 0;
        let failed = loop {
            let rest = &connection.output[written..];
            if rest.is_empty() {
                break false;
            }
            match connection.stream.write(rest) {
                Ok(count) => written += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break false,
                Err(_) => break true,
            }
        };
        connection.output.drain(..written);
        connection.output.shrink_to(READ_CHUNK);
        if failed || (connection.closing && connection.output.is_empty()) {
            return self.close(token);
        }
        self.update_interest(token);
        self.resume_session(token);
    }

    pub(super) fn update_interest(&mut self, token: Token) {
        let busy = self.is_session_busy(token);
        let Some(connection) = self.connections.get_mut(&token) else {
            return;
        };
        let mut interest = EventFlags::empty();
        interest.set(EventFlags::IN, !(busy && connection.role == Kind::Session));
        interest.set(EventFlags::OUT, !connection.output.is_empty());
        if interest != connection.interest {
            connection.interest = interest;
            let _ = self.epoll.modify(&connection.stream, token, interest);
        }
    }

    pub(super) fn close(&mut self, token: Token) {
        if let Some(connection) = self.connections.remove(&token) {
            self.sources.remove(&token);
            self.epoll.remove(&connection.stream);
            self.abandon_session(token);
        }
    }

    pub(super) fn is_connected(&self, token: Token) -> bool {
        self.connections.contains_key(&token)
    }

    /// Whether bytes of a client wait to be acted on.
    pub(super) fn backlog_of_input(&self, token: Token) -> bool {
        self.connections.get(&token).is_some_and(|connection| !connection.input.is_empty())
    }

    /// Bytes that wait to be written to a client.
    pub(super) fn backlog(&self, token: Token) -> usize {
        self.connections.get(&token).map_or(0, Connection::waiting)
    }
}
