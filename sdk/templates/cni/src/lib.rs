//! Connects pods on a node with one address and one route each.
//!
//! Every pod gets a veth pair and a `/32` address out of its node's range. In the pod,
//! everything goes to [`GATEWAY`], which exists as a permanent neighbour entry only; on
//! the node there is one route per pod. Routes between nodes are not made here: see
//! [`Cni::nodes_changed`].
//!
//! A plan is data: the node agent performs the operations, each of which it can repeat.
//!
//! Config (all optional): `mtu` (0: as the node says).

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use pintle_sdk::Context;
use pintle_sdk::cni::{
    AddResult, Cni, InterfaceResult, LinkIn, NetOp, Node, Peer, Reservation, Route, Sandbox, Veth,
};
use pintle_sdk::names::fnv1a;
use pintle_sdk::prelude::Manifest;

/// Link-local: it collides with nothing that can be reached.
pub const GATEWAY: &str = "169.254.1.1";
const POD_INTERFACE: &str = "eth0";
/// All host ends share it: each is alone on its link with its pod.
const HOST_MAC: &str = "ee:ee:ee:ee:ee:ee";

#[derive(Debug, Clone, Default, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Of the pods' interfaces; 0 takes what the node says.
    pub mtu: u32,
}

pub struct Plugin {
    config: Config,
}

impl Cni for Plugin {
    type Config = Config;

    fn new(config: Config) -> Result<Self, String> {
        match config.mtu {
            0 | 576..=65535 => Ok(Plugin { config }),
            mtu => Err(format!("spec.config.mtu: {mtu} must be 0 or lie between 576 and 65535")),
        }
    }

    fn describe(&self) -> Manifest {
        pintle_sdk::manifest!()
    }

    fn add(
        &self,
        _: &Context,
        node: &Node,
        sandbox: &Sandbox,
        reserved: &[Reservation],
    ) -> Result<AddResult, String> {
        let address = match reserved.iter().find(|known| known.sandbox == sandbox.id) {
            Some(known) => parse(&known.address)?,
            None => lowest_free(node, reserved)?,
        };
        Ok(AddResult {
            plan: self.connect(node, sandbox, address),
            reserve: vec![address.to_string()],
            interfaces: vec![InterfaceResult {
                name: POD_INTERFACE.to_owned(),
                addresses: vec![format!("{address}/32")],
                gateway: Some(GATEWAY.to_owned()),
            }],
        })
    }

    /// The route and the pod's end go with the host's end.
    fn del(&self, _: &Context, node: &Node, sandbox: &Sandbox) -> Result<Vec<NetOp>, String> {
        Ok(vec![
            NetOp::LinkDelete(LinkIn { netns: None, link: host_interface(node, sandbox) }),
            NetOp::NetnsDelete(sandbox.netns.clone()),
        ])
    }

    /// Every operation can be repeated, so the whole plan is also the repair.
    fn check(
        &self,
        _: &Context,
        node: &Node,
        sandbox: &Sandbox,
        addresses: &[String],
    ) -> Result<Vec<NetOp>, String> {
        match addresses.first() {
            Some(address) => Ok(self.connect(node, sandbox, parse(address)?)),
            None => Err(format!("sandbox {}: no address is reserved for it", sandbox.id)),
        }
    }

    /// A cluster of several nodes needs routes to `now`'s ranges here.
    fn nodes_changed(
        &self,
        _: &Context,
        _: &Node,
        _: &[Peer],
        _: &[Peer],
    ) -> Result<Vec<NetOp>, String> {
        Ok(Vec::new())
    }
}

impl Plugin {
    fn connect(&self, node: &Node, sandbox: &Sandbox, address: Ipv4Addr) -> Vec<NetOp> {
        let host = host_interface(node, sandbox);
        let netns = &sandbox.netns;
        let in_pod = |link: &str| LinkIn { netns: Some(netns.clone()), link: link.to_owned() };
        let on_node = || LinkIn { netns: None, link: host.clone() };
        let mac = pod_mac(sandbox);
        let mtu = if self.config.mtu == 0 { sandbox.mtu } else { self.config.mtu };
        vec![
            NetOp::NetnsCreate(netns.clone()),
            NetOp::LinkUp(in_pod("lo")),
            NetOp::SysctlSet {
                netns: None,
                key: "net.ipv4.ip_forward".to_owned(),
                value: "1".to_owned(),
            },
            NetOp::VethAdd(Veth {
                host: host.clone(),
                peer: POD_INTERFACE.to_owned(),
                peer_netns: netns.clone(),
                mtu,
                host_mac: HOST_MAC.to_owned(),
                peer_mac: mac.clone(),
            }),
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
            NetOp::NeighbourReplace { link: on_node(), address: address.to_string(), mac },
            NetOp::RouteReplace(Route {
                destination: format!("{address}/32"),
                link: Some(host.clone()),
                ..Route::default()
            }),
        ]
    }
}

/// The lowest address of the node's ranges that nobody has; the first two and the
/// last of a range are left out.
fn lowest_free(node: &Node, reserved: &[Reservation]) -> Result<Ipv4Addr, String> {
    let taken: BTreeSet<Ipv4Addr> =
        reserved.iter().filter_map(|known| parse(&known.address).ok()).collect();
    let ranges = node.pod_cidrs.iter().filter_map(|cidr| range(cidr));
    ranges
        .flat_map(|(first, last)| (first.saturating_add(2)..last).map(Ipv4Addr::from_bits))
        .find(|address| !taken.contains(address))
        .ok_or_else(|| {
            format!("node {}: no free IPv4 address in {:?}", node.name, node.pod_cidrs)
        })
}

/// An address with or without prefix length.
fn parse(text: &str) -> Result<Ipv4Addr, String> {
    let address = text.split_once('/').map_or(text, |(address, _)| address);
    address.parse().map_err(|_| format!("`{text}` is not an IPv4 address"))
}

/// First and last address; `None` for anything that is not an IPv4 range.
fn range(cidr: &str) -> Option<(u32, u32)> {
    let (address, prefix) = cidr.split_once('/')?;
    let address: Ipv4Addr = address.parse().ok()?;
    let prefix: u32 = prefix.parse().ok().filter(|prefix| *prefix <= 32)?;
    let host = u32::MAX.checked_shr(prefix).unwrap_or(0);
    Some((address.to_bits() & !host, address.to_bits() | host))
}

/// The node's end of a pod's link: the prefix that the node grants and a hash. The
/// kernel allows 15 characters.
fn host_interface(node: &Node, sandbox: &Sandbox) -> String {
    let mut name = format!("{}{:016x}", node.interface_prefix, fnv1a(sandbox.id.as_bytes()));
    name.truncate(15);
    name
}

/// A locally administered address of the pod's own, the same at every repair.
fn pod_mac(sandbox: &Sandbox) -> String {
    let hash = fnv1a(sandbox.id.as_bytes()).to_be_bytes();
    format!("02:{:02x}:{:02x}:{:02x}:{:02x}:{:02x}", hash[3], hash[4], hash[5], hash[6], hash[7])
}

pintle_sdk::export_cni!(Plugin);
