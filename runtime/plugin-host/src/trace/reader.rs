//! Reads frames, and believes nothing: lengths are bounded before anything is
//! read, memory grows with what is really there, and whatever does not fit is
//! named with its frame and its offset.

use std::io::Read;

use bincode::config;
use serde::de::DeserializeOwned;
use zstd::stream::raw::{DParameter, Decoder, InBuffer, Operation as _, OutBuffer};

use super::format::{
    COMPRESSED, Chain, FRAME_HEADER_BYTES, FrameHeader, Kind, MAGIC, MAX_FRAME_BYTES,
    MAX_STORED_BYTES, PREAMBLE_BYTES, TraceError, VERSION, WINDOW_LOG,
};
use super::model::{Call, Footer, Header, Note, Start};
use crate::artifact::{Digest, MAX_COMPONENT_BYTES};

/// How much the decoder gives at a time.
const OUTPUT_STEP: usize = 64 << 10;

/// A header is a page of JSON plus a configuration, which fits an object.
const MAX_HEADER_BYTES: usize = 4 << 20;

/// What follows the header and the component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    Start(Start),
    Call(Box<Call>),
    Note(Note),
    Footer(Footer),
}

pub struct TraceReader<R> {
    input: R,
    decoder: Decoder<'static>,
    chain: Chain,
    header: Header,
    component: Option<Vec<u8>>,
    /// Frames read so far.
    frames: u64,
    /// Where the next frame starts.
    offset: u64,
    calls: u64,
    ended: bool,
}

/// One frame whose CRCs and chain fit.
struct Frame {
    kind: Kind,
    offset: u64,
    payload: Vec<u8>,
}

impl<R: Read> TraceReader<R> {
    /// Reads up to the first call.
    pub fn open(mut input: R) -> Result<Self, TraceError> {
        let mut preamble = [0; PREAMBLE_BYTES];
        let got = fill(&mut input, &mut preamble)?;
        let magic = got.min(MAGIC.len());
        if got == 0 || preamble[..magic] != MAGIC[..magic] {
            return Err(TraceError::NotATrace);
        }
        if got < PREAMBLE_BYTES {
            let missing = (PREAMBLE_BYTES - got) as u64;
            return Err(TraceError::Cut { frame: 0, offset: 0, missing });
        }
        let found = u32::from_le_bytes([preamble[8], preamble[9], preamble[10], preamble[11]]);
        if found != VERSION {
            return Err(TraceError::ForeignVersion { found });
        }
        let mut decoder = Decoder::new()?;
        decoder.set_parameter(DParameter::WindowLogMax(WINDOW_LOG))?;
        let mut reader = Self {
            input,
            decoder,
            chain: Chain::new(&preamble),
            header: Header::nothing(),
            component: None,
            frames: 0,
            offset: PREAMBLE_BYTES as u64,
            calls: 0,
            ended: false,
        };
        reader.read_header()?;
        reader.read_component()?;
        Ok(reader)
    }

    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The component that was recorded, unless it was left out.
    pub fn component(&self) -> Option<&[u8]> {
        self.component.as_deref()
    }

    /// Whole calls read so far.
    pub fn calls(&self) -> u64 {
        self.calls
    }

    /// Where the next frame would start, its number, and the hash up to there.
    pub(super) fn end(&self) -> (u64, u64, Chain) {
        (self.offset, self.frames, self.chain.clone())
    }

    /// The number of the frame that was read last.
    pub fn frame(&self) -> u64 {
        self.frames.saturating_sub(1)
    }

    /// The next entry; None after the footer, and after an error.
    pub fn read(&mut self) -> Result<Option<Entry>, TraceError> {
        if self.ended {
            return Ok(None);
        }
        let entry = self.entry();
        if !matches!(entry, Ok(Entry::Start(_) | Entry::Call(_) | Entry::Note(_))) {
            self.ended = true;
        }
        entry.map(Some)
    }

    fn entry(&mut self) -> Result<Entry, TraceError> {
        let frame = self.frame_of_any_kind()?;
        match frame.kind {
            Kind::Start => Ok(Entry::Start(self.decode(&frame)?)),
            Kind::Call => {
                self.calls += 1;
                Ok(Entry::Call(Box::new(self.decode(&frame)?)))
            }
            Kind::Note => Ok(Entry::Note(self.decode(&frame)?)),
            Kind::Footer => {
                let footer: Footer = self.decode(&frame)?;
                if footer.calls != self.calls {
                    let what = format!(
                        "the footer counts {} calls where there are {}",
                        footer.calls, self.calls
                    );
                    return Err(self.malformed(&frame, what));
                }
                let mut behind = [0];
                if fill(&mut self.input, &mut behind)? > 0 {
                    return Err(TraceError::Trailing { offset: self.offset });
                }
                Ok(Entry::Footer(footer))
            }
            Kind::Header | Kind::Component => {
                Err(self.malformed(&frame, "a header where calls belong".to_owned()))
            }
        }
    }

    fn read_header(&mut self) -> Result<(), TraceError> {
        let frame = self.frame_of_any_kind()?;
        if frame.kind != Kind::Header {
            return Err(self.malformed(&frame, "the first frame is no header".to_owned()));
        }
        self.header = serde_json::from_slice(&frame.payload)
            .map_err(|error| self.malformed(&frame, error.to_string()))?;
        Ok(())
    }

