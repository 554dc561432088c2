//! Label and field selectors: parsed once, matched many times.
//!
//! Matching takes a lookup function, so that the caller decides how an object
//! stores its labels and fields.

mod field;
mod label;
mod syntax;

pub use field::{FieldOperator, FieldRequirement, FieldSelector};
pub use label::{LabelSelector, Operator, Requirement};

/// Why a selector could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SelectorError {
    #[error("unable to parse requirement: {0}")]
    Syntax(String),
    #[error("key: Invalid value: {key:?}: {message}")]
    Key { key: String, message: String },
    #[error("values[0][{key}]: Invalid value: {value:?}: {message}")]
    Value { key: String, value: String, message: String },
    #[error("{operator:?} is not a valid label selector operator")]
    Operator { operator: String },
    #[error("{0}")]
    Shape(String),
    #[error("invalid selector: '{selector}'; can't understand '{part}'")]
    Field { selector: String, part: String },
    #[error("invalid field selector: {0}")]
    Escape(String),
}
