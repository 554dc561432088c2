//! Fields that field selectors may name.

use std::borrow::Cow;

use serde_json::Value;

use super::Resource;
use super::json::value_at_dotted;
use crate::selector::FieldSelector;
use crate::status::StatusError;

/// A field a client may select by. `metadata.name` and `metadata.namespace`
/// need no declaration.
#[derive(Debug, Clone, Copy)]
pub struct SelectableField {
    /// As written in the selector: `spec.nodeName`.
    pub path: &'static str,
    /// Where it lies in the object: `/spec/nodeName`.
    pub pointer: &'static str,
    /// The value of an absent field.
    pub default: &'static str,
    /// Whether the watch bus keeps a topic per value.
    pub indexed: bool,
    /// For fields that are computed rather than read.
    read: Option<fn(&Value) -> &str>,
}

impl SelectableField {
    pub(super) const fn new(path: &'static str, pointer: &'static str) -> Self {
        Self { path, pointer, default: "", indexed: false, read: None }
    }

    pub(super) const fn or(mut self, default: &'static str) -> Self {
        self.default = default;
        self
    }

    pub(super) const fn indexed(mut self) -> Self {
        self.indexed = true;
        self
    }

    pub(super) const fn computed(mut self, read: fn(&Value) -> &str) -> Self {
        self.read = Some(read);
        self
    }

    pub fn value<'a>(&self, object: &'a Value) -> Cow<'a, str> {
        if let Some(read) = self.read {
            return Cow::Borrowed(read(object));
        }
        let dotted = self.pointer.trim_start_matches('/');
        match value_at_dotted(object, dotted, '/') {
            Some(Value::String(text)) if !text.is_empty() => Cow::Borrowed(text),
            Some(Value::Bool(value)) => Cow::Borrowed(if *value { "true" } else { "false" }),
            Some(Value::Number(number)) => Cow::Owned(number.to_string()),
            _ => Cow::Borrowed(self.default),
        }
    }
}

impl Resource {
    /// The value of a selectable field, `None` if the kind has no such field.
    pub fn field_value<'a>(&self, object: &'a Value, path: &str) -> Option<Cow<'a, str>> {
        match path {
            "metadata.name" => Some(Cow::Borrowed(super::str_at(object, &["metadata", "name"]))),
            "metadata.namespace" => {
                Some(Cow::Borrowed(super::str_at(object, &["metadata", "namespace"])))
            }
            _ => self
                .selectable
                .iter()
                .find(|field| field.path == path)
                .map(|field| field.value(object)),
        }
    }

    /// Refuses selectors over fields that the kind does not offer.
    pub fn check_field_selector(&self, selector: &FieldSelector) -> Result<(), StatusError> {
        for requirement in &selector.requirements {
            let path = requirement.path.as_str();
            let known = matches!(path, "metadata.name" | "metadata.namespace")
                || self.selectable.iter().any(|field| field.path == path);
            if !known {
                let message = if self.selectable.is_empty() {
                    format!(
                        "{path:?} is not a known field selector: only \"metadata.name\", \"metadata.namespace\""
                    )
                } else {
                    format!("field label not supported: {path}")
                };
                return Err(StatusError::bad_request(message));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::Registry;
    use super::*;
    use serde_json::json;

    #[test]
    fn fields_read_with_their_defaults() {
        fn check(group: &str, plural: &str, object: Value, path: &str, expect: Option<&str>) {
            let row = Registry::builtin().by_plural(group, "v1", plural).unwrap();
            assert_eq!(row.field_value(&object, path).as_deref(), expect, "{plural} {path}");
        }
        check("", "pods", json!({"spec": {"nodeName": "n1"}}), "spec.nodeName", Some("n1"));
        check("", "pods", json!({}), "spec.nodeName", Some(""));
        check("", "pods", json!({}), "spec.hostNetwork", Some("false"));
        check("", "pods", json!({"spec": {"hostNetwork": true}}), "spec.hostNetwork", Some("true"));
        check("", "pods", json!({"metadata": {"name": "a"}}), "metadata.name", Some("a"));
        check("", "pods", json!({}), "spec.nothing", None);
        check("", "nodes", json!({}), "spec.unschedulable", Some("false"));
        check(
            "apps",
            "replicasets",
            json!({"status": {"replicas": 3}}),
            "status.replicas",
            Some("3"),
        );
        check("", "events", json!({"source": {"component": "k"}}), "source", Some("k"));
        check("", "events", json!({"reportingComponent": "r"}), "source", Some("r"));
        check(
            "",
            "events",
            json!({"involvedObject": {"name": "p"}}),
            "involvedObject.name",
            Some("p"),
        );
    }

    #[test]
    fn unknown_fields_are_refused_in_kubernetes_words() {
        let registry = Registry::builtin();
        let selector = FieldSelector::parse("spec.foo=x").unwrap();
        let refused = |plural: &str| {
            registry
                .by_plural("", "v1", plural)
                .unwrap()
                .check_field_selector(&selector)
                .unwrap_err()
        };
        assert_eq!(refused("pods").message(), "field label not supported: spec.foo");
        assert_eq!(
            refused("configmaps").message(),
            r#""spec.foo" is not a known field selector: only "metadata.name", "metadata.namespace""#
        );
        assert_eq!(refused("pods").code(), 400);
    }
}
