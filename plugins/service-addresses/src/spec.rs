//! The part of a Service that is decided about, and how it is changed.

use std::net::IpAddr;

use pintle_sdk::types::null_default;
use serde::Deserialize;
use serde_json::{Value, json};

pub const HEADLESS: &str = "None";

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Service {
    #[serde(deserialize_with = "null_default")]
    pub spec: Spec,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Spec {
    #[serde(deserialize_with = "null_default")]
    pub r#type: String,
    #[serde(rename = "clusterIP", deserialize_with = "null_default")]
    pub cluster_ip: String,
    #[serde(rename = "clusterIPs", deserialize_with = "null_default")]
    pub cluster_ips: Vec<String>,
    #[serde(deserialize_with = "null_default")]
    pub ip_families: Vec<String>,
    pub ip_family_policy: Option<String>,
    #[serde(deserialize_with = "null_default")]
    pub ports: Vec<Port>,
    #[serde(deserialize_with = "null_default")]
    pub health_check_node_port: i64,
    pub allocate_load_balancer_node_ports: Option<bool>,
    #[serde(deserialize_with = "null_default")]
    pub external_traffic_policy: String,
    #[serde(deserialize_with = "null_default")]
    pub selector: serde_json::Map<String, Value>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Port {
    #[serde(deserialize_with = "null_default")]
    pub port: i64,
    #[serde(deserialize_with = "null_default")]
    pub protocol: String,
    #[serde(deserialize_with = "null_default")]
    pub node_port: i64,
}

/// `IPv4` or `IPv6`.
pub fn family_of(address: IpAddr) -> &'static str {
    if address.is_ipv6() { "IPv6" } else { "IPv4" }
}

impl Spec {
    pub fn wants_address(&self) -> bool {
        self.r#type != "ExternalName"
    }

    pub fn is_headless(&self) -> bool {
        self.cluster_ips.first().is_some_and(|first| first == HEADLESS)
    }

    pub fn wants_node_ports(&self) -> bool {
        matches!(self.r#type.as_str(), "NodePort" | "LoadBalancer")
    }

    /// Whether a port gets a node port without anybody asking for one.
    pub fn allocates_node_ports(&self) -> bool {
        match self.r#type.as_str() {
            "NodePort" => true,
            "LoadBalancer" => self.allocate_load_balancer_node_ports != Some(false),
            _ => false,
        }
    }

    pub fn wants_health_check(&self) -> bool {
        self.r#type == "LoadBalancer" && self.external_traffic_policy == "Local"
    }

    /// The same policy, single if none is given.
    pub fn policy(&self) -> &str {
        self.ip_family_policy.as_deref().unwrap_or("SingleStack")
    }

    /// Whether the address fields can be reasoned about. What is wrong with others is
    /// said by validation, which comes afterwards.
    pub fn is_well_formed(&self) -> bool {
        if self.cluster_ips.len() > 2 || self.ip_families.len() > 2 {
            return false;
        }
        if self.cluster_ip != self.cluster_ips.first().map_or("", String::as_str) {
            return false;
        }
        let known = |family: &String| matches!(family.as_str(), "IPv4" | "IPv6");
        if !self.ip_families.iter().all(known) || matches!(&self.ip_families[..], [a, b] if a == b)
        {
            return false;
        }
        if self.is_headless() {
            return self.cluster_ips.len() == 1;
        }
        let mut families = Vec::new();
        for (index, address) in self.cluster_ips.iter().enumerate() {
            let Ok(address) = address.parse::<IpAddr>() else { return false };
            let family = family_of(address);
            let other = self.ip_families.get(index).is_some_and(|wanted| wanted != family);
            if other || families.contains(&family) {
                return false;
            }
            families.push(family);
        }
        true
    }
}

/// The JSON patch that makes one of the other.
pub fn patch(before: &Service, after: &Service) -> Vec<Value> {
    let (before, after) = (&before.spec, &after.spec);
    let mut operations = Vec::new();
    let mut put = |changed: bool, path: String, value: Value| {
        if changed {
            operations.push(json!({"op": "add", "path": path, "value": value}));
        }
    };
    let at = |field: &str| format!("/spec/{field}");
    put(before.cluster_ip != after.cluster_ip, at("clusterIP"), json!(after.cluster_ip));
    put(before.cluster_ips != after.cluster_ips, at("clusterIPs"), json!(after.cluster_ips));
    put(before.ip_families != after.ip_families, at("ipFamilies"), json!(after.ip_families));
    put(
        before.ip_family_policy != after.ip_family_policy,
        at("ipFamilyPolicy"),
        json!(after.ip_family_policy),
    );
    for (index, (old, new)) in before.ports.iter().zip(&after.ports).enumerate() {
        let path = format!("/spec/ports/{index}/nodePort");
        put(old.node_port != new.node_port, path, json!(new.node_port));
    }
    put(
        before.health_check_node_port != after.health_check_node_port,
        at("healthCheckNodePort"),
        json!(after.health_check_node_port),
    );
    operations
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nonsense_is_left_to_validation() {
        fn check(spec: Value, expect: bool) {
            let read: Spec = serde_json::from_value(spec.clone()).unwrap();
            assert_eq!(read.is_well_formed(), expect, "{spec}");
        }
        check(json!({}), true);
        check(json!({"clusterIP": null, "clusterIPs": null, "ports": null}), true);
        check(json!({"clusterIP": "None", "clusterIPs": ["None"]}), true);
        check(json!({"clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1", "fd00::1"]}), true);
        check(json!({"clusterIP": "10.0.0.2", "clusterIPs": ["10.0.0.1"]}), false);
        check(json!({"clusterIP": "x", "clusterIPs": ["x"]}), false);
        check(json!({"clusterIP": "None", "clusterIPs": ["None", "fd00::1"]}), false);
        check(json!({"clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1", "10.0.0.2"]}), false);
        check(
            json!({"clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1"], "ipFamilies": ["IPv6"]}),
            false,
        );
        check(json!({"ipFamilies": ["IPv4", "IPv4"]}), false);
        check(json!({"ipFamilies": ["IPv5"]}), false);
    }

    #[test]
    fn only_what_changed_is_patched() {
        let before: Service =
            serde_json::from_value(json!({"spec": {"ports": [{"port": 80}]}})).unwrap();
        assert!(patch(&before, &before).is_empty());
        let mut after = before.clone();
        after.spec.cluster_ip = "10.0.0.1".to_owned();
        after.spec.ports[0].node_port = 30001;
        assert_eq!(
            json!(patch(&before, &after)),
            json!([
                {"op": "add", "path": "/spec/clusterIP", "value": "10.0.0.1"},
                {"op": "add", "path": "/spec/ports/0/nodePort", "value": 30001},
            ])
        );
    }
}
