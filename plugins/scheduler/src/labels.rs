//! Label selectors as rules between pods use them, and which pods a rule means.
//!
//! A selector here is ordered and comparable, so that equal rules of different
//! pods are recognised as one. Does not know: nodes, topologies, counts.

use std::collections::BTreeMap;

use pintle_sdk::names::{fnv1a, mix};
use pintle_sdk::selector::LabelSelector;

pub type LabelMap = BTreeMap<String, String>;

/// Every namespace carries this label with its own name.
const NAMESPACE_NAME: &str = "kubernetes.io/metadata.name";

/// All requirements must hold; none at all selects everything.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Selector(Vec<Requirement>);

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Requirement {
    key: String,
    test: Test,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Test {
    In(Vec<String>),
    NotIn(Vec<String>),
    Exists,
    DoesNotExist,
    /// An operator from the future: matches nothing rather than too much.
    Never,
}

impl Selector {
    pub fn of(selector: &LabelSelector) -> Self {
        let mut requirements: Vec<Requirement> = selector
            .match_labels
            .iter()
            .flatten()
            .map(|(key, value)| Requirement::one(key, value))
            .collect();
        for wanted in selector.match_expressions.iter().flatten() {
            let mut values = wanted.values.clone().unwrap_or_default();
            values.sort_unstable();
            let test = match wanted.operator.as_str() {
                "In" => Test::In(values),
                "NotIn" => Test::NotIn(values),
                "Exists" => Test::Exists,
                "DoesNotExist" => Test::DoesNotExist,
                _ => Test::Never,
            };
            requirements.push(Requirement { key: wanted.key.clone(), test });
        }
        Self::from_requirements(requirements)
    }

    fn from_requirements(mut requirements: Vec<Requirement>) -> Self {
        requirements.sort_unstable();
        requirements.dedup();
        Selector(requirements)
    }

    /// Narrowed to what has the same values of these labels as `labels`;
    /// keys that are not there are left out.
    pub fn same(self, keys: &[String], labels: &LabelMap) -> Self {
        let wanted = keys.iter().filter_map(|key| Some(Requirement::one(key, labels.get(key)?)));
        Self::from_requirements(self.0.into_iter().chain(wanted).collect())
    }

    /// Narrowed to what has other values of these labels.
    pub fn other(self, keys: &[String], labels: &LabelMap) -> Self {
        let wanted = keys.iter().filter_map(|key| {
            let test = Test::NotIn(vec![labels.get(key)?.clone()]);
            Some(Requirement { key: key.clone(), test })
        });
        Self::from_requirements(self.0.into_iter().chain(wanted).collect())
    }

    pub fn is_everything(&self) -> bool {
        self.0.is_empty()
    }

    /// Labels of which whatever is selected has one, as [`mark`]s; `None` when
    /// no such list can be given.
    pub fn needs(&self) -> Option<Vec<u64>> {
        self.0.iter().find_map(|wanted| match &wanted.test {
            Test::In(values) => Some(values.iter().map(|value| mark(&wanted.key, value)).collect()),
            Test::Never => Some(Vec::new()),
            Test::NotIn(_) | Test::Exists | Test::DoesNotExist => None,
        })
    }

    pub fn matches(&self, labels: &LabelMap) -> bool {
        self.0.iter().all(|wanted| wanted.matches(labels.get(&wanted.key)))
    }
}

impl Requirement {
    fn one(key: &str, value: &str) -> Self {
        Requirement { key: key.to_owned(), test: Test::In(vec![value.to_owned()]) }
    }

    fn matches(&self, value: Option<&String>) -> bool {
        let listed = |values: &[String]| value.is_some_and(|value| values.contains(value));
        match &self.test {
            Test::In(values) => listed(values),
            Test::NotIn(values) => !listed(values),
            Test::Exists => value.is_some(),
            Test::DoesNotExist => value.is_none(),
            Test::Never => false,
        }
    }
}

/// A number for a label and its value, for looking things up by.
pub fn mark(key: &str, value: &str) -> u64 {
    mix(fnv1a(key.as_bytes())) ^ fnv1a(value.as_bytes())
}

/// One term of an affinity between pods, with the namespaces it is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PodTerm {
    pub topology_key: String,
    /// `None` selects nothing.
    pub selector: Option<Selector>,
    pub namespaces: Vec<String>,
    pub namespace_selector: Option<Selector>,
}

impl PodTerm {
    pub fn selects(&self, namespace: &str, labels: &LabelMap, namespaces: &Namespaces) -> bool {
        let Some(selector) = &self.selector else { return false };
        let in_scope = self.namespaces.iter().any(|known| known == namespace)
            || self
                .namespace_selector
                .as_ref()
                .is_some_and(|selector| namespaces.matches(selector, namespace));
        in_scope && selector.matches(labels)
    }

