//! An object as the server keeps it: its JSON bytes and what is looked at all the time.

use std::{
    fmt,
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
};

use bytes::{BufMut, Bytes, BytesMut};
use pintle_api::kinds::{Registry, ResourceId};
use pintle_storage::{Record, Revision};
use serde_json::Value;
use tracing::error;

use crate::{
    label::{Labels, Slot},
    parse::{self, Indexed, Plan},
};

/// The part of `metadata` that indexes and selectors need. Sized for tens of thousands of
/// objects: boxed slices, no maps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Meta {
    /// Empty for cluster-scoped objects.
    pub namespace: Box<str>,
    pub name: Box<str>,
    pub uid: Box<str>,
    pub generation: i64,
    /// RFC 3339, as stored.
    pub creation_timestamp: Box<str>,
    /// `deletionTimestamp` is set.
    pub deleting: bool,
    pub labels: Labels,
    pub owners: Box<[Owner]>,
    pub finalizers: Box<[Box<str>]>,
}

/// One entry of `ownerReferences`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Owner {
    pub uid: Box<str>,
    pub api_version: Box<str>,
    pub kind: Box<str>,
    pub name: Box<str>,
    pub controller: bool,
    pub block_owner_deletion: bool,
}

impl Meta {
    pub fn label(&self, key: &str) -> Option<&str> {
        self.labels.get(key)
    }

    /// The owner that manages the object.
    pub fn controller(&self) -> Option<&Owner> {
        self.owners.iter().find(|owner| owner.controller)
    }
}

/// One state of one object. Never changes; a new state is a new `Object`.
pub struct Object {
    pub resource: ResourceId,
    /// The complete JSON, `metadata.resourceVersion` included.
    pub bytes: Bytes,
    /// The revision that wrote this state; for the last state of a deleted object, the
    /// revision that deleted it.
    pub revision: Revision,
    pub create_revision: Revision,
    pub meta: Meta,
    registry: &'static Registry,
    revision_span: Option<(u32, u8)>,
    /// Its number on the shelf, in the order of arrival; all states of an object have the
    /// same. Written and read under the shelf's lock.
    slot: AtomicU32,
    /// Values of the indexed fields, in the order of the resource's plan.
    indexed: Indexed,
    /// Values of all selectable fields, read when first asked for: few are ever asked.
    selectable: OnceLock<Box<[Box<str>]>>,
}

impl Object {
    /// Namespace and name come from the key, which is authoritative.
    pub(crate) fn new(
        registry: &'static Registry,
        resource: ResourceId,
        plan: &Plan,
        namespace: &str,
        name: &str,
        record: &Record,
    ) -> Self {
        let (mut meta, indexed) = parse::parse(&record.value, plan).unwrap_or_else(|cause| {
            error!(resource = %registry.get(resource), namespace, name, error = %cause,
                "a stored object is not readable as JSON");
            let defaults = plan.fields.iter().map(|(_, default)| Box::from(*default)).collect();
            (Meta::default(), defaults)
        });
        if *meta.namespace != *namespace {
            meta.namespace = namespace.into();
        }
        if *meta.name != *name {
            meta.name = name.into();
        }
        Self {
            resource,
            bytes: record.value.clone(),
            revision: record.mod_revision,
            create_revision: record.create_revision,
            meta,
            registry,
            revision_span: record.revision_span,
            slot: AtomicU32::new(Slot::MAX),
            indexed,
            selectable: OnceLock::new(),
        }
    }

    /// The same state under another revision: what deletions show.
    pub(crate) fn at_revision(&self, revision: Revision) -> Self {
        let (bytes, revision_span) = match self.revision_span {
            None => (self.bytes.clone(), None),
            Some((offset, length)) => {
                let digits = revision.to_string();
                let start = offset as usize;
                let mut bytes = BytesMut::with_capacity(self.bytes.len() + digits.len());
                bytes.put_slice(&self.bytes[..start]);
                bytes.put_slice(digits.as_bytes());
                bytes.put_slice(&self.bytes[start + usize::from(length)..]);
                // A u64 has at most 20 digits.
                (bytes.freeze(), Some((offset, digits.len() as u8)))
            }
        };
        Self {
            resource: self.resource,
            bytes,
            revision,
            create_revision: self.create_revision,
            meta: self.meta.clone(),
            registry: self.registry,
            revision_span,
            slot: AtomicU32::new(Slot::MAX),
            indexed: self.indexed.clone(),
            selectable: OnceLock::new(),
        }
    }

    pub fn namespace(&self) -> &str {
        &self.meta.namespace
    }

    pub fn name(&self) -> &str {
        &self.meta.name
    }

    pub fn label(&self, key: &str) -> Option<&str> {
        self.meta.label(key)
    }

    /// The value of a field that selectors may name; `None` if the kind does not offer it.
    pub fn field(&self, path: &str) -> Option<&str> {
        match path {
            "metadata.name" => return Some(&self.meta.name),
            "metadata.namespace" => return Some(&self.meta.namespace),
            _ => {}
        }
        let fields = self.registry.get(self.resource).selectable;
        let at = fields.iter().position(|field| field.path == path)?;
        if fields[at].indexed {
            let slot = fields[..at].iter().filter(|field| field.indexed).count();
            return Some(&self.indexed[slot]);
        }
        let values = self.selectable.get_or_init(|| {
            let object = self.parse();
            fields.iter().map(|field| field.value(&object).into_owned().into_boxed_str()).collect()
        });
        Some(&values[at])
    }

    pub(crate) fn slot(&self) -> Slot {
        self.slot.load(Ordering::Relaxed)
    }

    pub(crate) fn put_into(&self, slot: Slot) {
        self.slot.store(slot, Ordering::Relaxed);
    }

    pub(crate) fn indexed(&self) -> &[Box<str>] {
        &self.indexed
    }

    /// The whole object. `Null` only if what is stored is not JSON.
    pub fn parse(&self) -> Value {
        serde_json::from_slice(&self.bytes).unwrap_or(Value::Null)
    }

    /// Offset and length of the digits of `resourceVersion` in `bytes`.
    pub fn revision_span(&self) -> Option<(u32, u8)> {
        self.revision_span
    }
}

impl fmt::Debug for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Object")
            .field("resource", &self.registry.get(self.resource).plural)
            .field("namespace", &self.meta.namespace)
            .field("name", &self.meta.name)
            .field("revision", &self.revision)
            .finish_non_exhaustive()
    }
}
