//! The Node object and its Lease; pure.

use std::collections::BTreeMap;

use pintle_api::quantity::Quantity;
use pintle_api::time::format_seconds;
use serde_json::{Value, json};

use super::facts::{Facts, architecture};
use crate::events::micro_time;

/// The Kubernetes version that the agent's behaviour follows.
const KUBELET_VERSION: &str = concat!("v1.35.0+pintle.", env!("CARGO_PKG_VERSION"));
pub const MAX_PODS: i64 = 110;
pub const LEASE_SECONDS: i64 = 40;

#[derive(Debug, Clone)]
pub struct NodeIdentity {
    pub name: String,
    pub ip: String,
    pub labels: BTreeMap<String, String>,
    pub facts: Facts,
}

/// Whether the node can take pods, and why not.
pub type Readiness = Result<(), String>;

impl NodeIdentity {
    pub fn labels(&self) -> BTreeMap<String, String> {
        let mut labels = self.labels.clone();
        for (key, value) in [
            ("kubernetes.io/hostname", self.name.as_str()),
            ("kubernetes.io/arch", architecture()),
            ("kubernetes.io/os", "linux"),
            ("beta.kubernetes.io/arch", architecture()),
            ("beta.kubernetes.io/os", "linux"),
        ] {
            labels.insert(key.to_owned(), value.to_owned());
        }
        labels
    }

    pub fn object(&self, ready: &Readiness, previous: &Value, now: i64) -> Value {
        json!({
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": self.name, "labels": self.labels()},
            "spec": {},
            "status": self.status(ready, previous, now),
        })
    }

    pub fn status(&self, ready: &Readiness, previous: &Value, now: i64) -> Value {
        let facts = &self.facts;
        let resources = json!({
            "cpu": facts.cpus.to_string(),
            "memory": format!("{}Ki", facts.memory_bytes / 1024),
            "ephemeral-storage": format!("{}Ki", facts.storage_bytes / 1024),
            "pods": Quantity::from_value(MAX_PODS).to_string(),
        });
        json!({
            "capacity": resources,
            "allocatable": resources,
            "addresses": [
                {"type": "InternalIP", "address": self.ip},
                {"type": "Hostname", "address": self.name},
            ],
            "conditions": self.conditions(ready, previous, now),
            "nodeInfo": {
                "architecture": architecture(),
                "bootID": facts.boot_id,
                "containerRuntimeVersion": format!("pintle://{}", env!("CARGO_PKG_VERSION")),
                "kernelVersion": facts.kernel,
                "kubeProxyVersion": "",
                "kubeletVersion": KUBELET_VERSION,
                "machineID": facts.machine_id,
                "operatingSystem": "linux",
                "osImage": facts.os_image,
                "systemUUID": facts.system_uuid,
            },
        })
    }

    fn conditions(&self, ready: &Readiness, previous: &Value, now: i64) -> Value {
        let now = format_seconds(now);
        let condition = |kind: &str, status: &str, reason: &str, message: &str| {
            let before = previous["conditions"].as_array().into_iter().flatten();
            let same = |old: &&Value| old["type"] == kind && old["status"] == status;
            let since = before.clone().find(same).map(|old| old["lastTransitionTime"].clone());
            json!({
                "type": kind,
                "status": status,
                "reason": reason,
                "message": message,
                "lastHeartbeatTime": now,
                "lastTransitionTime": since.unwrap_or_else(|| now.clone().into()),
            })
        };
        let ready = match ready {
            Ok(()) => {
                condition("Ready", "True", "KubeletReady", "the node agent is ready to run pods")
            }
            Err(message) => condition("Ready", "False", "KubeletNotReady", message),
        };
        json!([
            condition(
                "MemoryPressure",
                "False",
                "KubeletHasSufficientMemory",
                "the node has sufficient memory available"
            ),
            condition(
                "DiskPressure",
                "False",
                "KubeletHasNoDiskPressure",
                "the node has no disk pressure"
            ),
            condition(
                "PIDPressure",
                "False",
                "KubeletHasSufficientPID",
                "the node has sufficient process ids available"
            ),
            ready,
        ])
    }

    pub fn lease(&self, now: i64) -> Value {
        json!({
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": self.name, "namespace": "kube-node-lease"},
            "spec": {
                "holderIdentity": self.name,
                "leaseDurationSeconds": LEASE_SECONDS,
                "renewTime": micro_time(now),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_keep_the_time_of_their_last_change() {
        let node = NodeIdentity {
            name: "n".into(),
            ip: "192.0.2.1".into(),
            labels: BTreeMap::from([("zone".into(), "a".into())]),
            facts: Facts { cpus: 2, memory_bytes: 1 << 30, ..Facts::default() },
        };
        let of = |status: &Value| {
            status["conditions"]
                .as_array()
                .unwrap()
                .iter()
                .find(|c| c["type"] == "Ready")
                .unwrap()
                .clone()
        };
        let first = node.status(&Err("no network".into()), &Value::Null, 1_000);
        let second = node.status(&Err("no network".into()), &first, 9_000);
        assert_eq!(of(&second)["lastTransitionTime"], of(&first)["lastTransitionTime"]);
        assert_ne!(of(&second)["lastHeartbeatTime"], of(&first)["lastHeartbeatTime"]);
        let third = node.status(&Ok(()), &second, 20_000);
        assert_eq!(of(&third)["status"], "True");
        assert_eq!(of(&third)["lastTransitionTime"], "1970-01-01T00:00:20Z");
        assert_eq!(third["capacity"]["memory"], "1048576Ki");
        assert_eq!(node.labels()["zone"], "a");
    }
}
