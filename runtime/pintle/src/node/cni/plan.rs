//! What the agent and the plugin say to each other, each in its own types: a
//! node and a sandbox on the way in, operations on the way out.

use std::path::PathBuf;

use pintle_agent::net::{NodeInfo, Peer, SandboxInfo};
use pintle_netops::NetOp;
use pintle_plugin_host::cni;

pub(super) fn to_node(node: &NodeInfo) -> cni::Node {
    cni::Node {
        name: node.name.clone(),
        internal_ip: node.internal_ip.clone(),
        pod_cidrs: node.pod_cidrs.clone(),
        interface_prefix: node.interface_prefix.clone(),
    }
}

pub(super) fn to_sandbox(sandbox: &SandboxInfo) -> cni::Sandbox {
    cni::Sandbox {
        id: sandbox.id.clone(),
        namespace: sandbox.namespace.clone(),
        name: sandbox.name.clone(),
        netns: sandbox.netns.clone(),
        mtu: sandbox.mtu,
    }
}

pub(super) fn to_peers(peers: &[Peer]) -> Vec<cni::Peer> {
    peers
        .iter()
        .map(|peer| cni::Peer {
            name: peer.name.clone(),
            internal_ip: peer.internal_ip.clone(),
            pod_cidrs: peer.pod_cidrs.clone(),
            ready: peer.ready,
        })
        .collect()
}

/// The whole plan, or nothing of it.
pub(super) fn operations(plan: Vec<cni::NetOp>) -> Result<Vec<NetOp>, String> {
    plan.into_iter()
        .enumerate()
        .map(|(at, op)| operation(op).map_err(|e| format!("operation {at} of the plan: {e}")))
        .collect()
}

fn operation(op: cni::NetOp) -> Result<NetOp, String> {
    let path = |netns: Option<String>| netns.map(PathBuf::from);
    Ok(match op {
        cni::NetOp::NetnsCreate(netns) => NetOp::NetnsCreate { path: netns.into() },
        cni::NetOp::NetnsDelete(netns) => NetOp::NetnsDelete { path: netns.into() },
        cni::NetOp::VethAdd(veth) => NetOp::VethAdd {
            host: veth.host,
            host_mac: optional(&veth.host_mac)?,
            peer: veth.peer,
            peer_netns: veth.peer_netns.into(),
            peer_mac: optional(&veth.peer_mac)?,
            mtu: (veth.mtu > 0).then_some(veth.mtu),
        },
        cni::NetOp::LinkUp(link) => NetOp::LinkUp { netns: path(link.netns), link: link.link },
        cni::NetOp::LinkDelete(link) => {
            NetOp::LinkDelete { netns: path(link.netns), link: link.link }
        }
        cni::NetOp::AddressAdd(address) => NetOp::AddressAdd {
            netns: path(address.link.netns),
            link: address.link.link,
            cidr: parse(&address.cidr)?,
        },
        cni::NetOp::RouteReplace(route) => NetOp::RouteReplace {
            netns: path(route.netns),
            destination: parse(&route.destination)?,
            via: route.via.as_deref().map(parse).transpose()?,
            link: route.link,
            source: None,
            onlink: route.onlink,
            blackhole: route.blackhole,
        },
        cni::NetOp::RouteDelete(route) => NetOp::RouteDelete {
            netns: path(route.netns),
            destination: parse(&route.destination)?,
            via: route.via.as_deref().map(parse).transpose()?,
            link: route.link,
        },
        cni::NetOp::NeighbourReplace(neighbour) => NetOp::NeighbourReplace {
            netns: path(neighbour.link.netns),
            link: neighbour.link.link,
            ip: parse(&neighbour.address)?,
            mac: parse(&neighbour.mac)?,
            permanent: true,
        },
        cni::NetOp::SysctlSet(sysctl) => NetOp::SysctlSet {
            netns: path(sysctl.netns),
            // Plugins write dots, the executor paths below /proc/sys.
            key: sysctl.key.replace('.', "/"),
            value: sysctl.value,
        },
        cni::NetOp::Other((name, _)) => {
            return Err(format!("this node knows no operation {name:?}"));
        }
    })
}

fn parse<T: std::str::FromStr>(text: &str) -> Result<T, String>
where
    T::Err: std::fmt::Display,
{
    text.parse().map_err(|error| format!("{text:?}: {error}"))
}

fn optional<T: std::str::FromStr>(text: &str) -> Result<Option<T>, String>
where
    T::Err: std::fmt::Display,
{
    if text.is_empty() { Ok(None) } else { parse(text).map(Some) }
}
