//! Objects by name: what a [`World`](crate::World) holds and what readers of an
//! older moment keep. A copy shares everything with its original until one of
//! them changes; the JSON of an object is written once, however often it is read.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use pintle_sdk::api::kinds::Registry;
use pintle_sdk::api::selector::LabelSelector;
use pintle_sdk::lister::{Lister, Query};
use pintle_sdk::{KindRef, Object, ObjectRef};
use serde_json::{Value, json};

use crate::fields::{at, text};

#[derive(Debug)]
struct Stored {
    value: Arc<Value>,
    json: OnceLock<Vec<u8>>,
}

/// Objects by kind, namespace and name.
#[derive(Debug, Clone, Default)]
pub(crate) struct Shelf(Arc<BTreeMap<ObjectRef, Arc<Stored>>>);

impl Shelf {
    pub fn get(&self, reference: &ObjectRef) -> Option<&Value> {
        self.0.get(reference).map(|stored| &*stored.value)
    }

    /// Returns what was there before.
    pub fn put(&mut self, reference: ObjectRef, value: Arc<Value>) -> Option<Arc<Value>> {
        let stored = Arc::new(Stored { value, json: OnceLock::new() });
        Arc::make_mut(&mut self.0).insert(reference, stored).map(|known| known.value.clone())
    }

    pub fn take(&mut self, reference: &ObjectRef) -> Option<Arc<Value>> {
        if !self.0.contains_key(reference) {
            return None;
        }
        Arc::make_mut(&mut self.0).remove(reference).map(|known| known.value.clone())
    }

    pub fn contains(&self, reference: &ObjectRef) -> bool {
        self.0.contains_key(reference)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&ObjectRef, &Arc<Value>)> {
        self.0.iter().map(|(reference, stored)| (reference, &stored.value))
    }

    /// One kind, by namespace and name.
    pub fn of_kind(&self, kind: &KindRef) -> impl Iterator<Item = (&ObjectRef, &Value)> {
        self.stored(Some(kind), None).map(|(reference, stored)| (reference, &*stored.value))
    }

    /// Of a kind or of all, in a namespace or in all; the ends of the range are
    /// where the map's order has them.
    fn stored(
        &self,
        kind: Option<&KindRef>,
        namespace: Option<&str>,
    ) -> impl Iterator<Item = (&ObjectRef, &Arc<Stored>)> {
        let first = match (kind, namespace) {
            (Some(kind), namespace) => kind.named(namespace.unwrap_or_default(), ""),
            (None, _) => KindRef::new("", "", "").named("", ""),
        };
        let (kind, namespace) = (kind.cloned(), namespace.map(str::to_owned));
        let whole = kind.is_some();
        let within = move |reference: &ObjectRef| {
            kind.as_ref().is_none_or(|kind| *kind == reference.kind)
                && namespace.as_ref().is_none_or(|wanted| *wanted == reference.namespace)
        };
        let beyond = within.clone();
        self.0
            .range(first..)
            .take_while(move |(reference, _)| !whole || within(reference))
            .filter(move |(reference, _)| whole || beyond(reference))
    }
}

impl Stored {
    fn object(&self, reference: &ObjectRef, metadata_only: bool) -> Object {
        let json = || self.json.get_or_init(|| self.value.to_string().into_bytes()).clone();
        Object {
            reference: reference.clone(),
            uid: text(&self.value, "metadata.uid").to_owned(),
            revision: revision_of(&self.value),
            json: if metadata_only { Vec::new() } else { json() },
        }
    }
}

pub(crate) fn revision_of(object: &Value) -> u64 {
    text(object, "metadata.resourceVersion").parse().unwrap_or(0)
}

impl Lister for Shelf {
    fn get(&self, reference: &ObjectRef) -> Option<Object> {
        Some(self.0.get(reference)?.object(reference, false))
    }

    fn list(&self, query: &Query) -> Vec<Object> {
        let limit = if query.limit == 0 { usize::MAX } else { query.limit as usize };
        let filter = Filter::of(query);
        self.stored(query.kind.as_ref(), query.namespace.as_deref())
            .filter(|(_, stored)| filter.matches(&stored.value))
            .take(limit)
            .map(|(reference, stored)| match query.fields.as_slice() {
                [] => stored.object(reference, query.metadata_only),
                fields => Object {
                    json: cut(&stored.value, fields).to_string().into_bytes(),
                    ..stored.object(reference, true)
                },
            })
            .collect()
    }

    fn count(&self, query: &Query) -> u32 {
        let filter = Filter::of(query);
        let all = self.stored(query.kind.as_ref(), query.namespace.as_deref());
        let limit = if query.limit == 0 { usize::MAX } else { query.limit as usize };
        let found = all.filter(|(_, stored)| filter.matches(&stored.value)).take(limit).count();
        u32::try_from(found).unwrap_or(u32::MAX)
    }
}

/// The conditions of a query beyond kind and namespace.
struct Filter<'a> {
    query: &'a Query,
    /// None: there is none. An unreadable one matches nothing.
    selector: Option<Option<LabelSelector>>,
}

impl<'a> Filter<'a> {
    fn of(query: &'a Query) -> Self {
        let parse = |text: &String| LabelSelector::parse(text).ok();
        Filter { query, selector: query.label_selector.as_ref().map(parse) }
    }

    fn matches(&self, object: &Value) -> bool {
        let owners = || {
            at(object, "metadata.ownerReferences").and_then(Value::as_array).into_iter().flatten()
        };
        let query = self.query;
        query
            .owner_uid
            .as_ref()
            .is_none_or(|uid| owners().any(|owner| owner["uid"].as_str() == Some(uid)))
            && query.field.as_ref().is_none_or(|(path, value)| match path.as_str() {
                "claims" => holds(object, value),
                path => text(object, path) == value,
            })
            && self.selector.as_ref().is_none_or(|selector| {
                let labels = at(object, "metadata.labels");
                selector.as_ref().is_some_and(|selector| {
                    selector.matches(|key| labels.and_then(|labels| labels.get(key)?.as_str()))
                })
            })
    }
}

/// Whether the object holds what the claim stands for.
fn holds(object: &Value, claim: &str) -> bool {
    let kind = KindRef::parse(text(object, "apiVersion"), text(object, "kind"));
    Registry::builtin()
        .by_kind(&kind.group, &kind.version, &kind.kind)
        .is_some_and(|row| row.claims_of(object).iter().any(|held| held.key == claim))
}

/// The document with only these fields and their parents, as the host cuts it.
fn cut(object: &Value, fields: &[String]) -> Value {
    let mut kept = json!({});
    for path in fields {
        let Some(value) = at(object, path) else { continue };
        let mut place = &mut kept;
        for name in path.split('.') {
            if !place.is_object() {
                *place = json!({});
            }
            place = &mut place[name];
        }
        *place = value.clone();
    }
    kept
}
