//! Label selectors in the form that objects carry them. [`parse`] reads the
//! string form that people type.

use std::collections::BTreeMap;

pub use pintle_api::selector::SelectorError;
use serde::{Deserialize, Serialize};

/// `metav1.LabelSelector`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LabelSelector {
    /// Each of these labels must have its value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub match_labels: Option<BTreeMap<String, String>>,
    /// Each of these must hold too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub match_expressions: Option<Vec<Requirement>>,
}

/// One expression on a label.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Requirement {
    /// The label.
    pub key: String,
    /// `In`, `NotIn`, `Exists` or `DoesNotExist`.
    pub operator: String,
    /// For `In` and `NotIn`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub values: Option<Vec<String>>,
}

impl LabelSelector {
    /// Selects everything; controllers treat such a selector as a mistake.
    pub fn is_empty(&self) -> bool {
        self.match_labels.as_ref().is_none_or(BTreeMap::is_empty)
            && self.match_expressions.as_ref().is_none_or(Vec::is_empty)
    }

    /// Does an object with these labels match?
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        let equal =
            self.match_labels.iter().flatten().all(|(key, value)| labels.get(key) == Some(value));
        equal
            && self
                .match_expressions
                .iter()
                .flatten()
                .all(|requirement| requirement.matches(labels))
    }
}

impl Requirement {
    /// Does an object with these labels match?
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        let value = labels.get(&self.key);
        let listed = || self.values.iter().flatten().any(|wanted| Some(wanted) == value);
        match self.operator.as_str() {
            "In" => listed(),
            "NotIn" => !listed(),
            "Exists" => value.is_some(),
            "DoesNotExist" => value.is_none(),
            // An operator from the future: match nothing rather than too much.
            _ => false,
        }
    }
}

impl std::fmt::Display for LabelSelector {
    /// The string form that lists take: `app=web,tier in (a,b),!legacy`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut separator = "";
        for (key, value) in self.match_labels.iter().flatten() {
            write!(f, "{separator}{key}={value}")?;
            separator = ",";
        }
        for requirement in self.match_expressions.iter().flatten() {
            let key = &requirement.key;
            let values = || requirement.values.as_deref().unwrap_or_default().join(",");
            match requirement.operator.as_str() {
                "In" => write!(f, "{separator}{key} in ({})", values())?,
                "NotIn" => write!(f, "{separator}{key} notin ({})", values())?,
                "DoesNotExist" => write!(f, "{separator}!{key}")?,
                _ => write!(f, "{separator}{key}")?,
            }
            separator = ",";
        }
        Ok(())
    }
}

/// Reads `app=web,tier in (a,b),!old`; the result is matched with a lookup.
///
/// ```
/// let selector = pintle_sdk::selector::parse("app=web,tier in (a,b)").unwrap();
/// let labels = [("app", "web"), ("tier", "b")];
/// let label = |key: &str| labels.iter().find(|(known, _)| *known == key).map(|(_, value)| *value);
/// assert!(selector.matches(label));
/// ```
pub fn parse(text: &str) -> Result<pintle_api::selector::LabelSelector, SelectorError> {
    pintle_api::selector::LabelSelector::parse(text)
}

/// The string form of a plain label map.
pub fn of_labels(labels: &BTreeMap<String, String>) -> String {
    let mut text = String::new();
    for (key, value) in labels {
        if !text.is_empty() {
            text.push(',');
        }
        text.push_str(key);
        text.push('=');
        text.push_str(value);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(selector: &str, labels: &[(&str, &str)], matches: bool, text: &str) {
        let selector: LabelSelector = serde_json::from_str(selector).unwrap();
        let labels = labels.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        assert_eq!(selector.matches(&labels), matches, "{selector} on {labels:?}");
        assert_eq!(selector.to_string(), text);
    }

    #[test]
    fn matches_and_prints() {
        check(r#"{"matchLabels":{"app":"web"}}"#, &[("app", "web"), ("x", "y")], true, "app=web");
        check(r#"{"matchLabels":{"app":"web"}}"#, &[("app", "db")], false, "app=web");
        let expressions = r#"{"matchExpressions":[{"key":"tier","operator":"In","values":["a","b"]},
            {"key":"old","operator":"DoesNotExist"},{"key":"app","operator":"Exists"}]}"#;
        check(expressions, &[("tier", "b"), ("app", "")], true, "tier in (a,b),!old,app");
        check(
            expressions,
            &[("tier", "b"), ("app", ""), ("old", "1")],
            false,
            "tier in (a,b),!old,app",
        );
        check(
            r#"{"matchExpressions":[{"key":"a","operator":"NotIn","values":["x"]}]}"#,
            &[],
            true,
            "a notin (x)",
        );
    }
}
