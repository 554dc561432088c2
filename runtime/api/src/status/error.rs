//! The failed request: one constructor for each sentence that clients know.

use std::fmt;

use super::{FieldError, Status, StatusCause, StatusDetails};
use crate::meta::{GroupKind, GroupResource};

/// What a stale `resourceVersion` is answered with.
pub const OPTIMISTIC_LOCK: &str =
    "the object has been modified; please apply your changes to the latest version and try again";

/// A failed request. Boxed: it travels in many `Result`s and is rarely made.
#[derive(Debug, Clone, PartialEq)]
pub struct StatusError(pub Box<Status>);

impl fmt::Display for StatusError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl std::error::Error for StatusError {}

impl From<Status> for StatusError {
    fn from(status: Status) -> Self {
        Self(Box::new(status))
    }
}

pub(super) fn details(resource: GroupResource<'_>, name: &str) -> StatusDetails {
    StatusDetails {
        name: name.to_owned(),
        group: resource.group.to_owned(),
        kind: resource.resource.to_owned(),
        ..StatusDetails::default()
    }
}

impl StatusError {
    pub fn new(code: u16, reason: &str, message: impl Into<String>) -> Self {
        Status::failure(code, reason, message).into()
    }

    fn with(mut self, details: StatusDetails) -> Self {
        self.0.details = Some(details);
        self
    }

    pub fn code(&self) -> u16 {
        self.0.code
    }

    pub fn reason(&self) -> &str {
        &self.0.reason
    }

    pub fn message(&self) -> &str {
        &self.0.message
    }

    pub fn status(&self) -> &Status {
        &self.0
    }

    /// Whether one of the causes has this reason.
    pub fn has_cause(&self, reason: &str) -> bool {
        let details = self.0.details.as_ref();
        details.is_some_and(|details| details.causes.iter().any(|cause| cause.reason == reason))
    }

    pub fn is_not_found(&self) -> bool {
        self.0.reason == "NotFound"
    }

    pub fn is_already_exists(&self) -> bool {
        self.0.reason == "AlreadyExists"
    }

    pub fn is_conflict(&self) -> bool {
        self.0.reason == "Conflict"
    }

    pub fn not_found(resource: GroupResource<'_>, name: &str) -> Self {
        Self::new(404, "NotFound", format!("{resource} {name:?} not found"))
            .with(details(resource, name))
    }

    /// For a path that names no resource at all.
    pub fn no_such_resource() -> Self {
        Self::new(404, "NotFound", "the server could not find the requested resource")
            .with(StatusDetails::default())
    }

    pub fn already_exists(resource: GroupResource<'_>, name: &str) -> Self {
        Self::new(409, "AlreadyExists", format!("{resource} {name:?} already exists"))
            .with(details(resource, name))
    }

    /// A conflict for any cause; a stale version is [`StatusError::modified`].
    pub fn conflict(resource: GroupResource<'_>, name: &str, cause: &str) -> Self {
        let message = format!("Operation cannot be fulfilled on {resource} {name:?}: {cause}");
        Self::new(409, "Conflict", message).with(details(resource, name))
    }

    pub fn modified(resource: GroupResource<'_>, name: &str) -> Self {
        Self::conflict(resource, name, OPTIMISTIC_LOCK)
    }

    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    pub fn invalid(kind: GroupKind<'_>, name: &str, errors: Vec<FieldError>) -> Self {
        let mut messages: Vec<String> = Vec::with_capacity(errors.len());
        for error in &errors {
            let text = error.to_string();
            if !messages.contains(&text) {
                messages.push(text);
            }
        }
        let message = match messages.as_slice() {
            [] => format!("{kind} {name:?} is invalid"),
            [one] => format!("{kind} {name:?} is invalid: {one}"),
            many => format!("{kind} {name:?} is invalid: [{}]", many.join(", ")),
        };
        let causes = errors
            .iter()
            .map(|error| StatusCause {
                reason: error.kind.reason().to_owned(),
                message: error.body(),
                field: error.path.clone(),
            })
            .collect();
        Self::new(422, "Invalid", message).with(StatusDetails {
            name: name.to_owned(),
            group: kind.group.to_owned(),
            kind: kind.kind.to_owned(),
            causes,
            ..StatusDetails::default()
        })
    }

    pub fn forbidden(resource: GroupResource<'_>, name: &str, cause: &str) -> Self {
        let message = if resource.resource.is_empty() {
            format!("forbidden: {cause}")
        } else if name.is_empty() {
            format!("{resource} is forbidden: {cause}")
        } else {
            format!("{resource} {name:?} is forbidden: {cause}")
        };
        Self::new(403, "Forbidden", message).with(details(resource, name))
    }

    /// The revision asked for was compacted away.
    pub fn expired(message: impl Into<String>) -> Self {
        Self::new(410, "Expired", message)
    }

    /// A list or watch from a version older than what is kept.
    pub fn too_old(requested: u64, oldest: u64) -> Self {
        Self::expired(format!("too old resource version: {requested} ({oldest})"))
    }

