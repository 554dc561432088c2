//! The role of pod networking on one node. The plugin plans; the node agent
//! executes a closed set of operations, each of them idempotent.

use serde::de::DeserializeOwned;

use crate::context::Context;
use crate::manifest::Manifest;

/// A network plugin; exported with [`export_cni!`](crate::export_cni!).
pub trait Cni: Sized {
    /// `spec.config` of the Plugin object; use `#[serde(deny_unknown_fields, default)]`.
    type Config: DeserializeOwned;

    /// An error text refuses the configuration.
    fn new(config: Self::Config) -> Result<Self, String>;

    /// Its name; network plugins need no grants.
    fn describe(&self) -> Manifest;

    /// How to connect a sandbox, given what is reserved on the node. Asked again
    /// after a crash, with the sandbox's own reservation among them.
    fn add(
        &self,
        context: &Context,
        node: &Node,
        sandbox: &Sandbox,
        reserved: &[Reservation],
    ) -> Result<AddResult, String>;

    /// How to disconnect it; its addresses are given up after the plan ran.
    fn del(&self, context: &Context, node: &Node, sandbox: &Sandbox) -> Result<Vec<NetOp>, String>;

    /// A plan that repairs what is missing; `addresses` are the sandbox's own.
    fn check(
        &self,
        context: &Context,
        node: &Node,
        sandbox: &Sandbox,
        addresses: &[String],
    ) -> Result<Vec<NetOp>, String>;

    /// All peers before and now, this node left out.
    fn nodes_changed(
        &self,
        context: &Context,
        node: &Node,
        before: &[Peer],
        now: &[Peer],
    ) -> Result<Vec<NetOp>, String>;
}

/// What the plugin knows of the node it runs for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[allow(missing_docs)]
pub struct Node {
    pub name: String,
    /// The node's own address in the cluster's network.
    pub internal_ip: String,
    /// Ranges for pods on this node, `10.244.3.0/24`; empty until assigned.
    pub pod_cidrs: Vec<String>,
    /// Names of links that the plugin may create start with this.
    pub interface_prefix: String,
}

/// A pod's network namespace.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[allow(missing_docs)]
pub struct Sandbox {
    /// Unique for the pod's life; the key of every reservation.
    pub id: String,
    pub namespace: String,
    pub name: String,
    /// Path of the pod's pinned network namespace.
    pub netns: String,
    pub mtu: u32,
}

/// An address that is reserved on this node now.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Reservation {
    pub sandbox: String,
    pub address: String,
}

/// A link; `netns` None is the node's own network namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct LinkIn {
    pub netns: Option<String>,
    pub link: String,
}

/// A pair of links, one end on the node, one in the pod.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Veth {
    /// Name on the node.
    pub host: String,
    /// Name inside the pod's network namespace.
    pub peer: String,
    pub peer_netns: String,
    pub mtu: u32,
    /// MAC addresses; empty: the kernel chooses.
    pub host_mac: String,
    pub peer_mac: String,
}

/// A route.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[allow(missing_docs)]
pub struct Route {
    pub netns: Option<String>,
    /// With prefix length; `0.0.0.0/0` is the default route.
    pub destination: String,
    pub via: Option<String>,
    pub link: Option<String>,
    /// The gateway is reachable although no prefix of the link covers it.
    pub onlink: bool,
    /// Drop what matches instead of forwarding it.
    pub blackhole: bool,
}

/// One privileged operation.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum NetOp {
    NetnsCreate(String),
    NetnsDelete(String),
    VethAdd(Veth),
    LinkUp(LinkIn),
    LinkDelete(LinkIn),
    /// With prefix length, `10.244.3.7/32`.
    AddressAdd {
        link: LinkIn,
        cidr: String,
    },
    RouteReplace(Route),
    RouteDelete(Route),
    NeighbourReplace {
        link: LinkIn,
        address: String,
        mac: String,
    },
    /// Dotted name, from the node's allow-list.
    SysctlSet {
        netns: Option<String>,
        key: String,
        value: String,
    },
}

/// An interface of the pod, for its status.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct InterfaceResult {
    pub name: String,
    /// With prefix length.
    pub addresses: Vec<String>,
    pub gateway: Option<String>,
}

/// How a sandbox is connected.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[allow(missing_docs)]
pub struct AddResult {
    pub plan: Vec<NetOp>,
    /// Addresses to reserve before the plan runs. If one is taken meanwhile,
    /// the plan is dropped and `add` is asked again.
    pub reserve: Vec<String>,
    pub interfaces: Vec<InterfaceResult>,
}

/// Another node.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[allow(missing_docs)]
pub struct Peer {
    pub name: String,
    pub internal_ip: String,
    pub pod_cidrs: Vec<String>,
    pub ready: bool,
}
