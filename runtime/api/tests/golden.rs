//! Every pair of `golden/` is one object, as JSON and as a protobuf body.

use std::path::{Path, PathBuf};

use pintle_api::meta::GroupVersionKind;
use pintle_api::protobuf;
use pintle_api::schema::{Schema, check};
use serde_json::Value;

struct Pair {
    name: String,
    json: Value,
    protobuf: Vec<u8>,
    gvk: GroupVersionKind,
}

fn pairs() -> Vec<Pair> {
    // A second folder may be named to check pairs that are not kept here.
    let folder = std::env::var_os("PINTLE_GOLDEN_DIR").map(PathBuf::from);
    let folder =
        folder.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden"));
    let mut pairs = Vec::new();
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let json: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        // Only a watch event has neither.
        let text = |name: &str, absent: &str| json[name].as_str().unwrap_or(absent).to_owned();
        let gvk = GroupVersionKind::parse(&text("apiVersion", "v1"), &text("kind", "WatchEvent"));
        let protobuf = std::fs::read(path.with_extension("pb")).unwrap();
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        pairs.push(Pair { name, json, protobuf, gvk });
    }
    pairs.sort_by(|a, b| a.name.cmp(&b.name));
    assert!(pairs.len() >= 70, "{} pairs", pairs.len());
    pairs
}

#[test]
fn protobuf_decodes_to_the_json_of_the_pair() {
    for pair in pairs() {
        let (gvk, value) = protobuf::decode_as(&pair.gvk, &pair.protobuf)
            .unwrap_or_else(|error| panic!("{}: {error}", pair.name));
        assert_eq!(gvk, pair.gvk, "{}", pair.name);
        assert_eq!(without_nulls(&value), without_nulls(&pair.json), "{}", pair.name);
    }
}

#[test]
fn json_encodes_to_the_bytes_of_the_pair() {
    for pair in pairs() {
        let body = protobuf::encode(&pair.gvk, &pair.json)
            .unwrap_or_else(|error| panic!("{}: {error}", pair.name));
        assert_eq!(body, pair.protobuf, "{}", pair.name);
    }
}

#[test]
fn every_json_passes_the_field_check() {
    let schema = Schema::get();
    for pair in pairs() {
        let id = schema.kind(&pair.gvk.group, &pair.gvk.version, &pair.gvk.kind).unwrap();
        assert_eq!(check(&schema.full_name(id), &pair.json), [], "{}", pair.name);
    }
}

/// Damaged bodies give an error or an object, never a panic, and an object that
/// was read can be written.
#[test]
fn damaged_bodies_never_panic() {
    let mut next = random();
    for pair in pairs() {
        for _ in 0..60 {
            let mut body = pair.protobuf.clone();
            for _ in 0..=next() % 4 {
                let at = next() as usize % body.len();
                body[at] = next() as u8;
            }
            if next().is_multiple_of(3) {
                body.truncate(next() as usize % body.len());
            }
            if let Ok((gvk, value)) = protobuf::decode_as(&pair.gvk, &body) {
                protobuf::encode(&gvk, &value)
                    .unwrap_or_else(|error| panic!("{}: {error}", pair.name));
            }
        }
        for length in (0..pair.protobuf.len()).step_by(7) {
            let _ = protobuf::decode_as(&pair.gvk, &pair.protobuf[..length]);
        }
    }
}

/// An object that passes the field check can be stored, normalized, and answered
/// in either encoding.
#[test]
fn what_passes_the_check_can_be_encoded() {
    let values: Vec<Value> = [
        "null",
        "true",
        "0",
        "-1",
        "1.5",
        "3000000000",
        "\"\"",
        "\"100m\"",
        "\"aGk=\"",
        "\"2020-01-01T00:00:00Z\"",
        "\"2020-02-30T00:00:00Z\"",
        "\"a b\"",
        "[]",
        "[null]",
        "{}",
        "{\"a\":null}",
        "{\"a\":1}",
        "{\"a\":\"1\"}",
    ]
    .iter()
    .map(|text| serde_json::from_str(text).unwrap())
    .collect();
    let mut next = random();
    let schema = Schema::get();
    let (mut accepted, mut refused) = (0, 0);
    for pair in pairs() {
        let id = schema.kind(&pair.gvk.group, &pair.gvk.version, &pair.gvk.kind).unwrap();
        for _ in 0..100 {
            let mut object = pair.json.clone();
            let mut place = &mut object;
            // A random walk down, then a value that may or may not belong there.
            for _ in 0..next() % 8 {
                let size = match &*place {
                    Value::Object(entries) => entries.len(),
                    Value::Array(items) => items.len(),
                    _ => 0,
                };
                if size == 0 {
                    break;
                }
                let at = next() as usize % size;
                place = match place {
                    Value::Object(entries) => entries.values_mut().nth(at).unwrap(),
                    Value::Array(items) => &mut items[at],
                    _ => unreachable!(),
                };
            }
            *place = values[next() as usize % values.len()].clone();
            if !schema.check(id, &object).is_empty() {
                refused += 1;
                continue;
            }
            accepted += 1;
            for _ in 0..2 {
                let body = protobuf::encode(&pair.gvk, &object)
                    .unwrap_or_else(|error| panic!("{}: {error}: {object}", pair.name));
                let (_, decoded) = protobuf::decode_as(&pair.gvk, &body)
                    .unwrap_or_else(|error| panic!("{}: {error}: {object}", pair.name));
                assert_eq!(schema.check(id, &decoded), [], "{}: {decoded}", pair.name);
                schema.normalize(id, &mut object);
            }
        }
    }
    assert!(accepted > 1000 && refused > 1000, "{accepted} accepted, {refused} refused");
}

/// A fixed sequence: a failure repeats.
fn random() -> impl FnMut() -> u64 {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    }
}

/// A null stands for a zero value, which protobuf does not carry.
fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(entries) => entries
            .iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(name, value)| (name.clone(), without_nulls(value)))
            .collect(),
        Value::Array(items) => items.iter().map(without_nulls).collect(),
        other => other.clone(),
    }
}
