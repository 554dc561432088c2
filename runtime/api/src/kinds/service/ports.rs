//! The ports of a Service, on its addresses and on every node.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::super::json::{
    default_str, int_at, is_set, items, items_mut, remove, set, str_at, value_at,
};
use super::super::validation::Check;
use crate::names;

pub(super) fn wants_node_ports(spec: &Value) -> bool {
    matches!(str_at(spec, &["type"]), "NodePort" | "LoadBalancer")
}

/// Whether traffic from outside of the cluster may come for it.
pub(super) fn is_external(spec: &Value) -> bool {
    let listed =
        str_at(spec, &["type"]) == "ClusterIP" && !items(spec, &["externalIPs"]).is_empty();
    wants_node_ports(spec) || listed
}

/// A load balancer asks each node whether it has endpoints of its own.
pub(super) fn wants_health_check(spec: &Value) -> bool {
    str_at(spec, &["type"]) == "LoadBalancer" && str_at(spec, &["externalTrafficPolicy"]) == "Local"
}

pub(super) fn default(spec: &mut Value) {
    for port in items_mut(spec, "ports") {
        default_str(port, "protocol", "TCP");
        let number = value_at(port, &["port"]).clone();
        let absent = match value_at(port, &["targetPort"]) {
            Value::Null => true,
            Value::String(name) => name.is_empty(),
            Value::Number(target) => target.as_i64() == Some(0),
            _ => false,
        };
        if absent && number.is_number() {
            set(port, "targetPort", number);
        }
    }
}

fn node_ports(spec: &Value) -> BTreeSet<i64> {
    let ports = items(spec, &["ports"]).iter().map(|port| int_at(port, &["nodePort"]));
    ports.filter(|port| *port != 0).collect()
}

/// What was allocated stays when it is left out: a port is known by its name.
pub(super) fn on_update(spec: &mut Value, was: &Value) {
    if wants_node_ports(spec) && wants_node_ports(was) {
        let mut used: BTreeSet<i64> =
            node_ports(was).intersection(&node_ports(spec)).copied().collect();
        for port in items_mut(spec, "ports") {
            if int_at(port, &["nodePort"]) != 0 {
                continue;
            }
            let name = str_at(port, &["name"]);
            let same = items(was, &["ports"]).iter().find(|old| str_at(old, &["name"]) == name);
            let known = same.map_or(0, |old| int_at(old, &["nodePort"]));
            if known != 0 && used.insert(known) {
                set(port, "nodePort", known);
            }
        }
    }
    let health = int_at(was, &["healthCheckNodePort"]);
    if wants_health_check(spec)
        && wants_health_check(was)
        && int_at(spec, &["healthCheckNodePort"]) == 0
        && health != 0
    {
        set(spec, "healthCheckNodePort", health);
    }
}

/// What only the former type had goes with it, unless somebody has touched it.
pub(super) fn drop_unwanted(spec: &mut Value, was: &Value) {
    let listed = |spec: &Value| -> Vec<i64> {
        items(spec, &["ports"]).iter().map(|port| int_at(port, &["nodePort"])).collect()
    };
    if !wants_node_ports(spec) && wants_node_ports(was) {
        let old = listed(was);
        if listed(spec).iter().all(|port| *port == 0 || old.contains(port)) {
            for port in items_mut(spec, "ports") {
                remove(port, "nodePort");
            }
        }
    }
    let is_balancer = |spec: &Value| str_at(spec, &["type"]) == "LoadBalancer";
    let gone = [
        ("healthCheckNodePort", wants_health_check as fn(&Value) -> bool),
        ("allocateLoadBalancerNodePorts", is_balancer),
        ("loadBalancerClass", is_balancer),
        ("externalTrafficPolicy", is_external),
    ];
    for (field, wants) in gone {
        let same = value_at(spec, &[field]) == value_at(was, &[field]);
        if wants(was) && !wants(spec) && same {
            remove(spec, field);
        }
    }
}

pub(super) fn validate(spec: &Value, check: &mut Check<'_>) {
    let ports = items(spec, &["ports"]);
    let mut seen_names = BTreeSet::new();
    let mut seen_ports = BTreeSet::new();
    let mut seen_node_ports = BTreeSet::new();
    let kind = str_at(spec, &["type"]);
    for (index, port) in ports.iter().enumerate() {
        let mut check = check.item("ports", index);
        let name = str_at(port, &["name"]);
        if name.is_empty() {
            if ports.len() > 1 {
                check.required("name", "");
            }
        } else if let Some(message) = names::dns_label(name) {
            check.invalid("name", name, message);
        } else if !seen_names.insert(name) {
            check.duplicate("name", name);
        }
        let number = value_at(port, &["port"]).as_i64().unwrap_or_default();
        if let Some(message) = names::port_number(number) {
            check.invalid("port", number, message);
        }
        let protocol = str_at(port, &["protocol"]);
        if protocol.is_empty() {
            check.required("protocol", "");
        } else {
            check.one_of(port, "protocol", &["SCTP", "TCP", "UDP"]);
        }
        check.port_or_name(port, "targetPort");
        if !seen_ports.insert((protocol, number)) {
            check.duplicate("", json!({"protocol": protocol, "port": number}));
        }
        let node_port = int_at(port, &["nodePort"]);
        if node_port == 0 {
            continue;
        }
        check.port(port, "nodePort");
        if matches!(kind, "ClusterIP" | "ExternalName") {
            check.forbidden("nodePort", format!("may not be used when `type` is '{kind}'"));
        } else if !seen_node_ports.insert((protocol, node_port)) {
            check.duplicate("nodePort", json!({"protocol": protocol, "nodePort": node_port}));
        }
    }
    validate_traffic(spec, check);
}

