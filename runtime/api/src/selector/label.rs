//! Label selectors: `metav1.LabelSelector` and the query syntax.

use std::fmt;

use serde_json::Value;

use super::SelectorError;
use super::syntax::parse_requirements;
use crate::names;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operator {
    Equals,
    NotEquals,
    In,
    NotIn,
    Exists,
    DoesNotExist,
    GreaterThan,
    LessThan,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requirement {
    pub key: String,
    pub operator: Operator,
    /// One value for the comparisons, several for `in` and `notin`, none for existence.
    pub values: Vec<String>,
}

impl Requirement {
    pub(super) fn new(
        key: &str,
        operator: Operator,
        values: Vec<String>,
    ) -> Result<Self, SelectorError> {
        if let Some(message) = names::qualified_name(key) {
            return Err(SelectorError::Key { key: key.to_owned(), message });
        }
        for value in &values {
            if matches!(operator, Operator::GreaterThan | Operator::LessThan) {
                if value.parse::<i64>().is_err() {
                    let message =
                        "for 'Gt', 'Lt' operators, the value must be an integer".to_owned();
                    return Err(SelectorError::Value {
                        key: key.to_owned(),
                        value: value.clone(),
                        message,
                    });
                }
            } else if let Some(message) = names::label_value(value) {
                return Err(SelectorError::Value {
                    key: key.to_owned(),
                    value: value.clone(),
                    message,
                });
            }
        }
        Ok(Self { key: key.to_owned(), operator, values })
    }

    fn matches(&self, actual: Option<&str>) -> bool {
        let listed = |actual: &str| self.values.iter().any(|value| value == actual);
        match self.operator {
            Operator::Equals | Operator::In => actual.is_some_and(listed),
            Operator::NotEquals | Operator::NotIn => !actual.is_some_and(listed),
            Operator::Exists => actual.is_some(),
            Operator::DoesNotExist => actual.is_none(),
            Operator::GreaterThan => self.compare(actual, |actual, bound| actual > bound),
            Operator::LessThan => self.compare(actual, |actual, bound| actual < bound),
        }
    }

    fn compare(&self, actual: Option<&str>, test: fn(i64, i64) -> bool) -> bool {
        let actual = actual.and_then(|text| text.parse().ok());
        let bound = self.values.first().and_then(|text| text.parse().ok());
        matches!((actual, bound), (Some(actual), Some(bound)) if test(actual, bound))
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = &self.key;
        let first = self.values.first().map_or("", String::as_str);
        match self.operator {
            Operator::Equals => write!(f, "{key}={first}"),
            Operator::NotEquals => write!(f, "{key}!={first}"),
            Operator::In => write!(f, "{key} in ({})", self.values.join(",")),
            Operator::NotIn => write!(f, "{key} notin ({})", self.values.join(",")),
            Operator::Exists => f.write_str(key),
            Operator::DoesNotExist => write!(f, "!{key}"),
            Operator::GreaterThan => write!(f, "{key}>{first}"),
            Operator::LessThan => write!(f, "{key}<{first}"),
        }
    }
}

/// All requirements must hold; none at all selects everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LabelSelector {
    requirements: Vec<Requirement>,
    nothing: bool,
}

impl LabelSelector {
    pub fn everything() -> Self {
        Self::default()
    }

    /// Selects no object: what an absent selector means in most specs.
    pub fn nothing() -> Self {
        Self { requirements: Vec::new(), nothing: true }
    }

