//! The way to a node: logs, exec and attach travel over a stream that the
//! node link provides. This module knows the frames on it, not the transport.

use std::io;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use pintle_api::status::StatusError;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Channel numbers, the same as in `v5.channel.k8s.io`.
pub mod channel {
    pub const STDIN: u8 = 0;
    pub const STDOUT: u8 = 1;
    pub const STDERR: u8 = 2;
    /// A `metav1.Status`, the last frame of an exec or attach.
    pub const STATUS: u8 = 3;
    /// `{"Width":80,"Height":24}`.
    pub const RESIZE: u8 = 4;
    /// Closes the channel whose number is the payload.
    pub const CLOSE: u8 = 255;
}

/// The largest payload of one frame.
pub const MAX_FRAME_BYTES: usize = 1024 * 1024;

/// What is asked of a node.
#[derive(Debug, Clone)]
pub struct NodeRequest {
    /// `logs`, `exec`, `attach` or `portforward`.
    pub kind: &'static str,
    pub body: Bytes,
}

/// A bidirectional stream to a node.
pub struct NodeStream {
    pub reader: Box<dyn AsyncRead + Send + Unpin>,
    pub writer: Box<dyn AsyncWrite + Send + Unpin>,
}

/// Opens streams to nodes.
#[async_trait]
pub trait NodeProxy: Send + Sync + 'static {
    async fn open(&self, node: &str, request: NodeRequest) -> Result<NodeStream, StatusError>;
}

/// No node can be reached: for servers without nodes, and for tests.
pub struct NoNodes;

#[async_trait]
impl NodeProxy for NoNodes {
    async fn open(&self, node: &str, _request: NodeRequest) -> Result<NodeStream, StatusError> {
        Err(StatusError::service_unavailable(format!(
            "node {node:?} is not connected to this server"
        )))
    }
}

/// Reads one frame; `None` at a clean end of the stream.
pub async fn read_frame<R>(reader: &mut R) -> io::Result<Option<(u8, Bytes)>>
where
    R: AsyncRead + Unpin + ?Sized,
{
    let mut header = [0u8; 5];
    if reader.read(&mut header[..1]).await? == 0 {
        return Ok(None);
    }
    reader.read_exact(&mut header[1..]).await?;
    let length = u32::from_be_bytes([header[1], header[2], header[3], header[4]]) as usize;
    if length > MAX_FRAME_BYTES {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("frame of {length} bytes, the limit is {MAX_FRAME_BYTES}"),
        ));
    }
    let mut payload = BytesMut::zeroed(length);
    reader.read_exact(&mut payload).await?;
    Ok(Some((header[0], payload.freeze())))
}

/// Writes one frame; payloads over the limit are split.
pub async fn write_frame<W>(writer: &mut W, channel: u8, payload: &[u8]) -> io::Result<()>
where
    W: AsyncWrite + Unpin + ?Sized,
{
    let mut rest = payload;
    loop {
        let (now, later) = rest.split_at(rest.len().min(MAX_FRAME_BYTES));
        let mut frame = Vec::with_capacity(5 + now.len());
        frame.push(channel);
        frame.extend_from_slice(&(now.len() as u32).to_be_bytes());
        frame.extend_from_slice(now);
        writer.write_all(&frame).await?;
        if later.is_empty() {
            return writer.flush().await;
        }
        rest = later;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn frames_survive_a_round_trip() {
        let (mut a, mut b) = tokio::io::duplex(64);
        let writer = tokio::spawn(async move {
            write_frame(&mut a, channel::STDOUT, b"hello").await.unwrap();
            write_frame(&mut a, channel::STDERR, b"").await.unwrap();
        });
        let (channel, payload) = read_frame(&mut b).await.unwrap().unwrap();
        assert_eq!((channel, &payload[..]), (channel::STDOUT, &b"hello"[..]));
        let (channel, payload) = read_frame(&mut b).await.unwrap().unwrap();
        assert_eq!((channel, payload.len()), (channel::STDERR, 0));
        assert!(read_frame(&mut b).await.unwrap().is_none());
        writer.await.unwrap();
    }

    #[tokio::test]
    async fn oversized_and_truncated_frames_are_errors() {
        let mut huge: &[u8] = &[1, 0xff, 0xff, 0xff, 0xff];
        let error = read_frame(&mut huge).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        let mut cut: &[u8] = &[1, 0, 0, 0, 9, b'x'];
        let error = read_frame(&mut cut).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }
}
