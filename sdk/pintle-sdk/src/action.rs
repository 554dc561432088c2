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

mod create;
mod delete;
mod event;
mod outcome;
mod patch;

use serde::Serialize;
use serde_json::{Value, json};

pub use self::create::{Create, Update};
pub use self::delete::{Delete, Propagation};
pub use self::event::Event;
pub use self::outcome::Outcome;
pub use self::patch::{Patch, PatchType};
use crate::lister::Typed;
use crate::object::{KindRef, Object, ObjectRef};

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
