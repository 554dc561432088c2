//! Query parameters (and `DeleteOptions` bodies) as options of the verbs.

use pintle_api::meta::GroupKind;
use pintle_api::selector::{FieldSelector, LabelSelector};
use pintle_api::status::{FieldError, StatusError};
use serde_json::Value;

use super::query::{Query, QueryError};
use crate::verbs::{DeleteOptions, FieldValidation, Preconditions, Propagation, WriteOptions};

impl From<QueryError> for StatusError {
    fn from(error: QueryError) -> StatusError {
        StatusError::bad_request(error.to_string())
    }
}

/// What selects objects of a collection.
#[derive(Debug, Default)]
pub struct Selectors {
    pub labels: LabelSelector,
    pub fields: FieldSelector,
}

pub fn selectors(query: &Query<'_>) -> Result<Selectors, StatusError> {
    let bad = |error: &dyn std::fmt::Display| StatusError::bad_request(error.to_string());
    let mut selectors = Selectors::default();
    if let Some(text) = query.get("labelSelector") {
        selectors.labels = LabelSelector::parse(text).map_err(|error| bad(&error))?;
    }
    if let Some(text) = query.get("fieldSelector") {
        selectors.fields = FieldSelector::parse(text).map_err(|error| bad(&error))?;
    }
    Ok(selectors)
}

/// `resourceVersionMatch`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Match {
    Exact,
    NotOlderThan,
}

#[derive(Debug, Default)]
pub struct ListOptions {
    /// 0 means no limit.
    pub limit: usize,
    pub continue_token: Option<String>,
    /// `None` and 0 mean the newest, which is what this server always has.
    pub resource_version: Option<u64>,
    pub version_match: Option<Match>,
}

impl ListOptions {
    pub fn parse(query: &Query<'_>) -> Result<ListOptions, StatusError> {
        let limit = query.integer("limit")?.unwrap_or(0);
        let version_match = match query.get("resourceVersionMatch") {
            None => None,
            Some("Exact") => Some(Match::Exact),
            Some("NotOlderThan") => Some(Match::NotOlderThan),
            Some(other) => {
                let error = FieldError::not_supported(
                    "resourceVersionMatch",
                    other,
                    &["Exact", "NotOlderThan", ""],
                );
                return Err(invalid("ListOptions", error));
            }
        };
        let options = ListOptions {
            limit: usize::try_from(limit).unwrap_or(0),
            continue_token: query.get("continue").map(str::to_string),
            resource_version: resource_version(query)?,
            version_match,
        };
        options.check(query)?;
        Ok(options)
    }

    fn check(&self, query: &Query<'_>) -> Result<(), StatusError> {
        let Some(version_match) = self.version_match else { return Ok(()) };
        let forbidden = |detail: &str| {
            Err(invalid("ListOptions", FieldError::forbidden("resourceVersionMatch", detail)))
        };
        if query.is_set("watch")? {
            // sendInitialEvents is the one case; the watch checks it.
            return Ok(());
        }
        if self.continue_token.is_some() {
            return forbidden("resourceVersionMatch is forbidden when continue is provided");
        }
        if self.resource_version.is_none() {
            return forbidden(
                "resourceVersionMatch is forbidden unless resourceVersion is provided",
            );
        }
        if version_match == Match::Exact && self.resource_version == Some(0) {
            return forbidden(
                "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"",
            );
        }
        Ok(())
    }
}

/// `resourceVersion` as a number.
pub fn resource_version(query: &Query<'_>) -> Result<Option<u64>, StatusError> {
    query
        .get("resourceVersion")
        .map(|text| {
            text.parse().map_err(|_| {
                invalid(
                    "ListOptions",
                    FieldError::invalid("resourceVersion", text, "must be a non-negative integer"),
                )
            })
        })
        .transpose()
}

pub fn write_options(
    query: &Query<'_>,
    duplicates: Vec<String>,
) -> Result<WriteOptions, StatusError> {
    let field_validation = match query.get("fieldValidation") {
        None => FieldValidation::default(),
        Some(text) => FieldValidation::parse(text).ok_or_else(|| {
            let error =
                FieldError::not_supported("fieldValidation", text, &["Ignore", "Strict", "Warn"]);
            invalid("CreateOptions", error)
        })?,
    };
    Ok(WriteOptions { dry_run: dry_run(query)?, field_validation, duplicates })
}