    /// The query syntax: `a=b,c in (d,e),!f,g>1`.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        let mut requirements = parse_requirements(text)?;
        // A fixed order makes equal selectors print and compare equal.
        requirements.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(Self { requirements, nothing: false })
    }

    /// `metav1.LabelSelector` with `matchLabels` and `matchExpressions`. `null`
    /// selects nothing, an empty object everything.
    pub fn from_json(selector: &Value) -> Result<Self, SelectorError> {
        let shape = |text: &str| SelectorError::Shape(text.to_owned());
        let selector = match selector {
            Value::Null => return Ok(Self::nothing()),
            Value::Object(map) => map,
            _ => return Err(shape("label selector must be an object")),
        };
        let mut requirements = Vec::new();
        match selector.get("matchLabels") {
            None | Some(Value::Null) => {}
            Some(Value::Object(labels)) => {
                for (key, value) in labels {
                    let value = value
                        .as_str()
                        .ok_or_else(|| shape("matchLabels values must be strings"))?;
                    requirements.push(Requirement::new(
                        key,
                        Operator::Equals,
                        vec![value.to_owned()],
                    )?);
                }
            }
            Some(_) => return Err(shape("matchLabels must be an object")),
        }
        match selector.get("matchExpressions") {
            None | Some(Value::Null) => {}
            Some(Value::Array(expressions)) => {
                for expression in expressions {
                    requirements.push(Self::expression(expression)?);
                }
            }
            Some(_) => return Err(shape("matchExpressions must be an array")),
        }
        requirements.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(Self { requirements, nothing: false })
    }

    fn expression(expression: &Value) -> Result<Requirement, SelectorError> {
        let key = expression["key"].as_str().unwrap_or_default();
        let operator = expression["operator"].as_str().unwrap_or_default();
        let operator = match operator {
            "In" => Operator::In,
            "NotIn" => Operator::NotIn,
            "Exists" => Operator::Exists,
            "DoesNotExist" => Operator::DoesNotExist,
            // Only node selectors use these two; their values are integers.
            "Gt" => Operator::GreaterThan,
            "Lt" => Operator::LessThan,
            other => return Err(SelectorError::Operator { operator: other.to_owned() }),
        };
        let mut values = Vec::new();
        for value in expression["values"].as_array().into_iter().flatten() {
            let value = value
                .as_str()
                .ok_or_else(|| SelectorError::Shape("values must be strings".to_owned()))?;
            values.push(value.to_owned());
        }
        let wrong = match operator {
            Operator::In | Operator::NotIn if values.is_empty() => {
                Some("for 'in', 'notin' operators, values set can't be empty")
            }
            Operator::Exists | Operator::DoesNotExist if !values.is_empty() => {
                Some("values set must be empty for exists and does not exist")
            }
            Operator::GreaterThan | Operator::LessThan if values.len() != 1 => {
                Some("for 'Gt', 'Lt' operators, exactly one value is required")
            }
            _ => None,
        };
        if let Some(wrong) = wrong {
            return Err(SelectorError::Shape(wrong.to_owned()));
        }
        values.sort();
        Requirement::new(key, operator, values)
    }

    pub fn is_everything(&self) -> bool {
        !self.nothing && self.requirements.is_empty()
    }

    pub fn requirements(&self) -> &[Requirement] {
        &self.requirements
    }

    pub fn matches<'a>(&self, label: impl Fn(&str) -> Option<&'a str>) -> bool {
        !self.nothing
            && self
                .requirements
                .iter()
                .all(|requirement| requirement.matches(label(&requirement.key)))
    }

    /// Against a JSON map such as `metadata.labels`.
    pub fn matches_json(&self, labels: &Value) -> bool {
        self.matches(|key| labels.get(key).and_then(Value::as_str))
    }
}

impl fmt::Display for LabelSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, requirement) in self.requirements.iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            write!(f, "{requirement}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn matches(selector: &LabelSelector, labels: &[(&'static str, &'static str)]) -> bool {
        selector
            .matches(|key| labels.iter().find(|(name, _)| *name == key).map(|(_, value)| *value))
    }

    #[test]
    fn label_selectors_parse_and_match() {
        fn check(text: &str, labels: &[(&'static str, &'static str)], expect: bool) {
            let selector = LabelSelector::parse(text).unwrap();
            assert_eq!(matches(&selector, labels), expect, "{text}");
        }
        check("", &[], true);
        check("a=b", &[("a", "b")], true);
        check("a == b", &[("a", "c")], false);
        check("a!=b", &[], true);
        check("a!=b", &[("a", "b")], false);
        check("a in (b, c),!d", &[("a", "c")], true);
        check("a in (b,c),!d", &[("a", "c"), ("d", "")], false);
        check("a notin (b)", &[], true);
        check("a", &[("a", "")], true);
        check("!a", &[("a", "")], false);
        check("a=", &[("a", "")], true);
        check("a=,b", &[("a", ""), ("b", "x")], true);
        check("a in (,b)", &[("a", "")], true);
        check("n>5", &[("n", "6")], true);
        check("n<5", &[("n", "6")], false);
        check("n>5", &[("n", "x")], false);
        check("x.io/in in (in,notin)", &[("x.io/in", "in")], true);
    }

    #[test]
    fn bad_label_selectors_are_refused() {
        for text in [
            "a b", "a=b,", ",a", "a in b", "a in (b", "a=b c", "!", "a=!b", "a>b", "A B=c", "-a=b",
            "a=b$", "(a)",
        ] {
            assert!(LabelSelector::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn json_selectors() {
        let selector = LabelSelector::from_json(&json!({
            "matchLabels": {"app": "web"},
            "matchExpressions": [{"key": "tier", "operator": "NotIn", "values": ["db"]}]
        }))
        .unwrap();
        assert_eq!(selector.to_string(), "app=web,tier notin (db)");
        assert!(matches(&selector, &[("app", "web")]));
        assert!(!matches(&selector, &[("app", "web"), ("tier", "db")]));
        assert!(LabelSelector::from_json(&json!({})).unwrap().is_everything());
        assert!(!matches(&LabelSelector::from_json(&Value::Null).unwrap(), &[]));
        for bad in [
            json!([]),
            json!({"matchLabels": {"a": 1}}),
            json!({"matchExpressions": [{"key": "a", "operator": "In"}]}),
            json!({"matchExpressions": [{"key": "a", "operator": "Like", "values": ["b"]}]}),
        ] {
            assert!(LabelSelector::from_json(&bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn printing_round_trips(text in "([a-z]{1,4}(=|!=)[a-z0-9]{0,4}|!?[a-z]{1,4}|[a-z]{1,4} (in|notin) \\([a-z]{1,3},[a-z]{1,3}\\))") {
            let selector = LabelSelector::parse(&text).unwrap();
            prop_assert_eq!(LabelSelector::parse(&selector.to_string()).unwrap(), selector);
        }

        #[test]
        fn never_panics(text in ".{0,60}") {
            let _ = LabelSelector::parse(&text);
        }
    }
}
