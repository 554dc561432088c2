//! The rules of where a pod may run: node selector, affinity, spreading,
//! tolerations.

use serde_json::Value;

use super::super::json::{is_set, items, str_at, value_at};
use super::super::metadata;
use super::super::validation::Check;
use crate::names;

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";

pub(super) fn validate(spec: &Value, check: &mut Check<'_>) {
    let selector = value_at(spec, &["nodeSelector"]);
    metadata::labels(selector, &check.path("nodeSelector"), check.errors());
    let affinity = value_at(spec, &["affinity"]);
    if affinity.is_object() {
        let mut check = check.field("affinity");
        nodes(value_at(affinity, &["nodeAffinity"]), &mut check.field("nodeAffinity"));
        for kind in ["podAffinity", "podAntiAffinity"] {
            pods(value_at(affinity, &[kind]), &mut check.field(kind));
        }
    }
    spreading(spec, check);
    tolerations(spec, check);
}

fn nodes(affinity: &Value, check: &mut Check<'_>) {
    if is_set(affinity, REQUIRED) {
        let terms = items(affinity, &[REQUIRED, "nodeSelectorTerms"]);
        let mut check = check.field(REQUIRED);
        if terms.is_empty() {
            check.required("nodeSelectorTerms", "must have at least one node selector term");
        }
        for (index, term) in terms.iter().enumerate() {
            node_term(term, &mut check.item("nodeSelectorTerms", index));
        }
    }
    for (index, preferred) in items(affinity, &[PREFERRED]).iter().enumerate() {
        let mut check = check.item(PREFERRED, index);
        weight(preferred, &mut check);
        node_term(value_at(preferred, &["preference"]), &mut check.field("preference"));
    }
}

