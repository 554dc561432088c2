//! What a shim and its clients say to each other on the pod's unix socket.
//!
//! A connection opens with one [`ClientHello`] and one [`ServerHello`]. A control connection then
//! carries [`Request`]s one way and [`Message`]s the other, each a JSON document behind a four byte
//! big-endian length. An exec connection carries [stream frames](StreamFrame) instead, so that a
//! slow terminal never delays the exit of another container.
//!
//! State is level-based: the server's hello lists every container, so a client that was away
//! misses nothing.

use std::io;

use serde::{Deserialize, Serialize};

/// Version of this protocol. A client and a shim of different versions refuse each other, and the
/// agent then keeps the pod running and reports it instead of guessing.
pub const VERSION: u32 = 1;

/// Largest JSON frame, in bytes. An exec request carries its whole environment.
pub const MAX_FRAME: usize = 1 << 20;

/// Largest payload of a stream frame, in bytes.
pub const MAX_STREAM_PAYLOAD: usize = 32 << 10;

/// The first frame on every connection, from the client.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClientHello {
    pub version: u32,
    pub role: Role,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Role {
    /// Requests and state changes.
    Control,
    /// One process in a running container; stream frames follow.
    Exec(ExecRequest),
    /// The output (and input, when the container has one) of a running container.
    Attach { name: String },
}

/// The answer to a [`ClientHello`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum ServerHello {
    Control {
        version: u32,
        pid: u32,
        containers: Vec<ContainerState>,
    },
    /// An exec or attach session is open; `pid` is the process in it.
    Session {
        pid: u32,
    },
    Refused(Fault),
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ExecRequest {
    pub name: String,
    /// The OCI `process` object, as JSON text.
    pub process: String,
    pub tty: bool,
    pub stdin: bool,
    /// First size of the terminal, columns and rows.
    pub size: Option<(u16, u16)>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// Chosen by the client, repeated in the reply.
    pub id: u64,
    pub op: Op,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Op {
    /// Registers a container whose bundle the client has written.
    Create(CreateRequest),
    Start {
        name: String,
    },
    /// Sends a signal to the container's first process, or with `all` to every process in it.
    Kill {
        name: String,
        signal: i32,
        all: bool,
    },
    /// Removes a container that is not running, and its directory.
    Delete {
        name: String,
    },
    /// Ends the shim; refused while it has containers.
    Shutdown,
}

/// How the shim treats one container. Everything about the process itself is in `config.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CreateRequest {
    pub name: String,
    pub attempt: u32,
    /// The OCI runtime's id for it.
    pub id: String,
    /// Its cgroup, absolute from the root of the hierarchies.
    pub cgroup: String,
    pub tty: bool,
    pub stdin: bool,
    /// Where the log goes; none discards the output.
    pub log_path: Option<String>,
    pub log_limits: LogLimits,
}

/// When a log file is rotated and how many are kept (the current one included).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLimits {
    pub max_bytes: u64,
    pub max_files: u32,
}

impl Default for LogLimits {
    /// The kubelet's defaults: containerLogMaxSize 10Mi, containerLogMaxFiles 5.
    fn default() -> Self {
        LogLimits { max_bytes: 10 << 20, max_files: 5 }
    }
}

/// From the shim on a control connection.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Message {
    Reply {
        id: u64,
        result: Result<(), Fault>,
    },
    /// The container is now in this state.
    State(ContainerState),
    Removed {
        name: String,
    },
}

/// One container as the shim knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerState {
    pub name: String,
    pub attempt: u32,
    pub phase: Phase,
    /// Its first process, while it runs.
    pub pid: Option<u32>,
    /// Unix milliseconds.
    pub created_at: i64,
    /// Unix milliseconds.
    pub started_at: Option<i64>,
    pub exit: Option<Exit>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Phase {
    Created,
    /// The OCI runtime is at work.
    Starting,
    Running,
    Exited,
}

/// How a container ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// As a shell reports it: 128 + signal for a process that a signal ended.
    pub code: i32,
    pub signal: Option<i32>,
    pub oom_killed: bool,
    /// Unix milliseconds.
    pub started_at: i64,
    /// Unix milliseconds.
    pub finished_at: i64,
    /// Set when the exit was not observed but inferred, with the cause.
    pub reason: Option<String>,
}

/// A refused or failed request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Fault {
    pub code: FaultCode,
    pub message: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum FaultCode {
    NotFound,
    AlreadyExists,
    /// The container's phase does not allow it.
    WrongPhase,
    /// The request itself is malformed.
    Invalid,
    /// The OCI runtime said no; the message is its own.
    Runtime,
    /// The OCI runtime was killed; what it left was removed, the same request may be sent again.
    RuntimeKilled,
    Version,
    Internal,
}

impl Fault {
    pub fn new(code: FaultCode, message: impl Into<String>) -> Self {
        Fault { code, message: message.into() }
    }
}

