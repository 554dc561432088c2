//! Documents with some of their fields only, made without building them.

use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

/// Which fields of a document are kept: paths as a tree, made once for many documents.
#[derive(Debug, Default)]
pub struct Cut {
    children: Vec<Branch>,
}

#[derive(Debug)]
struct Branch {
    name: String,
    /// The name as a key of JSON, with quotes and colon.
    key: Vec<u8>,
    /// None: the whole value is kept.
    inner: Option<Cut>,
}

impl Cut {
    pub fn new(paths: &[String]) -> Self {
        let mut cut = Self::default();
        for path in paths {
            cut.add(path);
        }
        cut
    }

    fn add(&mut self, path: &str) {
        let (head, rest) = match path.split_once('.') {
            Some((head, rest)) => (head, Some(rest)),
            None => (path, None),
        };
        let at = self.children.iter().position(|branch| branch.name == head);
        let at = at.unwrap_or_else(|| {
            // Text always serializes.
            let mut key = serde_json::to_vec(head).unwrap_or_default();
            key.push(b':');
            let inner = Some(Self::default());
            self.children.push(Branch { name: head.to_owned(), key, inner });
            self.children.len() - 1
        });
        let branch = &mut self.children[at];
        match (rest, &mut branch.inner) {
            (None, _) => branch.inner = None,
            (Some(rest), Some(inner)) => inner.add(rest),
            // A shorter path brings the whole of it.
            (Some(_), None) => {}
        }
    }

    /// The document with only these fields and their parents, in its own order;
    /// what is absent or `null` is left out. One pass, in which values are copied
    /// as text and the rest is skipped.
    pub fn apply(&self, json: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut found = Found::default();
        let mut deserializer = serde_json::Deserializer::from_slice(json);
        let seed = Cutting { cut: self, out: &mut out, found: &mut found, is_root: true };
        let read = seed.deserialize(&mut deserializer);
        if read.is_err() && !found.all {
            out.clear();
        }
        if out.is_empty() {
            out.extend(b"{}");
        } else if found.all {
            out.push(b'}');
        }
        out
    }
}

/// Whether the root's fields have all been seen: what follows need not be read.
#[derive(Default)]
struct Found {
    all: bool,
}

struct Cutting<'c> {
    cut: &'c Cut,
    /// Nothing is appended unless something is kept.
    out: &'c mut Vec<u8>,
    found: &'c mut Found,
    is_root: bool,
}

impl<'de> DeserializeSeed<'de> for Cutting<'_> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Cutting<'_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let begin = self.out.len();
        let mut missing = self.cut.children.len();
        // A key that comes twice is kept once.
        let mut seen = vec![false; missing];
        while let Some(at) = map.next_key_seed(WhichKey(&self.cut.children))? {
            let Some(at) = at.filter(|at| !std::mem::replace(&mut seen[*at], true)) else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            let branch = &self.cut.children[at];
            let before = self.out.len();
            self.out.push(if before == begin { b'{' } else { b',' });
            self.out.extend(&branch.key);
            let head = self.out.len();
            match &branch.inner {
                None => {
                    let text = map.next_value::<&'de RawValue>()?.get();
                    if text != "null" {
                        self.out.extend(text.as_bytes());
                    }
                }
                Some(cut) => map.next_value_seed(Cutting {
                    cut,
                    out: &mut *self.out,
                    found: &mut *self.found,
                    is_root: false,
                })?,
            }
            if self.out.len() == head {
                self.out.truncate(before);
            }
            missing -= 1;
            if missing == 0 && self.is_root {
                self.found.all = self.out.len() > begin;
                return Err(serde::de::Error::custom("the rest is not read"));
            }
        }
        if self.out.len() > begin {
            self.out.push(b'}');
        }
        Ok(())
    }

    fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }
    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }
    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }
    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }
    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }
    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

/// Finds which branch a key is, without allocating it.
struct WhichKey<'c>(&'c [Branch]);

impl<'de> DeserializeSeed<'de> for WhichKey<'_> {
    type Value = Option<usize>;

    fn deserialize<D: serde::Deserializer<'de>>(
        self,
        deserializer: D,
    ) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for WhichKey<'_> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object key")
    }

    fn visit_str<E: serde::de::Error>(self, key: &str) -> Result<Self::Value, E> {
        Ok(self.0.iter().position(|branch| branch.name == key))
    }
}
