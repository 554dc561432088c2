//! What is on the wire: frames of `u32 length (big-endian) ‖ payload`, the first
//! frame of each stream being a bincode envelope. Bodies follow as opaque frames.

use bytes::{Bytes, BytesMut};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::{LinkError, MAX_FRAME_BYTES};

/// A request as the node makes it: the shape of an HTTP request without headers,
/// because that is what the service on the other side speaks.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Request {
    pub method: String,
    /// Path and query.
    pub path: String,
    pub content_type: String,
    /// Travels in frames of its own behind the head.
    #[serde(skip)]
    pub body: Bytes,
}

impl Request {
    pub fn get(path: impl Into<String>) -> Self {
        Self {
            method: "GET".into(),
            path: path.into(),
            content_type: String::new(),
            body: Bytes::new(),
        }
    }
}

/// First frame of every stream that the node opens.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Open {
    /// Once per session, first of all.
    Hello {
        protocol: u16,
        software: String,
        capabilities: Vec<String>,
    },
    /// The CA certificate, for a node that has only a token.
    FetchCa,
    /// Ask for a first certificate.
    Join {
        token_id: String,
        secret: String,
        node: String,
        csr: Vec<u8>,
    },
    /// Ask for the next certificate.
    Renew {
        csr: Vec<u8>,
    },
    Call(Request),
}

/// First frame of every answer.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Answer {
    Welcome { protocol: u16, software: String },
    Ca { der: Vec<u8> },
    Certificate { chain: Vec<Vec<u8>> },
    Head { status: u16, content_type: String },
    Refused { message: String },
}

/// Answer of the node to a stream that the server opened.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Accept {
    Go,
    Refused { message: String },
}

pub(crate) const PROTOCOL: u16 = 1;

pub(crate) fn encode<T: Serialize>(value: &T) -> Result<Bytes, LinkError> {
    bincode::serde::encode_to_vec(value, bincode::config::standard())
        .map(Bytes::from)
        .map_err(|e| LinkError::Protocol(e.to_string()))
}

pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, LinkError> {
    // The limit keeps a hostile length prefix from reserving memory.
    let config = bincode::config::standard().with_limit::<MAX_FRAME_BYTES>();
    bincode::serde::decode_from_slice(bytes, config)
        .map(|(value, _)| value)
        .map_err(|e| LinkError::Protocol(e.to_string()))
}

pub(crate) async fn write_frame(
    send: &mut quinn::SendStream,
    payload: Bytes,
) -> Result<(), LinkError> {
    if payload.len() > MAX_FRAME_BYTES {
        return Err(LinkError::FrameTooLarge(payload.len()));
    }
    let length = Bytes::copy_from_slice(&(payload.len() as u32).to_be_bytes());
    send.write_all_chunks(&mut [length, payload]).await.map_err(|e| LinkError::Stream(e.into()))
}

/// `None` at the orderly end of the stream.
pub(crate) async fn read_frame(recv: &mut quinn::RecvStream) -> Result<Option<Bytes>, LinkError> {
    let mut length = [0u8; 4];
    match recv.read_exact(&mut length).await {
        Ok(()) => {}
        Err(quinn::ReadExactError::FinishedEarly(0)) => return Ok(None),
        Err(quinn::ReadExactError::FinishedEarly(_)) => {
            return Err(LinkError::Protocol("the stream ends inside a frame".into()));
        }
        Err(quinn::ReadExactError::ReadError(e)) => return Err(LinkError::Stream(e.into())),
    }
    let length = u32::from_be_bytes(length) as usize;
    if length > MAX_FRAME_BYTES {
        return Err(LinkError::FrameTooLarge(length));
    }
    // Grows with what really arrives: a length alone never reserves 4 MiB.
    let mut payload = BytesMut::with_capacity(length.min(64 << 10));
    while payload.len() < length {
        match recv.read_chunk(length - payload.len(), true).await {
            Ok(Some(chunk)) if payload.is_empty() && chunk.bytes.len() == length => {
                return Ok(Some(chunk.bytes));
            }
            Ok(Some(chunk)) => payload.extend_from_slice(&chunk.bytes),
            Ok(None) => return Err(LinkError::Protocol("the stream ends inside a frame".into())),
            Err(e) => return Err(LinkError::Stream(e.into())),
        }
    }
    Ok(Some(payload.freeze()))
}

pub(crate) async fn expect_frame<T: DeserializeOwned>(
    recv: &mut quinn::RecvStream,
) -> Result<T, LinkError> {
    match read_frame(recv).await? {
        Some(bytes) => decode(&bytes),
        None => Err(LinkError::Protocol("the stream ended without an answer".into())),
    }
}

/// Body bytes as frames; an empty body is no frame at all.
pub(crate) async fn write_body(send: &mut quinn::SendStream, body: Bytes) -> Result<(), LinkError> {
    let mut rest = body;
    while !rest.is_empty() {
        let chunk = rest.split_to(rest.len().min(256 << 10));
        write_frame(send, chunk).await?;
    }
    Ok(())
}

/// A raw byte stream between server and node, after both agreed on its header.
pub struct NodeStream {
    pub send: quinn::SendStream,
    pub recv: quinn::RecvStream,
}

impl NodeStream {
    /// Both directions as tokio streams.
    pub fn split(self) -> (quinn::RecvStream, quinn::SendStream) {
        (self.recv, self.send)
    }
}
