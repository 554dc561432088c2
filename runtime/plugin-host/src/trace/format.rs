//! How a trace lies in a file.
//!
//! ```text
//! file  = magic (8) version (4) frame*
//! frame = kind (1) flags (1) reserved (2)
//!         sequence (4) stored length (4) raw length (4)
//!         payload CRC-32 (4) chain (16) header CRC-32 (4)
//!         payload (stored length)
//! ```
//!
//! Numbers are little-endian. The chain is the start of the SHA-256 of the
//! chain before, the frame's header up to the payload's CRC, and the payload as
//! stored. The CRCs tell damage from deliberate changes: a frame whose CRCs fit
//! while the chain does not was put there by somebody. The first frame is the
//! header in JSON; the payloads of all others together are one zstd stream,
//! flushed after each frame, so that a cut file gives back every whole frame
//! before the cut and pods of one template cost a few bytes each.

use sha2::{Digest as _, Sha256};

pub(super) const MAGIC: [u8; 8] = *b"PINTLETR";

/// Of the format. A reader refuses any other.
pub const VERSION: u32 = 1;

pub(super) const PREAMBLE_BYTES: usize = 12;
pub(super) const FRAME_HEADER_BYTES: usize = 40;

/// Of a frame before compression. The largest call (a list of a whole cluster)
/// stays below; what does not is left out with a note.
pub const MAX_FRAME_BYTES: usize = 64 << 20;

/// The component is cut into frames of this size.
pub(super) const COMPONENT_PIECE_BYTES: usize = 1 << 20;

/// Of the zstd stream's window: 2^21 bytes. What a reader has to keep.
pub(super) const WINDOW_LOG: u32 = 21;

/// zstd may make incompressible data a little longer.
pub(super) const MAX_STORED_BYTES: usize = MAX_FRAME_BYTES + (MAX_FRAME_BYTES >> 7) + 1024;

pub(super) const COMPRESSED: u8 = 1;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Header = 1,
    Component = 2,
    Start = 3,
    Call = 4,
    Note = 5,
    Footer = 6,
}

impl Kind {
    pub fn of(byte: u8) -> Option<Self> {
        [Self::Header, Self::Component, Self::Start, Self::Call, Self::Note, Self::Footer]
            .into_iter()
            .find(|kind| *kind as u8 == byte)
    }
}

/// What is wrong with a trace, and where: frames count from 0, offsets are
/// those of the frame in the file.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    #[error("the trace cannot be read")]
    Io(#[from] std::io::Error),
    #[error("this is no trace: the file does not start with {}", String::from_utf8_lossy(&MAGIC))]
    NotATrace,
    #[error(
        "the trace has format version {found}, and this program reads {VERSION}; use the version of pintle that recorded it"
    )]
    ForeignVersion { found: u32 },
    #[error(
        "the trace is cut: it ends in frame {frame} (at byte {offset}), {missing} bytes short; --partial replays what is whole"
    )]
    Cut { frame: u64, offset: u64, missing: u64 },
    #[error(
        "the trace is cut: it ends after frame {frame} (at byte {offset}) and has no footer; --partial replays what is whole"
    )]
    NoFooter { frame: u64, offset: u64 },
    #[error("frame {frame} (at byte {offset}) is damaged: {what}")]
    Damaged { frame: u64, offset: u64, what: &'static str },
    #[error("frame {frame} (at byte {offset}) is out of order: it says that it is frame {found}")]
    OutOfOrder { frame: u64, offset: u64, found: u64 },
    #[error(
        "frame {frame} (at byte {offset}) does not follow from the one before: the trace was edited"
    )]
    Edited { frame: u64, offset: u64 },
    #[error(
        "frame {frame} (at byte {offset}) claims {length} bytes, more than the {limit} that a frame may have"
    )]
    TooLong { frame: u64, offset: u64, length: u64, limit: u64 },
    #[error(
        "frame {frame} (at byte {offset}) is of a kind that this program does not know ({kind})"
    )]
    UnknownKind { frame: u64, offset: u64, kind: u8 },
    #[error("frame {frame} (at byte {offset}) does not make sense: {what}")]
    Malformed { frame: u64, offset: u64, what: String },
    #[error("there are bytes behind the end of the trace (at byte {offset})")]
    Trailing { offset: u64 },
}

impl TraceError {
    /// The trace is good as far as it goes.
    pub fn is_cut(&self) -> bool {
        matches!(self, Self::Cut { .. } | Self::NoFooter { .. })
    }
}

/// The hash over everything so far.
#[derive(Clone)]
pub(super) struct Chain([u8; 32]);

impl Chain {
    pub fn new(preamble: &[u8]) -> Self {
        Self(Sha256::digest(preamble).into())
    }

    pub fn advance(&mut self, header: &[u8], payload: &[u8]) {
        let mut hasher = Sha256::new();
        hasher.update(self.0);
        hasher.update(header);
        hasher.update(payload);
        self.0 = hasher.finalize().into();
    }

    pub fn whole(&self) -> [u8; 32] {
        self.0
    }

    pub fn short(&self) -> [u8; 16] {
        let mut short = [0; 16];
        short.copy_from_slice(&self.0[..16]);
        short
    }
}

pub(super) struct FrameHeader {
    pub kind: u8,
    pub flags: u8,
    pub sequence: u32,
    pub stored: u32,
    pub raw: u32,
    pub payload_crc: u32,
    pub chain: [u8; 16],
}

/// What the chain covers of a frame's header: everything before the chain.
pub(super) const CHAINED_BYTES: usize = 20;

impl FrameHeader {
    /// Without chain and CRC of its own, which cover this.
    pub fn chained(&self) -> [u8; CHAINED_BYTES] {
        let mut bytes = [0; CHAINED_BYTES];
        bytes[0] = self.kind;
        bytes[1] = self.flags;
        bytes[4..8].copy_from_slice(&self.sequence.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.stored.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.raw.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.payload_crc.to_le_bytes());
        bytes
    }

    pub fn encode(&self) -> [u8; FRAME_HEADER_BYTES] {
        let mut bytes = [0; FRAME_HEADER_BYTES];
        bytes[..20].copy_from_slice(&self.chained());
        bytes[20..36].copy_from_slice(&self.chain);
        let crc = crc32fast::hash(&bytes[..36]);
        bytes[36..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// None if the header's own CRC does not fit.
    pub fn decode(bytes: &[u8; FRAME_HEADER_BYTES]) -> Option<Self> {
        let number = |at: usize| {
            u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        };
        if crc32fast::hash(&bytes[..36]) != number(36) || bytes[2..4] != [0, 0] {
            return None;
        }
        let mut chain = [0; 16];
        chain.copy_from_slice(&bytes[20..36]);
        Some(Self {
            kind: bytes[0],
            flags: bytes[1],
            sequence: number(4),
            stored: number(8),
            raw: number(12),
            payload_crc: number(16),
            chain,
        })
    }
}

pub(super) fn preamble() -> [u8; PREAMBLE_BYTES] {
    let mut bytes = [0; PREAMBLE_BYTES];
    bytes[..8].copy_from_slice(&MAGIC);
    bytes[8..].copy_from_slice(&VERSION.to_le_bytes());
    bytes
}
