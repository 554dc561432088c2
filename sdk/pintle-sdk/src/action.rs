//! Effects, as data. The core checks each against the plugin's grants and
//! performs it with compare-and-swap; one that is refused (the object changed
//! meanwhile) brings the key back, so a plugin never handles conflicts itself.
//!
//! Every action is made by a short builder and pushed into an [`Outcome`]:
//!
//! ```
//! use pintle_sdk::prelude::*;
//!
//! fn expire(map: &Typed<ConfigMap>, outcome: &mut Outcome) {
//!     outcome.push(Event::normal(map, "Expired", "its time is over"));
//!     outcome.push(Delete::this(map));
//! }
//! ```

use serde::Serialize;
use serde_json::{Value, json};

use crate::lister::Typed;
use crate::object::{KindRef, Object, ObjectRef, Resource};

/// What the core is asked to do.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)] // Each variant is documented at its struct.
pub enum Action {
    Create(Create),
    Update(Update),
    Patch(Patch),
    Delete(Delete),
    Event(Event),
}

/// Anything that names an existing object: an [`ObjectRef`], an [`Object`] or a [`Typed`].
pub trait Target {
    /// Where the object is.
    fn reference(&self) -> &ObjectRef;
    /// Its uid; empty when it is not known.
    fn uid(&self) -> &str {
        ""
    }
}

impl Target for ObjectRef {
    fn reference(&self) -> &ObjectRef {
        self
    }
}

impl Target for Object {
    fn reference(&self) -> &ObjectRef {
        &self.reference
    }
    fn uid(&self) -> &str {
        &self.uid
    }
}

impl<T> Target for Typed<T> {
    fn reference(&self) -> &ObjectRef {
        &self.reference
    }
    fn uid(&self) -> &str {
        &self.uid
    }
}

/// Creates an object; needs the verb `create`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Create {
    /// Which kind it is of.
    pub kind: KindRef,
    /// Empty for cluster-scoped kinds.
    pub namespace: String,
    /// The object; `metadata.generateName` is honoured.
    pub json: Vec<u8>,
}

impl Create {
    /// From anything that serializes to the object; `apiVersion`, `kind` and
    /// `metadata.namespace` may be left out.
    pub fn new(kind: KindRef, namespace: impl Into<String>, object: &impl Serialize) -> Self {
        let json = with_kind(&kind, object);
        Create { kind, namespace: namespace.into(), json }
    }

    /// From a typed object, in the namespace that its metadata names.
    pub fn of<T: Resource + Serialize>(object: &T) -> Self {
        Create::new(T::KIND, object.metadata().namespace.clone(), object)
    }

    /// Makes `owner` its controller: it goes when the owner goes, and
    /// [`Enqueue::ControllerOwner`](crate::controller::Enqueue) finds the way back.
    pub fn owned_by<T>(mut self, owner: &Typed<T>) -> Self {
        if let Ok(mut object) = crate::reading::parse::<Value>(&self.json) {
            object["metadata"]["ownerReferences"] =
                json!([crate::owners::controller_reference(owner)]);
            self.json = encode(&object);
        }
        self
    }
}

/// Replaces an object; needs the verb `update`. Prefer [`Patch`]: an update from
/// a partial type drops the fields that the type does not know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Update {
    /// Which object.
    pub reference: ObjectRef,
    /// Empty for the object itself, else `status`, `scale`, `finalize`, ...
    pub subresource: String,
    /// The whole object; `metadata.resourceVersion` in it is the precondition.
    pub json: Vec<u8>,
}

impl Update {
    /// `object` is the whole object; `apiVersion` and `kind` may be left out.
    pub fn new(target: &impl Target, object: &impl Serialize) -> Self {
        let reference = target.reference().clone();
        let json = with_kind(&reference.kind, object);
        Update { reference, subresource: String::new(), json }
    }

    /// Through a subresource; needs the verb `update/NAME`.
    pub fn subresource(mut self, name: &str) -> Self {
        self.subresource = name.to_owned();
        self
    }
}

/// How the body of a [`Patch`] is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PatchType {
    /// RFC 6902: a list of operations.
    Json,
    /// RFC 7386: objects are merged, `null` removes, lists are replaced.
    Merge,
    /// As `Merge`, but lists of Kubernetes' own kinds are merged by key.
    Strategic,
}

/// Changes a part of an object; needs the verb `patch`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Patch {
    /// Which object.
    pub reference: ObjectRef,
    /// Empty for the object itself, else `status`, `scale`, ...
    pub subresource: String,
    /// How the body is read.
    pub patch_type: PatchType,
    /// The patch, as JSON.
    pub body: Vec<u8>,
    /// Only if the object is still at this revision.
    pub revision: Option<u64>,
}

impl Patch {
    /// RFC 7386: objects are merged, `null` removes, lists are replaced.
    pub fn merge(target: &impl Target, body: &impl Serialize) -> Self {
        Patch::new(target, PatchType::Merge, encode(body))
    }

