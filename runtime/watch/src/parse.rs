//! One cheap pass over an object's JSON: its metadata and its indexed fields, nothing else.
//!
//! The rest is skipped by the tokenizer without being built. Strings are borrowed from the
//! input until they are kept.

use std::{borrow::Cow, fmt};

use pintle_api::kinds::Resource;
use serde::de::{Deserialize, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};

use crate::{
    label::Interner,
    object::{Meta, Owner},
};

/// Which fields of a resource are indexed, as a tree over the object's keys.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    root: Node,
    /// Paths as selectors write them, and the value of an absent field, by slot.
    pub(crate) fields: Vec<(&'static str, &'static str)>,
    labels: Interner,
}

#[derive(Debug, Default)]
struct Node {
    slot: Option<usize>,
    children: Vec<(&'static str, Node)>,
}

impl Plan {
    pub(crate) fn of(resource: &Resource) -> Self {
        let mut plan = Self::default();
        for field in resource.selectable.iter().filter(|field| field.indexed) {
            plan.add(field.path, field.pointer, field.default);
        }
        plan
    }

    fn add(&mut self, path: &'static str, pointer: &'static str, default: &'static str) {
        let mut node = &mut self.root;
        for segment in pointer.split('/').skip(1) {
            let at = node.children.iter().position(|(name, _)| *name == segment);
            let at = at.unwrap_or_else(|| {
                node.children.push((segment, Node::default()));
                node.children.len() - 1
            });
            node = &mut node.children[at].1;
        }
        node.slot = Some(self.fields.len());
        self.fields.push((path, default));
    }

    /// The slot of an indexed field.
    pub(crate) fn slot(&self, path: &str) -> Option<usize> {
        self.fields.iter().position(|(name, _)| *name == path)
    }
}

/// Values of the indexed fields, by slot.
pub(crate) type Indexed = Box<[Box<str>]>;

pub(crate) fn parse(bytes: &[u8], plan: &Plan) -> Result<(Meta, Indexed), serde_json::Error> {
    let mut slots: Vec<Option<Box<str>>> = vec![None; plan.fields.len()];
    let mut meta = RawMeta::default();
    let mut json = serde_json::Deserializer::from_slice(bytes);
    Root { node: &plan.root, slots: &mut slots, meta: &mut meta }.deserialize(&mut json)?;
    json.end()?;
    let fields = slots
        .into_iter()
        .zip(&plan.fields)
        .map(|(value, (_, default))| match value {
            Some(value) if !value.is_empty() => value,
            _ => Box::from(*default),
        })
        .collect();
    Ok((meta.keep(&plan.labels), fields))
}

/// The object itself: `metadata` goes one way, the plan's fields another.
struct Root<'p, 'm, 'de> {
    node: &'p Node,
    slots: &'m mut [Option<Box<str>>],
    meta: &'m mut RawMeta<'de>,
}

impl<'de> DeserializeSeed<'de> for Root<'_, '_, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Root<'_, '_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<Text<'de>>()? {
            if key.0 == "metadata" {
                *self.meta = map.next_value()?;
            } else if let Some(node) = self.node.child(&key.0) {
                map.next_value_seed(Field { node, slots: self.slots })?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }
}

impl Node {
    fn child(&self, key: &str) -> Option<&Node> {
        self.children.iter().find(|(name, _)| *name == key).map(|(_, node)| node)
    }
}

/// A value on the way to, or at, an indexed field. Values of other types are passed over:
/// what the API server stores is valid, and what is not is not indexed.
struct Field<'p, 'm> {
    node: &'p Node,
    slots: &'m mut [Option<Box<str>>],
}

impl Field<'_, '_> {
    fn keep(self, value: impl fmt::Display) {
        if let Some(slot) = self.node.slot {
            self.slots[slot] = Some(value.to_string().into_boxed_str());
        }
    }
}

impl<'de> DeserializeSeed<'de> for Field<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Field<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<Text<'de>>()? {
            match self.node.child(&key.0) {
                Some(node) => map.next_value_seed(Field { node, slots: self.slots })?,
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }

    fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }

    fn visit_str<E>(self, value: &str) -> Result<(), E> {
        self.keep(value);
        Ok(())
    }

    fn visit_bool<E>(self, value: bool) -> Result<(), E> {
        self.keep(value);
        Ok(())
    }

    fn visit_i64<E>(self, value: i64) -> Result<(), E> {
        self.keep(value);
        Ok(())
    }

    fn visit_u64<E>(self, value: u64) -> Result<(), E> {
        self.keep(value);
        Ok(())
    }

    fn visit_f64<E>(self, value: f64) -> Result<(), E> {
        self.keep(value);
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

/// A string that is borrowed unless it had escapes; `null` reads as empty.
#[derive(Debug, Default)]
struct Text<'de>(Cow<'de, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        struct TextVisitor;
        impl<'de> Visitor<'de> for TextVisitor {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_str<E>(self, value: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(value)))
            }

            fn visit_str<E>(self, value: &str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(value.to_owned())))
            }

            fn visit_unit<E>(self) -> Result<Text<'de>, E> {
                Ok(Text::default())
            }
        }
        json.deserialize_any(TextVisitor)
    }
}

impl Text<'_> {
    fn boxed(self) -> Box<str> {
        self.0.into_owned().into_boxed_str()
    }
}

/// Present and not null.
#[derive(Debug, Default)]
struct Present(bool);

impl<'de> Deserialize<'de> for Present {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        Ok(Self(Option::<IgnoredAny>::deserialize(json)?.is_some()))
    }
}

