//! Services.

use std::collections::BTreeMap;

use pintle_api::meta::ObjectMeta;

use super::{Container, IntOrString, Pod, partial};
use crate::conditions::Condition;
use crate::object::KindRef;

pub const SERVICE: KindRef = KindRef::new("", "v1", "Service");

partial! {
    pub struct Service = SERVICE {
        pub metadata: ObjectMeta,
        pub spec: ServiceSpec,
        pub status: ServiceStatus,
    }

    pub struct ServiceSpec {
        pub r#type: Option<String>,
        #[serde(rename = "clusterIP")]
        pub cluster_ip: String,
        #[serde(rename = "clusterIPs")]
        pub cluster_ips: Vec<String>,
        #[serde(rename = "externalIPs")]
        pub external_ips: Vec<String>,
        pub external_name: String,
        pub ip_families: Vec<String>,
        pub selector: BTreeMap<String, String>,
        pub ports: Vec<ServicePort>,
        pub publish_not_ready_addresses: bool,
        pub session_affinity: String,
    }

    pub struct ServicePort {
        pub name: String,
        pub port: i64,
        pub protocol: Option<String>,
        pub target_port: Option<IntOrString>,
        pub node_port: Option<i64>,
        pub app_protocol: Option<String>,
    }

    pub struct ServiceStatus {
        pub load_balancer: LoadBalancerStatus,
        pub conditions: Vec<Condition>,
    }

    pub struct LoadBalancerStatus {
        pub ingress: Vec<LoadBalancerIngress>,
    }

    pub struct LoadBalancerIngress {
        pub ip: String,
        pub hostname: String,
    }
}

impl ServicePort {
    /// `TCP` unless said otherwise.
    pub fn protocol(&self) -> &str {
        self.protocol.as_deref().unwrap_or("TCP")
    }

    /// Its number on this pod: a named one may differ from pod to pod, and be
    /// missing. Containers that run besides the others have ports too.
    pub fn on(&self, pod: &Pod) -> Option<i64> {
        match &self.target_port {
            Some(IntOrString::String(name)) if !name.is_empty() => {
                let stays =
                    |container: &&Container| container.restart_policy.as_deref() == Some("Always");
                let sidecars = pod.spec.init_containers.iter().filter(stays);
                let containers = pod.spec.containers.iter().chain(sidecars);
                let mut ports = containers.flat_map(|container| &container.ports);
                let found = ports.find(|port| {
                    let protocol = port.protocol.as_deref().unwrap_or("TCP");
                    port.name == *name && protocol == self.protocol()
                });
                found.map(|port| port.container_port)
            }
            Some(IntOrString::Int(number)) if *number != 0 => Some(*number),
            _ => Some(self.port),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn target_ports_are_numbers_or_names_of_the_pods_own() {
        fn check(port: Value, expect: Option<i64>) {
            let spec = json!({
                "containers": [{"ports": [
                    {"name": "web", "containerPort": 8080},
                    {"name": "dns", "containerPort": 53, "protocol": "UDP"}]}],
                "initContainers": [
                    {"ports": [{"name": "once", "containerPort": 1}]},
                    {"restartPolicy": "Always", "ports": [{"name": "mesh", "containerPort": 15}]}],
            });
            let pod: Pod = serde_json::from_value(json!({"spec": spec})).unwrap();
            let port: ServicePort = serde_json::from_value(port).unwrap();
            assert_eq!(port.on(&pod), expect, "{port:?}");
        }
        check(json!({"port": 80}), Some(80));
        check(json!({"port": 80, "targetPort": 0}), Some(80));
        check(json!({"port": 80, "targetPort": 81}), Some(81));
        check(json!({"port": 80, "targetPort": "web"}), Some(8080));
        check(json!({"port": 80, "targetPort": "mesh"}), Some(15));
        check(json!({"port": 80, "targetPort": "once"}), None);
        check(json!({"port": 80, "targetPort": "dns"}), None);
        check(json!({"port": 80, "targetPort": "dns", "protocol": "UDP"}), Some(53));
    }
}
