//! `fieldValidation`: what happens to fields that the kind does not have.

use pintle_api::kinds::Resource;
use pintle_api::meta::GroupVersionKind;
use pintle_api::schema;
use pintle_api::status::StatusError;
use serde_json::Value;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum FieldValidation {
    /// Unknown and duplicate fields are an error.
    Strict,
    /// They are dropped, and the user is told.
    #[default]
    Warn,
    /// They are dropped.
    Ignore,
}

impl FieldValidation {
    pub fn parse(text: &str) -> Option<FieldValidation> {
        match text {
            "Strict" => Some(FieldValidation::Strict),
            "Warn" => Some(FieldValidation::Warn),
            "Ignore" => Some(FieldValidation::Ignore),
            _ => None,
        }
    }
}

/// Checks an object against its kind's schema and brings it into the stored
/// form. Returns warnings.
pub fn check(
    resource: &Resource,
    object: &mut Value,
    duplicates: &[String],
    validation: FieldValidation,
) -> Result<Vec<String>, StatusError> {
    check_message(
        resource.schema,
        resource.kind,
        resource.group_version(),
        object,
        duplicates,
        validation,
    )
}

/// The same for any message of the schema (`autoscaling.v1.Scale`).
pub fn check_message(
    message: &str,
    kind: &str,
    group_version: &str,
    object: &mut Value,
    duplicates: &[String],
    validation: FieldValidation,
) -> Result<Vec<String>, StatusError> {
    let refuse = |cause: &str| {
        let expected = GroupVersionKind::parse(group_version, kind);
        StatusError::bad_request(schema::decode_error(&expected, kind, cause))
    };
    if !object.is_object() {
        return Err(refuse("the body is not a JSON object"));
    }
    let problems = schema::check(message, object);
    if let Some(wrong_type) = problems.iter().find(|problem| !problem.is_unknown()) {
        return Err(refuse(&wrong_type.to_string()));
    }
    let mut warnings = Vec::new();
    match validation {
        FieldValidation::Strict => {
            if let Some(error) = schema::strict_error(&problems, duplicates) {
                return Err(refuse(&error));
            }
        }
        FieldValidation::Warn => {
            warnings.extend(problems.iter().map(ToString::to_string));
            warnings.extend(duplicates.iter().map(|path| format!("duplicate field {path:?}")));
        }
        FieldValidation::Ignore => {}
    }
    schema::normalize(message, object);
    Ok(warnings)
}
