//! How the engine's keys are laid out: one ordered tree, a prefix byte, big-endian numbers.
//!
//! | Key | Value |
//! |---|---|
//! | `l` revision sub | the log entry: what happened to which key (see [`crate::envelope`]) |
//! | `c` revision sub n | the n-th chunk of the value written there |
//! | `m` name | facts about the store: format version, cluster id, compacted revision |
//!
//! The log is the only truth: which keys are live, their histories and their expiry times
//! are rebuilt from it when the store is opened. Log entries carry no values, so that this
//! reads little. `sub` numbers the operations of one transaction.

use smallvec::SmallVec;

use crate::types::Revision;

/// sled loses values of more than about 128 KiB in a power cut and pages hold 16 entries,
/// so no entry exceeds 6000 bytes: 16 x 6000 stays below.
pub(crate) const CHUNK_BYTES: usize = 6000;

pub(crate) type EngineKey = SmallVec<[u8; 24]>;

/// Where one operation lies in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Position {
    pub(crate) revision: Revision,
    pub(crate) sub: u32,
}

pub(crate) const FORMAT: &str = "format";
pub(crate) const CLUSTER_ID: &str = "cluster-id";
pub(crate) const COMPACTED: &str = "compacted";

pub(crate) fn log(at: Position) -> EngineKey {
    position(b'l', at)
}

/// The first key of the log after everything at `revision`.
pub(crate) fn log_after(revision: Revision) -> EngineKey {
    match revision.checked_add(1) {
        Some(revision) => log(Position { revision, sub: 0 }),
        None => log_end(),
    }
}

pub(crate) fn log_start() -> EngineKey {
    SmallVec::from_slice(b"l")
}

pub(crate) fn log_end() -> EngineKey {
    SmallVec::from_slice(b"m")
}

pub(crate) fn parse_log(key: &[u8]) -> Option<Position> {
    let (prefix, rest) = key.split_first()?;
    let (revision, sub) = rest.split_first_chunk::<8>()?;
    (*prefix == b'l').then_some(())?;
    Some(Position {
        revision: Revision::from_be_bytes(*revision),
        sub: u32::from_be_bytes(sub.try_into().ok()?),
    })
}

pub(crate) fn chunk(at: Position, n: u16) -> EngineKey {
    let mut key = position(b'c', at);
    key.extend_from_slice(&n.to_be_bytes());
    key
}

/// The first chunk key after everything at `revision`.
pub(crate) fn chunks_after(revision: Revision) -> EngineKey {
    match revision.checked_add(1) {
        Some(revision) => position(b'c', Position { revision, sub: 0 }),
        None => SmallVec::from_slice(b"d"),
    }
}

pub(crate) fn meta(name: &str) -> EngineKey {
    let mut key = SmallVec::from_slice(b"m");
    key.extend_from_slice(name.as_bytes());
    key
}

/// How many chunks a value of `length` bytes takes.
pub(crate) fn chunks(length: u32) -> u16 {
    // limits::VALUE_BYTES / CHUNK_BYTES is far below u16::MAX.
    u16::try_from((length as usize).div_ceil(CHUNK_BYTES)).unwrap_or(u16::MAX)
}

fn position(prefix: u8, at: Position) -> EngineKey {
    let mut key = SmallVec::new();
    key.push(prefix);
    key.extend_from_slice(&at.revision.to_be_bytes());
    key.extend_from_slice(&at.sub.to_be_bytes());
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_keys_sort_like_positions_and_parse_back() {
        let positions = [(0, 0), (1, 0), (1, 1), (255, 7), (256, 0), (u64::MAX, u32::MAX)]
            .map(|(revision, sub)| Position { revision, sub });
        for pair in positions.windows(2) {
            assert!(log(pair[0]) < log(pair[1]));
            assert!(chunk(pair[0], u16::MAX) < chunk(pair[1], 0));
        }
        for at in positions {
            assert_eq!(parse_log(&log(at)), Some(at));
            assert!(log_start() < log(at) && log(at) < log_end());
            assert_eq!(parse_log(&chunk(at, 0)), None);
        }
        assert_eq!(parse_log(b"l"), None);
        assert_eq!(parse_log(b""), None);
    }

    #[test]
    fn chunk_counts() {
        for (length, expect) in [(0, 0), (1, 1), (6000, 1), (6001, 2), (2 * 1024 * 1024, 350)] {
            assert_eq!(chunks(length), expect, "{length}");
        }
    }
}
