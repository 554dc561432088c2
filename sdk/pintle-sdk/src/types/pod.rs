//! Pods.

use std::collections::BTreeMap;

use pintle_api::meta::ObjectMeta;
use pintle_api::quantity::Quantity;
use serde::{Deserialize, Serialize};

use super::{ResourceList, Taint, null_default, partial};
use crate::conditions::{Condition, Conditions};
use crate::object::KindRef;

pub const POD: KindRef = KindRef::new("", "v1", "Pod");
pub const EVENT: KindRef = KindRef::new("", "v1", "Event");

partial! {
    pub struct Pod = POD {
        pub metadata: ObjectMeta,
        pub spec: PodSpec,
        pub status: PodStatus,
    }

    pub struct PodSpec {
        pub node_name: String,
        pub scheduler_name: String,
        pub service_account_name: String,
        pub priority_class_name: String,
        pub priority: Option<i32>,
        pub node_selector: BTreeMap<String, String>,
        pub containers: Vec<Container>,
        pub init_containers: Vec<Container>,
        pub overhead: ResourceList,
        pub tolerations: Vec<Toleration>,
        pub host_network: bool,
        pub hostname: String,
        pub subdomain: String,
        pub restart_policy: String,
        pub termination_grace_period_seconds: Option<i64>,
    }

    pub struct Container {
        pub name: String,
        pub image: String,
        pub ports: Vec<ContainerPort>,
        pub resources: ResourceRequirements,
        pub restart_policy: Option<String>,
    }

    pub struct ResourceRequirements {
        pub requests: ResourceList,
        pub limits: ResourceList,
    }

    pub struct ContainerPort {
        pub name: String,
        pub container_port: i64,
        pub host_port: i64,
        pub protocol: Option<String>,
    }

    pub struct PodStatus {
        pub phase: String,
        pub reason: String,
        pub conditions: Vec<Condition>,
        pub nominated_node_name: String,
        #[serde(rename = "hostIP")]
        pub host_ip: String,
        #[serde(rename = "podIP")]
        pub pod_ip: String,
        #[serde(rename = "podIPs")]
        pub pod_ips: Vec<PodIp>,
        pub start_time: Option<String>,
        pub container_statuses: Vec<ContainerStatus>,
    }

    pub struct PodIp {
        pub ip: String,
    }

    pub struct ContainerStatus {
        pub name: String,
        pub ready: bool,
        pub restart_count: i64,
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Toleration {
    #[serde(deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub key: String,
    #[serde(deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub operator: String,
    #[serde(deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub value: String,
    #[serde(deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub effect: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub toleration_seconds: Option<i64>,
}

impl Toleration {
    /// An empty effect means every effect, an empty key with `Exists` every taint.
    pub fn tolerates(&self, taint: &Taint) -> bool {
        let effect = self.effect.is_empty() || self.effect == taint.effect;
        let key = self.key.is_empty() || self.key == taint.key;
        effect
            && key
            && match self.operator.as_str() {
                "Exists" => true,
                "" | "Equal" => self.value == taint.value,
                _ => false,
            }
    }
}

impl Pod {
    /// Neither finished nor on its way out.
    pub fn is_active(&self) -> bool {
        !self.is_finished() && !self.metadata.is_being_deleted()
    }

    /// Its containers ended and will not be started again.
    pub fn is_finished(&self) -> bool {
        matches!(self.status.phase.as_str(), "Succeeded" | "Failed")
    }

    /// The condition `Ready`.
    pub fn ready_condition(&self) -> Option<&Condition> {
        self.status.conditions.condition("Ready")
    }

    /// Is the condition `Ready` true?
    pub fn is_ready(&self) -> bool {
        self.ready_condition().is_some_and(Condition::is_true)
    }

    /// What it asks for of one resource (`cpu`, `memory`, `example.com/gpu`):
    /// the sum of its containers, or the largest init container if that is
    /// more, and the overhead. Init containers that restart count as containers.
    pub fn requests(&self, resource: &str) -> Quantity {
        let of = |container: &Container| {
            container.resources.requests.get(resource).copied().unwrap_or(Quantity::ZERO)
        };
        let is_sidecar =
            |container: &&Container| container.restart_policy.as_deref() == Some("Always");
        let mut running: Quantity = self.spec.containers.iter().map(of).sum();
        let mut largest = Quantity::ZERO;
        // An init container runs beside the sidecars that were started before it.
        for container in &self.spec.init_containers {
            if is_sidecar(&container) {
                running = running + of(container);
                continue;
            }
            let before =
                self.spec.init_containers.iter().take_while(|c| !std::ptr::eq(*c, container));
            let sidecars: Quantity = before.filter(is_sidecar).map(of).sum();
            largest = largest.max(sidecars + of(container));
        }
        let overhead = self.spec.overhead.get(resource).copied().unwrap_or(Quantity::ZERO);
        running.max(largest) + overhead
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_what_runs_at_the_same_time() {
        fn check(spec: &str, expect: &str) {
            let spec = serde_json::from_str(spec).unwrap();
            let pod = Pod { spec, ..Pod::default() };
            assert_eq!(pod.requests("cpu").to_string(), expect);
        }
        let container = |cpu: &str, policy: &str| {
            format!(r#"{{"resources":{{"requests":{{"cpu":"{cpu}"}}}}{policy}}}"#)
        };
        let (one, half) = (container("1", ""), container("500m", ""));
        let sidecar = container("250m", r#","restartPolicy":"Always""#);
        check("{}", "0");
        check(&format!(r#"{{"containers":[{one},{half},{{}}]}}"#), "1500m");
        check(&format!(r#"{{"containers":[{half}],"initContainers":[{one}]}}"#), "1");
        check(&format!(r#"{{"containers":[{half}],"initContainers":[{sidecar}]}}"#), "750m");
        check(&format!(r#"{{"containers":[{half}],"initContainers":[{sidecar},{one}]}}"#), "1250m");
        check(&format!(r#"{{"containers":[{half}],"initContainers":[{one},{sidecar}]}}"#), "1");
        check(&format!(r#"{{"containers":[{half}],"overhead":{{"cpu":"100m"}}}}"#), "600m");
    }
}
