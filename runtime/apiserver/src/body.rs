//! The one body type of requests and responses.
//!
//! Most answers are one `Bytes` that already exists; lists are built lazily in
//! large pieces; watches and logs come out of a bounded channel. One enum keeps
//! all of them free of boxing and dynamic dispatch.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use tokio::sync::mpsc;

/// Size of one piece of a joined list. Large enough that per-frame costs
/// vanish, small enough that the first bytes leave early.
const PIECE_BYTES: usize = 128 * 1024;

/// What a body can fail with: the connection broke, or the producer gave up.
pub type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// A streaming body of `Bytes`.
pub struct Body(Inner);

enum Inner {
    Empty,
    Full(Bytes),
    Incoming(Incoming),
    Joined(Joined),
    Channel(mpsc::Receiver<Bytes>),
    Boxed(Pin<Box<dyn HttpBody<Data = Bytes, Error = BodyError> + Send>>),
}

/// A list under way: `head`, items joined by commas, `tail`.
struct Joined {
    head: Option<Bytes>,
    items: std::vec::IntoIter<Bytes>,
    first: bool,
    tail: Option<Bytes>,
    remaining: u64,
}

impl Body {
    pub fn empty() -> Body {
        Body(Inner::Empty)
    }

    pub fn full(bytes: impl Into<Bytes>) -> Body {
        let bytes = bytes.into();
        if bytes.is_empty() { Body::empty() } else { Body(Inner::Full(bytes)) }
    }

    /// `head` + items separated by commas + `tail`, with a known length.
    pub fn joined(head: Bytes, items: Vec<Bytes>, tail: Bytes) -> Body {
        let commas = items.len().saturating_sub(1);
        let remaining = (head.len() + tail.len() + commas) as u64
            + items.iter().map(|item| item.len() as u64).sum::<u64>();
        Body(Inner::Joined(Joined {
            head: Some(head),
            items: items.into_iter(),
            first: true,
            tail: Some(tail),
            remaining,
        }))
    }

    /// A body fed by a task; the receiver's capacity bounds what is in flight.
    pub fn channel(receiver: mpsc::Receiver<Bytes>) -> Body {
        Body(Inner::Channel(receiver))
    }

    pub fn boxed<B>(body: B) -> Body
    where
        B: HttpBody<Data = Bytes, Error = BodyError> + Send + 'static,
    {
        Body(Inner::Boxed(Box::pin(body)))
    }

    /// The bytes of a body that is all in memory; empty for a streaming one.
    pub(crate) fn into_bytes(self) -> Bytes {
        match self.0 {
            Inner::Full(bytes) => bytes,
            Inner::Joined(mut joined) => {
                let mut all = BytesMut::with_capacity(joined.remaining as usize);
                while let Some(piece) = joined.piece() {
                    all.extend_from_slice(&piece);
                }
                all.freeze()
            }
            _ => Bytes::new(),
        }
    }

    /// Reads everything, refusing more than `limit` bytes. A body that arrives
    /// in one frame is returned without a copy.
    pub async fn read_all(mut self, limit: usize) -> Result<Bytes, ReadBodyError> {
        if let Inner::Full(bytes) = self.0 {
            return if bytes.len() > limit { Err(ReadBodyError::TooLarge) } else { Ok(bytes) };
        }
        if self.size_hint().lower() > limit as u64 {
            return Err(ReadBodyError::TooLarge);
        }
        let mut frames: VecDeque<Bytes> = VecDeque::new();
        let mut total = 0;
        while let Some(frame) = self.frame().await {
            let frame = frame.map_err(ReadBodyError::Broken)?;
            if let Ok(data) = frame.into_data() {
                total += data.len();
                if total > limit {
                    return Err(ReadBodyError::TooLarge);
                }
                frames.push_back(data);
            }
        }
        if frames.len() <= 1 {
            return Ok(frames.pop_front().unwrap_or_default());
        }
        let mut all = BytesMut::with_capacity(total);
        for frame in frames {
            all.extend_from_slice(&frame);
        }
        Ok(all.freeze())
    }
}

