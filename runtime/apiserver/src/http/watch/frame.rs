//! Lines of a watch as they travel: one for each event, several in a frame.
//! Does not know when a frame is sent, or to whom.

use bytes::{BufMut, Bytes, BytesMut};
use pintle_api::status::StatusError;

/// Events that come together travel together, up to this size.
const FRAME_BYTES: usize = 256 * 1024;

/// Lines that travel together. A single line is not copied.
#[derive(Default)]
pub struct Frame {
    first: Option<Bytes>,
    joined: BytesMut,
}

impl Frame {
    /// Adds a line; returns the frame when it has become full.
    pub fn push(&mut self, line: Bytes) -> Option<Bytes> {
        self.push_last(line);
        (self.joined.len() >= FRAME_BYTES).then(|| self.joined.split().freeze())
    }

    pub fn push_last(&mut self, line: Bytes) {
        match self.first.take() {
            None if self.joined.is_empty() => self.first = Some(line),
            first => {
                if let Some(first) = first {
                    self.joined.put_slice(&first);
                }
                self.joined.put_slice(&line);
            }
        }
    }

    pub fn finish(self) -> Option<Bytes> {
        self.first.or_else(|| (!self.joined.is_empty()).then(|| self.joined.freeze()))
    }
}

pub fn event_line(kind: &str, object: &[u8]) -> Bytes {
    let mut line = BytesMut::with_capacity(object.len() + 40);
    line.put_slice(b"{\"type\":\"");
    line.put_slice(kind.as_bytes());
    line.put_slice(b"\",\"object\":");
    line.put_slice(object);
    line.put_slice(b"}\n");
    line.freeze()
}

pub fn error_event(error: &StatusError) -> Bytes {
    event_line("ERROR", &error.status().to_json())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_join_lines_up_to_a_bound() {
        let mut frame = Frame::default();
        assert!(frame.push(Bytes::from_static(b"a\n")).is_none());
        assert_eq!(frame.finish().unwrap(), "a\n");
        let mut frame = Frame::default();
        for line in ["a\n", "b\n", "c\n"] {
            assert!(frame.push(Bytes::from_static(line.as_bytes())).is_none());
        }
        assert_eq!(frame.finish().unwrap(), "a\nb\nc\n");
        let mut frame = Frame::default();
        frame.push(Bytes::from(vec![b'x'; FRAME_BYTES]));
        let full = frame.push(Bytes::from_static(b"y")).unwrap();
        assert_eq!(full.len(), FRAME_BYTES + 1);
        assert!(frame.finish().is_none());
    }
}
