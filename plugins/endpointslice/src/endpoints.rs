//! Which endpoints a Service has: one per pod and address family, grouped by
//! the ports that the pods really have.

use std::collections::BTreeMap;
use std::net::IpAddr;

use pintle_sdk::prelude::*;

/// What all endpoints of one slice share.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Group {
    pub address_type: String,
    pub ports: Vec<EndpointPort>,
}

pub type Wanted = BTreeMap<Group, Vec<Endpoint>>;

/// What an endpoint says of its pod.
pub const OF_POD: &[&str] = &[
    "metadata.deletionTimestamp",
    "spec.nodeName",
    "spec.hostname",
    "spec.subdomain",
    "status.phase",
    "status.conditions",
    "status.podIP",
    "status.podIPs",
];

/// And where named ports are found.
pub const PORTS_OF_POD: &[&str] = &["spec.containers", "spec.initContainers"];

/// Does a port of the Service stand for whatever a pod calls so?
pub fn names_ports(spec: &ServiceSpec) -> bool {
    spec.ports.iter().any(
        |port| matches!(&port.target_port, Some(IntOrString::String(name)) if !name.is_empty()),
    )
}

pub fn of_service(
    service: &Typed<Service>,
    pods: &[Typed<Pod>],
    zones: &BTreeMap<String, String>,
) -> Wanted {
    let mut wanted = Wanted::new();
    for family in families(&service.spec) {
        for pod in pods.iter().filter(|pod| !pod.is_finished()) {
            let Some(address) = address_of(pod, &family) else { continue };
            let group = Group { address_type: family.clone(), ports: ports_of(&service.spec, pod) };
            wanted.entry(group).or_default().push(endpoint(service, pod, address, zones));
        }
    }
    wanted
}

pub fn families(spec: &ServiceSpec) -> Vec<String> {
    if !spec.ip_families.is_empty() {
        return spec.ip_families.clone();
    }
    let is_v6 = spec.cluster_ip.parse().is_ok_and(|address: IpAddr| address.is_ipv6());
    vec![if is_v6 { "IPv6" } else { "IPv4" }.to_owned()]
}

fn address_of(pod: &Pod, family: &str) -> Option<String> {
    let all = pod.status.pod_ips.iter().map(|address| &address.ip).chain([&pod.status.pod_ip]);
    let of_family = |text: &&String| {
        text.parse().is_ok_and(|address: IpAddr| address.is_ipv6() == (family == "IPv6"))
    };
    all.into_iter().find(of_family).cloned()
}

/// The Service's ports as this pod has them: a named target port may differ from
/// pod to pod, and be missing.
fn ports_of(spec: &ServiceSpec, pod: &Pod) -> Vec<EndpointPort> {
    let port = |wanted: &ServicePort| {
        Some(EndpointPort {
            name: wanted.name.clone(),
            protocol: Some(wanted.protocol().to_owned()),
            port: Some(wanted.on(pod)?),
            app_protocol: wanted.app_protocol.clone(),
        })
    };
    let mut ports: Vec<EndpointPort> = spec.ports.iter().filter_map(port).collect();
    ports.sort_unstable();
    ports
}

fn endpoint(
    service: &Typed<Service>,
    pod: &Typed<Pod>,
    address: String,
    zones: &BTreeMap<String, String>,
) -> Endpoint {
    let serving = pod.is_ready();
    let terminating = pod.metadata.is_being_deleted();
    let ready = service.spec.publish_not_ready_addresses || (serving && !terminating);
    let node = &pod.spec.node_name;
    let has_name = !pod.spec.hostname.is_empty() && pod.spec.subdomain == service.reference.name;
    Endpoint {
        addresses: vec![address],
        conditions: EndpointConditions {
            ready: Some(ready),
            serving: Some(serving),
            terminating: Some(terminating),
        },
        hostname: has_name.then(|| pod.spec.hostname.clone()),
        target_ref: Some(TargetRef {
            kind: "Pod".to_owned(),
            namespace: pod.reference.namespace.clone(),
            name: pod.reference.name.clone(),
            uid: pod.uid.clone(),
        }),
        node_name: (!node.is_empty()).then(|| node.clone()),
        zone: zones.get(node).cloned(),
    }
}
