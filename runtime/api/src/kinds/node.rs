//! `Node`: a machine that runs pods.

use std::collections::BTreeSet;

use serde_json::Value;

use super::json::{
    age_cell, bool_at, default_to, items, name_cell, object_at, or_none, str_at, value_at,
};
use super::validation::Check;
use super::{Column, Hooks, Resource, Scope, SelectableField, Subresource};
use crate::names;
use crate::status::FieldError;

const ROLE_PREFIX: &str = "node-role.kubernetes.io/";

pub(super) const ROW: Resource = Resource {
    kind: "Node",
    plural: "nodes",
    singular: "node",
    short_names: &["no"],
    scope: Scope::Cluster,
    subresources: &[Subresource::Status],
    columns: &[
        Column::NAME,
        Column::string("Status").help("The status of the node"),
        Column::string("Roles").help("The roles of the node"),
        Column::AGE,
        Column::string("Version").help("Kubelet Version reported by the node."),
        Column::string("Internal-IP").wide().help("The address of the node inside the cluster."),
        Column::string("External-IP").wide().help("The address of the node outside the cluster."),
        Column::string("OS-Image").wide().help("The operating system that the node reports."),
        Column::string("Kernel-Version").wide().help("The kernel that the node reports."),
        Column::string("Container-Runtime")
            .wide()
            .help("The container runtime and its version that the node reports."),
    ],
    selectable: &[SelectableField::new("spec.unschedulable", "/spec/unschedulable").or("false")],
    schema: "core.v1.Node",
    status_on_create: true,
    status_writes_labels: true,
    hooks: Hooks { cells, default, validate, ..Hooks::PLAIN },
    ..Resource::BASE
};

fn cells(node: &Value, now_ms: i64) -> Vec<Value> {
    let info = |field: &str| -> Value {
        match str_at(node, &["status", "nodeInfo", field]) {
            "" => "<unknown>".into(),
            text => text.into(),
        }
    };
    vec![
        name_cell(node),
        status(node).into(),
        roles(node),
        age_cell(node, now_ms),
        str_at(node, &["status", "nodeInfo", "kubeletVersion"]).into(),
        address(node, "InternalIP"),
        address(node, "ExternalIP"),
        info("osImage"),
        info("kernelVersion"),
        info("containerRuntimeVersion"),
    ]
}

fn status(node: &Value) -> String {
    let conditions = items(node, &["status", "conditions"]);
    let ready = conditions.iter().find(|condition| str_at(condition, &["type"]) == "Ready");
    let mut status = match ready.map(|condition| str_at(condition, &["status"])) {
        Some("True") => "Ready",
        Some(_) => "NotReady",
        None => "Unknown",
    }
    .to_owned();
    if bool_at(node, &["spec", "unschedulable"]) {
        status.push_str(",SchedulingDisabled");
    }
    status
}

fn roles(node: &Value) -> Value {
    let mut roles = BTreeSet::new();
    for (label, value) in object_at(node, &["metadata", "labels"]).into_iter().flatten() {
        let role = match label.strip_prefix(ROLE_PREFIX) {
            Some(role) => role,
            None if label == "kubernetes.io/role" => value.as_str().unwrap_or_default(),
            None => "",
        };
        if !role.is_empty() {
            roles.insert(role);
        }
    }
    or_none(&roles.into_iter().collect::<Vec<_>>().join(","))
}

fn address(node: &Value, kind: &str) -> Value {
    let found = items(node, &["status", "addresses"])
        .iter()
        .find(|address| str_at(address, &["type"]) == kind)
        .map_or("", |address| str_at(address, &["address"]));
    or_none(found)
}

/// A node that reserves nothing offers all it has.
fn default(node: &mut Value) {
    let capacity = value_at(node, &["status", "capacity"]).clone();
    if let Some(status) = node.get_mut("status").filter(|_| capacity.is_object()) {
        default_to(status, "allocatable", capacity);
    }
}