#[derive(Debug, thiserror::Error)]
pub enum ReadBodyError {
    #[error("body is larger than the limit")]
    TooLarge,
    #[error("body could not be read")]
    Broken(#[source] BodyError),
}

impl From<Incoming> for Body {
    fn from(incoming: Incoming) -> Body {
        Body(Inner::Incoming(incoming))
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Body {
        Body::full(bytes)
    }
}

impl From<Vec<u8>> for Body {
    fn from(bytes: Vec<u8>) -> Body {
        Body::full(bytes)
    }
}

impl From<String> for Body {
    fn from(text: String) -> Body {
        Body::full(text)
    }
}

impl From<&'static str> for Body {
    fn from(text: &'static str) -> Body {
        Body::full(text)
    }
}

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Body")
    }
}

impl Joined {
    fn piece(&mut self) -> Option<Bytes> {
        if self.remaining == 0 {
            return None;
        }
        let capacity = (self.remaining as usize).min(PIECE_BYTES + PIECE_BYTES / 4);
        let mut piece = BytesMut::with_capacity(capacity);
        if let Some(head) = self.head.take() {
            piece.extend_from_slice(&head);
        }
        while piece.len() < PIECE_BYTES {
            let Some(item) = self.items.next() else {
                if let Some(tail) = self.tail.take() {
                    piece.extend_from_slice(&tail);
                }
                break;
            };
            if self.first {
                self.first = false;
            } else {
                piece.extend_from_slice(b",");
            }
            piece.extend_from_slice(&item);
        }
        self.remaining -= piece.len() as u64;
        Some(piece.freeze())
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut self.0 {
            Inner::Empty => Poll::Ready(None),
            Inner::Full(bytes) => {
                let bytes = std::mem::take(bytes);
                self.0 = Inner::Empty;
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Inner::Incoming(incoming) => {
                Pin::new(incoming).poll_frame(context).map_err(|error| Box::new(error) as BodyError)
            }
            Inner::Joined(joined) => Poll::Ready(joined.piece().map(|p| Ok(Frame::data(p)))),
            Inner::Channel(receiver) => {
                receiver.poll_recv(context).map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
            }
            Inner::Boxed(body) => body.as_mut().poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Inner::Empty => true,
            Inner::Full(_) | Inner::Channel(_) => false,
            Inner::Incoming(incoming) => incoming.is_end_stream(),
            Inner::Joined(joined) => joined.remaining == 0,
            Inner::Boxed(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Inner::Empty => SizeHint::with_exact(0),
            Inner::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Inner::Incoming(incoming) => incoming.size_hint(),
            Inner::Joined(joined) => SizeHint::with_exact(joined.remaining),
            Inner::Channel(_) => SizeHint::default(),
            Inner::Boxed(body) => body.size_hint(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
    }

    #[test]
    fn joined_bodies_have_commas_between_items_and_an_exact_length() {
        let check = |items: &[&'static str], expect: &str| {
            let items = items.iter().map(|i| Bytes::from_static(i.as_bytes()));
            let body = Body::joined("[".into(), items.collect(), "]".into());
            assert_eq!(body.size_hint().exact(), Some(expect.len() as u64));
            assert_eq!(run(body.read_all(1000)).unwrap(), expect);
        };
        check(&[], "[]");
        check(&["1"], "[1]");
        check(&["1", "22", "333"], "[1,22,333]");
    }

    #[test]
    fn large_lists_come_in_bounded_pieces() {
        let item = Bytes::from(vec![b'x'; 10_000]);
        let mut body = Body::joined("[".into(), vec![item; 100], "]".into());
        run(async {
            let mut total = 0;
            while let Some(frame) = body.frame().await {
                let data = frame.unwrap().into_data().unwrap();
                assert!(data.len() <= PIECE_BYTES + 10_001);
                total += data.len();
            }
            assert_eq!(total, 100 * 10_000 + 99 + 2);
        });
    }

    #[test]
    fn bodies_over_the_limit_are_refused() {
        let full = Body::full(vec![0; 11]);
        assert!(matches!(run(full.read_all(10)), Err(ReadBodyError::TooLarge)));
        let (sender, receiver) = mpsc::channel(4);
        sender.try_send(Bytes::from_static(b"123456")).unwrap();
        sender.try_send(Bytes::from_static(b"123456")).unwrap();
        drop(sender);
        let streamed = Body::channel(receiver);
        assert!(matches!(run(streamed.read_all(10)), Err(ReadBodyError::TooLarge)));
    }
}
