//! Writer and reader against each other: what was written comes back, and
//! nothing else passes for a trace.

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use proptest::prelude::*;
use serde_json::json;

use super::format::{FRAME_HEADER_BYTES, FrameHeader, Kind, PREAMBLE_BYTES};
use super::model::*;
use super::{Entry, TraceError, TraceReader, TraceWriter};
use crate::artifact::Digest;

fn header(component: &[u8]) -> Header {
    Header {
        plugin: "p".into(),
        role: "Controller".into(),
        contract: "pintle:plugin@0.1.0".into(),
        digest: Digest::of(component).to_string(),
        version: "1".into(),
        component_bytes: 0,
        config: json!({"a": 1}),
        budgets: BudgetRecord { fuel_per_call: 1, memory_bytes: 2, deadline_milliseconds: 3 },
        grants: json!([]),
        redaction: Some("0011223344556677".into()),
        created_unix_ms: 1_700_000_000_000,
        host_version: "0.1.0".into(),
    }
}

fn object(name: &str, json: Vec<u8>) -> ObjectRecord {
    let kind = KindRecord { group: String::new(), version: "v1".into(), kind: "Pod".into() };
    let reference = RefRecord { kind, namespace: "default".into(), name: name.into() };
    ObjectRecord { reference, uid: format!("uid-{name}"), revision: 7, json: Blob(json) }
}

fn call(number: u64, name: &str, json: Vec<u8>) -> Call {
    let found = object(name, json);
    Call {
        number,
        input: Input::Reconcile {
            context: ContextRecord { now_unix_ms: 5, seed: number, revision: 7 },
            reference: found.reference.clone(),
            uid: found.uid.clone(),
            attempt: 0,
        },
        reads: vec![Read {
            question: Question::Get(found.reference.clone()),
            told: Told::Object(Some(found.clone())),
        }],
        answer: Answer::Outcome {
            actions: vec![ActionRecord::Update {
                reference: found.reference,
                subresource: "status".into(),
                json: found.json,
            }],
            requeue_after_ms: Some(number),
        },
        fuel: 1000 + number,
        live: Live::Same,
    }
}

/// The bytes of a trace with a footer; the component is all zeros.
fn written(component: &[u8], calls: &[Call]) -> Vec<u8> {
    let bytes = Arc::new(Mutex::new(Vec::new()));
    let sink = {
        let bytes = bytes.clone();
        move |piece: Bytes| {
            bytes.lock().extend_from_slice(&piece);
            true
        }
    };
    let component = Some(component).filter(|component| !component.is_empty());
    let header = header(component.unwrap_or_default());
    let mut writer = TraceWriter::start(Box::new(sink), &header, component).unwrap();
    writer.started(&Start { why: Why::First, fault: None }).unwrap();
    for call in calls {
        writer.call(call).unwrap();
    }
    writer.note(&Note::Lost(3)).unwrap();
    writer.finish("done").unwrap();
    bytes.lock().clone()
}

fn read(bytes: &[u8]) -> Result<Vec<Entry>, TraceError> {
    let mut reader = TraceReader::open(bytes)?;
    let mut entries = Vec::new();
    while let Some(entry) = reader.read()? {
        entries.push(entry);
    }
    Ok(entries)
}

/// Whole calls before the first error, and the error.
fn read_until_error(bytes: &[u8]) -> (u64, TraceError) {
    let mut reader = match TraceReader::open(bytes) {
        Ok(reader) => reader,
        Err(error) => return (0, error),
    };
    loop {
        match reader.read() {
            Ok(Some(_)) => {}
            Ok(None) => panic!("no error"),
            Err(error) => return (reader.calls(), error),
        }
    }
}

/// Where each frame starts, and the end.
fn frames(bytes: &[u8]) -> Vec<usize> {
    let mut starts = vec![PREAMBLE_BYTES];
    while starts[starts.len() - 1] < bytes.len() {
        let at = starts[starts.len() - 1];
        let header = bytes[at..at + FRAME_HEADER_BYTES].try_into().unwrap();
        let header = FrameHeader::decode(&header).unwrap();
        starts.push(at + FRAME_HEADER_BYTES + header.stored as usize);
    }
    starts
}

fn sample() -> Vec<u8> {
    let calls: Vec<Call> = (1..=3).map(|n| call(n, &format!("pod-{n}"), vec![b'x'; 100])).collect();
    written(&[0; 2000], &calls)
}

