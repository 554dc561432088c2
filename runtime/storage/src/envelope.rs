//! The log entry: everything about one operation except the value's bytes.
//!
//! bincode, with the format's version in the first byte. A newer version is a new variant
//! of [`Envelope`]; old ones stay decodable.

use bincode::{BorrowDecode, Encode, config};
use thiserror::Error;

use crate::types::Revision;

/// What one operation did to one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, BorrowDecode)]
pub(crate) struct LogEntry<'a> {
    pub(crate) key: &'a [u8],
    /// `None` for a delete.
    pub(crate) put: Option<Put>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, BorrowDecode)]
pub(crate) struct Put {
    pub(crate) create_revision: Revision,
    pub(crate) version: u64,
    pub(crate) length: u32,
    pub(crate) revision_span: Option<(u32, u8)>,
    pub(crate) expires_at_unix_seconds: Option<u64>,
}

#[derive(Encode, BorrowDecode)]
enum Envelope<'a> {
    V1(LogEntry<'a>),
}

#[derive(Debug, Error)]
pub(crate) enum EnvelopeError {
    #[error("cannot encode a log entry")]
    Encode(#[source] bincode::error::EncodeError),
    #[error("cannot decode a log entry: it was written by a newer version or is damaged")]
    Decode(#[source] bincode::error::DecodeError),
    #[error("a log entry has {0} bytes after its end")]
    Trailing(usize),
}

/// Decoding never allocates for a length it reads: keys are borrowed, and this bounds them.
const LIMIT_BYTES: usize = 4096;

pub(crate) fn encode(entry: LogEntry<'_>) -> Result<Vec<u8>, EnvelopeError> {
    bincode::encode_to_vec(Envelope::V1(entry), config::standard()).map_err(EnvelopeError::Encode)
}

pub(crate) fn decode(bytes: &[u8]) -> Result<LogEntry<'_>, EnvelopeError> {
    let config = config::standard().with_limit::<LIMIT_BYTES>();
    let (Envelope::V1(entry), read) =
        bincode::borrow_decode_from_slice(bytes, config).map_err(EnvelopeError::Decode)?;
    match bytes.len() - read {
        0 => Ok(entry),
        trailing => Err(EnvelopeError::Trailing(trailing)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn entries_survive_the_way() {
        let put = Put {
            create_revision: 7,
            version: u64::MAX,
            length: 1600,
            revision_span: Some((42, 3)),
            expires_at_unix_seconds: Some(1_800_000_000),
        };
        for entry in [
            LogEntry { key: b"/registry/pods/default/web", put: Some(put) },
            LogEntry { key: b"", put: None },
        ] {
            let bytes = encode(entry).unwrap();
            assert_eq!(decode(&bytes).unwrap(), entry);
            for cut in 0..bytes.len() {
                assert!(decode(&bytes[..cut]).is_err(), "cut at {cut}");
            }
            let mut longer = bytes.clone();
            longer.push(0);
            assert!(matches!(decode(&longer), Err(EnvelopeError::Trailing(1))));
        }
    }

    proptest! {
        #[test]
        fn noise_is_an_error_or_an_entry(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(&bytes);
        }
    }
}