    fn read_component(&mut self) -> Result<(), TraceError> {
        let expected = self.header.component_bytes;
        if expected == 0 {
            return Ok(());
        }
        let (frame, offset) = (self.frames, self.offset);
        let limit = MAX_COMPONENT_BYTES as u64;
        if expected > limit {
            return Err(TraceError::TooLong { frame: 0, offset, length: expected, limit });
        }
        let mut component = Vec::new();
        while (component.len() as u64) < expected {
            let frame = self.frame_of_any_kind()?;
            if frame.kind != Kind::Component {
                return Err(self.malformed(&frame, "the component is incomplete".to_owned()));
            }
            component.extend_from_slice(&frame.payload);
        }
        if Digest::of(&component).as_str() != self.header.digest {
            let what = "the component is not the one that the header names".to_owned();
            return Err(TraceError::Malformed { frame, offset, what });
        }
        self.component = Some(component);
        Ok(())
    }

    fn frame_of_any_kind(&mut self) -> Result<Frame, TraceError> {
        let (frame, offset) = (self.frames, self.offset);
        let mut bytes = [0; FRAME_HEADER_BYTES];
        let got = fill(&mut self.input, &mut bytes)?;
        if got == 0 && frame > 0 {
            return Err(TraceError::NoFooter { frame: frame - 1, offset });
        }
        if got < bytes.len() {
            return Err(TraceError::Cut { frame, offset, missing: (bytes.len() - got) as u64 });
        }
        let damaged = |what| TraceError::Damaged { frame, offset, what };
        let header = FrameHeader::decode(&bytes)
            .ok_or_else(|| damaged("its header does not fit its checksum"))?;
        if u64::from(header.sequence) != frame {
            return Err(TraceError::OutOfOrder { frame, offset, found: header.sequence.into() });
        }
        let kind = Kind::of(header.kind).ok_or(TraceError::UnknownKind {
            frame,
            offset,
            kind: header.kind,
        })?;
        let max_raw = if kind == Kind::Header { MAX_HEADER_BYTES } else { MAX_FRAME_BYTES };
        for (length, limit) in [(header.stored, MAX_STORED_BYTES), (header.raw, max_raw)] {
            let (length, limit) = (u64::from(length), limit as u64);
            if length > limit {
                return Err(TraceError::TooLong { frame, offset, length, limit });
            }
        }
        let mut stored = Vec::new();
        let wanted = u64::from(header.stored);
        let got = (&mut self.input).take(wanted).read_to_end(&mut stored)? as u64;
        if got < wanted {
            return Err(TraceError::Cut { frame, offset, missing: wanted - got });
        }
        if crc32fast::hash(&stored) != header.payload_crc {
            return Err(damaged("its content does not fit its checksum"));
        }
        let before = self.chain.whole();
        self.chain.advance(&header.chained(), &stored);
        if self.chain.short() != header.chain {
            return Err(TraceError::Edited { frame, offset });
        }
        let payload = match header.flags {
            0 => stored,
            COMPRESSED => decompress(&mut self.decoder, &stored, header.raw as usize)
                .ok_or_else(|| damaged("its content cannot be decompressed"))?,
            _ => return Err(damaged("it has flags that this program does not know")),
        };
        if payload.len() != header.raw as usize {
            return Err(damaged("its content has another length than its header says"));
        }
        self.frames += 1;
        self.offset = offset + (FRAME_HEADER_BYTES as u64) + wanted;
        let frame = Frame { kind, offset, payload };
        if kind == Kind::Footer && self.decode::<Footer>(&frame)?.hash != before {
            return Err(TraceError::Edited { frame: self.frames - 1, offset });
        }
        Ok(frame)
    }

    fn decode<T: DeserializeOwned>(&self, frame: &Frame) -> Result<T, TraceError> {
        // What the bytes claim to hold is bounded by what a frame may hold.
        let config = config::standard().with_limit::<{ 2 * MAX_FRAME_BYTES }>();
        let (value, used) = bincode::serde::decode_from_slice(&frame.payload, config)
            .map_err(|error| self.malformed(frame, error.to_string()))?;
        if used != frame.payload.len() {
            return Err(self.malformed(frame, "it holds more than it should".to_owned()));
        }
        Ok(value)
    }

    fn malformed(&self, frame: &Frame, what: String) -> TraceError {
        TraceError::Malformed { frame: self.frame(), offset: frame.offset, what }
    }
}

/// As many bytes as there are, up to the length of `buffer`.
fn fill(input: &mut impl Read, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match input.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// None if it is no part of the stream, or becomes longer than `expected`.
fn decompress(decoder: &mut Decoder<'static>, stored: &[u8], expected: usize) -> Option<Vec<u8>> {
    let mut raw = Vec::with_capacity(expected.min(OUTPUT_STEP));
    let mut step = vec![0; OUTPUT_STEP];
    let mut input = InBuffer::around(stored);
    loop {
        let mut output = OutBuffer::around(&mut step[..]);
        decoder.run(&mut input, &mut output).ok()?;
        let given = output.as_slice();
        if raw.len() + given.len() > expected {
            return None;
        }
        raw.extend_from_slice(given);
        // A full buffer may leave more behind in the decoder.
        if input.pos() == stored.len() && given.len() < OUTPUT_STEP {
            return Some(raw);
        }
    }
}

impl Header {
    /// Stands in until the first frame is read.
    fn nothing() -> Self {
        Self {
            plugin: String::new(),
            role: String::new(),
            contract: String::new(),
            digest: String::new(),
            version: String::new(),
            component_bytes: 0,
            config: serde_json::Value::Null,
            budgets: super::model::BudgetRecord {
                fuel_per_call: 0,
                memory_bytes: 0,
                deadline_milliseconds: 0,
            },
            grants: serde_json::Value::Null,
            redaction: None,
            created_unix_ms: 0,
            host_version: String::new(),
        }
    }
}