fn validate_traffic(spec: &Value, check: &mut Check<'_>) {
    check.one_of(spec, "internalTrafficPolicy", &["Cluster", "Local"]);
    check.one_of(spec, "externalTrafficPolicy", &["Cluster", "Local"]);
    if !is_external(spec) && !str_at(spec, &["externalTrafficPolicy"]).is_empty() {
        let policy = str_at(spec, &["externalTrafficPolicy"]);
        let detail = "may only be set for externally-accessible services";
        check.invalid("externalTrafficPolicy", policy, detail);
    }
    let health = int_at(spec, &["healthCheckNodePort"]);
    if health != 0 && !wants_health_check(spec) {
        let detail =
            "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'";
        check.invalid("healthCheckNodePort", health, detail);
    } else if health != 0 {
        check.port(spec, "healthCheckNodePort");
    }
    let is_balancer = str_at(spec, &["type"]) == "LoadBalancer";
    if !is_balancer && is_set(spec, "allocateLoadBalancerNodePorts") {
        let detail = "may only be used when `type` is 'LoadBalancer'";
        check.forbidden("allocateLoadBalancerNodePorts", detail);
    }
}

pub(super) fn validate_update(spec: &Value, was: &Value, check: &mut Check<'_>) {
    if !wants_health_check(spec) || !wants_health_check(was) {
        return;
    }
    let (old, new) =
        (int_at(was, &["healthCheckNodePort"]), int_at(spec, &["healthCheckNodePort"]));
    if old != 0 && new != old {
        let detail = "cannot change healthCheckNodePort on loadBalancer service with externalTraffic=Local during update";
        check.invalid("healthCheckNodePort", new, detail);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn node_ports_stay_with_their_port() {
        fn check(was: Value, mut spec: Value, expect: Value) {
            on_update(&mut spec, &was);
            drop_unwanted(&mut spec, &was);
            assert_eq!(spec, expect);
        }
        let was = json!({"type": "NodePort", "externalTrafficPolicy": "Cluster",
            "ports": [{"name": "a", "port": 80, "nodePort": 30080}, {"name": "b", "port": 81, "nodePort": 30081}]});
        check(
            was.clone(),
            json!({"type": "NodePort", "ports": [{"name": "b", "port": 99}, {"name": "c", "port": 80}]}),
            json!({"type": "NodePort", "ports": [{"name": "b", "port": 99, "nodePort": 30081}, {"name": "c", "port": 80}]}),
        );
        // Somebody has given the port to another name.
        check(
            was.clone(),
            json!({"type": "NodePort", "ports": [{"name": "a", "port": 80}, {"name": "c", "port": 9, "nodePort": 30080}]}),
            json!({"type": "NodePort", "ports": [{"name": "a", "port": 80}, {"name": "c", "port": 9, "nodePort": 30080}]}),
        );
        let mut as_cluster_ip = was.clone();
        as_cluster_ip["type"] = json!("ClusterIP");
        check(
            was,
            as_cluster_ip,
            json!({"type": "ClusterIP", "ports": [{"name": "a", "port": 80}, {"name": "b", "port": 81}]}),
        );
        let balancer = json!({"type": "LoadBalancer", "externalTrafficPolicy": "Local",
            "healthCheckNodePort": 30001, "allocateLoadBalancerNodePorts": true});
        let mut cluster = balancer.clone();
        cluster["externalTrafficPolicy"] = json!("Cluster");
        check(
            balancer.clone(),
            cluster,
            json!({"type": "LoadBalancer", "externalTrafficPolicy": "Cluster", "allocateLoadBalancerNodePorts": true}),
        );
        check(
            balancer.clone(),
            json!({"type": "LoadBalancer", "externalTrafficPolicy": "Local"}),
            json!({"type": "LoadBalancer", "externalTrafficPolicy": "Local", "healthCheckNodePort": 30001}),
        );
    }

    #[test]
    fn ports_must_make_sense() {
        fn check(spec: Value, expect: &[&str]) {
            let mut errors = Vec::new();
            validate(&spec, &mut Check::new(&mut errors, "spec"));
            let found: Vec<String> = errors.iter().map(ToString::to_string).collect();
            assert_eq!(found, expect);
        }
        let port = |port: Value| json!({"type": "NodePort", "ports": [port]});
        check(port(json!({"port": 80, "protocol": "TCP", "nodePort": 30080})), &[]);
        check(
            json!({"type": "ClusterIP", "ports": [{"port": 80, "protocol": "TCP", "nodePort": 30080}]}),
            &["spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'"],
        );
        let twice = |protocol: &str| {
            json!({"type": "NodePort", "ports": [
                {"name": "a", "port": 80, "protocol": "TCP", "nodePort": 30080},
                {"name": "b", "port": 81, "protocol": protocol, "nodePort": 30080}]})
        };
        check(twice("UDP"), &[]);
        check(
            twice("TCP"),
            &["spec.ports[1].nodePort: Duplicate value: {\"nodePort\":30080,\"protocol\":\"TCP\"}"],
        );
        check(
            json!({"type": "ClusterIP", "externalTrafficPolicy": "Local", "healthCheckNodePort": 30001,
                "allocateLoadBalancerNodePorts": false}),
            &[
                "spec.externalTrafficPolicy: Invalid value: \"Local\": may only be set for externally-accessible services",
                "spec.healthCheckNodePort: Invalid value: 30001: may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'",
                "spec.allocateLoadBalancerNodePorts: Forbidden: may only be used when `type` is 'LoadBalancer'",
            ],
        );
    }
}