#[derive(Debug, Default, serde::Deserialize)]
#[serde(rename_all = "camelCase", default, bound(deserialize = "'de: 'a"))]
struct RawMeta<'a> {
    name: Text<'a>,
    namespace: Text<'a>,
    uid: Text<'a>,
    generation: Option<i64>,
    creation_timestamp: Text<'a>,
    deletion_timestamp: Present,
    labels: Option<Labels<'a>>,
    owner_references: Option<Vec<RawOwner<'a>>>,
    finalizers: Option<Vec<Text<'a>>>,
}

#[derive(Debug, Default, serde::Deserialize)]
#[serde(rename_all = "camelCase", default, bound(deserialize = "'de: 'a"))]
struct RawOwner<'a> {
    uid: Text<'a>,
    api_version: Text<'a>,
    kind: Text<'a>,
    name: Text<'a>,
    controller: Option<bool>,
    block_owner_deletion: Option<bool>,
}

#[derive(Debug, Default)]
struct Labels<'a>(Vec<(Text<'a>, Text<'a>)>);

impl<'de: 'a, 'a> Deserialize<'de> for Labels<'a> {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        struct LabelsVisitor;
        impl<'de> Visitor<'de> for LabelsVisitor {
            type Value = Vec<(Text<'de>, Text<'de>)>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("labels")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut labels = Vec::new();
                while let Some(label) = map.next_entry()? {
                    labels.push(label);
                }
                Ok(labels)
            }
        }
        json.deserialize_map(LabelsVisitor).map(Labels)
    }
}

impl RawMeta<'_> {
    fn keep(self, interner: &Interner) -> Meta {
        let raw = self;
        let labels = raw.labels.unwrap_or_default().0;
        let labels = interner.intern(labels.iter().map(|(key, value)| (&*key.0, &*value.0)));
        Meta {
            namespace: raw.namespace.boxed(),
            name: raw.name.boxed(),
            uid: raw.uid.boxed(),
            generation: raw.generation.unwrap_or(0),
            creation_timestamp: raw.creation_timestamp.boxed(),
            deleting: raw.deletion_timestamp.0,
            labels,
            owners: raw
                .owner_references
                .unwrap_or_default()
                .into_iter()
                .map(|owner| Owner {
                    uid: owner.uid.boxed(),
                    api_version: owner.api_version.boxed(),
                    kind: owner.kind.boxed(),
                    name: owner.name.boxed(),
                    controller: owner.controller == Some(true),
                    block_owner_deletion: owner.block_owner_deletion == Some(true),
                })
                .collect(),
            finalizers: raw.finalizers.unwrap_or_default().into_iter().map(Text::boxed).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn plan() -> Plan {
        let mut plan = Plan::default();
        plan.add("spec.nodeName", "/spec/nodeName", "");
        plan.add("spec.hostNetwork", "/spec/hostNetwork", "false");
        plan
    }

    #[test]
    fn fields_are_found_wherever_they_lie() {
        fn check(json: &str, expect: [&str; 2]) {
            let (_, fields) = parse(json.as_bytes(), &plan()).unwrap();
            assert_eq!(fields.iter().map(AsRef::as_ref).collect::<Vec<_>>(), expect, "{json}");
        }
        check("{}", ["", "false"]);
        check(r#"{"spec":{"a":[1,{"nodeName":"x"}],"nodeName":"n1"},"b":1}"#, ["n1", "false"]);
        check(r#"{"spec":{"hostNetwork":true,"nodeName":null}}"#, ["", "true"]);
        check(r#"{"nodeName":"x","spec":null}"#, ["", "false"]);
        check(r#"{"spec":[{"nodeName":"x"}]}"#, ["", "false"]);
        check(r#"{"spec":{"nodeName":{"nodeName":"x"}}}"#, ["", "false"]);
        check(r#"{"sp\u0065c":{"nodeName":"a\"b"}}"#, [r#"a"b"#, "false"]);
    }

    #[test]
    fn metadata_is_read_and_the_rest_skipped() {
        let (meta, _) = parse(
            br#"{"kind":"Pod","metadata":{"name":"web","namespace":"default","uid":"u1",
                "generation":3,"labels":{"b":"2","a":"1"},"annotations":{"x":"y"},
                "deletionTimestamp":"2026-01-01T00:00:00Z","managedFields":[{"a":{"b":[]}}],
                "finalizers":["f"],"ownerReferences":[{"uid":"o","kind":"ReplicaSet",
                "apiVersion":"apps/v1","name":"rs","controller":true}]},"status":{}}"#,
            &plan(),
        )
        .unwrap();
        assert_eq!((&*meta.name, &*meta.namespace, &*meta.uid), ("web", "default", "u1"));
        assert_eq!((meta.generation, meta.deleting), (3, true));
        assert_eq!(meta.label("a"), Some("1"));
        assert_eq!(meta.label("b"), Some("2"));
        assert_eq!(meta.label("c"), None);
        assert_eq!(&*meta.finalizers[0], "f");
        let owner = meta.controller().unwrap();
        assert_eq!((&*owner.uid, &*owner.kind, owner.controller), ("o", "ReplicaSet", true));
    }

    #[test]
    fn nulls_are_absent_and_nonsense_is_an_error() {
        let json = br#"{"metadata":{"name":null,"labels":null,"ownerReferences":null,
            "deletionTimestamp":null,"finalizers":null,"generation":null}}"#;
        let (meta, _) = parse(json, &plan()).unwrap();
        assert_eq!(meta, Meta::default());
        for bad in ["", "[]", "1", "{", r#"{"metadata":1}"#, "{} x"] {
            assert!(parse(bad.as_bytes(), &plan()).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn noise_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&bytes, &plan());
        }
    }
}