#[test]
fn what_is_written_comes_back() {
    let component = vec![0; (2 << 20) + 17];
    let calls: Vec<Call> = (1..=5).map(|n| call(n, "a", br#"{"kind":"Pod"}"#.to_vec())).collect();
    let bytes = written(&component, &calls);
    let mut reader = TraceReader::open(&bytes[..]).unwrap();
    assert_eq!(reader.component(), Some(&component[..]));
    assert_eq!(reader.header().plugin, "p");
    let mut seen = Vec::new();
    while let Some(entry) = reader.read().unwrap() {
        seen.push(entry);
    }
    assert_eq!(seen[0], Entry::Start(Start { why: Why::First, fault: None }));
    for (entry, call) in seen[1..6].iter().zip(&calls) {
        assert_eq!(*entry, Entry::Call(Box::new(call.clone())));
    }
    let Entry::Footer(footer) = &seen[7] else { panic!("{:?}", seen[7]) };
    assert_eq!((footer.calls, footer.reads, footer.starts, footer.lost), (5, 5, 1, 3));
    assert_eq!(footer.ended, "done");
}

#[test]
fn calls_about_alike_objects_take_little_room() {
    let json: Vec<u8> = (0..3000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let calls: Vec<Call> = (1..=100).map(|n| call(n, &format!("pod-{n}"), json.clone())).collect();
    let bytes = written(&[], &calls);
    assert!(bytes.len() < 3000 + 100 * 200, "{} bytes", bytes.len());
}

#[test]
fn every_flipped_byte_is_noticed() {
    let bytes = sample();
    for at in 0..bytes.len() {
        for flip in [0x01, 0x80, 0xff] {
            let mut damaged = bytes.clone();
            damaged[at] ^= flip;
            assert!(read(&damaged).is_err(), "byte {at} ^ {flip:#x} went unnoticed");
        }
    }
}

#[test]
fn every_cut_is_named_with_the_calls_that_are_whole() {
    let bytes = sample();
    let frames = frames(&bytes);
    for length in 1..bytes.len() {
        let (calls, error) = read_until_error(&bytes[..length]);
        if length < 8 {
            assert!(matches!(error, TraceError::Cut { .. }), "{length}: {error}");
            continue;
        }
        assert!(error.is_cut(), "{length}: {error}");
        // Frames: header, component, start, three calls, a note, the footer.
        let whole = frames[4..=6].iter().filter(|end| **end <= length).count() as u64;
        assert_eq!(calls, whole, "{length}: {error}");
    }
    assert!(matches!(read(&[]), Err(TraceError::NotATrace)));
}

#[test]
fn what_is_wrong_is_told_apart() {
    let bytes = sample();
    let frames = frames(&bytes);
    let check = |bytes: &[u8], expect: &str| {
        let error = read(bytes).unwrap_err();
        assert!(error.to_string().contains(expect), "{error} does not say {expect:?}");
    };
    let header_at = |at: usize| {
        FrameHeader::decode(bytes[at..at + FRAME_HEADER_BYTES].try_into().unwrap()).unwrap()
    };
    check(b"PK\x03\x04 and more of it", "no trace");
    let mut foreign = bytes.clone();
    foreign[8] = 9;
    check(&foreign, "format version 9");
    let mut damaged = bytes.clone();
    damaged[frames[3] + FRAME_HEADER_BYTES] ^= 1;
    check(&damaged, &format!("frame 3 (at byte {}) is damaged: its content", frames[3]));
    let mut damaged = bytes.clone();
    damaged[frames[3] + 5] ^= 1;
    check(&damaged, &format!("frame 3 (at byte {}) is damaged: its header", frames[3]));

    // Two calls change places.
    let mut swapped = bytes[..frames[3]].to_vec();
    swapped.extend_from_slice(&bytes[frames[4]..frames[5]]);
    swapped.extend_from_slice(&bytes[frames[3]..frames[4]]);
    swapped.extend_from_slice(&bytes[frames[5]..]);
    check(&swapped, "frame 3 (at byte");
    check(&swapped, "out of order: it says that it is frame 4");

    // One is left out, and the numbers are made to fit.
    let mut removed = bytes[..frames[3]].to_vec();
    let mut header = header_at(frames[4]);
    header.sequence = 3;
    removed.extend(header.encode());
    removed.extend_from_slice(&bytes[frames[4] + FRAME_HEADER_BYTES..]);
    check(&removed, "the trace was edited");

    let mut long = bytes[..frames[3]].to_vec();
    let mut header = header_at(frames[3]);
    header.stored = u32::MAX;
    long.extend(header.encode());
    check(&long, "claims 4294967295 bytes");

    let mut unknown = bytes[..frames[3]].to_vec();
    let mut header = header_at(frames[3]);
    header.kind = 77;
    unknown.extend(header.encode());
    check(&unknown, "of a kind that this program does not know (77)");

    let mut trailing = bytes.clone();
    trailing.push(0);
    check(&trailing, "behind the end");
}

#[test]
fn content_that_claims_too_much_is_refused_without_the_memory() {
    // A footer of 2^60 calls' worth of list: varint length far beyond the frame.
    let bytes = written(&[], &[]);
    let frames = frames(&bytes);
    let at = frames[1];
    let mut encoder = zstd::stream::raw::Encoder::new(1).unwrap();
    let raw = {
        // Call { number: 1, input: Sync(2^60 deltas) }
        let mut raw = vec![1, 1, 253];
        raw.extend((1u64 << 60).to_le_bytes());
        raw
    };
    let stored = super::writer::compress(&mut encoder, &raw).unwrap();
    let mut chain = super::format::Chain::new(&bytes[..PREAMBLE_BYTES]);
    let first: [u8; FRAME_HEADER_BYTES] =
        bytes[frames[0]..frames[0] + FRAME_HEADER_BYTES].try_into().unwrap();
    let first = FrameHeader::decode(&first).unwrap();
    chain.advance(&first.chained(), &bytes[frames[0] + FRAME_HEADER_BYTES..frames[1]]);
    let mut header = FrameHeader {
        kind: Kind::Call as u8,
        flags: super::format::COMPRESSED,
        sequence: 1,
        stored: stored.len() as u32,
        raw: raw.len() as u32,
        payload_crc: crc32fast::hash(&stored),
        chain: [0; 16],
    };
    chain.advance(&header.chained(), &stored);
    header.chain = chain.short();
    let mut forged = bytes[..at].to_vec();
    forged.extend(header.encode());
    forged.extend(stored);
    let error = read(&forged).unwrap_err();
    assert!(matches!(error, TraceError::Malformed { .. }), "{error}");
}

#[test]
fn a_trace_without_an_end_is_given_one() {
    use std::io::{Read as _, Seek as _, Write as _};
    let bytes = sample();
    let frames = frames(&bytes);
    // Not within the first frames, without which there is nothing to replay.
    for length in (frames[2]..=bytes.len()).step_by(7) {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&bytes[..length]).unwrap();
        let footer = super::seal(&mut file, "enough").unwrap();
        file.rewind().unwrap();
        let mut sealed = Vec::new();
        file.read_to_end(&mut sealed).unwrap();
        let Some(Entry::Footer(last)) = read(&sealed).unwrap().pop() else { panic!("{length}") };
        assert_eq!(last, footer);
        let whole = frames[4..=6].iter().filter(|end| **end <= length).count() as u64;
        assert_eq!((last.calls, last.reads), (whole, whole), "{length}");
        assert_eq!(last.ended, if length == bytes.len() { "done" } else { "enough" });
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_calls_survive(bodies in proptest::collection::vec(any::<Vec<u8>>(), 0..12)) {
        let calls: Vec<Call> = bodies
            .into_iter()
            .enumerate()
            .map(|(n, body)| call(n as u64 + 1, &format!("pod-{n}"), body))
            .collect();
        let entries = read(&written(&[], &calls)).unwrap();
        let found: Vec<Call> = entries
            .into_iter()
            .filter_map(|entry| match entry {
                Entry::Call(call) => Some(*call),
                _ => None,
            })
            .collect();
        prop_assert_eq!(found, calls);
    }

    #[test]
    fn no_bytes_make_the_reader_panic(bytes in any::<Vec<u8>>(), after in 0usize..40) {
        let mut trace = sample();
        trace.truncate(trace.len().saturating_sub(after * 13));
        trace.extend(&bytes);
        let _ = read(&trace);
        let _ = read(&bytes);
    }
}
