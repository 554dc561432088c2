//! Single fields out of JSON bytes, without building the document.
//!
//! Events are matched against `having` and `when-changed` of every watch; a
//! scan that skips what it does not look for costs a tenth of a full parse.

use std::borrow::Cow;

use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

/// The JSON text of the value at `path` (`metadata.labels`, `spec.nodeName`);
/// None when absent, `null`, or the bytes are not JSON. A segment may contain
/// no dot; array elements cannot be addressed.
pub fn raw<'a>(json: &'a [u8], path: &str) -> Option<&'a str> {
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    let found = At { rest: path }.deserialize(&mut deserializer).ok()??;
    let text = found.get();
    (text != "null").then_some(text)
}

/// The value at `path` as text: strings unescaped, other scalars as written.
/// None when absent, empty, or not a scalar.
pub fn text<'a>(json: &'a [u8], path: &str) -> Option<Cow<'a, str>> {
    let raw = raw(json, path)?;
    match raw.as_bytes().first()? {
        b'"' => {
            let inner = &raw[1..raw.len() - 1];
            let text: Cow<'a, str> = if inner.contains('\\') {
                serde_json::from_str::<String>(raw).ok()?.into()
            } else {
                inner.into()
            };
            (!text.is_empty()).then_some(text)
        }
        b'{' | b'[' => None,
        _ => Some(raw.into()),
    }
}

/// Whether the values at `path` differ. The same text is the same value; only
/// what differs in text is compared as values (key order may differ).
pub fn differ(before: &[u8], after: &[u8], path: &str) -> bool {
    match (raw(before, path), raw(after, path)) {
        (None, None) => false,
        (Some(before), Some(after)) if before == after => false,
        (Some(before), Some(after)) => {
            serde_json::from_str::<Value>(before).ok() != serde_json::from_str::<Value>(after).ok()
        }
        _ => true,
    }
}

/// The document with only the fields at `paths` and their parents.
pub fn cut(json: &[u8], paths: &[String]) -> Vec<u8> {
    let mut kept = serde_json::Map::new();
    for path in paths {
        let Some(value) = raw(json, path).and_then(|text| serde_json::from_str(text).ok()) else {
            continue;
        };
        put(&mut kept, path, value);
    }
    // Maps with text keys always serialize.
    serde_json::to_vec(&kept).unwrap_or_default()
}

fn put(into: &mut serde_json::Map<String, Value>, path: &str, value: Value) {
    match path.split_once('.') {
        None => {
            into.insert(path.to_owned(), value);
        }
        Some((head, rest)) => {
            let inner = into.entry(head).or_insert_with(|| Value::Object(serde_json::Map::new()));
            // Otherwise a shorter path has brought the whole of it already.
            if let Value::Object(inner) = inner {
                put(inner, rest, value);
            }
        }
    }
}

struct At<'p> {
    rest: &'p str,
}

impl<'de> DeserializeSeed<'de> for At<'_> {
    type Value = Option<&'de RawValue>;

    fn deserialize<D: serde::Deserializer<'de>>(
        self,
        deserializer: D,
    ) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for At<'_> {
    type Value = Option<&'de RawValue>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let (head, rest) = match self.rest.split_once('.') {
            Some((head, rest)) => (head, Some(rest)),
            None => (self.rest, None),
        };
        let mut found = None;
        while let Some(is_head) = map.next_key_seed(IsKey(head))? {
            if !is_head || found.is_some() {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            found = match rest {
                None => Some(map.next_value::<&'de RawValue>()?),
                Some(rest) => map.next_value_seed(At { rest })?,
            };
        }
        Ok(found)
    }

    fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(None)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(None)
    }
    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(None)
    }
    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(None)
    }
    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(None)
    }
    fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
        Ok(None)
    }
    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }
}

/// Compares a key without allocating it.
struct IsKey<'k>(&'k str);

impl<'de> DeserializeSeed<'de> for IsKey<'_> {
    type Value = bool;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for IsKey<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object key")
    }

    fn visit_str<E: serde::de::Error>(self, key: &str) -> Result<bool, E> {
        Ok(key == self.0)
    }

    fn visit_bytes<E: serde::de::Error>(self, key: &[u8]) -> Result<bool, E> {
        std::str::from_utf8(key).map(|key| key == self.0).map_err(E::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const POD: &[u8] = br#"{"kind":"Pod","metadata":{"name":"web","labels":{"app":"web"},"deletionTimestamp":null},
        "spec":{"nodeName":"","priority":7,"containers":[{"name":"c"}],"note":"a\"b"},"spec2":true}"#;

    #[test]
    fn documents_are_cut_down_to_fields_and_their_parents() {
        fn check(paths: &[&str], expect: &str) {
            let json =
                br#"{"kind":"Pod","metadata":{"name":"a","labels":{"x":"y"}},"spec":{"n":1}}"#;
            let paths: Vec<String> = paths.iter().map(|path| (*path).to_owned()).collect();
            assert_eq!(String::from_utf8(cut(json, &paths)).unwrap(), expect);
        }
        check(&[], "{}");
        check(&["spec.n", "metadata.name"], r#"{"metadata":{"name":"a"},"spec":{"n":1}}"#);
        check(&["metadata.labels.x", "metadata.none"], r#"{"metadata":{"labels":{"x":"y"}}}"#);
        check(&["metadata.labels", "metadata.labels.x"], r#"{"metadata":{"labels":{"x":"y"}}}"#);
    }

    #[test]
    fn finds_text_at_a_path() {
        fn check(path: &str, expect: Option<&str>) {
            assert_eq!(text(POD, path).as_deref(), expect, "{path}");
        }
        check("kind", Some("Pod"));
        check("metadata.name", Some("web"));
        check("metadata.deletionTimestamp", None);
        check("spec.nodeName", None);
        check("spec.priority", Some("7"));
        check("spec.note", Some("a\"b"));
        check("spec.containers", None);
        check("spec.containers.name", None);
        check("kind.deeper", None);
        check("spec2", Some("true"));
        check("", None);
        assert_eq!(text(b"not json", "kind"), None);
        assert_eq!(text(b"{\"kind\":", "kind"), None);
    }

    #[test]
    fn difference_is_of_values_not_of_text() {
        fn check(before: &str, after: &str, expect: bool) {
            assert_eq!(
                differ(before.as_bytes(), after.as_bytes(), "a.b"),
                expect,
                "{before} {after}"
            );
        }
        check(r#"{"a":{"b":{"x":1,"y":2}}}"#, r#"{"a":{"b":{"y":2, "x":1}},"z":1}"#, false);
        check(r#"{"a":{"b":1}}"#, r#"{"a":{"b":2}}"#, true);
        check(r#"{"a":{"b":null}}"#, r#"{}"#, false);
        check(r#"{}"#, r#"{"a":{"b":0}}"#, true);
    }

    proptest! {
        #[test]
        fn agrees_with_a_full_parse(keys in proptest::collection::vec("[a-c]{1,2}", 1..5), value in "[a-z]{1,5}") {
            let mut document = Value::String(value.clone());
            for key in keys.iter().rev() {
                document = serde_json::json!({ "zz": [1, {"q": 2}], key.as_str(): document });
            }
            let json = serde_json::to_vec(&document).unwrap();
            let path = keys.join(".");
            let found = text(&json, &path);
            prop_assert_eq!(found.as_deref(), Some(value.as_str()));
        }
    }
}
