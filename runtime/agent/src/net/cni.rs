//! Sets up and takes down the networks of sandboxes, and follows the nodes.

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use ipnet::IpNet;
use parking_lot::RwLock;
use pintle_netops::{Executor, NetOp, NetOpError, Scope, is_netns};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use super::plugin::{NetworkPlugin, NodeInfo, Peer, Reservation, SandboxInfo};
use super::reservations::Reservations;
use crate::pod::record::{read_json, write_json_synced};

#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    #[error("the network plugin failed: {0}")]
    Plugin(String),
    #[error("the node has no pod address range yet")]
    NoRange,
    #[error("cannot execute the network plugin's plan")]
    Plan(#[source] NetOpError),
    #[error("the network plugin asked for {0}, which is already reserved")]
    Taken(String),
    #[error("the network plugin gave {0:?} as an address")]
    Address(String),
    #[error("cannot write down the network's state")]
    Io(#[source] io::Error),
    #[error("interrupted: the agent is stopping")]
    Interrupted,
}

pub struct PodNetworkConfig {
    pub data_dir: PathBuf,
    pub node_name: String,
    pub internal_ip: String,
    pub interface_prefix: String,
    pub mtu: u32,
}

/// What must survive a restart for a plan of the past to be undone.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
struct Remembered {
    pod_cidrs: Vec<String>,
    peers: Vec<Peer>,
}

pub struct PodNetwork {
    config: PodNetworkConfig,
    plugin: Arc<dyn NetworkPlugin>,
    /// Held from the plugin's choice of an address until it is written down.
    reservations: Mutex<Reservations>,
    remembered: RwLock<Remembered>,
    /// Held while the routes to the peers change.
    routes: Mutex<()>,
}

impl PodNetwork {
    pub fn open(
        config: PodNetworkConfig,
        plugin: Arc<dyn NetworkPlugin>,
    ) -> io::Result<PodNetwork> {
        let dir = config.data_dir.join("network");
        std::fs::create_dir_all(&dir)?;
        std::fs::create_dir_all(config.data_dir.join("netns"))?;
        Ok(PodNetwork {
            reservations: Mutex::new(Reservations::load(&dir.join("reservations.json"))?),
            remembered: RwLock::new(read_json(&dir.join("nodes.json"))?.unwrap_or_default()),
            routes: Mutex::new(()),
            config,
            plugin,
        })
    }

    pub fn netns(&self, sandbox: &str) -> PathBuf {
        self.config.data_dir.join("netns").join(sandbox)
    }

    /// Whether the sandbox's namespace is really there, not a file of the past.
    pub fn is_up(&self, sandbox: &str) -> bool {
        is_netns(&self.netns(sandbox))
    }

    pub fn has_range(&self) -> bool {
        !self.remembered.read().pod_cidrs.is_empty()
    }

    /// Sandboxes that hold addresses.
    pub async fn reserved(&self) -> Vec<String> {
        let mut sandboxes: Vec<String> =
            self.reservations.lock().await.iter().map(|(_, sandbox)| sandbox.clone()).collect();
        sandboxes.sort();
        sandboxes.dedup();
        sandboxes
    }

    /// Makes the namespace and its connection; returns the pod's addresses. What
    /// an interrupted attempt left behind is removed first.
    pub async fn set_up(
        &self,
        id: &str,
        namespace: &str,
        name: &str,
    ) -> Result<Vec<IpAddr>, NetworkError> {
        if !self.has_range() {
            return Err(NetworkError::NoRange);
        }
        let leftovers =
            !self.reservations.lock().await.of(id).is_empty() || self.netns(id).exists();
        if leftovers {
            self.tear_down(id, namespace, name).await?;
        }
        let node = self.node();
        let sandbox = self.sandbox(id, namespace, name);
        let added = {
            let mut reservations = self.reservations.lock().await;
            let reserved: Vec<Reservation> = reservations
                .iter()
                .map(|(address, sandbox)| Reservation {
                    sandbox: sandbox.clone(),
                    address: address.clone(),
                })
                .collect();
            let added =
                self.plugin.add(&node, &sandbox, &reserved).await.map_err(NetworkError::Plugin)?;
            reservations
                .reserve(id, &added.reserve)
                .map_err(NetworkError::Io)?
                .map_err(NetworkError::Taken)?;
            added
        };
        let mut plan = vec![NetOp::NetnsCreate { path: self.netns(id) }];
        plan.extend(added.plan);
        self.execute(plan).await?;
        let mut ips = Vec::new();
        for address in added.interfaces.iter().flat_map(|interface| &interface.addresses) {
            ips.push(parse_address(address).ok_or_else(|| NetworkError::Address(address.clone()))?);
        }
        Ok(ips)
    }

    /// Undoes [`PodNetwork::set_up`], however far it came. Repeatable.
    pub async fn tear_down(
        &self,
        id: &str,
        namespace: &str,
        name: &str,
    ) -> Result<(), NetworkError> {
        let sandbox = self.sandbox(id, namespace, name);
        let mut plan =
            self.plugin.del(&self.node(), &sandbox).await.map_err(NetworkError::Plugin)?;
        plan.push(NetOp::NetnsDelete { path: self.netns(id) });
        self.execute(plan).await?;
        // Only now may another pod get the address.
        self.reservations.lock().await.release(id).map_err(NetworkError::Io)
    }

    /// Repairs what is missing of a sandbox that was set up before a restart.
    pub async fn check(&self, id: &str, namespace: &str, name: &str) -> Result<(), NetworkError> {
        let addresses = self.reservations.lock().await.of(id);
        let sandbox = self.sandbox(id, namespace, name);
        let plan = self
            .plugin
            .check(&self.node(), &sandbox, &addresses)
            .await
            .map_err(NetworkError::Plugin)?;
        self.execute(plan).await
    }

    pub fn set_own_ranges(&self, pod_cidrs: Vec<String>) -> io::Result<bool> {
        let next = {
            let remembered = self.remembered.read();
            if remembered.pod_cidrs == pod_cidrs {
                return Ok(false);
            }
            Remembered { pod_cidrs, ..remembered.clone() }
        };
        self.remember(next)?;
        Ok(true)
    }

    /// Brings the routes from the peers of before to those of now. With `all`, as
    /// after a restart, nothing is taken as already there.
    pub async fn set_peers(&self, mut now: Vec<Peer>, all: bool) -> Result<(), NetworkError> {
        now.sort();
        let _one_at_a_time = self.routes.lock().await;
        let before = self.remembered.read().peers.clone();
        if before == now && !all {
            return Ok(());
        }
        let node = self.node();
        let plan = |from: Vec<Peer>| {
            let (node, now) = (&node, &now);
            async move {
                self.plugin.nodes_changed(node, &from, now).await.map_err(NetworkError::Plugin)
            }
        };
        let mut ops = plan(before.clone()).await?;
        if all {
            ops.extend(plan(Vec::new()).await?);
        }
        self.execute_within(ops, before.iter().chain(&now)).await?;
        let next = Remembered { peers: now, ..self.remembered.read().clone() };
        self.remember(next).map_err(NetworkError::Io)
    }

    fn remember(&self, next: Remembered) -> io::Result<()> {
        write_json_synced(&self.config.data_dir.join("network/nodes.json"), &next)?;
        *self.remembered.write() = next;
        Ok(())
    }

    fn node(&self) -> NodeInfo {
        NodeInfo {
            name: self.config.node_name.clone(),
            internal_ip: self.config.internal_ip.clone(),
            pod_cidrs: self.remembered.read().pod_cidrs.clone(),
            interface_prefix: self.config.interface_prefix.clone(),
        }
    }

    fn sandbox(&self, id: &str, namespace: &str, name: &str) -> SandboxInfo {
        SandboxInfo {
            id: id.to_owned(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            netns: self.netns(id).to_string_lossy().into_owned(),
            mtu: self.config.mtu,
        }
    }

    async fn execute(&self, plan: Vec<NetOp>) -> Result<(), NetworkError> {
        self.execute_within(plan, std::iter::empty()).await
    }

    /// The plugin may touch this node's ranges, and those of the peers named.
    async fn execute_within(
        &self,
        plan: Vec<NetOp>,
        peers: impl Iterator<Item = &Peer>,
    ) -> Result<(), NetworkError> {
        if plan.is_empty() {
            return Ok(());
        }
        let own = self.remembered.read().pod_cidrs.clone();
        let cidrs = own.iter().chain(peers.flat_map(|peer| &peer.pod_cidrs));
        let executor = Executor::new(Scope {
            interface_prefix: self.config.interface_prefix.clone(),
            cidrs: cidrs.filter_map(|cidr| cidr.parse::<IpNet>().ok()).collect(),
            table_prefix: self.config.interface_prefix.clone(),
            netns_dir: self.config.data_dir.join("netns"),
        });
        match tokio::task::spawn_blocking(move || executor.apply(&plan)).await {
            Ok(result) => result.map_err(NetworkError::Plan),
            Err(_) => Err(NetworkError::Interrupted),
        }
    }
}

fn parse_address(text: &str) -> Option<IpAddr> {
    match text.split_once('/') {
        Some((address, _)) => address.parse().ok(),
        None => text.parse().ok(),
    }
}
