//! Writes frames. Each goes to the sink as soon as it is complete, so that a
//! trace of a server that was killed holds every call before that.

use bincode::config;
use bytes::Bytes;
use serde::Serialize;
use zstd::stream::raw::{CParameter, Encoder, InBuffer, Operation as _, OutBuffer};

use super::format::{
    COMPONENT_PIECE_BYTES, COMPRESSED, Chain, FRAME_HEADER_BYTES, FrameHeader, Kind,
    MAX_FRAME_BYTES, WINDOW_LOG, preamble,
};
use super::model::{Answer, Call, Footer, Header, Live, Note, Start, Why};
use super::sink::TraceSink;

/// Fast: a recording shares the machine with what it records.
const LEVEL: i32 = 1;

/// How zstd's output is gathered.
const OUTPUT_STEP: usize = 64 << 10;

/// Why nothing more can be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    #[error("nobody reads the trace any more")]
    Gone,
    #[error("the trace cannot be compressed")]
    Compress(#[source] std::io::Error),
    #[error("a frame cannot be encoded")]
    Encode(#[source] bincode::error::EncodeError),
    #[error("the header cannot be encoded")]
    Header(#[source] serde_json::Error),
}

pub struct TraceWriter {
    sink: Box<dyn TraceSink>,
    encoder: Encoder<'static>,
    chain: Chain,
    sequence: u32,
    counts: Footer,
    /// Bytes handed to the sink.
    written: u64,
}

impl TraceWriter {
    /// Writes the header and, if it is there, the component.
    pub fn start(
        sink: Box<dyn TraceSink>,
        header: &Header,
        component: Option<&[u8]>,
    ) -> Result<Self, WriteError> {
        let mut encoder = Encoder::new(LEVEL).map_err(WriteError::Compress)?;
        encoder.set_parameter(CParameter::WindowLog(WINDOW_LOG)).map_err(WriteError::Compress)?;
        let start = preamble();
        let mut writer = Self {
            sink,
            encoder,
            chain: Chain::new(&start),
            sequence: 0,
            counts: Footer::default(),
            written: 0,
        };
        writer.put(Bytes::copy_from_slice(&start))?;
        let header = Header {
            component_bytes: component.map_or(0, |component| component.len() as u64),
            ..header.clone()
        };
        let json = serde_json::to_vec_pretty(&header).map_err(WriteError::Header)?;
        let raw = json.len();
        writer.frame(Kind::Header, 0, raw, json)?;
        for piece in component.unwrap_or_default().chunks(COMPONENT_PIECE_BYTES) {
            writer.compressed(Kind::Component, piece)?;
        }
        Ok(writer)
    }

    pub fn started(&mut self, start: &Start) -> Result<(), WriteError> {
        self.counts.starts += 1;
        if let Why::Lost(lost) = start.why {
            self.counts.lost += lost;
        }
        self.encoded(Kind::Start, start)
    }

    /// A call too large for a frame becomes a note.
    pub fn call(&mut self, call: &Call) -> Result<(), WriteError> {
        let bytes =
            bincode::serde::encode_to_vec(call, config::standard()).map_err(WriteError::Encode)?;
        if bytes.len() > MAX_FRAME_BYTES {
            return self.note(&Note::TooLarge(bytes.len() as u64));
        }
        self.counts.calls += 1;
        self.counts.reads += call.reads.len() as u64;
        self.counts.faults += u64::from(matches!(call.answer, Answer::Fault(_)));
        self.counts.live_differs += u64::from(call.live == Live::Differs);
        self.compressed(Kind::Call, &bytes)
    }

    pub fn note(&mut self, note: &Note) -> Result<(), WriteError> {
        self.counts.lost += match note {
            Note::Lost(lost) => *lost,
            Note::TooLarge(_) | Note::RevisionGone(_) => 1,
        };
        self.encoded(Kind::Note, note)
    }

    /// Ends the trace.
    pub fn finish(mut self, ended: &str) -> Result<Footer, WriteError> {
        let footer = Footer {
            ended: ended.to_owned(),
            hash: self.chain.whole(),
            ..std::mem::take(&mut self.counts)
        };
        self.encoded(Kind::Footer, &footer)?;
        Ok(footer)
    }

    /// What the footer would say now.
    pub fn counts(&self) -> &Footer {
        &self.counts
    }

    pub fn written(&self) -> u64 {
        self.written
    }

    fn encoded<T: Serialize>(&mut self, kind: Kind, value: &T) -> Result<(), WriteError> {
        let bytes =
            bincode::serde::encode_to_vec(value, config::standard()).map_err(WriteError::Encode)?;
        self.compressed(kind, &bytes)
    }

    fn compressed(&mut self, kind: Kind, raw: &[u8]) -> Result<(), WriteError> {
        let stored = compress(&mut self.encoder, raw).map_err(WriteError::Compress)?;
        self.frame(kind, COMPRESSED, raw.len(), stored)
    }

    fn frame(
        &mut self,
        kind: Kind,
        flags: u8,
        raw: usize,
        stored: Vec<u8>,
    ) -> Result<(), WriteError> {
        // Both are below MAX_FRAME_BYTES, give or take, which fits.
        let length = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX);
        let mut header = FrameHeader {
            kind: kind as u8,
            flags,
            sequence: self.sequence,
            stored: length(stored.len()),
            raw: length(raw),
            payload_crc: crc32fast::hash(&stored),
            chain: [0; 16],
        };
        self.chain.advance(&header.chained(), &stored);
        header.chain = self.chain.short();
        self.sequence = self.sequence.wrapping_add(1);
        let mut bytes = Vec::with_capacity(FRAME_HEADER_BYTES + stored.len());
        bytes.extend(header.encode());
        bytes.extend(stored);
        self.put(bytes.into())
    }

    fn put(&mut self, bytes: Bytes) -> Result<(), WriteError> {
        self.written += bytes.len() as u64;
        if self.sink.put(bytes) { Ok(()) } else { Err(WriteError::Gone) }
    }
}

/// Everything that the decoder needs to give `raw` back, and no more.
pub(super) fn compress(encoder: &mut Encoder<'static>, raw: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut stored = Vec::with_capacity(raw.len() / 4 + 64);
    let mut step = vec![0; OUTPUT_STEP.min(raw.len() + 512)];
    let mut input = InBuffer::around(raw);
    while input.pos() < raw.len() {
        let mut output = OutBuffer::around(&mut step[..]);
        encoder.run(&mut input, &mut output)?;
        stored.extend_from_slice(output.as_slice());
    }
    loop {
        let mut output = OutBuffer::around(&mut step[..]);
        let left = encoder.flush(&mut output)?;
        stored.extend_from_slice(output.as_slice());
        if left == 0 {
            return Ok(stored);
        }
    }
}
