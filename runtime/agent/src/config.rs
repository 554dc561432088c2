//! What one node is told by whoever starts its agent.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use pintle_containers::LogLimits;

use crate::clock::Clock;
use crate::net::NetworkPlugin;

/// What one node needs to know. Everything it keeps lies below `data_dir`.
pub struct AgentConfig {
    pub node_name: String,
    pub data_dir: PathBuf,
    /// The address that other nodes reach this one at.
    pub node_ip: String,
    pub labels: BTreeMap<String, String>,
    pub shim_binary: PathBuf,
    pub runtime_binary: PathBuf,
    /// The content store, shared with whoever imports images.
    pub image_dir: PathBuf,
    /// `None`: only pods on the node's own network can run here.
    pub network_plugin: Option<Arc<dyn NetworkPlugin>>,
    /// What the names of this node's links start with.
    pub interface_prefix: String,
    /// `None`: that of the link which has `node_ip`.
    pub mtu: Option<u32>,
    pub cluster_dns: Vec<String>,
    pub cluster_domain: String,
    pub log_limits: LogLimits,
    pub pids_limit: Option<i64>,
    pub clock: Arc<dyn Clock>,
}

impl AgentConfig {
    pub fn new(
        node_name: &str,
        data_dir: PathBuf,
        node_ip: &str,
        clock: Arc<dyn Clock>,
    ) -> AgentConfig {
        AgentConfig {
            node_name: node_name.to_owned(),
            image_dir: data_dir.join("images"),
            data_dir,
            node_ip: node_ip.to_owned(),
            labels: BTreeMap::new(),
            shim_binary: "pintle-shim".into(),
            runtime_binary: "runc".into(),
            network_plugin: None,
            interface_prefix: "pt".to_owned(),
            mtu: None,
            cluster_dns: Vec::new(),
            cluster_domain: "cluster.local".to_owned(),
            log_limits: LogLimits::default(),
            pids_limit: None,
            clock,
        }
    }

    pub(crate) fn pod_mtu(&self) -> u32 {
        self.mtu.or_else(|| link_mtu(&self.node_ip)).unwrap_or(DEFAULT_MTU)
    }
}

/// Ethernet's.
const DEFAULT_MTU: u32 = 1500;
/// More than any wire carries: loopback's is of no use to a pod.
const MAX_MTU: u32 = 9216;

/// The largest packet of the link that has this address.
fn link_mtu(ip: &str) -> Option<u32> {
    let ip: std::net::IpAddr = ip.parse().ok()?;
    let has = |interface: &nix::ifaddrs::InterfaceAddress| {
        let Some(address) = &interface.address else { return false };
        let v4 = address.as_sockaddr_in().map(|address| address.ip().into());
        let v6 = address.as_sockaddr_in6().map(|address| address.ip().into());
        v4.or(v6) == Some(ip)
    };
    let link = nix::ifaddrs::getifaddrs().ok()?.find(has)?.interface_name;
    let text = std::fs::read_to_string(format!("/sys/class/net/{link}/mtu")).ok()?;
    text.trim().parse().ok().filter(|mtu| *mtu <= MAX_MTU)
}
