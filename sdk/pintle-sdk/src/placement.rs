//! On which nodes a pod may run: node name, node selector, required node
//! affinity and tolerations, for controllers that pick nodes themselves.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use crate::types::{Node, Taint, Toleration, null_default};

/// What a pod's spec says about nodes.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs)]
pub struct Placement {
    #[serde(deserialize_with = "null_default")]
    pub node_name: String,
    #[serde(deserialize_with = "null_default")]
    pub node_selector: BTreeMap<String, String>,
    #[serde(deserialize_with = "null_default")]
    pub tolerations: Vec<Toleration>,
    #[serde(deserialize_with = "null_default")]
    affinity: Affinity,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Affinity {
    #[serde(deserialize_with = "null_default")]
    node_affinity: NodeAffinity,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct NodeAffinity {
    required_during_scheduling_ignored_during_execution: Option<NodeSelector>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct NodeSelector {
    #[serde(deserialize_with = "null_default")]
    node_selector_terms: Vec<Term>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Term {
    #[serde(deserialize_with = "null_default")]
    match_expressions: Vec<Requirement>,
    #[serde(deserialize_with = "null_default")]
    match_fields: Vec<Requirement>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
struct Requirement {
    key: String,
    operator: String,
    #[serde(deserialize_with = "null_default")]
    values: Vec<String>,
}

impl Requirement {
    fn holds(&self, found: Option<&str>) -> bool {
        let number = |text: &str| text.parse::<i64>().ok();
        match self.operator.as_str() {
            "In" => found.is_some_and(|found| self.values.iter().any(|value| value == found)),
            "NotIn" => !found.is_some_and(|found| self.values.iter().any(|value| value == found)),
            "Exists" => found.is_some(),
            "DoesNotExist" => found.is_none(),
            "Gt" | "Lt" => {
                let bound = self.values.first().and_then(|value| number(value));
                match (found.and_then(number), bound) {
                    (Some(found), Some(bound)) if self.operator == "Gt" => found > bound,
                    (Some(found), Some(bound)) => found < bound,
                    _ => false,
                }
            }
            _ => false,
        }
    }
}

impl Placement {
    /// From the spec of a pod or of a template; what cannot be read counts as absent.
    pub fn of(spec: &Value) -> Self {
        Self::deserialize(spec).unwrap_or_default()
    }

    /// Do name, selector and required affinity let the pod onto this node?
    pub fn admits(&self, node: &Node) -> bool {
        let name = &node.metadata.name;
        let labels = &node.metadata.labels;
        if !self.node_name.is_empty() && self.node_name != *name {
            return false;
        }
        if self.node_selector.iter().any(|(key, value)| labels.get(key) != Some(value)) {
            return false;
        }
        let required = &self.affinity.node_affinity;
        let Some(selector) = &required.required_during_scheduling_ignored_during_execution else {
            return true;
        };
        selector.node_selector_terms.iter().any(|term| {
            let empty = term.match_expressions.is_empty() && term.match_fields.is_empty();
            let by_label = |requirement: &Requirement| {
                requirement.holds(labels.get(&requirement.key).map(String::as_str))
            };
            let by_field = |requirement: &Requirement| {
                requirement.key == "metadata.name" && requirement.holds(Some(name))
            };
            !empty
                && term.match_expressions.iter().all(by_label)
                && term.match_fields.iter().all(by_field)
        })
    }

    /// The first taint of one of these effects that nothing tolerates.
    pub fn untolerated<'n>(&self, node: &'n Node, effects: &[&str]) -> Option<&'n Taint> {
        node.spec.taints.iter().find(|taint| {
            effects.contains(&taint.effect.as_str())
                && !self.tolerations.iter().any(|toleration| toleration.tolerates(taint))
        })
    }

    /// The node that a required affinity by field names, as pods of a DaemonSet have it.
    pub fn pinned_to(&self) -> Option<&str> {
        if !self.node_name.is_empty() {
            return Some(&self.node_name);
        }
        let required = &self.affinity.node_affinity;
        let selector = required.required_during_scheduling_ignored_during_execution.as_ref()?;
        let fields = selector.node_selector_terms.iter().flat_map(|term| &term.match_fields);
        fields
            .filter(|field| field.key == "metadata.name" && field.operator == "In")
            .find_map(|field| field.values.first())
            .map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn node() -> Node {
        serde_json::from_value(json!({
            "metadata": {"name": "n1", "labels": {"zone": "a", "cores": "8"}},
            "spec": {"taints": [{"key": "gpu", "value": "yes", "effect": "NoSchedule"}]},
        }))
        .unwrap()
    }

    #[test]
    fn nodes_are_admitted_by_selector_and_affinity() {
        fn check(spec: Value, expect: bool) {
            assert_eq!(Placement::of(&spec).admits(&node()), expect, "{spec}");
        }
        let affinity = |term: Value| {
            json!({"affinity": {"nodeAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}}})
        };
        check(json!({}), true);
        check(json!({"nodeName": "n2"}), false);
        check(json!({"nodeSelector": {"zone": "a"}}), true);
        check(json!({"nodeSelector": {"zone": "b"}}), false);
        check(affinity(json!({})), false);
        check(
            affinity(
                json!({"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a"]}]}),
            ),
            true,
        );
        check(
            affinity(
                json!({"matchExpressions": [{"key": "cores", "operator": "Gt", "values": ["8"]}]}),
            ),
            false,
        );
        check(
            affinity(
                json!({"matchExpressions": [{"key": "disk", "operator": "NotIn", "values": ["x"]}]}),
            ),
            true,
        );
        check(
            affinity(
                json!({"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n1"]}]}),
            ),
            true,
        );
        assert_eq!(
            Placement::of(&affinity(json!({"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n7"]}]}))).pinned_to(),
            Some("n7")
        );
    }

    #[test]
    fn taints_keep_away_what_does_not_tolerate_them() {
        let tolerant = json!({"tolerations": [{"key": "gpu", "operator": "Exists"}]});
        let node = node();
        assert!(Placement::of(&json!({})).untolerated(&node, &["NoSchedule"]).is_some());
        assert!(Placement::of(&json!({})).untolerated(&node, &["NoExecute"]).is_none());
        assert!(Placement::of(&tolerant).untolerated(&node, &["NoSchedule"]).is_none());
    }
}
