//! The operations that connect a pod, disconnect it, and reach other nodes.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use pintle_sdk::cni::{LinkIn, NetOp, Node, Peer, Route, Sandbox, Veth};
use pintle_sdk::names::fnv1a;

use crate::address;

pub const POD_INTERFACE: &str = "eth0";
/// Link-local, so it collides with nothing that can be reached.
pub const GATEWAY: &str = "169.254.1.1";
/// All host ends share it: each is alone on its link with its pod.
const HOST_MAC: &str = "ee:ee:ee:ee:ee:ee";
/// The kernel's limit for the name of an interface.
const LONGEST_NAME: usize = 15;
/// Fewer characters of a hash would make collisions likely.
const SHORTEST_HASH: usize = 8;

pub fn connect(
    node: &Node,
    sandbox: &Sandbox,
    address: Ipv4Addr,
    mtu: u32,
) -> Result<Vec<NetOp>, String> {
    let host = host_interface(&node.interface_prefix, &sandbox.id)?;
    let netns = &sandbox.netns;
    let in_pod = |link: &str| LinkIn { netns: Some(netns.clone()), link: link.to_owned() };
    let on_node = || LinkIn { netns: None, link: host.clone() };
    let pod_mac = pod_mac(&sandbox.id);
    let sysctl =
        |key: String, value: &str| NetOp::SysctlSet { netns: None, key, value: value.to_owned() };
    Ok(vec![
        NetOp::NetnsCreate(netns.clone()),
        NetOp::LinkUp(in_pod("lo")),
        sysctl("net.ipv4.ip_forward".to_owned(), "1"),
        NetOp::VethAdd(Veth {
            host: host.clone(),
            peer: POD_INTERFACE.to_owned(),
            peer_netns: netns.clone(),
            mtu,
            host_mac: HOST_MAC.to_owned(),
            peer_mac: pod_mac.clone(),
        }),
        // A pod cannot send with an address that is not its own.
        sysctl(format!("net.ipv4.conf.{host}.rp_filter"), "1"),
        NetOp::LinkUp(on_node()),
        NetOp::AddressAdd { link: in_pod(POD_INTERFACE), cidr: format!("{address}/32") },
        NetOp::LinkUp(in_pod(POD_INTERFACE)),
        NetOp::NeighbourReplace {
            link: in_pod(POD_INTERFACE),
            address: GATEWAY.to_owned(),
            mac: HOST_MAC.to_owned(),
        },
        NetOp::RouteReplace(Route {
            netns: Some(netns.clone()),
            destination: format!("{GATEWAY}/32"),
            link: Some(POD_INTERFACE.to_owned()),
            ..Route::default()
        }),
        NetOp::RouteReplace(Route {
            netns: Some(netns.clone()),
            destination: "0.0.0.0/0".to_owned(),
            via: Some(GATEWAY.to_owned()),
            link: Some(POD_INTERFACE.to_owned()),
            onlink: true,
            ..Route::default()
        }),
        // Both ends know each other: no question is ever asked on the link.
        NetOp::NeighbourReplace { link: on_node(), address: address.to_string(), mac: pod_mac },
        NetOp::RouteReplace(Route {
            destination: format!("{address}/32"),
            link: Some(host.clone()),
            ..Route::default()
        }),
    ])
}

/// The route and the pod's end go with the host's end.
pub fn disconnect(node: &Node, sandbox: &Sandbox) -> Result<Vec<NetOp>, String> {
    let link = host_interface(&node.interface_prefix, &sandbox.id)?;
    Ok(vec![
        NetOp::LinkDelete(LinkIn { netns: None, link }),
        NetOp::NetnsDelete(sandbox.netns.clone()),
    ])
}

/// From the routes of before to the routes of now. Without a before, as after a
/// start, every route is set. A node that is not ready keeps its route: its pods
/// may well be running.
pub fn routes(node: &Node, before: &[Peer], now: &[Peer]) -> Vec<NetOp> {
    let (was, is) = (wanted(node, before), wanted(node, now));
    let mut plan = Vec::new();
    if before.is_empty() {
        plan.push(NetOp::SysctlSet {
            netns: None,
            key: "net.ipv4.ip_forward".to_owned(),
            value: "1".to_owned(),
        });
        // Without it, packets for addresses without a pod would leave the node
        // and come back until their time to live is over.
        for cidr in node.pod_cidrs.iter().filter(|cidr| address::range(cidr).is_some()) {
            plan.push(NetOp::RouteReplace(Route {
                destination: cidr.clone(),
                blackhole: true,
                ..Route::default()
            }));
        }
    }
    for destination in was.keys().filter(|destination| !is.contains_key(*destination)) {
        plan.push(NetOp::RouteDelete(Route {
            destination: (*destination).to_owned(),
            ..Route::default()
        }));
    }
    for (destination, via) in &is {
        if was.get(destination) != Some(via) {
            plan.push(NetOp::RouteReplace(Route {
                destination: (*destination).to_owned(),
                via: Some((*via).to_owned()),
                ..Route::default()
            }));
        }
    }
    plan
}

/// Range to gateway. A range that two peers claim for a moment goes to the last
/// by name, on every node alike.
fn wanted<'a>(node: &Node, peers: &'a [Peer]) -> BTreeMap<&'a str, &'a str> {
    let mut peers: Vec<&Peer> = peers.iter().collect();
    peers.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    let reachable = peers
        .into_iter()
        .filter(|peer| !peer.internal_ip.is_empty() && peer.internal_ip != node.internal_ip);
    reachable
        .flat_map(|peer| {
            peer.pod_cidrs.iter().map(move |cidr| (cidr.as_str(), peer.internal_ip.as_str()))
        })
        .filter(|(cidr, _)| {
            address::range(cidr).is_some() && !node.pod_cidrs.iter().any(|own| own == cidr)
        })
        .collect()
}

/// The node's end of a pod's link: the prefix and a hash of the sandbox id.
pub fn host_interface(prefix: &str, sandbox: &str) -> Result<String, String> {
    const DIGITS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
    if prefix.len() + SHORTEST_HASH > LONGEST_NAME {
        return Err(format!(
            "interface prefix `{prefix}`: at most {} characters",
            LONGEST_NAME - SHORTEST_HASH
        ));
    }
    let mut name = prefix.to_owned();
    let mut hash = fnv1a(sandbox.as_bytes());
    while name.len() < LONGEST_NAME {
        name.push(char::from(DIGITS[(hash % 36) as usize]));
        hash /= 36;
    }
    Ok(name)
}

/// A locally administered address of the pod's own, the same at every repair.
fn pod_mac(sandbox: &str) -> String {
    let hash = fnv1a(sandbox.as_bytes()).to_be_bytes();
    format!("02:{:02x}:{:02x}:{:02x}:{:02x}:{:02x}", hash[3], hash[4], hash[5], hash[6], hash[7])
}
