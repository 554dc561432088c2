//! Objects in memory, with the API server's generic behaviour.

mod verbs;

use std::collections::BTreeMap;
use std::sync::Arc;

use pintle_sdk::action::{Create, Delete, Event, Patch};
use pintle_sdk::api::time;
use pintle_sdk::lister::{Lister, Query};
use pintle_sdk::names::Random;
use pintle_sdk::refusal::{self, REFUSAL};
use pintle_sdk::{Context, KindRef, Object, ObjectRef};
use serde_json::{Value, json};

use crate::fields::text;
use crate::shelf::Shelf;

/// 2026-01-01T00:00:00Z.
const START_UNIX_MS: i64 = 1_767_225_600_000;

/// What happened to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum ChangeKind {
    Added,
    Modified,
    Deleted,
}

/// What a watch would see.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// What happened.
    pub kind: ChangeKind,
    /// To which object.
    pub reference: ObjectRef,
    /// The object before.
    pub previous: Option<Arc<Value>>,
    /// The object now; its last form if it is gone.
    pub object: Arc<Value>,
}

/// Why an action was not performed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    /// There is no such object.
    NotFound(ObjectRef),
    /// There is one of this name.
    AlreadyExists(ObjectRef),
    /// Another revision or another uid.
    Conflict(ObjectRef),
    /// It makes no sense.
    Invalid(String),
    /// An admission plugin, or the namespace on its way out, forbids it.
    Denied {
        /// The HTTP code.
        code: u16,
        /// For the person who asked.
        message: String,
    },
}

/// A cluster's objects; also a [`Lister`]. Starts at 2026-01-01T00:00:00Z.
#[derive(Debug, Clone, Default)]
pub struct World {
    shelf: Shelf,
    revision: u64,
    /// The present moment; moves when a test moves it.
    pub now_unix_ms: i64,
    /// Events that plugins wrote, in order.
    pub events: Vec<Event>,
    changes: Vec<Change>,
    recorded: Option<Vec<Change>>,
    random: Option<Random>,
    /// What the plugin that is asked now met the last time, by place.
    refusals: BTreeMap<ObjectRef, Value>,
}

impl World {
    /// Without any object.
    pub fn new() -> Self {
        World { now_unix_ms: START_UNIX_MS, random: Some(Random::new(1)), ..World::default() }
    }

    /// The newest revision.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// For the next call: the present moment and another seed.
    pub fn context(&mut self) -> Context {
        let seed = self.draw();
        Context { now_unix_ms: self.now_unix_ms, seed, revision: self.revision }
    }

    fn now(&self) -> String {
        time::format_seconds(self.now_unix_ms)
    }

    /// Notes what is there as new, so that watches see it.
    pub(crate) fn announce_all(&mut self) {
        let present = self.present();
        self.changes.extend(present);
    }

    /// What is there, as the start of a watch shows it.
    pub(crate) fn present(&self) -> Vec<Change> {
        self.shelf
            .iter()
            .map(|(reference, object)| Change {
                kind: ChangeKind::Added,
                reference: reference.clone(),
                previous: None,
                object: object.clone(),
            })
            .collect()
    }

    /// The objects as they are now, for somebody who reads them later.
    pub(crate) fn view(&self) -> World {
        World {
            shelf: self.shelf.clone(),
            revision: self.revision,
            now_unix_ms: self.now_unix_ms,
            refusals: self.refusals.clone(),
            ..World::default()
        }
    }

    /// What the next call is told of the last try for an object; none forgets it.
    pub(crate) fn tell_refusal(&mut self, of: &ObjectRef, message: Option<&str>) {
        self.refusals.clear();
        if let Some(message) = message {
            let place = refusal::place(of);
            let object = json!({"apiVersion": REFUSAL.api_version(), "kind": "Refusal",
                "metadata": {"namespace": place.namespace, "name": place.name}, "message": message});
            self.refusals.insert(place, object);
        }
    }

    /// Every kind by itself, in order.
    pub(crate) fn of_kind(&self, kind: &KindRef) -> impl Iterator<Item = (&ObjectRef, &Value)> {
        self.shelf.of_kind(kind)
    }

    /// The next number of the world's own sequence.
    pub(crate) fn draw(&mut self) -> u64 {
        self.random.get_or_insert_with(|| Random::new(1)).next_u64()
    }

