//! Changes of a part of an object.

use serde::Serialize;
use serde_json::json;

use super::{Target, encode};
use crate::object::ObjectRef;

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
