//! Failures in Kubernetes' own words: `metav1.Status`, its reasons and codes,
//! and the field errors of validation.
//!
//! Clients match on these texts, so the constructors are the only place where
//! they are written.

mod error;
mod field;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::meta::GroupResource;

use error::details;
pub use error::{OPTIMISTIC_LOCK, StatusError};
#[cfg(test)]
pub(crate) use field::expect_errors;
pub use field::{FieldError, FieldErrorKind};

/// `metav1.Status`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    #[serde(default = "status_kind")]
    pub kind: String,
    #[serde(default = "status_api_version")]
    pub api_version: String,
    #[serde(default)]
    pub metadata: Map<String, Value>,
    /// `Success` or `Failure`.
    #[serde(default)]
    pub status: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<StatusDetails>,
    #[serde(default)]
    pub code: u16,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct StatusDetails {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub group: String,
    /// The resource's plural, or the kind for validation failures.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub kind: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub uid: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<StatusCause>,
    #[serde(skip_serializing_if = "is_zero")]
    pub retry_after_seconds: u32,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct StatusCause {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub field: String,
}

fn status_kind() -> String {
    "Status".to_owned()
}

fn status_api_version() -> String {
    "v1".to_owned()
}

fn is_zero(value: &u32) -> bool {
    *value == 0
}

impl Status {
    fn new(status: &str, code: u16, reason: &str, message: String) -> Self {
        Self {
            kind: status_kind(),
            api_version: status_api_version(),
            metadata: Map::new(),
            status: status.to_owned(),
            message,
            reason: reason.to_owned(),
            details: None,
            code,
        }
    }

    pub fn failure(code: u16, reason: &str, message: impl Into<String>) -> Self {
        Self::new("Failure", code, reason, message.into())
    }

    /// The answer to a deletion that left nothing behind to return.
    pub fn deleted(resource: GroupResource<'_>, name: &str, uid: &str) -> Self {
        let mut status = Self::new("Success", 200, "", String::new());
        status.details = Some(StatusDetails { uid: uid.to_owned(), ..details(resource, name) });
        status
    }

    pub fn success(code: u16) -> Self {
        Self::new("Success", code, "", String::new())
    }

    pub fn to_json(&self) -> Vec<u8> {
        // Strings, integers and string-keyed maps always serialise.
        serde_json::to_vec(self).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_serialises_like_upstream() {
        let status = StatusError::not_found(GroupResource::new("", "pods"), "x").0;
        assert_eq!(
            serde_json::to_value(&*status).unwrap(),
            serde_json::json!({"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure",
                "message":"pods \"x\" not found","reason":"NotFound","details":{"name":"x","kind":"pods"},"code":404})
        );
        let back: Status = serde_json::from_slice(&status.to_json()).unwrap();
        assert_eq!(back, *status);
    }
}
