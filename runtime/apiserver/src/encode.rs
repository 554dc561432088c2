//! Objects into the bytes that are stored and served.
//!
//! The revision is known only when the committer has the transaction, so the
//! encoder leaves `"resourceVersion":""` empty and says where the digits go.

use bytes::Bytes;
use pintle_storage as storage;
use serde_json::Value;

/// The largest object that is stored. Larger ones would crowd the watch rings.
pub const MAX_OBJECT_BYTES: usize = 1_572_864;

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum EncodeError {
    #[error("object is not a JSON object with metadata")]
    Shape,
    #[error("object of {0} bytes, the limit is {MAX_OBJECT_BYTES}")]
    TooLarge(usize),
}

/// An encoded object with a gap for its revision.
#[derive(Debug, Clone)]
pub struct Encoded {
    bytes: Vec<u8>,
    revision_at: u32,
}

/// Encodes an object; an existing `metadata.resourceVersion` is dropped.
pub fn object(value: &Value) -> Result<Encoded, EncodeError> {
    let top = value.as_object().ok_or(EncodeError::Shape)?;
    if !top.get("metadata").is_some_and(Value::is_object) {
        return Err(EncodeError::Shape);
    }
    let mut bytes = Vec::with_capacity(2048);
    let mut revision_at = 0;
    bytes.push(b'{');
    for (index, (key, value)) in top.iter().enumerate() {
        if index > 0 {
            bytes.push(b',');
        }
        write(&mut bytes, key)?;
        bytes.push(b':');
        match value.as_object().filter(|_| key == "metadata") {
            None => write(&mut bytes, value)?,
            Some(metadata) => {
                bytes.push(b'{');
                for (key, value) in metadata.iter().filter(|(key, _)| *key != "resourceVersion") {
                    write(&mut bytes, key)?;
                    bytes.push(b':');
                    write(&mut bytes, value)?;
                    bytes.push(b',');
                }
                bytes.extend_from_slice(b"\"resourceVersion\":\"");
                revision_at = bytes.len();
                bytes.extend_from_slice(b"\"}");
            }
        }
    }
    bytes.push(b'}');
    if bytes.len() > MAX_OBJECT_BYTES {
        return Err(EncodeError::TooLarge(bytes.len()));
    }
    Ok(Encoded { bytes, revision_at: revision_at as u32 })
}

fn write<T: serde::Serialize + ?Sized>(bytes: &mut Vec<u8>, value: &T) -> Result<(), EncodeError> {
    // A JSON tree always serializes: its keys are strings, its numbers finite.
    serde_json::to_writer(bytes, value).map_err(|_| EncodeError::Shape)
}

impl Encoded {
    /// For the store, which fills in the revision.
    pub fn into_stored(self) -> storage::Value {
        storage::Value { bytes: Bytes::from(self.bytes), revision_at: Some(self.revision_at) }
    }

    /// With a revision that is already known (dry runs); none leaves it out.
    pub fn with_revision(mut self, revision: Option<u64>) -> Bytes {
        let at = self.revision_at as usize;
        match revision {
            Some(revision) => {
                let digits = itoa::Buffer::new().format(revision).to_owned();
                self.bytes.splice(at..at, digits.into_bytes());
            }
            None => {
                let field = b"\"resourceVersion\":\"\"".len();
                let start = at + 1 - field;
                // The comma before goes too, unless the field stands alone.
                let start = if self.bytes[start - 1] == b',' { start - 1 } else { start };
                self.bytes.drain(start..at + 1);
            }
        }
        Bytes::from(self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn the_revision_goes_between_the_quotes() {
        let value = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "resourceVersion": "7"}, "spec": {}});
        let encoded = object(&value).unwrap();
        let expect = r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a","resourceVersion":"42"},"spec":{}}"#;
        assert_eq!(encoded.clone().with_revision(Some(42)), expect);
        let expect = r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a"},"spec":{}}"#;
        assert_eq!(encoded.with_revision(None), expect);
        let bare = object(&json!({"metadata": {}})).unwrap();
        assert_eq!(bare.with_revision(None), r#"{"metadata":{}}"#);
    }

    #[test]
    fn what_is_no_object_or_too_large_is_refused() {
        assert_eq!(object(&json!([])).unwrap_err(), EncodeError::Shape);
        assert_eq!(object(&json!({"metadata": 1})).unwrap_err(), EncodeError::Shape);
        let large = json!({"metadata": {}, "data": "x".repeat(MAX_OBJECT_BYTES)});
        assert!(matches!(object(&large), Err(EncodeError::TooLarge(_))));
    }

    proptest! {
        #[test]
        fn encoding_keeps_the_object(name in "\\PC*", note in "\\PC*", revision in any::<u64>()) {
            let mut value = json!({"kind": note, "metadata": {"name": name, "annotations": {"x": note}}, "spec": {"a": [1, null]}});
            let bytes = object(&value).unwrap().with_revision(Some(revision));
            value["metadata"]["resourceVersion"] = revision.to_string().into();
            prop_assert_eq!(serde_json::from_slice::<Value>(&bytes).unwrap(), value);
        }
    }
}
