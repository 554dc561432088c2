//! What validation finds wrong with a field.

use std::fmt;

use serde_json::Value;

/// What is wrong with a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FieldErrorKind {
    NotFound,
    Required,
    Duplicate,
    Invalid,
    NotSupported,
    Forbidden,
    TooLong,
    TooMany,
    Internal,
    TypeInvalid,
}

impl FieldErrorKind {
    /// The machine-readable reason of a `StatusCause`.
    pub fn reason(self) -> &'static str {
        match self {
            Self::NotFound => "FieldValueNotFound",
            Self::Required => "FieldValueRequired",
            Self::Duplicate => "FieldValueDuplicate",
            Self::Invalid => "FieldValueInvalid",
            Self::NotSupported => "FieldValueNotSupported",
            Self::Forbidden => "FieldValueForbidden",
            Self::TooLong => "FieldValueTooLong",
            Self::TooMany => "FieldValueTooMany",
            Self::Internal => "InternalError",
            Self::TypeInvalid => "FieldValueTypeInvalid",
        }
    }

    fn text(self) -> &'static str {
        match self {
            Self::NotFound => "Not found",
            Self::Required => "Required value",
            Self::Duplicate => "Duplicate value",
            Self::Invalid | Self::TypeInvalid => "Invalid value",
            Self::NotSupported => "Unsupported value",
            Self::Forbidden => "Forbidden",
            Self::TooLong => "Too long",
            Self::TooMany => "Too many",
            Self::Internal => "Internal error",
        }
    }
}

/// One failed check of validation. `Display` is Kubernetes' text.
#[derive(Debug, Clone, PartialEq)]
pub struct FieldError {
    pub path: String,
    pub kind: FieldErrorKind,
    pub bad_value: Value,
    pub detail: String,
}

impl FieldError {
    fn new(
        kind: FieldErrorKind,
        path: impl Into<String>,
        bad_value: Value,
        detail: impl Into<String>,
    ) -> Self {
        Self { path: path.into(), kind, bad_value, detail: detail.into() }
    }

    pub fn required(path: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(FieldErrorKind::Required, path, Value::String(String::new()), detail)
    }

    pub fn invalid(
        path: impl Into<String>,
        bad_value: impl Into<Value>,
        detail: impl Into<String>,
    ) -> Self {
        Self::new(FieldErrorKind::Invalid, path, bad_value.into(), detail)
    }

    pub fn type_invalid(
        path: impl Into<String>,
        bad_value: impl Into<Value>,
        detail: impl Into<String>,
    ) -> Self {
        Self::new(FieldErrorKind::TypeInvalid, path, bad_value.into(), detail)
    }

    pub fn not_supported(
        path: impl Into<String>,
        bad_value: impl Into<Value>,
        supported: &[&str],
    ) -> Self {
        let values: Vec<String> = supported.iter().map(|value| format!("{value:?}")).collect();
        let detail = if values.is_empty() {
            String::new()
        } else {
            format!("supported values: {}", values.join(", "))
        };
        Self::new(FieldErrorKind::NotSupported, path, bad_value.into(), detail)
    }

    pub fn forbidden(path: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(FieldErrorKind::Forbidden, path, Value::String(String::new()), detail)
    }

    pub fn duplicate(path: impl Into<String>, bad_value: impl Into<Value>) -> Self {
        Self::new(FieldErrorKind::Duplicate, path, bad_value.into(), "")
    }

    pub fn not_found(path: impl Into<String>, bad_value: impl Into<Value>) -> Self {
        Self::new(FieldErrorKind::NotFound, path, bad_value.into(), "")
    }

    pub fn too_long(path: impl Into<String>, max_bytes: usize) -> Self {
        Self::new(
            FieldErrorKind::TooLong,
            path,
            Value::String(String::new()),
            format!("may not be more than {max_bytes} bytes"),
        )
    }

    pub fn too_many(path: impl Into<String>, actual: usize, max: usize) -> Self {
        let items = if max == 1 { "item" } else { "items" };
        Self::new(
            FieldErrorKind::TooMany,
            path,
            actual.into(),
            format!("must have at most {max} {items}"),
        )
    }