fn validate(node: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let spec = value_at(node, &["spec"]);
    let mut check = Check::new(&mut errors, "spec");
    let mut seen = BTreeSet::new();
    for (index, taint) in items(spec, &["taints"]).iter().enumerate() {
        let mut check = check.item("taints", index);
        let (key, effect) = (str_at(taint, &["key"]), str_at(taint, &["effect"]));
        if let Some(message) = names::qualified_name(key) {
            check.invalid("key", key, message);
        }
        check.syntax(taint, "value", names::label_value);
        if effect.is_empty() {
            check.required("effect", "");
        } else {
            check.one_of(taint, "effect", &["NoSchedule", "PreferNoSchedule", "NoExecute"]);
        }
        if !seen.insert((key, effect)) {
            check.duplicate("", taint.clone());
        }
    }
    for (index, range) in items(spec, &["podCIDRs"]).iter().enumerate() {
        let text = range.as_str().unwrap_or_default();
        if !is_cidr(text) {
            let detail = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";
            check.invalid(&format!("podCIDRs[{index}]"), text, detail);
        }
    }
    {
        let mut check = Check::new(&mut errors, "status");
        check.quantities(value_at(node, &["status"]), "capacity");
        check.quantities(value_at(node, &["status"]), "allocatable");
    }
    if let Some(old) = old {
        let mut check = Check::new(&mut errors, "spec");
        for field in ["podCIDR", "podCIDRs"] {
            let was = value_at(old, &["spec", field]);
            if !was.is_null() && was != value_at(spec, &[field]) {
                let detail = "node updates may not change podCIDR except from \"\" to valid";
                check.forbidden(field, detail);
            }
        }
        let was = str_at(old, &["spec", "providerID"]);
        if !was.is_empty() && was != str_at(spec, &["providerID"]) {
            let detail = "node updates may not change providerID except from \"\" to valid";
            check.forbidden("providerID", detail);
        }
    }
    errors
}

fn is_cidr(text: &str) -> bool {
    let Some((address, length)) = text.split_once('/') else { return false };
    let bits = match address.parse::<std::net::IpAddr>() {
        Ok(std::net::IpAddr::V4(_)) => 32,
        Ok(std::net::IpAddr::V6(_)) => 128,
        Err(_) => return false,
    };
    length.bytes().all(|byte| byte.is_ascii_digit())
        && length.parse::<u8>().is_ok_and(|length| length <= bits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::expect_errors;
    use serde_json::json;

    #[test]
    fn rows_tell_state_and_roles() {
        let node = json!({"metadata": {"name": "n", "labels": {"node-role.kubernetes.io/worker": "", "node-role.kubernetes.io/edge": ""}},
            "spec": {"unschedulable": true},
            "status": {"conditions": [{"type": "Ready", "status": "True"}], "addresses": [{"type": "InternalIP", "address": "10.0.0.1"}],
                "nodeInfo": {"kubeletVersion": "v1.35.0", "osImage": "Debian"}}});
        let cells = cells(&node, 0);
        assert_eq!(cells[1..3], ["Ready,SchedulingDisabled", "edge,worker"]);
        assert_eq!(
            cells[4..],
            ["v1.35.0", "10.0.0.1", "<none>", "Debian", "<unknown>", "<unknown>"]
        );
        assert_eq!(status(&json!({})), "Unknown");
        assert_eq!(
            status(&json!({"status": {"conditions": [{"type": "Ready", "status": "Unknown"}]}})),
            "NotReady"
        );
    }

    #[test]
    fn rules() {
        fn check(spec: Value, old: Option<Value>, expect: &[&str]) {
            let old = old.map(|spec| json!({ "spec": spec }));
            expect_errors(&validate(&json!({ "spec": spec }), old.as_ref()), expect);
        }
        check(
            json!({"taints": [{"key": "a", "effect": "NoSchedule"}], "podCIDRs": ["10.1.0.0/24"]}),
            None,
            &[],
        );
        check(
            json!({"taints": [{"key": "a", "effect": "No"}]}),
            None,
            &["spec.taints[0].effect: Unsupported value"],
        );
        check(json!({"taints": [{"key": "a"}]}), None, &["spec.taints[0].effect: Required value"]);
        check(json!({"podCIDRs": ["10.1.0.0/33"]}), None, &["spec.podCIDRs[0]: Invalid value"]);
        check(
            json!({"podCIDR": "10.2.0.0/24"}),
            Some(json!({"podCIDR": "10.1.0.0/24"})),
            &["spec.podCIDR: Forbidden: node updates may not change podCIDR"],
        );
    }

    #[test]
    fn allocatable_follows_capacity() {
        let mut node = json!({"status": {"capacity": {"cpu": "2"}}});
        default(&mut node);
        assert_eq!(node["status"]["allocatable"], json!({"cpu": "2"}));
        let mut bare = json!({});
        default(&mut bare);
        assert_eq!(bare, json!({}));
    }
}