fn dry_run(query: &Query<'_>) -> Result<bool, StatusError> {
    let mut asked = false;
    for value in query.all("dryRun") {
        check_dry_run(value)?;
        asked = true;
    }
    Ok(asked)
}

fn check_dry_run(value: &str) -> Result<(), StatusError> {
    if value == "All" {
        return Ok(());
    }
    Err(invalid("CreateOptions", FieldError::not_supported("dryRun", value, &["All"])))
}

/// From the query, overridden by the body (`DeleteOptions`) if there is one.
pub fn delete_options(
    query: &Query<'_>,
    body: Option<&Value>,
) -> Result<DeleteOptions, StatusError> {
    let mut options = DeleteOptions {
        grace_period_seconds: query.integer("gracePeriodSeconds")?,
        propagation: propagation(query.get("propagationPolicy"))?,
        preconditions: Preconditions::default(),
        dry_run: dry_run(query)?,
    };
    if query.flag("orphanDependents")? == Some(true) {
        options.propagation = options.propagation.or(Some(Propagation::Orphan));
    }
    let Some(body) = body.filter(|body| body.is_object()) else { return Ok(options) };
    let text = |pointer: &str| body.pointer(pointer).and_then(Value::as_str);
    if let Some(grace) = body.get("gracePeriodSeconds").and_then(Value::as_i64) {
        options.grace_period_seconds = Some(grace);
    }
    if let Some(asked) = propagation(text("/propagationPolicy"))? {
        options.propagation = Some(asked);
    } else if body.get("orphanDependents").and_then(Value::as_bool) == Some(true) {
        options.propagation = Some(Propagation::Orphan);
    }
    for value in body.get("dryRun").and_then(Value::as_array).into_iter().flatten() {
        check_dry_run(value.as_str().unwrap_or_default())?;
        options.dry_run = true;
    }
    options.preconditions.uid = text("/preconditions/uid").map(str::to_string);
    options.preconditions.resource_version =
        text("/preconditions/resourceVersion").map(str::to_string);
    Ok(options)
}

fn propagation(text: Option<&str>) -> Result<Option<Propagation>, StatusError> {
    let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(None) };
    match Propagation::parse(text) {
        Some(propagation) => Ok(Some(propagation)),
        None => {
            let supported = ["Foreground", "Background", "Orphan", "nil"];
            Err(invalid(
                "DeleteOptions",
                FieldError::not_supported("propagationPolicy", text, &supported),
            ))
        }
    }
}

pub fn invalid(kind: &'static str, error: FieldError) -> StatusError {
    StatusError::invalid(GroupKind::new("meta.k8s.io", kind), "", vec![error])
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn delete_options_come_from_query_and_body() {
        let query = Query::parse(Some("gracePeriodSeconds=5&propagationPolicy=Orphan")).unwrap();
        let options = delete_options(&query, None).unwrap();
        assert_eq!(
            (options.grace_period_seconds, options.propagation),
            (Some(5), Some(Propagation::Orphan))
        );
        let body = json!({
            "gracePeriodSeconds": 0,
            "propagationPolicy": "Foreground",
            "preconditions": {"uid": "u"},
            "dryRun": ["All"],
        });
        let options = delete_options(&query, Some(&body)).unwrap();
        assert_eq!(
            (options.grace_period_seconds, options.propagation),
            (Some(0), Some(Propagation::Foreground))
        );
        assert_eq!(options.preconditions.uid.as_deref(), Some("u"));
        assert!(options.dry_run);
    }

    #[test]
    fn unsupported_values_are_named() {
        let check = |text: &str, expect: &str| {
            let query = Query::parse(Some(text)).unwrap();
            let error = write_options(&query, Vec::new())
                .map(|_| ())
                .and_then(|()| delete_options(&query, None).map(|_| ()))
                .and_then(|()| ListOptions::parse(&query).map(|_| ()))
                .unwrap_err();
            assert!(error.to_string().contains(expect), "{text}: {error}");
        };
        check("dryRun=Some", "dryRun: Unsupported value: \"Some\": supported values: \"All\"");
        check("fieldValidation=No", "fieldValidation: Unsupported value: \"No\"");
        check("propagationPolicy=No", "propagationPolicy: Unsupported value: \"No\"");
        check("resourceVersionMatch=No", "resourceVersionMatch: Unsupported value");
        check("resourceVersionMatch=Exact", "forbidden unless resourceVersion is provided");
        check("resourceVersion=x", "resourceVersion: Invalid value: \"x\"");
    }
}
