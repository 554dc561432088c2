//! Addresses grouped by the ports that all of them serve.

use std::collections::BTreeMap;
use std::net::IpAddr;

use pintle_sdk::prelude::*;
use serde_json::{Value, json};

use crate::MOST_ADDRESSES;

/// Name, protocol, number and application protocol of a port.
type Port = (String, String, i64, Option<String>);

#[derive(Default)]
struct Subset {
    ready: BTreeMap<String, Value>,
    unready: BTreeMap<String, Value>,
}

/// What an address says of its pod.
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

/// Does a port of the Service stand for whatever a pod calls so?
pub fn names_ports(spec: &ServiceSpec) -> bool {
    spec.ports.iter().any(
        |port| matches!(&port.target_port, Some(IntOrString::String(name)) if !name.is_empty()),
    )
}

/// The subsets, and whether addresses had to be left out.
pub fn of_service(service: &Typed<Service>, pods: &[Typed<Pod>]) -> (Value, bool) {
    let v6 = match service.spec.ip_families.first() {
        Some(family) => family == "IPv6",
        None => service.spec.cluster_ip.parse().is_ok_and(|ip: IpAddr| ip.is_ipv6()),
    };
    let mut subsets: BTreeMap<Vec<Port>, Subset> = BTreeMap::new();
    let mut sorted: Vec<&Typed<Pod>> = pods.iter().filter(|pod| is_listed(service, pod)).collect();
    // Ready ones first, so that what is cut off matters least.
    sorted.sort_by_key(|pod| (!is_ready(service, pod), pod.reference.name.clone()));
    let truncated = sorted.len() > MOST_ADDRESSES;
    for pod in sorted.into_iter().take(MOST_ADDRESSES) {
        let all = pod.status.pod_ips.iter().map(|ip| &ip.ip).chain([&pod.status.pod_ip]);
        let of_family = |ip: &&String| ip.parse().is_ok_and(|ip: IpAddr| ip.is_ipv6() == v6);
        let Some(ip) = all.into_iter().find(of_family) else { continue };
        let ports = ports_of(&service.spec, pod);
        if ports.is_empty() && !service.spec.ports.is_empty() {
            continue; // it has none of the named ports
        }
        let subset = subsets.entry(ports).or_default();
        let list = if is_ready(service, pod) { &mut subset.ready } else { &mut subset.unready };
        list.insert(ip.clone(), address(service, pod, ip));
    }
    let subsets: Vec<Value> =
        subsets.into_iter().map(|(ports, subset)| write(&ports, subset)).collect();
    (Value::Array(subsets), truncated)
}

fn is_listed(service: &Service, pod: &Pod) -> bool {
    !pod.is_finished()
        && !pod.status.pod_ip.is_empty()
        && (!pod.metadata.is_being_deleted() || service.spec.publish_not_ready_addresses)
}

fn is_ready(service: &Service, pod: &Pod) -> bool {
    pod.is_ready() || service.spec.publish_not_ready_addresses
}

fn ports_of(spec: &ServiceSpec, pod: &Pod) -> Vec<Port> {
    let port = |wanted: &ServicePort| {
        let protocol = wanted.protocol().to_owned();
        Some((wanted.name.clone(), protocol, wanted.on(pod)?, wanted.app_protocol.clone()))
    };
    let mut ports: Vec<Port> = spec.ports.iter().filter_map(port).collect();
    ports.sort_unstable();
    ports
}

fn address(service: &Typed<Service>, pod: &Typed<Pod>, ip: &str) -> Value {
    let mut address = json!({
        "ip": ip,
        "targetRef": {"kind": "Pod", "namespace": pod.reference.namespace, "name": pod.reference.name, "uid": pod.uid},
    });
    if !pod.spec.node_name.is_empty() {
        address["nodeName"] = json!(pod.spec.node_name);
    }
    if !pod.spec.hostname.is_empty() && pod.spec.subdomain == service.reference.name {
        address["hostname"] = json!(pod.spec.hostname);
    }
    address
}

fn write(ports: &[Port], subset: Subset) -> Value {
    let mut value = json!({});
    for (field, list) in [("addresses", subset.ready), ("notReadyAddresses", subset.unready)] {
        if !list.is_empty() {
            value[field] = list.into_values().collect();
        }
    }
    let ports: Vec<Value> = ports
        .iter()
        .map(|(name, protocol, number, app)| {
            let mut port = json!({"port": number, "protocol": protocol});
            if !name.is_empty() {
                port["name"] = json!(name);
            }
            if let Some(app) = app {
                port["appProtocol"] = json!(app);
            }
            port
        })
        .collect();
    if !ports.is_empty() {
        value["ports"] = Value::Array(ports);
    }
    value
}

/// Absent and empty are the same.
pub fn same(known: &Value, wanted: &Value) -> bool {
    known == wanted || (known.is_null() && *wanted == json!([]))
}
