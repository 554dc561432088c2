//! Namespace lifecycle: nothing is created in a namespace that is missing or
//! on its way out, and some namespaces never go.

use bytes::Bytes;
use pintle_api::kinds::{Registry, Resource};
use pintle_api::status::StatusError;
use pintle_storage::{Expect, Guard};
use pintle_watch::Bus;
use serde_json::{Value, json};

/// Made on first start. Deleting one of these would take the cluster apart: nodes
/// keep their leases in the last.
pub const BUILTIN_NAMESPACES: &[&str] =
    &["default", "kube-system", "kube-public", "kube-node-lease"];

pub(crate) struct Namespaces {
    bus: Bus,
    /// The row of namespaces themselves.
    row: Option<&'static Resource>,
}

impl Namespaces {
    pub fn new(bus: Bus, registry: &'static Registry) -> Namespaces {
        Namespaces { bus, row: registry.by_plural("", "v1", "namespaces") }
    }

    /// Whether an object may be created in `namespace`. The guard makes that
    /// hold until the commit: a deletion in between changes the revision.
    pub fn check_create(
        &self,
        resource: &Resource,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Guard>, StatusError> {
        let (true, Some(row)) = (resource.is_namespaced(), self.row) else { return Ok(None) };
        if namespace.is_empty() {
            return Err(StatusError::bad_request(
                "an empty namespace may not be set during creation",
            ));
        }
        let Some(found) = self.bus.get(row.id, "", namespace) else {
            return Err(StatusError::not_found(row.group_resource(), namespace));
        };
        if found.meta.deleting {
            let cause = format!(
                "unable to create new content in namespace {namespace} because it is being terminated"
            );
            let mut error = StatusError::forbidden(resource.group_resource(), name, &cause);
            if let Some(details) = &mut error.0.details {
                details.causes.push(pintle_api::status::StatusCause {
                    reason: "NamespaceTerminating".to_string(),
                    message: format!("namespace {namespace} is being terminated"),
                    field: "metadata.namespace".to_string(),
                });
            }
            return Err(error);
        }
        let key = Bytes::from(row.key("", namespace));
        Ok(Some(Guard { key, expect: Expect::ModRevision(found.revision) }))
    }

    /// Whether this object may be deleted at all.
    pub fn check_delete(&self, resource: &Resource, name: &str) -> Result<(), StatusError> {
        if self.is_namespace(resource) && BUILTIN_NAMESPACES.contains(&name) {
            let cause = "this namespace may not be deleted";
            return Err(StatusError::forbidden(resource.group_resource(), name, cause));
        }
        Ok(())
    }

    /// What a namespace says of itself while it goes.
    pub fn mark_terminating(&self, resource: &Resource, object: &mut Value) {
        if self.is_namespace(resource) {
            if !object["status"].is_object() {
                object["status"] = json!({});
            }
            object["status"]["phase"] = "Terminating".into();
        }
    }

    fn is_namespace(&self, resource: &Resource) -> bool {
        self.row.is_some_and(|row| row.id == resource.id)
    }
}