/// One JSON frame, length included.
pub fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, FrameError> {
    let mut frame = vec![0; 4];
    serde_json::to_writer(&mut frame, value).map_err(FrameError::Json)?;
    let length = frame.len() - 4;
    if length > MAX_FRAME {
        return Err(FrameError::TooLarge { length });
    }
    frame[..4].copy_from_slice(&(length as u32).to_be_bytes());
    Ok(frame)
}

/// Takes one JSON frame off the front of `buffer`; `None` when it is not complete yet.
pub fn decode<T: for<'a> Deserialize<'a>>(buffer: &mut Vec<u8>) -> Result<Option<T>, FrameError> {
    let Some(header) = buffer.first_chunk::<4>() else {
        return Ok(None);
    };
    let length = u32::from_be_bytes(*header) as usize;
    if length > MAX_FRAME {
        return Err(FrameError::TooLarge { length });
    }
    if buffer.len() < 4 + length {
        return Ok(None);
    }
    let value = serde_json::from_slice(&buffer[4..4 + length]).map_err(FrameError::Json)?;
    buffer.drain(..4 + length);
    Ok(Some(value))
}

/// Channels of a session, numbered as in Kubernetes' `v5.channel.k8s.io`.
pub mod channel {
    pub const STDIN: u8 = 0;
    pub const STDOUT: u8 = 1;
    pub const STDERR: u8 = 2;
    /// [`Exit`](super::Exit) as JSON; the last frame.
    pub const EXIT: u8 = 3;
    /// [`Resize`](super::Resize) as JSON.
    pub const RESIZE: u8 = 4;
    /// The payload is the channel to close.
    pub const CLOSE: u8 = 255;
}

/// New size of a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Resize {
    pub width: u16,
    pub height: u16,
}

/// One frame of a session: a channel byte, a big-endian length, the payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamFrame {
    pub channel: u8,
    pub payload: Vec<u8>,
}

/// Bytes before the payload of a stream frame.
pub const STREAM_HEADER: usize = 5;

/// Appends a stream frame to `out`.
pub fn put_stream_frame(out: &mut Vec<u8>, channel: u8, payload: &[u8]) {
    out.push(channel);
    out.extend_from_slice(&(payload.len() as u32).to_be_bytes());
    out.extend_from_slice(payload);
}

/// Reads a stream frame's header.
pub fn stream_header(header: [u8; STREAM_HEADER]) -> Result<(u8, usize), FrameError> {
    let length = u32::from_be_bytes([header[1], header[2], header[3], header[4]]) as usize;
    if length > MAX_STREAM_PAYLOAD {
        return Err(FrameError::TooLarge { length });
    }
    Ok((header[0], length))
}

/// Takes one stream frame off the front of `buffer`; `None` when it is not complete yet.
pub fn take_stream_frame(buffer: &mut Vec<u8>) -> Result<Option<StreamFrame>, FrameError> {
    let Some(header) = buffer.first_chunk::<STREAM_HEADER>() else {
        return Ok(None);
    };
    let (channel, length) = stream_header(*header)?;
    if buffer.len() < STREAM_HEADER + length {
        return Ok(None);
    }
    let payload = buffer[STREAM_HEADER..STREAM_HEADER + length].to_vec();
    buffer.drain(..STREAM_HEADER + length);
    Ok(Some(StreamFrame { channel, payload }))
}

#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    #[error("frame of {length} bytes exceeds the limit")]
    TooLarge { length: usize },
    #[error("frame is not the expected JSON")]
    Json(#[source] serde_json::Error),
}

impl From<FrameError> for io::Error {
    fn from(error: FrameError) -> Self {
        io::Error::new(io::ErrorKind::InvalidData, error)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn frames_survive_being_cut_anywhere() {
        let request =
            Request { id: 7, op: Op::Kill { name: "web".into(), signal: 15, all: false } };
        let bytes = encode(&request).unwrap();
        for cut in 0..bytes.len() {
            let mut buffer = bytes[..cut].to_vec();
            assert_eq!(decode::<Request>(&mut buffer).unwrap(), None);
            buffer.extend_from_slice(&bytes[cut..]);
            assert_eq!(decode::<Request>(&mut buffer).unwrap(), Some(request.clone()));
            assert!(buffer.is_empty());
        }
    }

    #[test]
    fn a_huge_length_is_refused_before_it_is_allocated() {
        let mut buffer = vec![0xff; 8];
        assert!(matches!(decode::<Request>(&mut buffer), Err(FrameError::TooLarge { .. })));
        assert!(matches!(take_stream_frame(&mut buffer), Err(FrameError::TooLarge { .. })));
    }

    proptest! {
        #[test]
        fn any_bytes_decode_or_fail_but_never_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = take_stream_frame(&mut bytes.clone());
            let _ = decode::<Request>(&mut bytes.clone());
            let _ = decode::<ClientHello>(&mut bytes);
        }
    }
}
