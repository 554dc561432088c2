//! What all pods of one template have in common for the scheduler.

use std::collections::BTreeMap;
use std::rc::Rc;

use pintle_sdk::prelude::{Taint, Toleration};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::affinity::NodeMatch;
use crate::neighbours::Rules;
use crate::pod::RawPod;
use crate::requests::Requests;

#[derive(Debug, Clone, PartialEq)]
pub struct Shape {
    pub requests: Requests,
    pub ports: Vec<HostPort>,
    pub node: NodeMatch,
    pub tolerations: Vec<Toleration>,
    pub namespace: String,
    pub labels: BTreeMap<String, String>,
    pub rules: Rules,
    /// Pods of one group are spread over nodes.
    pub group: Option<Rc<str>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPort {
    pub protocol: String,
    /// `0.0.0.0` for all addresses of the node.
    pub ip: String,
    pub port: u16,
}

const ALL_ADDRESSES: &str = "0.0.0.0";

impl HostPort {
    pub fn conflicts(&self, other: &HostPort) -> bool {
        self.port == other.port
            && self.protocol == other.protocol
            && (self.ip == other.ip || self.ip == ALL_ADDRESSES || other.ip == ALL_ADDRESSES)
    }
}

impl Shape {
    pub fn of(pod: &RawPod<'_>) -> Result<Self, serde_json::Error> {
        let tolerations: Option<Option<Vec<Toleration>>> =
            pod.spec.tolerations.map(|raw| serde_json::from_str(raw.get())).transpose()?;
        let labels: Option<Option<BTreeMap<String, String>>> =
            pod.metadata.labels.map(|raw| serde_json::from_str(raw.get())).transpose()?;
        Ok(Shape {
            requests: Requests::of(pod),
            ports: host_ports(pod)?,
            node: NodeMatch::read(pod.spec.node_selector, pod.spec.affinity)?,
            tolerations: tolerations.flatten().unwrap_or_default(),
            namespace: pod.namespace().to_owned(),
            labels: labels.flatten().unwrap_or_default(),
            rules: Rules::read(pod.spec.affinity, pod.spec.topology_spread_constraints)?,
            group: pod.group().map(Rc::from),
        })
    }

    pub fn tolerates(&self, taint: &Taint) -> bool {
        self.tolerations.iter().any(|toleration| toleration.tolerates(taint))
    }
}

fn host_ports(pod: &RawPod<'_>) -> Result<Vec<HostPort>, serde_json::Error> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Port {
        container_port: Option<u16>,
        host_port: Option<u16>,
        #[serde(rename = "hostIP")]
        host_ip: Option<String>,
        protocol: Option<String>,
    }
    let on_host = pod.spec.host_network == Some(true);
    let mut ports = Vec::new();
    // Init containers that keep running (sidecars) hold their ports as well.
    let sidecars = pod.spec.init_containers.iter().flatten();
    let sidecars =
        sidecars.filter(|container| container.restart_policy.as_deref() == Some("Always"));
    for container in pod.spec.containers.iter().flatten().chain(sidecars) {
        let Some(raw) = container.ports.map(RawValue::get) else { continue };
        for port in serde_json::from_str::<Option<Vec<Port>>>(raw)?.unwrap_or_default() {
            let number = port.host_port.or(port.container_port.filter(|_| on_host)).unwrap_or(0);
            if number != 0 {
                let text = |text: Option<String>, default: &str| {
                    text.filter(|text| !text.is_empty()).unwrap_or_else(|| default.to_owned())
                };
                ports.push(HostPort {
                    protocol: text(port.protocol, "TCP"),
                    ip: text(port.host_ip, ALL_ADDRESSES),
                    port: number,
                });
            }
        }
    }
    Ok(ports)
}
