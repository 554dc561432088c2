//! Single fields out of JSON bytes, without building the document.
//!
//! Events are matched against `having` and `when-changed` of every watch; a
//! scan that skips what it does not look for costs a tenth of a full parse.

mod cut;

use std::borrow::Cow;

use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

pub use cut::Cut;

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
    raw(json, path).and_then(scalar)
}

/// A scalar's JSON text as text; None when it is empty, or no scalar.
pub(crate) fn scalar(raw: &str) -> Option<Cow<'_, str>> {
    match raw.as_bytes().first()? {
        b'"' => {
            let inner = &raw[1..raw.len() - 1];
            let text: Cow<'_, str> = if inner.contains('\\') {
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
    texts_differ(raw(before, path), raw(after, path))
}

/// As [`differ`], of values that have been found.
pub fn texts_differ(before: Option<&str>, after: Option<&str>) -> bool {
    match (before, after) {
        (None, None) => false,
        (Some(before), Some(after)) if before == after => false,
        (Some(before), Some(after)) => {
            serde_json::from_str::<Value>(before).ok() != serde_json::from_str::<Value>(after).ok()
        }
        _ => true,
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

    /// Puts a value under a path, over whatever was there.
    fn put(into: &mut Value, path: &str, value: Value) {
        if !into.is_object() {
            *into = serde_json::json!({});
        }
        match path.split_once('.') {
            None => match (into.get_mut(path), value) {
                (Some(Value::Object(known)), Value::Object(more)) => known.extend(more),
                (_, value) => into[path] = value,
            },
            Some((head, rest)) => {
                if into.get(head).is_none() {
                    into[head] = serde_json::json!({});
                }
                put(&mut into[head], rest, value);
            }
        }
    }

    const POD: &[u8] = br#"{"kind":"Pod","metadata":{"name":"web","labels":{"app":"web"},"deletionTimestamp":null},
        "spec":{"nodeName":"","priority":7,"containers":[{"name":"c"}],"note":"a\"b"},"spec2":true}"#;

    #[test]
    fn documents_are_cut_down_to_fields_and_their_parents() {
        fn check(paths: &[&str], expect: &str) {
            let json =
                br#"{"kind":"Pod","metadata":{"name":"a","labels":{"x":"y"}},"spec":{"n":1}}"#;
            assert_eq!(cut(json, paths), expect, "{paths:?}");
        }
        check(&[], "{}");
        check(&["spec.n", "metadata.name"], r#"{"metadata":{"name":"a"},"spec":{"n":1}}"#);
        check(&["metadata.labels.x", "metadata.none"], r#"{"metadata":{"labels":{"x":"y"}}}"#);
        check(&["metadata.labels", "metadata.labels.x"], r#"{"metadata":{"labels":{"x":"y"}}}"#);
        check(&["metadata.labels.x", "metadata.labels"], r#"{"metadata":{"labels":{"x":"y"}}}"#);
        check(&["spec.n", "spec.n", "kind.deeper", "spec.n.deeper"], r#"{"spec":{"n":1}}"#);
        check(&["kind", "none"], r#"{"kind":"Pod"}"#);
        check(&["", "."], "{}");
    }

    fn cut(json: &[u8], paths: &[&str]) -> String {
        let paths: Vec<String> = paths.iter().map(|path| (*path).to_owned()).collect();
        String::from_utf8(Cut::new(&paths).apply(json)).unwrap()
    }

    #[test]
    fn odd_documents_are_cut_without_surprise() {
        fn check(json: &str, paths: &[&str], expect: &str) {
            assert_eq!(cut(json.as_bytes(), paths), expect, "{json}");
        }
        check(r#"{"a":null,"b":{"c":null}}"#, &["a", "b.c"], "{}");
        check(r#"{"a":1,"a":2}"#, &["a", "b"], r#"{"a":1}"#);
        check(r#"{"\u0061":{"x":"\u00e9"}}"#, &["a.x"], r#"{"a":{"x":"\u00e9"}}"#);
        check(r#"{"a":[{"x":1}],"b":{"x":[1, 2]}}"#, &["a.x", "b.x"], r#"{"b":{"x":[1, 2]}}"#);
        check("[1]", &["a"], "{}");
        check(r#"{"a":1,"b":"#, &["a", "b"], "{}");
        check("nonsense", &["a"], "{}");
        // What comes after the last wanted field is not looked at.
        check(r#"{"a":{"b":1,"c":2},"rest": nonsense"#, &["a.b"], r#"{"a":{"b":1}}"#);
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
        /// As picking the values out of the parsed document one by one.
        #[test]
        fn a_cut_keeps_what_a_full_parse_finds(
            leaves in proptest::collection::btree_map("[ab](\\.[ab]){0,2}", 0u8..3, 0..6),
            paths in proptest::collection::vec("[abc](\\.[abc]){0,2}", 0..4),
        ) {
            let mut document = serde_json::json!({});
            for (path, value) in &leaves {
                put(&mut document, path, serde_json::json!(value));
            }
            let mut expect = serde_json::json!({});
            for path in &paths {
                let pointer = format!("/{}", path.replace('.', "/"));
                if let Some(value) = document.pointer(&pointer) {
                    put(&mut expect, path, value.clone());
                }
            }
            let json = serde_json::to_vec(&document).unwrap();
            let kept: Value = serde_json::from_slice(&Cut::new(&paths).apply(&json)).unwrap();
            prop_assert_eq!(kept, expect);
        }

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
