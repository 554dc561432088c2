//! The patches a client may send: JSON patch (RFC 6902), JSON merge patch
//! (RFC 7386) and Kubernetes' strategic merge patch.
//!
//! All three change a value in place and say with a [`PatchError`] why they
//! cannot. After an error the value is not to be used.

mod json;
mod merge;
#[cfg(all(test, feature = "schema"))]
mod scenarios;
#[cfg(feature = "schema")]
mod strategic;
#[cfg(feature = "schema")]
mod strategic_list;
#[cfg(feature = "schema")]
mod three_way;

use serde_json::Value;

pub use json::json_patch;
pub use merge::merge_patch;
#[cfg(feature = "schema")]
pub use strategic::strategic_merge;
#[cfg(feature = "schema")]
pub use three_way::three_way;

/// Levels of objects and lists an object may have. JSON parsers stop at 128, and
/// an object also travels inside of lists, tables and events.
pub const MAX_NESTING: usize = 100;

/// As many as Kubernetes takes.
pub const MAX_JSON_PATCH_OPERATIONS: usize = 10_000;

/// What the `copy` and `move` operations of one JSON patch may touch, in values:
/// a few dozen copies could otherwise double an object until memory ends.
pub const MAX_COPIED_VALUES: usize = 200_000;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatchError {
    #[error("{0}")]
    Malformed(String),
    #[error(
        "the allowed maximum operations in a JSON patch is {MAX_JSON_PATCH_OPERATIONS}, got {0}"
    )]
    TooManyOperations(usize),
    #[error(
        "the copy and move operations of the JSON patch touch more than {MAX_COPIED_VALUES} values"
    )]
    TooMuchCopied,
    #[error("{operation} operation does not apply: {reason}")]
    DoesNotApply { operation: &'static str, reason: String },
    #[error("testing value {path} failed")]
    TestFailed { path: String },
    #[error("map: {element} does not contain declared merge key: {key}")]
    NoMergeKey { element: String, key: String },
    #[error("unknown patch type {directive} in {path}")]
    UnknownDirective { directive: String, path: String },
    #[error("the order in patch list {patch} does not match the $setElementOrder list {order}")]
    OrderMismatch { patch: String, order: String },
    #[error("the keys of {path} are not all in its $retainKeys list")]
    RetainKeys { path: String },
    #[error("no schema for {0}: strategic merge patches work on built-in kinds only")]
    UnknownMessage(String),
}

/// How many levels of objects and lists a value has; 0 for plain values.
pub fn nesting(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(nesting).max().unwrap_or(0),
        Value::Object(entries) => 1 + entries.values().map(nesting).max().unwrap_or(0),
        _ => 0,
    }
}

impl PatchError {
    /// The HTTP status of the request: what cannot be read is a bad request,
    /// what does not fit the object is unprocessable.
    pub fn code(&self) -> u16 {
        match self {
            Self::Malformed(_) | Self::NoMergeKey { .. } | Self::UnknownDirective { .. } => 400,
            Self::TooManyOperations(_) | Self::TooMuchCopied => 413,
            Self::UnknownMessage(_) => 415,
            Self::DoesNotApply { .. }
            | Self::TestFailed { .. }
            | Self::OrderMismatch { .. }
            | Self::RetainKeys { .. } => 422,
        }
    }
}