    /// As [`Selector::needs`].
    pub fn needs(&self) -> Option<Vec<u64>> {
        self.selector.as_ref().map_or_else(|| Some(Vec::new()), Selector::needs)
    }

    /// Does it depend on the labels of namespaces?
    pub fn asks_namespaces(&self) -> bool {
        self.namespace_selector.as_ref().is_some_and(|selector| !selector.is_everything())
    }
}

/// The labels of namespaces.
#[derive(Debug, Default)]
pub struct Namespaces(BTreeMap<String, LabelMap>);

impl Namespaces {
    /// True if that changes anything.
    pub fn set(&mut self, name: &str, labels: LabelMap) -> bool {
        let before = self.0.insert(name.to_owned(), labels);
        before.as_ref() != self.0.get(name)
    }

    pub fn remove(&mut self, name: &str) -> bool {
        self.0.remove(name).is_some()
    }

    fn matches(&self, selector: &Selector, namespace: &str) -> bool {
        selector.is_everything()
            || selector.0.iter().all(|wanted| {
                let labels = self.0.get(namespace);
                let value = labels.and_then(|labels| labels.get(&wanted.key)).cloned();
                let name = || (wanted.key == NAMESPACE_NAME).then(|| namespace.to_owned());
                wanted.matches(value.or_else(name).as_ref())
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selector(json: &str) -> Selector {
        Selector::of(&serde_json::from_str(json).unwrap())
    }

    fn labels(pairs: &[(&str, &str)]) -> LabelMap {
        pairs.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect()
    }

    #[test]
    fn every_operator() {
        fn check(json: &str, pairs: &[(&str, &str)], expect: bool) {
            assert_eq!(selector(json).matches(&labels(pairs)), expect, "{json} on {pairs:?}");
        }
        let one = |operator: &str, values: &str| {
            format!(
                r#"{{"matchExpressions":[{{"key":"a","operator":"{operator}","values":{values}}}]}}"#
            )
        };
        check("{}", &[], true);
        check(r#"{"matchLabels":{"a":"1"}}"#, &[("a", "1")], true);
        check(&one("In", r#"["2","1"]"#), &[("a", "1")], true);
        check(&one("In", "[]"), &[("a", "1")], false);
        check(&one("NotIn", r#"["1"]"#), &[("a", "1")], false);
        check(&one("NotIn", r#"["1"]"#), &[], true);
        check(&one("Exists", "[]"), &[("a", "")], true);
        check(&one("DoesNotExist", "null"), &[("a", "")], false);
        check(&one("Near", "[]"), &[("a", "1")], false);
    }

    #[test]
    fn equal_rules_compare_equal_and_keys_narrow() {
        let both = selector(
            r#"{"matchLabels":{"a":"1"},"matchExpressions":[{"key":"a","operator":"In","values":["1"]}]}"#,
        );
        assert_eq!(both, selector(r#"{"matchLabels":{"a":"1"}}"#));
        let keys = ["hash".to_owned(), "absent".to_owned()];
        let pod = labels(&[("hash", "x")]);
        let same = selector("{}").same(&keys, &pod);
        assert!(same.matches(&pod) && !same.matches(&labels(&[("hash", "y")])));
        let other = selector("{}").other(&keys, &pod);
        assert!(!other.matches(&pod) && other.matches(&labels(&[("hash", "y")])));
    }

    #[test]
    fn scopes_of_a_term() {
        fn check(namespaces: &[&str], selector: Option<&str>, namespace: &str, expect: bool) {
            let mut known = Namespaces::default();
            known.set("team-a", labels(&[("team", "a")]));
            let term = PodTerm {
                topology_key: String::new(),
                selector: Some(Selector::default()),
                namespaces: namespaces.iter().map(|name| name.to_string()).collect(),
                namespace_selector: selector
                    .map(|json| Selector::of(&serde_json::from_str(json).unwrap())),
            };
            assert_eq!(term.selects(namespace, &LabelMap::new(), &known), expect);
        }
        check(&["default"], None, "default", true);
        check(&["default"], None, "team-a", false);
        check(&[], Some("{}"), "anywhere", true);
        check(&[], Some(r#"{"matchLabels":{"team":"a"}}"#), "team-a", true);
        check(&[], Some(r#"{"matchLabels":{"team":"a"}}"#), "default", false);
        check(&["default"], Some(r#"{"matchLabels":{"team":"a"}}"#), "default", true);
        check(
            &[],
            Some(r#"{"matchLabels":{"kubernetes.io/metadata.name":"unseen"}}"#),
            "unseen",
            true,
        );
    }
}
