//! Rules that several kinds share.

use serde_json::Value;

use super::json::{items, object_at, value_at};
use crate::names;
use crate::quantity::Quantity;
use crate::selector::{LabelSelector, SelectorError};
use crate::status::FieldError;

pub(super) const IMMUTABLE: &str = "field is immutable";
const NOT_NEGATIVE: &str = "must be greater than or equal to 0";

/// Collects failures below a path, so that rules read as one line each.
pub(super) struct Check<'e> {
    errors: &'e mut Vec<FieldError>,
    path: String,
}

impl<'e> Check<'e> {
    pub(super) fn new(errors: &'e mut Vec<FieldError>, path: impl Into<String>) -> Self {
        Self { errors, path: path.into() }
    }

    /// The path of a field below this one.
    pub(super) fn path(&self, field: &str) -> String {
        match (self.path.is_empty(), field.is_empty()) {
            (true, _) => field.to_owned(),
            (_, true) => self.path.clone(),
            _ => format!("{}.{field}", self.path),
        }
    }

    pub(super) fn field(&mut self, field: &str) -> Check<'_> {
        let path = self.path(field);
        Check { errors: self.errors, path }
    }

    pub(super) fn item(&mut self, field: &str, index: usize) -> Check<'_> {
        let path = format!("{}[{index}]", self.path(field));
        Check { errors: self.errors, path }
    }

    pub(super) fn errors(&mut self) -> &mut Vec<FieldError> {
        self.errors
    }

    pub(super) fn required(&mut self, field: &str, detail: &str) {
        let path = self.path(field);
        self.errors.push(FieldError::required(path, detail));
    }

    pub(super) fn invalid(
        &mut self,
        field: &str,
        value: impl Into<Value>,
        detail: impl Into<String>,
    ) {
        let path = self.path(field);
        self.errors.push(FieldError::invalid(path, value, detail));
    }

    pub(super) fn forbidden(&mut self, field: &str, detail: impl Into<String>) {
        let path = self.path(field);
        self.errors.push(FieldError::forbidden(path, detail));
    }

    pub(super) fn not_supported(
        &mut self,
        field: &str,
        value: impl Into<Value>,
        supported: &[&str],
    ) {
        let path = self.path(field);
        self.errors.push(FieldError::not_supported(path, value, supported));
    }

    pub(super) fn duplicate(&mut self, field: &str, value: impl Into<Value>) {
        let path = self.path(field);
        self.errors.push(FieldError::duplicate(path, value));
    }

    /// A string that must follow a syntax; absent passes.
    pub(super) fn syntax(&mut self, object: &Value, field: &str, rule: fn(&str) -> Option<String>) {
        if let Some(text) = object.get(field).and_then(Value::as_str)
            && let Some(message) = rule(text)
        {
            self.invalid(field, text, message);
        }
    }

    /// A string out of a fixed set; absent or empty passes.
    pub(super) fn one_of(&mut self, object: &Value, field: &str, supported: &[&str]) {
        if let Some(text) = object.get(field).and_then(Value::as_str)
            && !text.is_empty()
            && !supported.contains(&text)
        {
            self.not_supported(field, text, supported);
        }
    }

    pub(super) fn not_negative(&mut self, object: &Value, field: &str) {
        if let Some(value) = object.get(field).and_then(Value::as_i64)
            && value < 0
        {
            self.invalid(field, value, NOT_NEGATIVE);
        }
    }

    pub(super) fn port(&mut self, object: &Value, field: &str) {
        if let Some(port) = object.get(field).and_then(Value::as_i64)
            && let Some(message) = names::port_number(port)
        {
            self.invalid(field, port, message);
        }
    }

    /// A port that is a number or the name of one.
    pub(super) fn port_or_name(&mut self, object: &Value, field: &str) {
        match object.get(field) {
            Some(Value::Number(_)) => self.port(object, field),
            Some(Value::String(_)) => self.syntax(object, field, names::port_name),
            _ => {}
        }
    }

    pub(super) fn immutable(&mut self, new: &Value, old: &Value, field: &str) {
        let (new, old) = (value_at(new, &[field]), value_at(old, &[field]));
        if new != old {
            self.invalid(field, new.clone(), IMMUTABLE);
        }
    }

    /// A map of resource name to quantity.
    pub(super) fn quantities(&mut self, object: &Value, field: &str) {
        for (name, value) in object_at(object, &[field]).into_iter().flatten() {
            let key = format!("{field}[{name}]");
            if let Some(message) = names::qualified_name(name) {
                self.invalid(field, name.as_str(), message);
            }
            match quantity(value) {
                Ok(quantity) if quantity.is_negative() => {
                    self.invalid(&key, quantity.to_string(), NOT_NEGATIVE)
                }
                Ok(_) => {}
                Err(message) => self.invalid(&key, value.clone(), message),
            }
        }
    }

    /// A `metav1.LabelSelector`.
    pub(super) fn label_selector(&mut self, selector: &Value) {
        super::metadata::labels(
            value_at(selector, &["matchLabels"]),
            &self.path("matchLabels"),
            self.errors,
        );
        for (index, expression) in items(selector, &["matchExpressions"]).iter().enumerate() {
            let mut check = self.item("matchExpressions", index);
            let operator = super::str_at(expression, &["operator"]);
            let values = items(expression, &["values"]);
            match operator {
                "In" | "NotIn" if values.is_empty() => {
                    check
                        .required("values", "must be specified when `operator` is 'In' or 'NotIn'");
                }
                "Exists" | "DoesNotExist" if !values.is_empty() => {
                    check.forbidden(
                        "values",
                        "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
                    );
                }
                "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
                other => check.invalid("operator", other, "not a valid selector operator"),
            }
            check.syntax(expression, "key", names::qualified_name);
            for (place, value) in values.iter().enumerate() {
                let text = value.as_str().unwrap_or_default();
                if let Some(message) = names::label_value(text) {
                    check.invalid(&format!("values[{place}]"), text, message);
                }
            }
        }
    }

    /// `spec.selector` and `spec.template` of a workload.
    pub(super) fn selects_template(&mut self, spec: &Value) {
        let selector = value_at(spec, &["selector"]);
        if !selector.is_object() {
            self.required("selector", "");
            return;
        }
        self.field("selector").label_selector(selector);
        let parsed: Result<LabelSelector, SelectorError> = LabelSelector::from_json(selector);
        match parsed {
            Ok(parsed) if parsed.is_everything() => {
                self.invalid(
                    "selector",
                    selector.clone(),
                    "empty selector is invalid for deployment",
                );
            }
            Ok(parsed) => {
                let labels = value_at(spec, &["template", "metadata", "labels"]);
                if !parsed.matches_json(labels) {
                    let labels =
                        if labels.is_null() { serde_json::json!({}) } else { labels.clone() };
                    self.invalid(
                        "template.metadata.labels",
                        labels,
                        "`selector` does not match template `labels`",
                    );
                }
            }
            // The failures are already listed field by field.
            Err(_) => {}
        }
    }
}

/// A quantity as clients may write it: text, or a bare number.
pub(super) fn quantity(value: &Value) -> Result<Quantity, String> {
    let parsed = match value {
        Value::String(text) => Quantity::parse(text),
        Value::Number(number) => Quantity::parse(&number.to_string()),
        _ => return Err("must be a quantity such as \"100m\" or \"1Gi\"".to_owned()),
    };
    parsed.map_err(|error| error.to_string())
}
