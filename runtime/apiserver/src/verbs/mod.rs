//! What can be done to objects, typed and in-process. HTTP handlers are thin
//! over these, and so are the actions of plugins; every rule about a write
//! (optimistic locks, finalizers, graceful deletion, namespaces) is here and
//! holds for both.

mod bind;
mod claims;
mod commit;
mod create;
mod delete;
mod evict;
pub(crate) mod fields;
mod patch;
mod scale;
mod update;

use std::sync::Arc;

use bytes::Bytes;
use pintle_api::kinds::{Registry, Resource};
use pintle_api::status::StatusError;
use pintle_storage::{Revision, Store};
use pintle_watch::{Bus, Object};
use serde_json::Value;

use crate::admission::{Admission, AdmissionRequest, Operation};
use crate::clock::Clock;
use crate::encode;
use crate::lifecycle::Namespaces;
use crate::user::User;

pub use delete::{DeleteOptions, Deleted, Propagation};
pub use fields::FieldValidation;
pub use patch::{Patch, parse_document};

/// Attempts at a write that lost races before the client is told so. Each
/// attempt means that somebody else's write got through.
const MAX_ATTEMPTS: usize = 64;

/// How a write is to be done.
#[derive(Debug, Clone, Default)]
pub struct WriteOptions {
    /// Everything but the commit.
    pub dry_run: bool,
    pub field_validation: FieldValidation,
    /// Paths of keys that the body contained twice, as the decoder found them.
    pub duplicates: Vec<String>,
}

/// What the object must be for a write to happen, beyond its revision.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Preconditions {
    pub uid: Option<String>,
    pub resource_version: Option<String>,
}

/// The outcome of a write.
#[derive(Debug, Clone)]
pub struct Written {
    /// The object as JSON, `resourceVersion` included.
    pub bytes: Bytes,
    /// Of the object; the previous one when nothing changed or on a dry run.
    pub revision: Revision,
    /// For the user.
    pub warnings: Vec<String>,
}

impl Written {
    pub fn to_value(&self) -> Result<Value, StatusError> {
        serde_json::from_slice(&self.bytes).map_err(StatusError::internal)
    }
}

pub struct Verbs {
    store: Arc<dyn Store>,
    bus: Bus,
    registry: &'static Registry,
    admission: Arc<dyn Admission>,
    clock: Arc<dyn Clock>,
    namespaces: Namespaces,
}

impl Verbs {
    pub(crate) fn new(
        store: Arc<dyn Store>,
        bus: Bus,
        registry: &'static Registry,
        admission: Arc<dyn Admission>,
        clock: Arc<dyn Clock>,
    ) -> Verbs {
        let namespaces = Namespaces::new(bus.clone(), registry);
        Verbs { store, bus, registry, admission, clock, namespaces }
    }

    pub fn registry(&self) -> &'static Registry {
        self.registry
    }

    /// The current object, as a read.
    pub fn get(
        &self,
        resource: &Resource,
        namespace: &str,
        name: &str,
    ) -> Result<Arc<Object>, StatusError> {
        self.bus
            .get(resource.storage_id, namespace, name)
            .ok_or_else(|| StatusError::not_found(resource.group_resource(), name))
    }

    /// The row that owns the storage of `resource`.
    fn storage_row(&self, resource: &'static Resource) -> &'static Resource {
        if resource.alias.is_none() { resource } else { self.registry.get(resource.storage_id) }
    }

    /// Into the shape that is stored; the same for all but aliases.
    fn to_storage(&self, resource: &'static Resource, object: &mut Value) -> &'static Resource {
        if let Some(alias) = &resource.alias {
            (alias.to_storage)(object);
        }
        self.storage_row(resource)
    }

    fn present(
        &self,
        resource: &'static Resource,
        mut written: Written,
    ) -> Result<Written, StatusError> {
        if resource.alias.is_some() {
            written.bytes = crate::present::object_bytes(resource, &written.bytes)?;
        }
        Ok(written)
    }

    /// Asks admission; the object may come back changed.
    async fn admit(
        &self,
        operation: Operation,
        resource: &'static Resource,
        target: &Target<'_>,
        object: &mut Value,
        old: Option<&Value>,
        warnings: &mut Vec<String>,
    ) -> Result<(), StatusError> {
        if !self.admission.concerns(resource, operation) {
            return Ok(());
        }
        let deleting = operation == Operation::Delete;
        let response = self
            .admission
            .review(AdmissionRequest {
                operation,
                resource,
                subresource: target.subresource,
                namespace: target.namespace,
                name: target.name,
                user: target.user,
                object: (!deleting).then_some(&*object),
                old_object: old,
                dry_run: target.dry_run,
            })
            .await?;
        warnings.extend(response.warnings);
        if let Some(changed) = response.object.filter(|_| !deleting) {
            *object = changed;
            if target.subresource.is_empty() {
                resource.apply_defaults(object);
            }
        }
        Ok(())
    }

    fn encode(&self, object: &Value) -> Result<encode::Encoded, StatusError> {
        encode::object(object).map_err(|error| match error {
            encode::EncodeError::TooLarge(_) => {
                StatusError::request_entity_too_large(&error.to_string())
            }
            encode::EncodeError::Shape => StatusError::bad_request(error.to_string()),
        })
    }
}

/// Who writes what; shared by the steps of one write.
struct Target<'a> {
    user: &'a User,
    namespace: &'a str,
    name: &'a str,
    subresource: &'a str,
    dry_run: bool,
}

fn metadata<'a>(object: &'a Value, field: &str) -> &'a Value {
    static NULL: Value = Value::Null;
    object.get("metadata").and_then(|metadata| metadata.get(field)).unwrap_or(&NULL)
}

fn metadata_str<'a>(object: &'a Value, field: &str) -> &'a str {
    metadata(object, field).as_str().unwrap_or_default()
}

fn set_metadata(object: &mut Value, field: &str, value: impl Into<Value>) {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.insert(field.to_string(), value.into());
    }
}

fn is_empty_list(value: &Value) -> bool {
    value.as_array().is_none_or(Vec::is_empty)
}

fn check_uid(
    resource: &Resource,
    name: &str,
    preconditions: &Preconditions,
    current: &Object,
) -> Result<(), StatusError> {
    let own = &*current.meta.uid;
    match &preconditions.uid {
        Some(uid) if uid != own => {
            let cause = format!(
                "Precondition failed: UID in precondition: {uid}, UID in object meta: {own}"
            );
            Err(StatusError::conflict(resource.group_resource(), name, &cause))
        }
        _ => Ok(()),
    }
}

/// `Ok` when the object is the one that the client means.
fn check_preconditions(
    resource: &Resource,
    name: &str,
    preconditions: &Preconditions,
    current: &Object,
) -> Result<(), StatusError> {
    check_uid(resource, name, preconditions, current)?;
    if let Some(version) = &preconditions.resource_version
        && version.parse() != Ok(current.revision)
    {
        let cause = format!(
            "Precondition failed: ResourceVersion in precondition: {version}, ResourceVersion in object meta: {}",
            current.revision
        );
        return Err(StatusError::conflict(resource.group_resource(), name, &cause));
    }
    Ok(())
}