    /// RFC 6902: a list of operations.
    pub fn json(target: &impl Target, operations: &impl Serialize) -> Self {
        Patch::new(target, PatchType::Json, encode(operations))
    }

    /// Kubernetes' own: lists of its kinds are merged by key.
    pub fn strategic(target: &impl Target, body: &impl Serialize) -> Self {
        Patch::new(target, PatchType::Strategic, encode(body))
    }

    /// Sets an annotation; `None` removes it.
    pub fn annotate(target: &impl Target, key: &str, value: Option<&str>) -> Self {
        Patch::merge(target, &json!({"metadata": {"annotations": {key: value}}}))
    }

    /// Sets a label; `None` removes it.
    pub fn label(target: &impl Target, key: &str, value: Option<&str>) -> Self {
        Patch::merge(target, &json!({"metadata": {"labels": {key: value}}}))
    }

    /// Merges `status` into the object's status; needs the verb `patch/status`.
    pub fn status_of(target: &impl Target, status: &impl Serialize) -> Self {
        Patch::merge(target, &json!({"status": status})).status()
    }

    fn new(target: &impl Target, patch_type: PatchType, body: Vec<u8>) -> Self {
        Patch {
            reference: target.reference().clone(),
            subresource: String::new(),
            patch_type,
            body,
            revision: None,
        }
    }

    /// Through the subresource `status`; needs the verb `patch/status`.
    pub fn status(self) -> Self {
        self.subresource("status")
    }

    /// Through a subresource; needs the verb `patch/NAME`.
    pub fn subresource(mut self, name: &str) -> Self {
        self.subresource = name.to_owned();
        self
    }

    /// Only if the object is still at this revision; else the key comes back.
    pub fn at(mut self, revision: u64) -> Self {
        self.revision = Some(revision);
        self
    }
}

/// What happens to the objects that a deleted one owns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Propagation {
    /// They are deleted after it.
    Background,
    /// They are deleted before it.
    Foreground,
    /// They stay, without owner.
    Orphan,
}

/// Deletes an object; needs the verb `delete`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delete {
    /// Which object.
    pub reference: ObjectRef,
    /// Only if the object still has this uid.
    pub uid: Option<String>,
    /// Only if the object is still at this revision.
    pub revision: Option<u64>,
    /// How long a pod may take to end; absent: what the pod says.
    pub grace_period_seconds: Option<i64>,
    /// What happens to what it owns; absent: the kind's default.
    pub propagation: Option<Propagation>,
}

impl Delete {
    /// Whatever has this name by then.
    pub fn new(target: &impl Target) -> Self {
        Delete {
            reference: target.reference().clone(),
            uid: None,
            revision: None,
            grace_period_seconds: None,
            propagation: None,
        }
    }

    /// This very object, not a successor of the same name.
    pub fn this(target: &impl Target) -> Self {
        Delete::new(target).uid(target.uid())
    }

    /// Only if the object still has this uid.
    pub fn uid(mut self, uid: impl Into<String>) -> Self {
        self.uid = Some(uid.into());
        self
    }

    /// Only if the object is still at this revision.
    pub fn at(mut self, revision: u64) -> Self {
        self.revision = Some(revision);
        self
    }

    /// How long a pod may take to end.
    pub fn grace(mut self, seconds: i64) -> Self {
        self.grace_period_seconds = Some(seconds);
        self
    }

    /// What happens to the objects that this one owns.
    pub fn propagation(mut self, propagation: Propagation) -> Self {
        self.propagation = Some(propagation);
        self
    }
}

/// An Event on an object; a grant to read the object's kind is enough. The core
/// fills time, count and reporting component, and folds repetitions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The object that it is about.
    pub regarding: ObjectRef,
    /// The object's uid.
    pub regarding_uid: String,
    /// `Normal` or `Warning`.
    pub event_type: String,
    /// Why, in one word: `ScalingReplicaSet`.
    pub reason: String,
    /// What was done, in one word: `Scale`.
    pub action: String,
    /// For people.
    pub note: String,
}

impl Event {
    /// Something went as it should. `reason` is one word in CamelCase.
    pub fn normal(target: &impl Target, reason: &str, note: impl Into<String>) -> Self {
        Event::new("Normal", target, reason, note.into())
    }

    /// Somebody should have a look.
    pub fn warning(target: &impl Target, reason: &str, note: impl Into<String>) -> Self {
        Event::new("Warning", target, reason, note.into())
    }

    /// What was done, when that is not the reason's own word.
    pub fn action(mut self, action: &str) -> Self {
        self.action = action.to_owned();
        self
    }

    fn new(event_type: &str, target: &impl Target, reason: &str, note: String) -> Self {
        Event {
            regarding: target.reference().clone(),
            regarding_uid: target.uid().to_owned(),
            event_type: event_type.to_owned(),
            reason: reason.to_owned(),
            action: reason.to_owned(),
            note,
        }
    }
}

