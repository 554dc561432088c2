//! Where the bytes of a trace go.

use bytes::Bytes;
use tokio::sync::mpsc;

/// Pieces in which a trace crosses a channel: large enough to be cheap, small
/// enough that a count of them bounds the bytes.
const PIECE_BYTES: usize = 64 << 10;

/// Takes the bytes of a trace, in order.
pub trait TraceSink: Send {
    /// May wait; only the recorder waits with it. False: nobody reads any more.
    fn put(&mut self, bytes: Bytes) -> bool;
}

impl<F: FnMut(Bytes) -> bool + Send> TraceSink for F {
    fn put(&mut self, bytes: Bytes) -> bool {
        self(bytes)
    }
}

/// A sink and its other end, with at most so many bytes between them.
pub fn channel(max_bytes: usize) -> (Box<dyn TraceSink>, mpsc::Receiver<Bytes>) {
    let (sender, receiver) = mpsc::channel((max_bytes / PIECE_BYTES).max(1));
    let sink = move |mut bytes: Bytes| {
        while !bytes.is_empty() {
            let piece = bytes.split_to(bytes.len().min(PIECE_BYTES));
            if sender.blocking_send(piece).is_err() {
                return false;
            }
        }
        true
    };
    (Box::new(sink), receiver)
}
