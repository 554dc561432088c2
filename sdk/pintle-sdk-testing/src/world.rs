//! Objects in memory, with the API server's generic behaviour.

use std::collections::BTreeMap;
use std::sync::Arc;

use pintle_sdk::action::{Action, Create, Delete, Event, Patch, PatchType, Propagation, Update};
use pintle_sdk::api::time;
use pintle_sdk::lister::{Lister, Query};
use pintle_sdk::names::Random;
use pintle_sdk::refusal::{self, REFUSAL};
use pintle_sdk::{Context, KindRef, Object, ObjectRef};
use serde_json::{Value, json};

use crate::fields::{at, merge_patch, text};
use crate::shelf::{Shelf, revision_of};

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

    /// Performs what a plugin asks for.
    pub fn apply(&mut self, action: &Action) -> Result<(), Refused> {
        match action {
            Action::Create(create) => self.apply_create(create).map(|_| ()),
            Action::Update(update) => self.apply_update(update),
            Action::Patch(patch) => self.apply_patch(patch),
            Action::Delete(delete) => self.apply_delete(delete),
            Action::Event(event) => {
                self.events.push(event.clone());
                Ok(())
            }
        }
    }

    fn apply_create(&mut self, create: &Create) -> Result<ObjectRef, Refused> {
        let (reference, object) = self.prepared(create)?;
        self.create_prepared(reference, object)
    }

    /// The object with its kind and its name, as admission sees it.
    pub(crate) fn prepared(&mut self, create: &Create) -> Result<(ObjectRef, Value), Refused> {
        let mut object = decode(&create.json)?;
        // The host refuses what does not say which kind it is of.
        if text(&object, "kind") != create.kind.kind {
            let found = text(&object, "kind");
            return Err(Refused::Invalid(format!(
                "a {} whose JSON says kind {found:?}",
                create.kind.kind
            )));
        }
        let generate = text(&object, "metadata.generateName").to_owned();
        if text(&object, "metadata.name").is_empty() {
            let name = self.random.get_or_insert_with(|| Random::new(1)).name(&generate);
            object["metadata"]["name"] = json!(name);
        }
        if !create.namespace.is_empty() {
            object["metadata"]["namespace"] = json!(create.namespace);
        }
        object["apiVersion"] = json!(create.kind.api_version());
        object["kind"] = json!(create.kind.kind);
        let reference = create.kind.named(create.namespace.clone(), text(&object, "metadata.name"));
        Ok((reference, object))
    }

    pub(crate) fn create_prepared(
        &mut self,
        reference: ObjectRef,
        mut object: Value,
    ) -> Result<ObjectRef, Refused> {
        if self.shelf.contains(&reference) {
            return Err(Refused::AlreadyExists(reference));
        }
        let uid = format!("uid-{}", self.revision + 1);
        let now = self.now();
        let metadata = &mut object["metadata"];
        metadata["uid"] = json!(uid);
        metadata["creationTimestamp"] = json!(now);
        metadata["generation"] = json!(1);
        if &*reference.kind.kind == "Namespace" {
            object["spec"]["finalizers"] = json!(["kubernetes"]);
            object["status"]["phase"] = json!("Active");
        }
        self.store(reference.clone(), object);
        Ok(reference)
    }

    fn existing(&self, reference: &ObjectRef, revision: Option<u64>) -> Result<&Value, Refused> {
        let object =
            self.shelf.get(reference).ok_or_else(|| Refused::NotFound(reference.clone()))?;
        match revision {
            Some(wanted) if wanted != revision_of(object) => {
                Err(Refused::Conflict(reference.clone()))
            }
            _ => Ok(object),
        }
    }

    /// The object before and after a patch or an update, as admission sees it.
    pub(crate) fn changed_by(&self, action: &Action) -> Result<(Value, Value), Refused> {
        match action {
            Action::Update(update) => self.updated(update),
            Action::Patch(patch) => self.patched(patch),
            _ => Err(Refused::Invalid("it changes no object".to_owned())),
        }
    }

    fn apply_update(&mut self, update: &Update) -> Result<(), Refused> {
        let (known, object) = self.updated(update)?;
        self.change(&update.reference, &update.subresource, known, object)
    }

    fn updated(&self, update: &Update) -> Result<(Value, Value), Refused> {
        let object = decode(&update.json)?;
        let revision = text(&object, "metadata.resourceVersion").parse().ok();
        Ok((self.existing(&update.reference, revision)?.clone(), object))
    }

    fn apply_patch(&mut self, patch: &Patch) -> Result<(), Refused> {
        let (known, object) = self.patched(patch)?;
        self.change(&patch.reference, &patch.subresource, known, object)
    }

    fn patched(&self, patch: &Patch) -> Result<(Value, Value), Refused> {
        let known = self.existing(&patch.reference, patch.revision)?.clone();
        let body = decode(&patch.body)?;
        let mut object = known.clone();
        match patch.patch_type {
            PatchType::Merge => merge_patch(&mut object, &body),
            PatchType::Json => {
                let operations: json_patch::Patch = serde_json::from_value(body)
                    .map_err(|error| Refused::Invalid(error.to_string()))?;
                json_patch::patch(&mut object, &operations)
                    .map_err(|error| Refused::Invalid(error.to_string()))?;
            }
            PatchType::Strategic => {
                return Err(Refused::Invalid("strategic patches need a schema".to_owned()));
            }
        }
        Ok((known, object))
    }

    /// Stores the part of `object` that the subresource may change.
    pub(crate) fn change(
        &mut self,
        reference: &ObjectRef,
        subresource: &str,
        known: Value,
        object: Value,
    ) -> Result<(), Refused> {
        if at(&object, "metadata.uid") != at(&known, "metadata.uid") {
            return Err(Refused::Conflict(reference.clone()));
        }
        let mut next = match subresource {
            "" => {
                let mut next = object;
                // The status belongs to its subresource, for kinds that have one.
                next["status"] = known["status"].clone();
                next
            }
            "scale" => {
                let mut next = known.clone();
                next["spec"]["replicas"] = object["spec"]["replicas"].clone();
                next
            }
            "finalize" => {
                let mut next = known.clone();
                next["spec"]["finalizers"] = object["spec"]["finalizers"].clone();
                next
            }
            "approval" => {
                let mut next = known.clone();
                next["status"]["conditions"] = object["status"]["conditions"].clone();
                next
            }
            // The server makes a certificate; here it is only seen that one was made.
            "signature" => {
                let mut next = known.clone();
                next["status"]["certificate"] = json!("c2lnbmVk");
                next
            }
            part => {
                let mut next = known.clone();
                next[part] = object[part].clone();
                next
            }
        };
        next["metadata"]["resourceVersion"] = known["metadata"]["resourceVersion"].clone();
        strip_nulls(&mut next);
        if next == known {
            return Ok(());
        }
        if next["spec"] != known["spec"] {
            let generation = known["metadata"]["generation"].as_i64().unwrap_or(0);
            next["metadata"]["generation"] = json!(generation + 1);
        }
        if is_released(&next) {
            self.store(reference.clone(), next);
            self.remove(reference);
        } else {
            self.store(reference.clone(), next);
        }
        Ok(())
    }

    fn apply_delete(&mut self, delete: &Delete) -> Result<(), Refused> {
        let reference = &delete.reference;
        let known = self.existing(reference, delete.revision)?.clone();
        if delete.uid.as_deref().is_some_and(|uid| uid != text(&known, "metadata.uid")) {
            return Err(Refused::Conflict(reference.clone()));
        }
        let mut next = known.clone();
        let mut finalizers: Vec<Value> = match at(&known, "metadata.finalizers") {
            Some(Value::Array(list)) => list.clone(),
            _ => Vec::new(),
        };
        let by_propagation = match delete.propagation {
            Some(Propagation::Foreground) => Some(json!("foregroundDeletion")),
            Some(Propagation::Orphan) => Some(json!("orphan")),
            _ => None,
        };
        finalizers.extend(by_propagation.filter(|wanted| !finalizers.contains(wanted)));
        // A pod on a node ends there first.
        let grace = match (&*reference.kind.kind, delete.grace_period_seconds) {
            ("Pod", None) if !text(&known, "spec.nodeName").is_empty() => 30,
            ("Pod", Some(seconds)) if !text(&known, "spec.nodeName").is_empty() => seconds,
            _ => 0,
        };
        if &*reference.kind.kind == "Namespace" {
            next["status"]["phase"] = json!("Terminating");
        }
        if !finalizers.is_empty() {
            next["metadata"]["finalizers"] = json!(finalizers);
        }
        if at(&known, "metadata.deletionTimestamp").is_none() {
            next["metadata"]["deletionTimestamp"] =
                json!(time::format_seconds(self.now_unix_ms + grace * 1000));
            next["metadata"]["deletionGracePeriodSeconds"] = json!(grace);
        } else if grace == 0 {
            next["metadata"]["deletionGracePeriodSeconds"] = json!(0);
        }
        if is_released(&next) {
            self.remove(reference);
        } else if next != known {
            self.store(reference.clone(), next);
        }
        Ok(())
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

/// Is nothing left that an object on its way out waits for?
fn is_released(object: &Value) -> bool {
    let empty = |path| at(object, path).and_then(Value::as_array).is_none_or(Vec::is_empty);
    let namespace_held = text(object, "kind") == "Namespace" && !empty("spec.finalizers");
    let in_grace =
        at(object, "metadata.deletionGracePeriodSeconds").and_then(Value::as_i64).unwrap_or(0) > 0;
    at(object, "metadata.deletionTimestamp").is_some()
        && empty("metadata.finalizers")
        && !namespace_held
        && !in_grace
}

fn decode(json: &[u8]) -> Result<Value, Refused> {
    serde_json::from_slice(json).map_err(|error| Refused::Invalid(error.to_string()))
}

/// `a.b = null` by indexing leaves a null behind where there was nothing.
fn strip_nulls(object: &mut Value) {
    if let Value::Object(fields) = object {
        fields.retain(|_, value| !value.is_null());
        fields.values_mut().for_each(strip_nulls);
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
