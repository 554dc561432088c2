//! What a network plugin is to the agent: the `cni` interface of the WIT package
//! with the operations in the form that the executor takes.

use async_trait::async_trait;
use pintle_netops::NetOp;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeInfo {
    pub name: String,
    pub internal_ip: String,
    /// Empty until the cluster has given this node a range.
    pub pod_cidrs: Vec<String>,
    pub interface_prefix: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SandboxInfo {
    pub id: String,
    pub namespace: String,
    pub name: String,
    pub netns: String,
    pub mtu: u32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reservation {
    pub sandbox: String,
    pub address: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AddPlan {
    pub plan: Vec<NetOp>,
    /// Written down before the plan runs.
    pub reserve: Vec<String>,
    pub interfaces: Vec<Interface>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    pub name: String,
    /// With prefix length.
    pub addresses: Vec<String>,
    pub gateway: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Peer {
    pub name: String,
    pub internal_ip: String,
    pub pod_cidrs: Vec<String>,
    pub ready: bool,
}

/// An error is the plugin's own words.
#[async_trait]
pub trait NetworkPlugin: Send + Sync + 'static {
    async fn add(
        &self,
        node: &NodeInfo,
        sandbox: &SandboxInfo,
        reserved: &[Reservation],
    ) -> Result<AddPlan, String>;
    async fn del(&self, node: &NodeInfo, sandbox: &SandboxInfo) -> Result<Vec<NetOp>, String>;
    async fn check(
        &self,
        node: &NodeInfo,
        sandbox: &SandboxInfo,
        addresses: &[String],
    ) -> Result<Vec<NetOp>, String>;
    async fn nodes_changed(
        &self,
        node: &NodeInfo,
        before: &[Peer],
        now: &[Peer],
    ) -> Result<Vec<NetOp>, String>;
}
