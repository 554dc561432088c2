//! Objects as a whole: created, or replaced.

use serde::Serialize;
use serde_json::{Value, json};

use super::{Target, encode, with_kind};
use crate::lister::Typed;
use crate::object::{KindRef, ObjectRef, Resource};

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

/// Replaces an object; needs the verb `update`. Prefer [`Patch`](super::Patch): an update from
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
