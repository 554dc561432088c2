//! The admission call-out: asked for every write, after defaulting and before
//! validation. Policy lives behind this trait, not in this crate.

use async_trait::async_trait;
use pintle_api::kinds::Resource;
use pintle_api::status::StatusError;
use serde_json::Value;

use crate::user::User;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    Create,
    Update,
    Delete,
    Connect,
}

impl Operation {
    pub fn as_str(self) -> &'static str {
        match self {
            Operation::Create => "CREATE",
            Operation::Update => "UPDATE",
            Operation::Delete => "DELETE",
            Operation::Connect => "CONNECT",
        }
    }
}

/// One write to be reviewed.
pub struct AdmissionRequest<'a> {
    pub operation: Operation,
    pub resource: &'static Resource,
    /// Empty for the object itself.
    pub subresource: &'a str,
    pub namespace: &'a str,
    /// Empty on a create with `generateName` only.
    pub name: &'a str,
    pub user: &'a User,
    /// The object as it would be stored; `None` on delete.
    pub object: Option<&'a Value>,
    pub old_object: Option<&'a Value>,
    pub dry_run: bool,
}

#[derive(Debug, Default)]
pub struct AdmissionResponse {
    /// The object with the chain's changes; `None` when nothing changed.
    pub object: Option<Value>,
    /// Shown to the user (HTTP `Warning` headers).
    pub warnings: Vec<String>,
}

#[async_trait]
pub trait Admission: Send + Sync + 'static {
    /// Whether writes to this resource are reviewed at all; lets the server
    /// skip building a request for kinds that no plugin cares about.
    fn concerns(&self, _resource: &'static Resource, _operation: Operation) -> bool {
        true
    }

    async fn review(&self, request: AdmissionRequest<'_>)
    -> Result<AdmissionResponse, StatusError>;
}

/// Admits everything unchanged: for a server without admission plugins.
pub struct AdmitAll;

#[async_trait]
impl Admission for AdmitAll {
    fn concerns(&self, _resource: &'static Resource, _operation: Operation) -> bool {
        false
    }

    async fn review(
        &self,
        _request: AdmissionRequest<'_>,
    ) -> Result<AdmissionResponse, StatusError> {
        Ok(AdmissionResponse::default())
    }
}
