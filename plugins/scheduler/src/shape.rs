//! What all pods of one template have in common for the scheduler.

use std::cell::RefCell;
use std::rc::Rc;

use pintle_sdk::prelude::{Taint, Toleration};
use pintle_sdk::reading::Raw;
use serde::Deserialize;

use crate::affinity::NodeMatch;
use crate::config::{Rule, Settings};
use crate::images;
use crate::labels::LabelMap;
use crate::pod::RawPod;
use crate::requests::Requests;
use crate::rules::Rules;
use crate::tally::Marks;

#[derive(Debug)]
pub struct Shape {
    /// Tells shapes apart, in the order in which they were first seen.
    pub serial: u64,
    pub settings: Rc<Settings>,
    pub requests: Requests,
    pub ports: Vec<HostPort>,
    pub node: NodeMatch,
    pub tolerations: Rc<[Toleration]>,
    pub namespace: String,
    pub labels: LabelMap,
    pub rules: Rules,
    /// The controller: pods of one are spread.
    pub group: Option<Rc<str>>,
    /// Of each container, as nodes name them.
    pub images: Vec<String>,
    pub claims: Vec<Claim>,
    /// Which tallies count pods of this shape; filled in as they come up.
    pub marks: RefCell<Marks>,
}

/// A claim for storage, `namespace/name`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    pub key: Rc<str>,
    /// Made from the pod's own template, which takes a moment.
    pub ephemeral: bool,
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
    pub fn of(
        pod: &RawPod<'_>,
        requests: Requests,
        tolerations: Rc<[Toleration]>,
        serial: u64,
        settings: &Rc<Settings>,
    ) -> Result<Self, serde_json::Error> {
        let labels: Option<Option<LabelMap>> = pod.metadata.labels.map(Raw::parse).transpose()?;
        let labels = labels.flatten().unwrap_or_default();
        let group = pod.controller();
        let claim = |(name, ephemeral): (String, bool)| Claim {
            key: format!("{}/{name}", pod.namespace()).into(),
            ephemeral,
        };
        let containers = [&pod.spec.init_containers, &pod.spec.containers];
        let images = containers.into_iter().flatten().flatten();
        let images = images.map(|container| container.image.as_deref().unwrap_or_default());
        Ok(Shape {
            serial,
            settings: Rc::clone(settings),
            requests,
            ports: host_ports(pod)?,
            node: NodeMatch::read(pod.spec.node_selector, pod.spec.affinity)?,
            tolerations,
            namespace: pod.namespace().to_owned(),
            rules: Rules::read(
                pod.spec.affinity,
                pod.spec.topology_spread_constraints,
                (pod.namespace(), &labels),
                settings,
                group.is_some(),
            )?,
            labels,
            group: group.map(Rc::from),
            images: images.map(images::normalized).collect(),
            claims: pod.claims().map(claim).collect(),
            marks: RefCell::default(),
        })
    }

    pub fn tolerates(&self, taint: &Taint) -> bool {
        self.tolerations.iter().any(|toleration| toleration.tolerates(taint))
    }

    /// Must the node match a selector or an affinity?
    pub fn is_choosy(&self) -> bool {
        !self.node.is_everything() && self.settings.has(Rule::NodeAffinity)
    }

    pub fn admits(&self, name: &str, labels: &LabelMap) -> bool {
        !self.is_choosy() || self.node.matches(name, labels)
    }

    /// Does the pod name nodes, and not this one?
    pub fn leaves_out(&self, name: &str) -> bool {
        self.node.leaves_out(name) && self.settings.has(Rule::NodeAffinity)
    }

    /// Do pods of both take the same from a node and mean the same to others?
    pub fn weighs_like(&self, other: &Shape) -> bool {
        self.requests == other.requests
            && self.ports == other.ports
            && self.group == other.group
            && self.namespace == other.namespace
            && self.labels == other.labels
            && self.rules == other.rules
            && self.claims == other.claims
    }
}

/// A pod's tolerations; many templates have the same.
pub fn tolerations(pod: &RawPod<'_>) -> Result<Rc<[Toleration]>, serde_json::Error> {
    let tolerations: Option<Option<Vec<Toleration>>> =
        pod.spec.tolerations.map(Raw::parse).transpose()?;
    Ok(tolerations.flatten().unwrap_or_default().into())
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
        let Some(raw) = container.ports else { continue };
        for port in raw.parse::<Option<Vec<Port>>>()?.unwrap_or_default() {
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