    /// Every change since the last call.
    pub fn take_changes(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.changes)
    }

    /// From now on every change is kept, for [`World::recorded_changes`].
    pub(crate) fn record_changes(&mut self) {
        self.recorded = Some(Vec::new());
    }

    pub(crate) fn recorded_changes(&self) -> &[Change] {
        self.recorded.as_deref().unwrap_or_default()
    }

    /// One object.
    pub fn object(&self, reference: &ObjectRef) -> Option<&Value> {
        self.shelf.get(reference)
    }

    /// All objects of a kind, by namespace and name.
    pub fn all(&self, kind: &KindRef) -> Vec<&Value> {
        self.shelf.of_kind(kind).map(|(_, object)| object).collect()
    }

    /// Where every object is.
    pub fn references(&self) -> Vec<ObjectRef> {
        self.shelf.iter().map(|(reference, _)| reference.clone()).collect()
    }

    /// All objects.
    pub fn snapshot(&self) -> BTreeMap<ObjectRef, Value> {
        let whole = |(reference, object): (&ObjectRef, &Arc<Value>)| {
            (reference.clone(), Value::clone(object))
        };
        self.shelf.iter().map(whole).collect()
    }

    /// Adds an object as a person would; panics when it is refused, for tests.
    pub fn create(&mut self, object: impl Into<Value>) -> ObjectRef {
        let object = object.into();
        let kind = KindRef::parse(text(&object, "apiVersion"), text(&object, "kind"));
        let namespace = text(&object, "metadata.namespace").to_owned();
        match self.apply_create(&Create::new(kind, namespace, &object)) {
            Ok(reference) => reference,
            Err(refused) => panic!("{refused:?}"),
        }
    }

    /// Puts an object in as it is, with its uid, status and times, in place of
    /// one that has its name.
    pub fn insert(&mut self, object: impl Into<Value>) -> ObjectRef {
        let mut object = object.into();
        let kind = KindRef::parse(text(&object, "apiVersion"), text(&object, "kind"));
        let namespace = text(&object, "metadata.namespace").to_owned();
        let reference = kind.named(namespace, text(&object, "metadata.name"));
        if text(&object, "metadata.uid").is_empty() {
            object["metadata"]["uid"] = json!(format!("uid-{}", self.revision + 1));
        }
        if text(&object, "metadata.creationTimestamp").is_empty() {
            object["metadata"]["creationTimestamp"] = json!(self.now());
        }
        self.store(reference.clone(), object);
        reference
    }

    /// One object as a plugin is given it.
    pub fn envelope(&self, reference: &ObjectRef) -> Option<Object> {
        self.get(reference)
    }

    /// Merges a patch into an object; panics when there is none, for tests.
    pub fn patch(&mut self, reference: &ObjectRef, patch: Value) {
        self.apply(&Patch::merge(reference, &patch).into()).expect("the object to patch exists");
    }

    /// As `status` subresource: the generation stays.
    pub fn patch_status(&mut self, reference: &ObjectRef, status: Value) {
        let patch = Patch::merge(reference, &json!({"status": status})).status();
        self.apply(&patch.into()).expect("the object to patch exists");
    }

    /// Deletes as a person would.
    pub fn delete(&mut self, reference: &ObjectRef) {
        self.apply(&Delete::new(reference).into()).expect("the object to delete exists");
    }

    /// Takes an object away whatever holds it, as a node does with a pod that ended.
    pub fn remove(&mut self, reference: &ObjectRef) {
        if let Some(previous) = self.shelf.take(reference) {
            self.revision += 1;
            let mut object = Value::clone(&previous);
            object["metadata"]["resourceVersion"] = json!(self.revision.to_string());
            self.note(ChangeKind::Deleted, reference.clone(), Some(previous), Arc::new(object));
        }
    }

    fn store(&mut self, reference: ObjectRef, mut object: Value) {
        self.revision += 1;
        object["metadata"]["resourceVersion"] = json!(self.revision.to_string());
        let object = Arc::new(object);
        let previous = self.shelf.put(reference.clone(), object.clone());
        let kind = if previous.is_some() { ChangeKind::Modified } else { ChangeKind::Added };
        self.note(kind, reference, previous, object);
    }

    fn note(
        &mut self,
        kind: ChangeKind,
        reference: ObjectRef,
        previous: Option<Arc<Value>>,
        object: Arc<Value>,
    ) {
        let change = Change { kind, reference, previous, object };
        if let Some(recorded) = &mut self.recorded {
            recorded.push(change.clone());
        }
        self.changes.push(change);
    }
}

impl Lister for World {
    fn get(&self, reference: &ObjectRef) -> Option<Object> {
        if reference.kind == REFUSAL {
            let refusal = self.refusals.get(reference)?;
            let json = refusal.to_string().into_bytes();
            return Some(Object {
                reference: reference.clone(),
                uid: String::new(),
                revision: 0,
                json,
            });
        }
        Lister::get(&self.shelf, reference)
    }

    fn list(&self, query: &Query) -> Vec<Object> {
        self.shelf.list(query)
    }

    fn count(&self, query: &Query) -> u32 {
        self.shelf.count(query)
    }
}