    pub fn gone(message: impl Into<String>) -> Self {
        Self::new(410, "Gone", message)
    }

    pub fn timeout(message: &str, retry_after_seconds: u32) -> Self {
        Self::new(504, "Timeout", format!("Timeout: {message}"))
            .with(StatusDetails { retry_after_seconds, ..StatusDetails::default() })
    }

    pub fn too_many_requests(message: impl Into<String>, retry_after_seconds: u32) -> Self {
        Self::new(429, "TooManyRequests", message)
            .with(StatusDetails { retry_after_seconds, ..StatusDetails::default() })
    }

    /// A refusal that a machine can tell the reason of, worth trying again later
    /// (`retry_after_seconds` 0: nobody knows when).
    pub fn too_many_requests_because(
        message: impl Into<String>,
        retry_after_seconds: u32,
        cause: StatusCause,
    ) -> Self {
        Self::new(429, "TooManyRequests", message).with(StatusDetails {
            retry_after_seconds,
            causes: vec![cause],
            ..StatusDetails::default()
        })
    }

    pub fn request_entity_too_large(message: &str) -> Self {
        Self::new(413, "RequestEntityTooLarge", format!("Request entity is too large: {message}"))
    }

    pub fn method_not_allowed(resource: GroupResource<'_>, action: &str) -> Self {
        let message =
            format!("{action} is not supported on resources of kind {:?}", resource.to_string());
        Self::new(405, "MethodNotAllowed", message).with(details(resource, ""))
    }

    pub fn unsupported_media_type(accepted: &[&str]) -> Self {
        let message = format!(
            "the body of the request was in an unknown format - accepted media types include: {}",
            accepted.join(", ")
        );
        Self::new(415, "UnsupportedMediaType", message)
    }

    pub fn not_acceptable(accepted: &[&str]) -> Self {
        let message =
            format!("only the following media types are accepted: {}", accepted.join(", "));
        Self::new(406, "NotAcceptable", message)
    }

    pub fn unauthorized() -> Self {
        Self::new(401, "Unauthorized", "Unauthorized")
    }

    pub fn internal(cause: impl fmt::Display) -> Self {
        let cause = cause.to_string();
        Self::new(500, "InternalError", format!("Internal error occurred: {cause}")).with(
            StatusDetails {
                causes: vec![StatusCause { message: cause, ..StatusCause::default() }],
                ..StatusDetails::default()
            },
        )
    }

    pub fn service_unavailable(message: impl Into<String>) -> Self {
        Self::new(503, "ServiceUnavailable", message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PODS: GroupResource<'_> = GroupResource::new("", "pods");

    #[test]
    fn texts_codes_and_reasons() {
        fn check(error: StatusError, code: u16, reason: &str, message: &str) {
            assert_eq!((error.code(), error.reason(), error.message()), (code, reason, message));
        }
        check(StatusError::not_found(PODS, "x"), 404, "NotFound", r#"pods "x" not found"#);
        check(
            StatusError::not_found(GroupResource::new("apps", "deployments"), "x"),
            404,
            "NotFound",
            r#"deployments.apps "x" not found"#,
        );
        check(
            StatusError::already_exists(PODS, "x"),
            409,
            "AlreadyExists",
            r#"pods "x" already exists"#,
        );
        check(
            StatusError::modified(PODS, "x"),
            409,
            "Conflict",
            r#"Operation cannot be fulfilled on pods "x": the object has been modified; please apply your changes to the latest version and try again"#,
        );
        check(StatusError::forbidden(PODS, "", "no"), 403, "Forbidden", "pods is forbidden: no");
        check(
            StatusError::forbidden(PODS, "x", "no"),
            403,
            "Forbidden",
            r#"pods "x" is forbidden: no"#,
        );
        check(StatusError::too_old(3, 7), 410, "Expired", "too old resource version: 3 (7)");
        check(StatusError::internal("disk"), 500, "InternalError", "Internal error occurred: disk");
    }

    #[test]
    fn invalid_lists_each_failure_and_its_cause() {
        let kind = GroupKind::new("apps", "Deployment");
        let one = StatusError::invalid(kind, "x", vec![FieldError::required("spec.foo", "")]);
        assert_eq!(one.message(), r#"Deployment.apps "x" is invalid: spec.foo: Required value"#);
        let two = StatusError::invalid(
            kind,
            "x",
            vec![
                FieldError::required("spec.foo", ""),
                FieldError::invalid("spec.replicas", -1, "must be greater than or equal to 0"),
            ],
        );
        assert_eq!(
            two.message(),
            r#"Deployment.apps "x" is invalid: [spec.foo: Required value, spec.replicas: Invalid value: -1: must be greater than or equal to 0]"#
        );
        let details = two.0.details.as_ref().unwrap();
        assert_eq!((details.group.as_str(), details.kind.as_str()), ("apps", "Deployment"));
        assert_eq!(details.causes[1].reason, "FieldValueInvalid");
        assert_eq!(details.causes[1].field, "spec.replicas");
        assert_eq!(
            details.causes[1].message,
            "Invalid value: -1: must be greater than or equal to 0"
        );
    }
}
