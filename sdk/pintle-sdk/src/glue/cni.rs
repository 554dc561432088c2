//! Pod networking plugins.

use super::convert::manifest;
use super::{NOT_DESCRIBED, Slot};
use crate::bindings::cni::exports::pintle::plugin::cni as wit;
pub use crate::bindings::controller::pintle::plugin::types::Context as WitContext;
use crate::cni::{AddResult, Cni, LinkIn, NetOp, Node, Peer, Reservation, Route, Sandbox};

pub fn describe<T: Cni>(slot: &Slot<T>, config: &[u8]) -> Result<wit::Description, String> {
    let plugin = T::new(super::config(config)?)?;
    let description = plugin.describe();
    slot.set(plugin);
    Ok(wit::Description { manifest: manifest(description) })
}

pub fn add<T: Cni>(
    slot: &Slot<T>,
    context: WitContext,
    on: wit::Node,
    of: wit::Sandbox,
    reserved: Vec<wit::Reservation>,
) -> Result<wit::AddResult, String> {
    let reserved: Vec<Reservation> = reserved
        .into_iter()
        .map(|known| Reservation { sandbox: known.sandbox, address: known.address })
        .collect();
    let context = super::convert::context(context);
    let result: AddResult = slot
        .with(|plugin| plugin.add(&context, &node(on), &sandbox(of), &reserved))
        .ok_or_else(|| NOT_DESCRIBED.to_owned())??;
    Ok(wit::AddResult {
        plan: plan(result.plan),
        reserve: result.reserve,
        interfaces: result
            .interfaces
            .into_iter()
            .map(|interface| wit::InterfaceResult {
                name: interface.name,
                addresses: interface.addresses,
                gateway: interface.gateway,
            })
            .collect(),
    })
}

pub fn del<T: Cni>(
    slot: &Slot<T>,
    context: WitContext,
    on: wit::Node,
    of: wit::Sandbox,
) -> Result<Vec<wit::NetOp>, String> {
    let context = super::convert::context(context);
    slot.with(|plugin| plugin.del(&context, &node(on), &sandbox(of)))
        .ok_or_else(|| NOT_DESCRIBED.to_owned())?
        .map(plan)
}

pub fn check<T: Cni>(
    slot: &Slot<T>,
    context: WitContext,
    on: wit::Node,
    of: wit::Sandbox,
    addresses: Vec<String>,
) -> Result<Vec<wit::NetOp>, String> {
    let context = super::convert::context(context);
    slot.with(|plugin| plugin.check(&context, &node(on), &sandbox(of), &addresses))
        .ok_or_else(|| NOT_DESCRIBED.to_owned())?
        .map(plan)
}

pub fn nodes_changed<T: Cni>(
    slot: &Slot<T>,
    context: WitContext,
    on: wit::Node,
    before: Vec<wit::Peer>,
    now: Vec<wit::Peer>,
) -> Result<Vec<wit::NetOp>, String> {
    let context = super::convert::context(context);
    let (before, now) = (peers(before), peers(now));
    slot.with(|plugin| plugin.nodes_changed(&context, &node(on), &before, &now))
        .ok_or_else(|| NOT_DESCRIBED.to_owned())?
        .map(plan)
}

fn node(node: wit::Node) -> Node {
    Node {
        name: node.name,
        internal_ip: node.internal_ip,
        pod_cidrs: node.pod_cidrs,
        interface_prefix: node.interface_prefix,
    }
}

fn sandbox(sandbox: wit::Sandbox) -> Sandbox {
    Sandbox {
        id: sandbox.id,
        namespace: sandbox.namespace,
        name: sandbox.name,
        netns: sandbox.netns,
        mtu: sandbox.mtu,
    }
}

fn peers(peers: Vec<wit::Peer>) -> Vec<Peer> {
    peers
        .into_iter()
        .map(|peer| Peer {
            name: peer.name,
            internal_ip: peer.internal_ip,
            pod_cidrs: peer.pod_cidrs,
            ready: peer.ready,
        })
        .collect()
}

fn link_in(link: LinkIn) -> wit::LinkIn {
    wit::LinkIn { netns: link.netns, link: link.link }
}

fn route(route: Route) -> wit::Route {
    wit::Route {
        netns: route.netns,
        destination: route.destination,
        via: route.via,
        link: route.link,
        onlink: route.onlink,
        blackhole: route.blackhole,
    }
}

fn plan(operations: Vec<NetOp>) -> Vec<wit::NetOp> {
    operations
        .into_iter()
        .map(|operation| match operation {
            NetOp::NetnsCreate(path) => wit::NetOp::NetnsCreate(path),
            NetOp::NetnsDelete(path) => wit::NetOp::NetnsDelete(path),
            NetOp::VethAdd(veth) => wit::NetOp::VethAdd(wit::Veth {
                host: veth.host,
                peer: veth.peer,
                peer_netns: veth.peer_netns,
                mtu: veth.mtu,
                host_mac: veth.host_mac,
                peer_mac: veth.peer_mac,
            }),
            NetOp::LinkUp(link) => wit::NetOp::LinkUp(link_in(link)),
            NetOp::LinkDelete(link) => wit::NetOp::LinkDelete(link_in(link)),
            NetOp::AddressAdd { link, cidr } => {
                wit::NetOp::AddressAdd(wit::Address { link: link_in(link), cidr })
            }
            NetOp::RouteReplace(wanted) => wit::NetOp::RouteReplace(route(wanted)),
            NetOp::RouteDelete(wanted) => wit::NetOp::RouteDelete(route(wanted)),
            NetOp::NeighbourReplace { link, address, mac } => {
                wit::NetOp::NeighbourReplace(wit::Neighbour { link: link_in(link), address, mac })
            }
            NetOp::SysctlSet { netns, key, value } => {
                wit::NetOp::SysctlSet(wit::Sysctl { netns, key, value })
            }
        })
        .collect()
}
