//! The fields of a pod that an extension's answer depends on, in one pass over
//! the pod's JSON.

use serde::de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// Dotted paths as a tree, so that all are found in one pass.
#[derive(Debug)]
pub(crate) struct Paths {
    root: Branch,
    count: usize,
}

#[derive(Debug, Default)]
struct Branch {
    /// Where the value goes, if a path ends here.
    slot: Option<usize>,
    children: Vec<(String, Branch)>,
}

impl Paths {
    pub fn new(paths: &[String]) -> Self {
        let mut root = Branch::default();
        for (slot, path) in paths.iter().enumerate() {
            let mut branch = &mut root;
            for segment in path.split('.') {
                let found = branch.children.iter().position(|(name, _)| name == segment);
                let index = found.unwrap_or_else(|| {
                    branch.children.push((segment.to_owned(), Branch::default()));
                    branch.children.len() - 1
                });
                branch = &mut branch.children[index].1;
            }
            branch.slot = Some(slot);
        }
        Self { root, count: paths.len() }
    }

    /// The JSON texts at the paths, in their order; None: absent.
    pub fn find<'a>(&self, json: &'a [u8]) -> Vec<Option<&'a str>> {
        let mut found = Found { texts: vec![None; self.count], missing: self.count };
        if self.count > 0 {
            let mut deserializer = serde_json::Deserializer::from_slice(json);
            // An error is the end of the search: all were found, or it is no JSON.
            let _ = Walk { branch: &self.root, found: &mut found }.deserialize(&mut deserializer);
        }
        found.texts
    }
}

struct Found<'a> {
    texts: Vec<Option<&'a str>>,
    missing: usize,
}

impl<'a> Found<'a> {
    fn put(&mut self, slot: usize, text: &'a str) {
        if self.texts[slot].replace(text).is_none() {
            self.missing -= 1;
        }
    }
}

struct Walk<'w, 'a> {
    branch: &'w Branch,
    found: &'w mut Found<'a>,
}

impl<'de> DeserializeSeed<'de> for Walk<'_, 'de> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(child) = map.next_key_seed(KeyAmong(&self.branch.children))? {
            let Some((_, child)) = child.map(|index| &self.branch.children[index]) else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            match child.slot {
                None => map.next_value_seed(Walk { branch: child, found: self.found })?,
                Some(slot) => {
                    let text = map.next_value::<&'de RawValue>()?.get();
                    self.found.put(slot, text);
                    if !child.children.is_empty() {
                        let mut inner = serde_json::Deserializer::from_str(text);
                        let walk = Walk { branch: child, found: self.found };
                        walk.deserialize(&mut inner).map_err(A::Error::custom)?;
                    }
                }
            }
            if self.found.missing == 0 {
                return Err(A::Error::custom("nothing left to find"));
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
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

/// Which child a key names, without allocating it.
struct KeyAmong<'k>(&'k [(String, Branch)]);

impl<'de> DeserializeSeed<'de> for KeyAmong<'_> {
    type Value = Option<usize>;

    fn deserialize<D: serde::Deserializer<'de>>(
        self,
        deserializer: D,
    ) -> Result<Option<usize>, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for KeyAmong<'_> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object key")
    }

    fn visit_str<E: serde::de::Error>(self, key: &str) -> Result<Option<usize>, E> {
        Ok(self.0.iter().position(|(name, _)| name == key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn found(json: &str, paths: &[&str]) -> Vec<Option<String>> {
        let paths: Vec<String> = paths.iter().map(|path| (*path).to_owned()).collect();
        let paths = Paths::new(&paths);
        paths.find(json.as_bytes()).into_iter().map(|text| text.map(str::to_owned)).collect()
    }

    #[test]
    fn finds_all_paths_in_one_pass() {
        fn check(paths: &[&str], expect: &[Option<&str>]) {
            const POD: &str = r#"{"kind":"Pod","metadata":{"name":"a","labels":{"x":"y"}},
                "spec":{"priority":7,"schedulerName":"mine","containers":[{"name":"c"}]}}"#;
            let expect: Vec<_> = expect.iter().map(|text| text.map(str::to_owned)).collect();
            assert_eq!(found(POD, paths), expect, "{paths:?}");
        }
        check(&[], &[]);
        check(&["spec.priority", "metadata.labels"], &[Some("7"), Some(r#"{"x":"y"}"#)]);
        check(&["metadata.labels", "metadata.labels.x"], &[Some(r#"{"x":"y"}"#), Some("\"y\"")]);
        check(&["metadata.labels.x", "metadata.labels"], &[Some("\"y\""), Some(r#"{"x":"y"}"#)]);
        check(
            &["spec.nodeName", "spec.schedulerName", "kind.deeper"],
            &[None, Some("\"mine\""), None],
        );
        check(&["spec.containers"], &[Some(r#"[{"name":"c"}]"#)]);
        assert_eq!(found("nonsense", &["a"]), [None]);
        assert_eq!(found(r#"{"a":{"b":1"#, &["a.b", "c"]), [Some("1".to_owned()), None]);
    }

    proptest! {
        #[test]
        fn agrees_with_single_lookups(
            values in proptest::collection::btree_map("[a-c]", proptest::collection::btree_map("[a-c]", 0u8..9, 0..3), 0..4),
            paths in proptest::collection::vec("[a-c](\\.[a-c])?", 0..5),
        ) {
            let json = serde_json::to_string(&values).unwrap();
            let mut unique = paths.clone();
            unique.sort();
            unique.dedup();
            let several = Paths::new(&unique);
            for (path, text) in unique.iter().zip(several.find(json.as_bytes())) {
                prop_assert_eq!(text, crate::fields::raw(json.as_bytes(), path), "{} in {}", path, json);
            }
        }
    }
}