    /// The text after the path, which is also the cause's message.
    pub fn body(&self) -> String {
        use FieldErrorKind as Kind;
        let kind = self.kind.text();
        let mut text = match self.kind {
            Kind::Required | Kind::Forbidden | Kind::TooLong | Kind::Internal => kind.to_owned(),
            // Strings are quoted by JSON's rules, which agree with Go's %q on printable text.
            _ => format!("{kind}: {}", self.bad_value),
        };
        if !self.detail.is_empty() {
            text.push_str(": ");
            text.push_str(&self.detail);
        }
        text
    }
}

impl FieldError {
    /// The inverse of `Display`, for failures that come from elsewhere as text:
    /// `spec.clusterIPs: Invalid value: ["10.96.0.7"]: REASON`.
    pub fn parse(line: &str) -> Option<Self> {
        use FieldErrorKind as Kind;
        const KINDS: [Kind; 9] = [
            Kind::NotFound,
            Kind::Required,
            Kind::Duplicate,
            Kind::Invalid,
            Kind::NotSupported,
            Kind::Forbidden,
            Kind::TooLong,
            Kind::TooMany,
            Kind::Internal,
        ];
        let (path, body) = line.split_once(": ")?;
        let kind = KINDS.into_iter().find(|kind| body.starts_with(kind.text()))?;
        let rest = &body[kind.text().len()..];
        let bare =
            matches!(kind, Kind::Required | Kind::Forbidden | Kind::TooLong | Kind::Internal);
        if bare {
            let detail = match rest {
                "" => "",
                rest => rest.strip_prefix(": ")?,
            };
            return Some(Self::new(kind, path, Value::String(String::new()), detail));
        }
        let rest = rest.strip_prefix(": ")?;
        let mut values = serde_json::Deserializer::from_str(rest).into_iter::<Value>();
        let bad_value = values.next()?.ok()?;
        let detail = &rest[values.byte_offset()..];
        Some(Self::new(kind, path, bad_value, detail.strip_prefix(": ").unwrap_or(detail)))
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.body())
    }
}

/// For tests of rules: so many failures, each with this beginning.
#[cfg(test)]
#[track_caller]
pub(crate) fn expect_errors(found: &[FieldError], starts: &[&str]) {
    let found: Vec<String> = found.iter().map(ToString::to_string).collect();
    let same = found.len() == starts.len()
        && found.iter().zip(starts).all(|(text, start)| text.starts_with(start));
    assert!(same, "{found:#?}\ndo not start with\n{starts:#?}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_can_be_read() {
        for error in [
            FieldError::required("spec.ports", ""),
            FieldError::required("spec.ports", "at least one: two"),
            FieldError::invalid("spec.clusterIPs", serde_json::json!(["a: b"]), "taken: sorry"),
            FieldError::invalid("spec.ports[0].nodePort", 30080, ""),
            FieldError::invalid("spec.x", Value::Null, "must be set"),
            FieldError::not_supported("spec.type", "Odd", &["A", "B"]),
            FieldError::duplicate("a", serde_json::json!({"b": 1})),
            FieldError::forbidden("spec", "is immutable"),
            FieldError::too_many("a", 3, 2),
        ] {
            assert_eq!(FieldError::parse(&error.to_string()), Some(error));
        }
        for text in ["", "no path", "spec: Odd value: 1", "spec: Invalid value: {", "a: Forbiddenx"]
        {
            assert_eq!(FieldError::parse(text), None, "{text}");
        }
    }

    #[test]
    fn field_errors_read_as_kubernetes_writes_them() {
        fn check(error: FieldError, expect: &str) {
            assert_eq!(error.to_string(), expect);
        }
        check(
            FieldError::not_supported(
                "spec.restartPolicy",
                "Maybe",
                &["Always", "OnFailure", "Never"],
            ),
            r#"spec.restartPolicy: Unsupported value: "Maybe": supported values: "Always", "OnFailure", "Never""#,
        );
        check(
            FieldError::too_long("data", 1_048_576),
            "data: Too long: may not be more than 1048576 bytes",
        );
        check(
            FieldError::duplicate("spec.containers[1].name", "a"),
            r#"spec.containers[1].name: Duplicate value: "a""#,
        );
        check(FieldError::forbidden("spec", "is immutable"), "spec: Forbidden: is immutable");
    }
}
