//! Node selectors: `spec.nodeSelector` and `spec.affinity.nodeAffinity`.

use std::collections::{BTreeMap, BTreeSet};

use pintle_sdk::reading::Raw;
use serde::Deserialize;

/// Which nodes a pod may run on, and which it would rather.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct NodeMatch {
    selector: BTreeMap<String, String>,
    /// `None`: no requirement. Terms are alternatives; no term matches nothing.
    required: Option<Vec<Term>>,
    /// The nodes that the alternatives name, if each of them does.
    named: Option<BTreeSet<String>>,
    preferred: Vec<(i32, Term)>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Term {
    match_expressions: Option<Vec<Requirement>>,
    match_fields: Option<Vec<Requirement>>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
struct Requirement {
    key: String,
    operator: String,
    values: Option<Vec<String>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Affinity {
    node_affinity: Option<NodeAffinity>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct NodeAffinity {
    required_during_scheduling_ignored_during_execution: Option<NodeSelector>,
    preferred_during_scheduling_ignored_during_execution: Option<Vec<Preference>>,
}

/// Alternatives; none at all match nothing.
#[derive(Debug, Clone, Deserialize, Default, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeSelector {
    node_selector_terms: Option<Vec<Term>>,
}

impl NodeSelector {
    pub fn matches(&self, name: &str, labels: &BTreeMap<String, String>) -> bool {
        self.node_selector_terms.iter().flatten().any(|term| term.matches(name, labels))
    }
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Preference {
    weight: i32,
    preference: Term,
}

impl NodeMatch {
    pub fn read(
        selector: Option<Raw<'_>>,
        affinity: Option<Raw<'_>>,
    ) -> Result<Self, serde_json::Error> {
        let selector: Option<Option<_>> = selector.map(Raw::parse).transpose()?;
        let selector = selector.flatten().unwrap_or_default();
        let affinity: Option<Option<Affinity>> = affinity.map(Raw::parse).transpose()?;
        let affinity =
            affinity.flatten().and_then(|affinity| affinity.node_affinity).unwrap_or_default();
        let required = affinity
            .required_during_scheduling_ignored_during_execution
            .map(|selector| selector.node_selector_terms.unwrap_or_default());
        let preferred: Vec<(i32, Term)> = affinity
            .preferred_during_scheduling_ignored_during_execution
            .unwrap_or_default()
            .into_iter()
            .filter(|preference| preference.weight > 0 && !preference.preference.is_empty())
            .map(|preference| (preference.weight.min(100), preference.preference))
            .collect();
        let named = required.as_deref().and_then(named);
        Ok(NodeMatch { selector, required, named, preferred })
    }

    pub fn is_everything(&self) -> bool {
        self.selector.is_empty() && self.required.is_none()
    }

    /// Are other nodes than this one named, whatever else is asked for?
    pub fn leaves_out(&self, name: &str) -> bool {
        self.named.as_ref().is_some_and(|named| !named.contains(name))
    }

    /// Does each alternative ask for several names at once, which no node has?
    pub fn is_contradictory(&self) -> bool {
        self.named.as_ref().is_some_and(BTreeSet::is_empty)
    }

    pub fn has_preferences(&self) -> bool {
        !self.preferred.is_empty()
    }

    pub fn matches(&self, name: &str, labels: &BTreeMap<String, String>) -> bool {
        self.selector.iter().all(|(key, value)| labels.get(key) == Some(value))
            && self
                .required
                .as_ref()
                .is_none_or(|terms| terms.iter().any(|term| term.matches(name, labels)))
    }

    /// The weights of the preferences that a node meets, added up.
    pub fn preference(&self, name: &str, labels: &BTreeMap<String, String>) -> i32 {
        let met = self.preferred.iter().filter(|(_, term)| term.matches(name, labels));
        met.map(|(weight, _)| *weight).sum()
    }
}

/// The names of nodes in all alternatives together; `None` if one has none.
fn named(terms: &[Term]) -> Option<BTreeSet<String>> {
    let mut all = BTreeSet::new();
    for term in terms {
        all.extend(term.named()?);
    }
    (!terms.is_empty()).then_some(all)
}

impl Term {
    /// The names that all requirements for a name allow.
    fn named(&self) -> Option<BTreeSet<String>> {
        let fields = self.match_fields.iter().flatten();
        let by_name = fields.filter(|field| field.key == "metadata.name" && field.operator == "In");
        let sets = by_name.map(|field| field.values.iter().flatten().cloned().collect());
        sets.reduce(|a: BTreeSet<String>, b| a.intersection(&b).cloned().collect())
    }

    fn is_empty(&self) -> bool {
        self.match_expressions.as_ref().is_none_or(Vec::is_empty)
            && self.match_fields.as_ref().is_none_or(Vec::is_empty)
    }

    fn matches(&self, name: &str, labels: &BTreeMap<String, String>) -> bool {
        let expressions = self.match_expressions.as_deref().unwrap_or_default();
        let fields = self.match_fields.as_deref().unwrap_or_default();
        !self.is_empty()
            && expressions
                .iter()
                .all(|wanted| wanted.matches(labels.get(&wanted.key).map(String::as_str)))
            && fields
                .iter()
                .all(|wanted| wanted.key == "metadata.name" && wanted.matches(Some(name)))
    }
}

impl Requirement {
    fn matches(&self, value: Option<&str>) -> bool {
        let values = self.values.as_deref().unwrap_or_default();
        let listed = || value.is_some_and(|value| values.iter().any(|wanted| wanted == value));
        let compare = |holds: fn(i64, i64) -> bool| match (value.map(str::parse), values) {
            (Some(Ok(value)), [bound]) => bound.parse().is_ok_and(|bound| holds(value, bound)),
            _ => false,
        };
        match self.operator.as_str() {
            "In" => listed(),
            "NotIn" => !listed(),
            "Exists" => value.is_some(),
            "DoesNotExist" => value.is_none(),
            "Gt" => compare(|value, bound| value > bound),
            "Lt" => compare(|value, bound| value < bound),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node_match(selector: &str, affinity: &str) -> NodeMatch {
        let raw = |text| Some(Raw::new(str::as_bytes(text)));
        NodeMatch::read(raw(selector), raw(affinity)).unwrap()
    }

    fn check(selector: &str, terms: &str, expect: bool) {
        let affinity = format!(
            r#"{{"nodeAffinity":{{"requiredDuringSchedulingIgnoredDuringExecution":{{"nodeSelectorTerms":{terms}}}}}}}"#
        );
        let labels =
            [("zone", "a"), ("cores", "8")].map(|(k, v)| (k.to_owned(), v.to_owned())).into();
        assert_eq!(
            node_match(selector, &affinity).matches("n1", &labels),
            expect,
            "{selector} {terms}"
        );
    }

    #[test]
    fn every_operator() {
        let one = |key: &str, operator: &str, values: &str| {
            format!(
                r#"[{{"matchExpressions":[{{"key":"{key}","operator":"{operator}","values":{values}}}]}}]"#
            )
        };
        check("{}", &one("zone", "In", r#"["a","b"]"#), true);
        check("{}", &one("zone", "In", r#"["b"]"#), false);
        check("{}", &one("zone", "NotIn", r#"["b"]"#), true);
        check("{}", &one("other", "NotIn", r#"["b"]"#), true);
        check("{}", &one("zone", "Exists", "[]"), true);
        check("{}", &one("other", "Exists", "null"), false);
        check("{}", &one("other", "DoesNotExist", "[]"), true);
        check("{}", &one("cores", "Gt", r#"["7"]"#), true);
        check("{}", &one("cores", "Gt", r#"["8"]"#), false);
        check("{}", &one("cores", "Lt", r#"["9"]"#), true);
        check("{}", &one("zone", "Lt", r#"["9"]"#), false);
        check(r#"{"zone":"a"}"#, &one("zone", "Exists", "[]"), true);
        check(r#"{"zone":"b"}"#, &one("zone", "Exists", "[]"), false);
    }

    #[test]
    fn fields_alternatives_and_empty_terms() {
        let field = |name: &str| {
            format!(
                r#"{{"matchFields":[{{"key":"metadata.name","operator":"In","values":["{name}"]}}]}}"#
            )
        };
        check("{}", &format!("[{}]", field("n1")), true);
        check("{}", &format!("[{}]", field("n2")), false);
        check("{}", &format!("[{},{}]", field("n2"), field("n1")), true);
        check("{}", "[{}]", false);
        check("{}", "[]", false);
    }

    #[test]
    fn preferences_count_by_weight() {
        let preferred = r#"{"nodeAffinity":{"preferredDuringSchedulingIgnoredDuringExecution":[
            {"weight":3,"preference":{"matchExpressions":[{"key":"zone","operator":"In","values":["a"]}]}},
            {"weight":1,"preference":{"matchExpressions":[{"key":"zone","operator":"In","values":["b"]}]}},
            {"weight":9,"preference":{}}]}}"#;
        let labels = [("zone".to_owned(), "a".to_owned())].into();
        assert_eq!(node_match("{}", preferred).preference("n", &labels), 3);
    }
}
