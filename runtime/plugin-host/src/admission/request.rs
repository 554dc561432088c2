//! What the API server asks the admission chain, and what it gets back.

use bytes::Bytes;
use pintle_api::meta::GroupVersionKind;
use serde_json::Value;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    Create,
    Update,
    Delete,
    Connect,
}

/// A document in the form the caller has it in; turned into the other form
/// only when a plugin wants the request.
#[derive(Debug, Clone, Copy)]
pub enum Document<'a> {
    Parsed(&'a Value),
    Json(&'a Bytes),
}

#[derive(Debug, Clone, Copy)]
pub struct AdmissionUser<'a> {
    pub name: &'a str,
    pub uid: &'a str,
    pub groups: &'a [String],
}

#[derive(Debug, Clone, Copy)]
pub struct AdmissionRequest<'a> {
    pub operation: Operation,
    pub kind: &'a GroupVersionKind,
    /// Empty for the object itself.
    pub subresource: &'a str,
    /// Empty for cluster-scoped kinds.
    pub namespace: &'a str,
    pub name: &'a str,
    pub user: AdmissionUser<'a>,
    /// As it would be stored; None on delete.
    pub object: Option<Document<'a>>,
    /// As it is stored; None on create.
    pub old_object: Option<Document<'a>>,
    pub dry_run: bool,
}

/// The request may go on.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Admitted {
    /// The object as the mutating plugins left it; None when none changed it.
    pub object: Option<Value>,
    /// For the person who asked.
    pub warnings: Vec<String>,
}

/// The request ends here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// HTTP code.
    pub code: u16,
    /// metav1.Status reason.
    pub reason: String,
    pub message: String,
    /// The message is the cause alone: the API server says of which object, in
    /// its own words (`pods "x" is forbidden: CAUSE`).
    pub is_cause: bool,
    pub warnings: Vec<String>,
}
