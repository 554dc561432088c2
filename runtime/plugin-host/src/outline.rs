//! Where the fields of a document lie, found in one pass for many questions.
//!
//! An event is matched against every watch of every controller; each of them asks
//! for a few fields of the same two documents.

use std::fmt;

use serde::de::{Deserializer as _, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::fields;

/// The spans of the first two levels of one document. Belongs to these very bytes.
#[derive(Debug, Default)]
pub struct Outline {
    entries: Vec<Entry>,
    /// A key is written with escapes, or the document is larger than spans reach:
    /// each question takes its own pass.
    is_odd: bool,
}

#[derive(Debug)]
struct Entry {
    /// Index of the object that it is in; `TOP` for the document itself.
    parent: u16,
    key: Span,
    value: Span,
}

const TOP: u16 = u16::MAX;

#[derive(Debug, Clone, Copy)]
struct Span {
    start: u32,
    length: u32,
}

impl Span {
    fn of(part: &str, whole: &[u8]) -> Option<Self> {
        let start = (part.as_ptr() as usize).checked_sub(whole.as_ptr() as usize)?;
        Some(Self { start: u32::try_from(start).ok()?, length: u32::try_from(part.len()).ok()? })
    }

    fn get(self, whole: &[u8]) -> Option<&[u8]> {
        whole.get(self.start as usize..)?.get(..self.length as usize)
    }
}

impl Outline {
    pub fn of(json: &[u8]) -> Self {
        let mut outline = Self::default();
        outline.is_odd = outline.read(json, json, TOP).is_none();
        outline
    }

    /// None: something in it cannot be told by spans.
    fn read(&mut self, json: &[u8], object: &[u8], parent: u16) -> Option<()> {
        let begin = self.entries.len();
        let mut reader = serde_json::Deserializer::from_slice(object);
        let pairs = reader.deserialize_map(Pairs).ok()?;
        for (key, value) in pairs {
            let (key, value) = (Span::of(key, json)?, Span::of(value.get(), json)?);
            self.entries.push(Entry { parent, key, value });
        }
        if parent != TOP {
            return Some(());
        }
        for index in begin..self.entries.len() {
            let value = self.entries[index].value.get(json)?;
            if value.first() == Some(&b'{') {
                self.read(json, value, u16::try_from(index).ok().filter(|index| *index != TOP)?)?;
            }
        }
        Some(())
    }

    /// As [`fields::raw`] of the document that this is the outline of.
    pub fn raw<'a>(&self, json: &'a [u8], path: &str) -> Option<&'a str> {
        if self.is_odd {
            return fields::raw(json, path);
        }
        let (first, rest) = match path.split_once('.') {
            Some((first, rest)) => (first, Some(rest)),
            None => (path, None),
        };
        let (index, value) = self.find(json, TOP, first)?;
        let Some(rest) = rest else { return shown(value) };
        let (second, deeper) = match rest.split_once('.') {
            Some((second, deeper)) => (second, Some(deeper)),
            None => (rest, None),
        };
        let (_, value) = self.find(json, u16::try_from(index).ok()?, second)?;
        match deeper {
            None => shown(value),
            Some(deeper) => fields::raw(value, deeper),
        }
    }

    fn find<'a>(&self, json: &'a [u8], parent: u16, key: &str) -> Option<(usize, &'a [u8])> {
        let is_it =
            |entry: &Entry| entry.parent == parent && entry.key.get(json) == Some(key.as_bytes());
        let index = self.entries.iter().position(is_it)?;
        Some((index, self.entries[index].value.get(json)?))
    }
}

fn shown(value: &[u8]) -> Option<&str> {
    std::str::from_utf8(value).ok().filter(|text| *text != "null")
}

/// Keys and values of an object, as they are written; keys with escapes are refused.
struct Pairs;

impl<'de> Visitor<'de> for Pairs {
    type Value = Vec<(&'de str, &'de RawValue)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut pairs = Vec::with_capacity(16);
        while let Some(pair) = map.next_entry()? {
            pairs.push(pair);
        }
        Ok(pairs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    #[test]
    fn it_says_what_a_pass_of_its_own_says() {
        fn check(document: &str) {
            let outline = Outline::of(document.as_bytes());
            for path in ["a", "a.b", "a.b.c", "a.b.c.d", "b", "x", "a.x", "b.x", "a\"", "é.ü"] {
                let expect = fields::raw(document.as_bytes(), path);
                assert_eq!(outline.raw(document.as_bytes(), path), expect, "{path} of {document}");
            }
        }
        check(r#"{"a": {"b": {"c": {"d": [1, 2]}}}, "b": null}"#);
        check(r#"{"b":{"x":"y"},"a":{"b":5}}"#);
        check(r#"{"é":{"ü":1},"a\"":{"b":2},"a":3}"#);
        check(r#"{"a":null}"#);
        check("[]");
        check("");
        check("{");
        check(r#"{"a":{"b":1"#);
    }

    proptest! {
        #[test]
        fn any_document_reads_the_same(
            keys in proptest::collection::vec(("[a-c]", "[a-c]", "[a-c]", any::<u8>()), 0..12),
        ) {
            let mut document = json!({});
            for (first, second, third, value) in &keys {
                let object: &mut Value = &mut document[first];
                if value % 3 == 0 {
                    *object = json!(value);
                } else if object.is_null() || object.is_object() {
                    object[second] = if value % 2 == 0 { json!({third: value}) } else { Value::Null };
                }
            }
            let text = document.to_string();
            let outline = Outline::of(text.as_bytes());
            for (first, second, third, _) in &keys {
                for path in [first.clone(), format!("{first}.{second}"), format!("{first}.{second}.{third}")] {
                    prop_assert_eq!(
                        outline.raw(text.as_bytes(), &path),
                        fields::raw(text.as_bytes(), &path)
                    );
                }
            }
        }
    }
}
