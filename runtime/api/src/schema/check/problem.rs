//! What the field check finds, and the words of the answers made of it.
//!
//! Does not know the schema: a problem is a path and a text.

use std::fmt;

use crate::meta::GroupVersionKind;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldProblem {
    /// `spec.template.spec.containers[0].image`
    pub path: String,
    pub kind: ProblemKind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProblemKind {
    /// No such field: refused, reported or ignored, as the client asked.
    Unknown,
    /// The value cannot be read as the field's type; holds the decoder's text.
    Type(String),
}

impl FieldProblem {
    pub fn is_unknown(&self) -> bool {
        self.kind == ProblemKind::Unknown
    }
}

impl fmt::Display for FieldProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            ProblemKind::Unknown => write!(f, "unknown field {:?}", self.path),
            ProblemKind::Type(text) => f.write_str(text),
        }
    }
}

/// The message of the bad request that a body of the kind `found` is, where an
/// object of `expected_kind` belongs.
pub fn decode_error(found: &GroupVersionKind, expected_kind: &str, cause: &str) -> String {
    let GroupVersionKind { version, kind, .. } = found;
    format!("{kind} in version {version:?} cannot be handled as a {expected_kind}: {cause}")
}

/// The error of a strict request: unknown fields, then duplicate ones. `None`
/// when there are neither.
pub fn strict_error(problems: &[FieldProblem], duplicates: &[String]) -> Option<String> {
    let unknown = problems.iter().filter(|problem| problem.is_unknown()).map(ToString::to_string);
    let duplicate = duplicates.iter().map(|path| format!("duplicate field {path:?}"));
    let all: Vec<_> = unknown.chain(duplicate).collect();
    (!all.is_empty()).then(|| format!("strict decoding error: {}", all.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::super::check;
    use super::*;
    use serde_json::json;

    #[test]
    fn strict_errors_are_one_line() {
        let value = json!({"spec": {"foo": 1}});
        let problems = check("core.v1.Pod", &value);
        assert_eq!(
            strict_error(&problems, &["spec.bar".to_owned()]).unwrap(),
            r#"strict decoding error: unknown field "spec.foo", duplicate field "spec.bar""#
        );
        assert_eq!(strict_error(&[], &[]), None);
    }

    #[test]
    fn a_bad_request_names_both_kinds() {
        let found = GroupVersionKind::new("apps", "v1", "Deployment");
        assert_eq!(
            decode_error(&found, "Deployment", "strict decoding error: unknown field \"a\""),
            "Deployment in version \"v1\" cannot be handled as a Deployment: \
             strict decoding error: unknown field \"a\""
        );
    }
}
