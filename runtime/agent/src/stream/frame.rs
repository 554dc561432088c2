//! The frames of a stream between server and node.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

pub const STDIN: u8 = 0;
pub const STDOUT: u8 = 1;
pub const STDERR: u8 = 2;
/// A `metav1.Status` as JSON; the last frame.
pub const STATUS: u8 = 3;
/// `{"Width":80,"Height":24}`.
pub const RESIZE: u8 = 4;
/// The payload is the channel to close.
pub const CLOSE: u8 = 255;

/// Largest payload that is accepted.
pub const MAX_PAYLOAD: usize = 1 << 20;

/// `None` at the orderly end.
pub async fn read<R: AsyncRead + Unpin>(reader: &mut R) -> io::Result<Option<(u8, Vec<u8>)>> {
    let mut header = [0; 5];
    if reader.read(&mut header[..1]).await? == 0 {
        return Ok(None);
    }
    reader.read_exact(&mut header[1..]).await?;
    let length = u32::from_be_bytes([header[1], header[2], header[3], header[4]]) as usize;
    if length > MAX_PAYLOAD {
        let text = format!("frame of {length} bytes exceeds the limit of {MAX_PAYLOAD}");
        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
    }
    // Grows with what arrives: a header alone reserves nothing.
    let mut payload = Vec::new();
    let read = reader.take(length as u64).read_to_end(&mut payload).await?;
    if read < length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(Some((header[0], payload)))
}

pub async fn write<W: AsyncWrite + Unpin>(
    writer: &mut W,
    channel: u8,
    payload: &[u8],
) -> io::Result<()> {
    let mut rest = payload;
    loop {
        let (now, later) = rest.split_at(rest.len().min(MAX_PAYLOAD));
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
    async fn frames_are_whole_or_errors() {
        let mut wire = Vec::new();
        write(&mut wire, STDOUT, b"hi").await.unwrap();
        write(&mut wire, CLOSE, &[STDIN]).await.unwrap();
        let mut reader = wire.as_slice();
        assert_eq!(read(&mut reader).await.unwrap(), Some((STDOUT, b"hi".to_vec())));
        assert_eq!(read(&mut reader).await.unwrap(), Some((CLOSE, vec![STDIN])));
        assert_eq!(read(&mut reader).await.unwrap(), None);
        assert!(read(&mut &wire[..6]).await.is_err());
        assert!(read(&mut [1, 0xff, 0, 0, 0].as_slice()).await.is_err());
    }
}