fn node_term(term: &Value, check: &mut Check<'_>) {
    for (index, requirement) in items(term, &["matchExpressions"]).iter().enumerate() {
        let mut check = check.item("matchExpressions", index);
        let values = items(requirement, &["values"]);
        match str_at(requirement, &["operator"]) {
            "In" | "NotIn" if values.is_empty() => {
                check.required("values", "must be specified when `operator` is 'In' or 'NotIn'");
            }
            "Exists" | "DoesNotExist" if !values.is_empty() => {
                check.forbidden(
                    "values",
                    "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
                );
            }
            "Gt" | "Lt" if values.len() != 1 => {
                check.required(
                    "values",
                    "must be specified single value when `operator` is 'Lt' or 'Gt'",
                );
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" | "Gt" | "Lt" => {}
            other => check.invalid("operator", other, "not a valid selector operator"),
        }
        key(requirement, &mut check);
    }
    for (index, requirement) in items(term, &["matchFields"]).iter().enumerate() {
        let mut check = check.item("matchFields", index);
        match str_at(requirement, &["operator"]) {
            "In" | "NotIn" if items(requirement, &["values"]).len() != 1 => {
                check.required(
                    "values",
                    "must be only one value when `operator` is 'In' or 'NotIn' for node field selector",
                );
            }
            "In" | "NotIn" => {}
            other => check.invalid("operator", other, "not a valid selector operator"),
        }
        match str_at(requirement, &["key"]) {
            "metadata.name" => {}
            other => check.invalid("key", other, "not a valid field selector key"),
        }
    }
}

fn pods(affinity: &Value, check: &mut Check<'_>) {
    for (index, term) in items(affinity, &[REQUIRED]).iter().enumerate() {
        pod_term(term, &mut check.item(REQUIRED, index));
    }
    for (index, preferred) in items(affinity, &[PREFERRED]).iter().enumerate() {
        let mut check = check.item(PREFERRED, index);
        weight(preferred, &mut check);
        pod_term(value_at(preferred, &["podAffinityTerm"]), &mut check.field("podAffinityTerm"));
    }
}

fn pod_term(term: &Value, check: &mut Check<'_>) {
    for selector in ["labelSelector", "namespaceSelector"] {
        check.field(selector).label_selector(value_at(term, &[selector]));
    }
    for (index, namespace) in items(term, &["namespaces"]).iter().enumerate() {
        let name = namespace.as_str().unwrap_or_default();
        if let Some(message) = names::dns_label(name) {
            check.invalid(&format!("namespaces[{index}]"), name, message);
        }
    }
    topology_key(term, check);
}

fn spreading(spec: &Value, check: &mut Check<'_>) {
    for (index, constraint) in items(spec, &["topologySpreadConstraints"]).iter().enumerate() {
        let mut check = check.item("topologySpreadConstraints", index);
        for field in ["maxSkew", "minDomains"] {
            if let Some(number) = value_at(constraint, &[field]).as_i64().filter(|n| *n <= 0) {
                check.invalid(field, number, "must be greater than zero");
            }
        }
        topology_key(constraint, &mut check);
        match str_at(constraint, &["whenUnsatisfiable"]) {
            "" => check.required("whenUnsatisfiable", ""),
            _ => {
                check.one_of(constraint, "whenUnsatisfiable", &["DoNotSchedule", "ScheduleAnyway"])
            }
        }
        check.field("labelSelector").label_selector(value_at(constraint, &["labelSelector"]));
    }
}

fn topology_key(object: &Value, check: &mut Check<'_>) {
    match str_at(object, &["topologyKey"]) {
        "" => check.required("topologyKey", "can not be empty"),
        _ => check.syntax(object, "topologyKey", names::qualified_name),
    }
}

/// A label's key, which may not be left out.
fn key(requirement: &Value, check: &mut Check<'_>) {
    let text = str_at(requirement, &["key"]);
    if let Some(message) = names::qualified_name(text) {
        check.invalid("key", text, message);
    }
}

fn weight(preferred: &Value, check: &mut Check<'_>) {
    let weight = value_at(preferred, &["weight"]).as_i64().unwrap_or_default();
    if !(1..=100).contains(&weight) {
        check.invalid("weight", weight, "must be in the range 1-100");
    }
}

fn tolerations(spec: &Value, check: &mut Check<'_>) {
    for (index, toleration) in items(spec, &["tolerations"]).iter().enumerate() {
        let mut check = check.item("tolerations", index);
        let key = str_at(toleration, &["key"]);
        let value = str_at(toleration, &["value"]);
        let operator = str_at(toleration, &["operator"]);
        if !key.is_empty() {
            check.syntax(toleration, "key", names::qualified_name);
        } else if operator != "Exists" {
            check.invalid(
                "operator",
                operator,
                "operator must be Exists when `key` is empty, which means \"match all values and all keys\"",
            );
        }
        let effect = str_at(toleration, &["effect"]);
        if value_at(toleration, &["tolerationSeconds"]).is_i64() && effect != "NoExecute" {
            check.invalid(
                "effect",
                effect,
                "effect must be 'NoExecute' when `tolerationSeconds` is set",
            );
        }
        match operator {
            "" | "Equal" => check.syntax(toleration, "value", names::label_value),
            "Exists" if !value.is_empty() => {
                check.invalid(
                    "operator",
                    toleration.clone(),
                    "value must be empty when `operator` is 'Exists'",
                );
            }
            "Exists" => {}
            other => check.not_supported("operator", other, &["Equal", "Exists"]),
        }
        check.one_of(toleration, "effect", &["NoSchedule", "PreferNoSchedule", "NoExecute"]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::expect_errors;
    use serde_json::json;

    fn check(spec: Value, expect: &[&str]) {
        let mut errors = Vec::new();
        validate(&spec, &mut Check::new(&mut errors, "spec"));
        expect_errors(&errors, expect);
    }

    #[test]
    fn node_affinity() {
        let terms = |expressions: Value| json!({"affinity": {"nodeAffinity": {REQUIRED: {"nodeSelectorTerms": [{"matchExpressions": expressions}]}}}});
        check(terms(json!([{"key": "zone", "operator": "In", "values": ["a"]}])), &[]);
        check(terms(json!([{"key": "cores", "operator": "Gt", "values": ["4"]}])), &[]);
        let path = format!("spec.affinity.nodeAffinity.{REQUIRED}.nodeSelectorTerms");
        check(
            terms(json!([{"key": "zone", "operator": "In"}])),
            &[&format!(
                "{path}[0].matchExpressions[0].values: Required value: must be specified when"
            )],
        );
        check(
            terms(json!([{"key": "zone", "operator": "Like", "values": ["a"]}])),
            &[&format!("{path}[0].matchExpressions[0].operator: Invalid value: \"Like\"")],
        );
        check(
            json!({"affinity": {"nodeAffinity": {REQUIRED: {}}}}),
            &[&format!("{path}: Required value: must have at least one node selector term")],
        );
        check(
            json!({"affinity": {"nodeAffinity": {PREFERRED: [{"weight": 101, "preference": {}}]}}}),
            &[&format!(
                "spec.affinity.nodeAffinity.{PREFERRED}[0].weight: Invalid value: 101: must be in the range 1-100"
            )],
        );
    }

    #[test]
    fn pod_affinity_and_spreading() {
        check(
            json!({"affinity": {"podAntiAffinity": {REQUIRED: [{"labelSelector": {}}]}}}),
            &[&format!(
                "spec.affinity.podAntiAffinity.{REQUIRED}[0].topologyKey: Required value: can not be empty"
            )],
        );
        check(
            json!({"topologySpreadConstraints": [{"maxSkew": 0, "topologyKey": "zone", "whenUnsatisfiable": "Panic"}]}),
            &[
                "spec.topologySpreadConstraints[0].maxSkew: Invalid value: 0: must be greater than zero",
                "spec.topologySpreadConstraints[0].whenUnsatisfiable: Unsupported value: \"Panic\"",
            ],
        );
    }

    #[test]
    fn taints_tolerated() {
        check(json!({"tolerations": [{"operator": "Exists"}]}), &[]);
        check(
            json!({"tolerations": [{"key": "a", "operator": "Exists", "value": "b"}]}),
            &["spec.tolerations[0].operator: Invalid value"],
        );
        check(
            json!({"tolerations": [{"key": "a", "operator": "Exists", "effect": "NoSchedule", "tolerationSeconds": 5}]}),
            &[
                "spec.tolerations[0].effect: Invalid value: \"NoSchedule\": effect must be 'NoExecute'",
            ],
        );
    }
}