macro_rules! into_action {
    ($($name:ident),*) => {$(
        impl From<$name> for Action {
            fn from(action: $name) -> Action {
                Action::$name(action)
            }
        }
    )*};
}
into_action!(Create, Update, Patch, Delete, Event);

impl Action {
    /// The object that it is about; `None` for a create, which may have no name yet.
    pub fn target(&self) -> Option<&ObjectRef> {
        match self {
            Action::Create(_) => None,
            Action::Update(update) => Some(&update.reference),
            Action::Patch(patch) => Some(&patch.reference),
            Action::Delete(delete) => Some(&delete.reference),
            Action::Event(event) => Some(&event.regarding),
        }
    }
}

/// What a reconcile decided.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Performed in order, independent ones at the same time. If one is refused,
    /// those behind it are dropped and the key comes back.
    pub actions: Vec<Action>,
    /// Look again after so many milliseconds even if nothing changes.
    pub requeue_after_ms: Option<u64>,
}

impl Outcome {
    /// Nothing to do.
    pub fn done() -> Self {
        Outcome::default()
    }

    /// One action and no more; see also [`Outcome::push`].
    pub fn of(action: impl Into<Action>) -> Self {
        Outcome { actions: vec![action.into()], requeue_after_ms: None }
    }

    /// Adds an action.
    pub fn push(&mut self, action: impl Into<Action>) {
        self.actions.push(action.into());
    }

    /// Asks to be called again after so many milliseconds even if nothing
    /// changes. The earliest of all wishes wins.
    pub fn requeue_after(&mut self, milliseconds: u64) {
        let wish = self.requeue_after_ms.map_or(milliseconds, |known| known.min(milliseconds));
        self.requeue_after_ms = Some(wish);
    }
}

impl<A: Into<Action>> Extend<A> for Outcome {
    fn extend<I: IntoIterator<Item = A>>(&mut self, actions: I) {
        self.actions.extend(actions.into_iter().map(Into::into));
    }
}

/// The object as JSON that says which kind it is of, as the host demands.
fn with_kind(kind: &KindRef, object: &impl Serialize) -> Vec<u8> {
    let mut object = serde_json::to_value(object).unwrap_or_default();
    if let Value::Object(fields) = &mut object {
        fields.entry("apiVersion").or_insert_with(|| json!(kind.api_version()));
        fields.entry("kind").or_insert_with(|| json!(kind.kind));
    }
    encode(&object)
}

/// Plain data with string keys always encodes; the empty body of an impossible
/// failure would be refused by the API server.
fn encode(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{CONFIG_MAP, ConfigMap};

    fn map() -> Typed<ConfigMap> {
        let mut object = ConfigMap::default();
        object.metadata.namespace = "default".to_owned();
        object.metadata.name = "child".to_owned();
        Typed {
            reference: CONFIG_MAP.named("default", "owner"),
            uid: "u1".to_owned(),
            revision: 7,
            object: object.into(),
        }
    }

    #[test]
    fn actions_read_as_the_api_takes_them() {
        fn check(action: impl Into<Action>, expect: Value) {
            let body = match action.into() {
                Action::Create(create) => create.json,
                Action::Update(update) => update.json,
                Action::Patch(patch) => patch.body,
                other => panic!("{other:?} has no body"),
            };
            assert_eq!(serde_json::from_slice::<Value>(&body).unwrap(), expect);
        }
        let map = map();
        check(
            Create::of(&*map.object),
            json!({"apiVersion": "v1", "kind": "ConfigMap",
                "metadata": {"namespace": "default", "name": "child"}}),
        );
        check(
            Create::of(&*map.object).owned_by(&map),
            json!({"apiVersion": "v1", "kind": "ConfigMap",
                "metadata": {"namespace": "default", "name": "child", "ownerReferences": [
                {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": "u1",
                 "controller": true, "blockOwnerDeletion": true}]}}),
        );
        check(Patch::label(&map, "a", Some("b")), json!({"metadata": {"labels": {"a": "b"}}}));
        check(Patch::annotate(&map, "a", None), json!({"metadata": {"annotations": {"a": null}}}));
        check(Patch::status_of(&map, &json!({"x": 1})), json!({"status": {"x": 1}}));
    }

    #[test]
    fn preconditions_and_uids_come_from_the_target() {
        let map = map();
        assert_eq!(Delete::this(&map).uid.as_deref(), Some("u1"));
        assert_eq!(Delete::new(&map).uid, None);
        let event = Event::warning(&map, "TooLarge", "it is").action("Shrink");
        assert_eq!((event.regarding_uid.as_str(), event.action.as_str()), ("u1", "Shrink"));
        assert_eq!(Event::normal(&map, "Done", "").action, "Done");
        let mut outcome = Outcome::of(Delete::this(&map));
        outcome.extend([Patch::status_of(&map, &json!({}))]);
        outcome.requeue_after(5);
        outcome.requeue_after(9);
        assert_eq!((outcome.actions.len(), outcome.requeue_after_ms), (2, Some(5)));
    }
}
