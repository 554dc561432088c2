//! The end of a trace whose recorder could not write it: whoever gathered the
//! bytes and stopped asking for more.

use std::fs::File;
use std::io::{BufReader, Seek as _, SeekFrom, Write as _};

use super::format::{Chain, FrameHeader, Kind, TraceError};
use super::model::{Answer, Footer, Live, Note, Why};
use super::reader::{Entry, TraceReader};

/// Cuts off what is no whole frame and writes the footer. A trace that has one
/// stays as it is.
pub fn seal(file: &mut File, ended: &str) -> Result<Footer, TraceError> {
    file.seek(SeekFrom::Start(0))?;
    let mut reader = TraceReader::open(BufReader::new(&mut *file))?;
    let mut footer = Footer { ended: ended.to_owned(), ..Footer::default() };
    loop {
        match reader.read() {
            Ok(Some(Entry::Footer(written))) => return Ok(written),
            Ok(Some(entry)) => count(&mut footer, &entry),
            // Only a footer ends the entries, and it was none.
            Ok(None) => return Ok(footer),
            Err(error) if error.is_cut() => break,
            Err(error) => return Err(error),
        }
    }
    let (offset, sequence, mut chain) = reader.end();
    drop(reader);
    footer.hash = chain.whole();
    let frame = frame(&footer, sequence, &mut chain)?;
    file.set_len(offset)?;
    file.seek(SeekFrom::Start(offset))?;
    file.write_all(&frame)?;
    Ok(footer)
}

fn count(footer: &mut Footer, entry: &Entry) {
    match entry {
        Entry::Start(start) => {
            footer.starts += 1;
            if let Why::Lost(lost) = start.why {
                footer.lost += lost;
            }
        }
        Entry::Call(call) => {
            footer.calls += 1;
            footer.reads += call.reads.len() as u64;
            footer.faults += u64::from(matches!(call.answer, Answer::Fault(_)));
            footer.live_differs += u64::from(call.live == Live::Differs);
        }
        Entry::Note(Note::Lost(lost)) => footer.lost += lost,
        Entry::Note(Note::TooLarge(_) | Note::RevisionGone(_)) => footer.lost += 1,
        Entry::Footer(_) => {}
    }
}

/// Not compressed: the stream that the other frames are is not ours to go on with.
fn frame(footer: &Footer, sequence: u64, chain: &mut Chain) -> Result<Vec<u8>, TraceError> {
    let payload = bincode::serde::encode_to_vec(footer, bincode::config::standard())
        .map_err(std::io::Error::other)?;
    let length = u32::try_from(payload.len()).map_err(std::io::Error::other)?;
    let mut header = FrameHeader {
        kind: Kind::Footer as u8,
        flags: 0,
        sequence: u32::try_from(sequence).map_err(std::io::Error::other)?,
        stored: length,
        raw: length,
        payload_crc: crc32fast::hash(&payload),
        chain: [0; 16],
    };
    chain.advance(&header.chained(), &payload);
    header.chain = chain.short();
    let mut frame = header.encode().to_vec();
    frame.extend(payload);
    Ok(frame)
}
