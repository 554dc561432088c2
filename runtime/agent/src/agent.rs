//! The agent: wires the node's parts together and follows the API.

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use pintle_containers::{ContentStore, LogLimits, StoreError};
use serde_json::Value;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::client::{Api, ApiClient, ApiError, chain};
use crate::clock::{Clock, until};
use crate::events::{Kind, Recorder};
use crate::inotify::DirWatch;
use crate::net::{NetworkPlugin, Peer, PodNetwork, PodNetworkConfig};
use crate::node::facts::Facts;
use crate::node::object::{NodeIdentity, Readiness};
use crate::node::{keep_lease, keep_node};
use crate::pod::driver::{PodHandle, Shared};
use crate::pod::files::Dns;
use crate::pod::images::Images;
use crate::pod::model::Pod;
use crate::pod::record::{Record, safe_name};
use crate::pod::runtime::PodRuntime;
use crate::reflector::{Change, Identity, reflect};
use crate::stream::{Pods, StreamHandler};

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
}

#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    #[error("cannot use {path} as the agent's data directory")]
    DataDir {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("another agent already uses the data directory {0}")]
    InUse(PathBuf),
    #[error("{0:?} is not a node name")]
    Name(String),
    #[error("cannot open the image store")]
    Images(#[source] StoreError),
}

/// The node agent. Made in two steps because the node link needs the handler of
/// the streams before there is a client for the API.
pub struct Agent {
    config: AgentConfig,
    store: ContentStore,
    pods: Arc<Pods>,
    known: Vec<KnownPod>,
    facts: Facts,
    network: Option<Arc<PodNetwork>>,
    /// Two agents on one directory would run every pod twice.
    _lock: std::fs::File,
}

/// A pod of an earlier life, and its record if that can be read.
type KnownPod = (Pod, Option<PodRuntime>);

const PENDING_CHANGES: usize = 256;

impl Agent {
    /// Reads what an earlier life left. Nothing is started yet.
    pub fn open(config: AgentConfig) -> Result<Agent, AgentError> {
        if !safe_name(&config.node_name) {
            return Err(AgentError::Name(config.node_name));
        }
        let path = config.data_dir.clone();
        let fail = |source| AgentError::DataDir { path: path.clone(), source };
        std::fs::create_dir_all(&config.data_dir).map_err(fail)?;
        let lock =
            lock(&config.data_dir).map_err(fail)?.ok_or_else(|| AgentError::InUse(path.clone()))?;
        let known = Record::scan(&config.data_dir).map_err(fail)?;
        let facts = Facts::read(&config.data_dir).map_err(fail)?;
        let network = match &config.network_plugin {
            Some(plugin) => {
                let network = PodNetworkConfig {
                    data_dir: config.data_dir.clone(),
                    node_name: config.node_name.clone(),
                    internal_ip: config.node_ip.clone(),
                    interface_prefix: config.interface_prefix.clone(),
                    mtu: config.mtu.or_else(|| link_mtu(&config.node_ip)).unwrap_or(DEFAULT_MTU),
                };
                Some(Arc::new(PodNetwork::open(network, plugin.clone()).map_err(fail)?))
            }
            None => None,
        };
        let store = ContentStore::open(&config.image_dir).map_err(AgentError::Images)?;
        Ok(Agent {
            config,
            store,
            pods: Arc::new(Pods::default()),
            known,
            facts,
            network,
            _lock: lock,
        })
    }

    /// Serves logs, exec and attach; give it to the node link.
    pub fn stream_handler(&self) -> StreamHandler {
        StreamHandler {
            pods: self.pods.clone(),
            data_dir: self.config.data_dir.clone(),
            clock: self.config.clock.clone(),
        }
    }

    /// Ends every pod of this node without a server, as if all were deleted, and
    /// returns how many there were. For a node that is given up.
    pub async fn reset(self) -> usize {
        let Agent { config, store, pods, known, facts, network, _lock } = self;
        let api = Api::new(Arc::new(Nobody));
        let recorder = Recorder::start(api.clone(), config.node_name.clone(), config.clock.clone());
        let shared = shared(&config, &api, &recorder, facts, store, network);
        let (ended, mut endings) = mpsc::unbounded_channel();
        let count = known.len();
        for (pod, runtime) in known {
            let uid = pod.metadata.uid.clone();
            let handle = PodHandle::start(
                shared.clone(),
                Arc::new(pod),
                Some(runtime.unwrap_or_default()),
                ended.clone(),
            );
            handle.gone();
            pods.write().insert(uid, handle);
        }
        drop(ended);
        while let Some(uid) = endings.recv().await {
            pods.write().remove(&uid);
        }
        count
    }

    /// Runs until `shutdown`. Containers go on running afterwards.
    pub async fn run(
        self,
        client: Arc<dyn ApiClient>,
        shutdown: CancellationToken,
    ) -> Result<(), AgentError> {
        let Agent { config, store, pods, known, facts, network, _lock } = self;
        let api = Api::new(client);
        let recorder = Recorder::start(api.clone(), config.node_name.clone(), config.clock.clone());
        let identity = Arc::new(NodeIdentity {
            name: config.node_name.clone(),
            ip: config.node_ip.clone(),
            labels: config.labels.clone(),
            facts: facts.clone(),
        });
        let shared = shared(&config, &api, &recorder, facts, store, network.clone());
        let (ended, mut endings) = mpsc::unbounded_channel();
        let (ready, readiness) = watch::channel(readiness(network.as_deref()));
        let (disturbed, disturbances) = watch::channel(0u64);
        let (pod_changes, mut pods_changed) = mpsc::channel(PENDING_CHANGES);
        let (node_changes, mut nodes_changed) = mpsc::channel(PENDING_CHANGES);
        let selector = format!("fieldSelector=spec.nodeName%3D{}", config.node_name);
        let clock = config.clock.clone();
        let tasks = [
            tokio::spawn(keep_node(
                api.clone(),
                identity.clone(),
                clock.clone(),
                readiness,
                disturbances,
            )),
            tokio::spawn(keep_lease(api.clone(), identity, clock)),
            tokio::spawn(reflect(api.clone(), "/api/v1/pods".into(), selector, pod_changes)),
            tokio::spawn(reflect(api, "/api/v1/nodes".into(), String::new(), node_changes)),
        ];
        let mut images = DirWatch::new(&config.image_dir)
            .inspect_err(|error| {
                warn!(
                    error = chain(error),
                    "imports are noticed late: the image store cannot be watched"
                )
            })
            .ok();
        recorder.node(&config.node_name, Kind::Normal, "Starting", "Starting the node agent.");
        let mut node = Node {
            name: config.node_name.clone(),
            shared,
            pods,
            network,
            ended,
            ready,
            disturbed,
            listed: HashSet::new(),
            peers: BTreeMap::new(),
            routes: Routes::Unknown,
        };
        node.release_orphans(&known).await;
        node.remove_orphan_roots(&known).await;
        node.take_up(known);
        info!(node = node.name, "agent started");
        loop {
            let images_changed = async {
                match &mut images {
                    Some(watch) => watch.changed().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = shutdown.cancelled() => break,
                Some(change) = pods_changed.recv() => node.on_pod(change),
                Some(change) = nodes_changed.recv() => node.on_node(change).await,
                Some(uid) = endings.recv() => node.on_ended(&uid),
                () = until(config.clock.as_ref(), node.routes_due()) => node.set_routes().await,
                changed = images_changed => match changed {
                    Ok(names) => {
                        if names.iter().any(|name| name == "index.json") {
                            node.pods.read().values().for_each(PodHandle::images_changed);
                        }
                    }
                    Err(_) => images = None,
                },
            }
        }
        for task in tasks {
            task.abort();
        }
        node.pods.write().clear();
        info!(node = node.name, "agent stopped; its containers go on");
        Ok(())
    }
}

/// What every pod's task uses.
fn shared(
    config: &AgentConfig,
    api: &Api,
    recorder: &Recorder,
    facts: Facts,
    store: ContentStore,
    network: Option<Arc<PodNetwork>>,
) -> Arc<Shared> {
    Arc::new(Shared {
        node_name: config.node_name.clone(),
        node_ip: config.node_ip.clone(),
        data_dir: config.data_dir.clone(),
        shim_binary: config.shim_binary.clone(),
        runtime_binary: config.runtime_binary.clone(),
        log_limits: config.log_limits,
        pids_limit: config.pids_limit,
        facts,
        dns: Dns {
            cluster_dns: config.cluster_dns.clone(),
            cluster_domain: config.cluster_domain.clone(),
            node_resolv_conf: std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default(),
        },
        api: api.clone(),
        recorder: recorder.clone(),
        clock: config.clock.clone(),
        images: Images { snapshots: Arc::new(store.snapshots()), store: Arc::new(store) },
        network,
    })
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

fn lock(dir: &std::path::Path) -> io::Result<Option<std::fs::File>> {
    let file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(dir.join("agent.lock"))?;
    match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(file)),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn readiness(network: Option<&PodNetwork>) -> Readiness {
    match network {
        Some(network) if !network.has_range() => {
            Err("network plugin is not ready: the node has no pod address range (spec.podCIDR) yet"
                .into())
        }
        _ => Ok(()),
    }
}

/// The API of a node that has left its cluster.
struct Nobody;

#[async_trait::async_trait]
impl ApiClient for Nobody {
    async fn request(
        &self,
        _method: &str,
        path: &str,
        _content_type: &str,
        _body: bytes::Bytes,
    ) -> Result<crate::client::ApiResponse, ApiError> {
        Err(ApiError::from_answer(404, path.as_bytes()))
    }

    async fn watch(&self, path: &str) -> Result<Box<dyn crate::client::WatchBody>, ApiError> {
        Err(ApiError::from_answer(404, path.as_bytes()))
    }
}

/// The state that changes of the API act on.
struct Node {
    name: String,
    shared: Arc<Shared>,
    pods: Arc<Pods>,
    network: Option<Arc<PodNetwork>>,
    ended: mpsc::UnboundedSender<String>,
    ready: watch::Sender<Readiness>,
    /// Counts how often the node's own object was lost, or changed by others.
    disturbed: watch::Sender<u64>,
    /// Uids of the pods that the API has.
    listed: HashSet<String>,
    peers: BTreeMap<String, Peer>,
    routes: Routes,
}

impl Node {
    /// Addresses whose pods are not even on record.
    async fn release_orphans(&self, known: &[KnownPod]) {
        let Some(network) = &self.network else { return };
        let uids: HashSet<&str> = known.iter().map(|(pod, _)| pod.uid()).collect();
        for sandbox in network.reserved().await {
            if !uids.contains(sandbox.as_str())
                && let Err(error) = network.tear_down(&sandbox, "", "").await
            {
                warn!(sandbox, error = chain(&error), "an unused address could not be released");
            }
        }
    }

    /// Root file systems of containers whose pods are not on record.
    async fn remove_orphan_roots(&self, known: &[KnownPod]) {
        let uids: Vec<String> = known.iter().map(|(pod, _)| pod.metadata.uid.clone()).collect();
        if let Err(error) = self.shared.images.keep_only(uids).await {
            warn!(error, "unused root file systems could not be removed");
        }
    }

    /// Pods go on before the API is heard: a node needs no server to keep them.
    fn take_up(&self, known: Vec<KnownPod>) {
        let mut pods = self.pods.write();
        for (pod, runtime) in known {
            let uid = pod.metadata.uid.clone();
            let handle = PodHandle::start(
                self.shared.clone(),
                Arc::new(pod),
                Some(runtime.unwrap_or_default()),
                self.ended.clone(),
            );
            pods.insert(uid, handle);
        }
    }

    fn on_pod(&mut self, change: Change) {
        match change {
            Change::Applied(object) => self.apply_pod(object),
            Change::Deleted(id) => {
                self.listed.remove(&id.uid);
                if let Some(handle) = self.pods.read().get(&id.uid) {
                    handle.gone();
                }
            }
            Change::Synced => self.drop_orphans(),
        }
    }

    fn apply_pod(&mut self, object: Value) {
        let id = Identity::of(&object);
        let pod = match parse_pod(object) {
            Ok(pod) => Arc::new(pod),
            Err(error) => {
                warn!(
                    namespace = id.namespace,
                    pod = id.name,
                    error,
                    "pod ignored: it cannot be understood"
                );
                return;
            }
        };
        self.listed.insert(id.uid.clone());
        let mut pods = self.pods.write();
        if let Some(handle) = pods.get(&id.uid) {
            handle.want(pod);
            return;
        }
        if only_waits_for_finalizers(&pod) {
            return;
        }
        info!(namespace = id.namespace, pod = id.name, uid = id.uid, "pod taken");
        let handle = PodHandle::start(self.shared.clone(), pod, None, self.ended.clone());
        pods.insert(id.uid, handle);
    }

    /// After a list: pods of an earlier life that the API no longer has.
    fn drop_orphans(&self) {
        for (uid, handle) in self.pods.read().iter() {
            if !self.listed.contains(uid) {
                info!(uid, "pod is no longer in the API, it is removed");
                handle.gone();
            }
        }
    }

    fn on_ended(&mut self, uid: &str) {
        self.pods.write().remove(uid);
    }

    async fn on_node(&mut self, change: Change) {
        match change {
            Change::Applied(object) if object["metadata"]["name"] == self.name.as_str() => {
                self.on_own(&object);
            }
            Change::Applied(object) => {
                let peer = peer(&object);
                self.peers.insert(peer.name.clone(), peer);
            }
            Change::Deleted(id) if id.name == self.name => {
                self.disturbed.send_modify(|count| *count += 1);
            }
            Change::Deleted(id) => {
                self.peers.remove(&id.name);
            }
            // The first list comes whole: peers of before that are not yet heard
            // of must not lose their routes.
            Change::Synced if matches!(self.routes, Routes::Unknown) => {
                self.routes = Routes::Failed { retry_at: 0 }
            }
            Change::Synced => {}
        }
        self.set_routes().await;
    }

    fn on_own(&mut self, object: &Value) {
        // A node that was thought to be lost is marked as such, and says so itself
        // that it is not.
        let shown = object["status"]["conditions"].as_array().into_iter().flatten();
        let shown = shown.filter(|c| c["type"] == "Ready").any(|c| c["status"] == "Unknown");
        if shown {
            self.disturbed.send_modify(|count| *count += 1);
        }
        let Some(network) = &self.network else { return };
        let ranges = pod_cidrs(object);
        if ranges.is_empty() {
            return;
        }
        match network.set_own_ranges(ranges) {
            Ok(false) => {}
            Ok(true) => {
                info!(node = self.name, "the node has its pod address range");
                self.pods.read().values().for_each(PodHandle::retry);
            }
            Err(error) => {
                warn!(error = chain(&error), "the node's address range could not be written down")
            }
        }
        let now = readiness(Some(network));
        self.ready.send_if_modified(|shown| std::mem::replace(shown, now.clone()) != now);
    }

    async fn set_routes(&mut self) {
        let all = match self.routes {
            Routes::Unknown => return,
            Routes::Set => false,
            Routes::Failed { .. } => true,
        };
        let Some(network) = &self.network else { return };
        let peers: Vec<Peer> =
            self.peers.values().filter(|peer| !peer.pod_cidrs.is_empty()).cloned().collect();
        self.routes = match network.set_peers(peers, all).await {
            Ok(()) => Routes::Set,
            Err(error) => {
                warn!(error = chain(&error), "the routes to the other nodes could not be set");
                let retry_at = self.shared.clock.now_unix_ms() + ROUTES_RETRY_MS;
                Routes::Failed { retry_at }
            }
        };
    }

    fn routes_due(&self) -> Option<i64> {
        match self.routes {
            Routes::Failed { retry_at } => Some(retry_at),
            _ => None,
        }
    }
}

const ROUTES_RETRY_MS: i64 = 2_000;

/// How far the routes to the other nodes are.
enum Routes {
    /// The other nodes have not all been heard of.
    Unknown,
    Set,
    Failed {
        retry_at: i64,
    },
}

fn pod_cidrs(node: &Value) -> Vec<String> {
    let text = |value: &Value| value.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
    let many: Vec<String> =
        node["spec"]["podCIDRs"].as_array().into_iter().flatten().filter_map(text).collect();
    if many.is_empty() { text(&node["spec"]["podCIDR"]).into_iter().collect() } else { many }
}

fn peer(node: &Value) -> Peer {
    let addresses = node["status"]["addresses"].as_array();
    let internal = addresses.into_iter().flatten().find(|address| address["type"] == "InternalIP");
    let conditions = node["status"]["conditions"].as_array();
    let ready =
        conditions.into_iter().flatten().any(|c| c["type"] == "Ready" && c["status"] == "True");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    Peer {
        name: text(&node["metadata"]["name"]),
        internal_ip: internal.map(|address| text(&address["address"])).unwrap_or_default(),
        pod_cidrs: pod_cidrs(node),
        ready,
    }
}

/// Ended, and deleted for good by its node: whoever holds the object with a
/// finalizer is to act next.
fn only_waits_for_finalizers(pod: &Pod) -> bool {
    let ended = matches!(pod.status["phase"].as_str(), Some("Succeeded" | "Failed"));
    let finalizers = !pod.metadata.finalizers.is_empty();
    ended
        && finalizers
        && pod.is_being_deleted()
        && pod.metadata.deletion_grace_period_seconds == Some(0)
}

/// Nulls stand for absence, and names become paths.
fn parse_pod(mut object: Value) -> Result<Pod, String> {
    drop_nulls(&mut object);
    let pod: Pod = serde_json::from_value(object).map_err(|error| error.to_string())?;
    let meta = &pod.metadata;
    let names = [&meta.uid, &meta.namespace, &meta.name];
    let containers = pod.all_containers().map(|container| &container.name);
    for name in names.into_iter().chain(containers) {
        if !safe_name(name) {
            return Err(format!("{name:?} cannot be a directory's name"));
        }
    }
    Ok(pod)
}

fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, value| !value.is_null());
            map.values_mut().for_each(drop_nulls);
        }
        Value::Array(list) => list.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn pods_are_taken_or_refused_with_a_reason() {
        let check = |object: Value, expect: Result<(), &str>| {
            let got = parse_pod(object);
            match expect {
                Ok(()) => assert!(got.is_ok(), "{got:?}"),
                Err(part) => assert!(got.clone().unwrap_err().contains(part), "{got:?}"),
            }
        };
        let meta = json!({"name": "a", "namespace": "n", "uid": "u", "creationTimestamp": null});
        check(
            json!({"metadata": meta, "spec": {"volumes": null, "containers": [{"name": "c", "env": null}]}}),
            Ok(()),
        );
        check(
            json!({"metadata": {"name": "a", "namespace": "n", "uid": "../x"}}),
            Err("cannot be a directory"),
        );
        check(
            json!({"metadata": meta, "spec": {"containers": [{"name": "/"}]}}),
            Err("cannot be a directory"),
        );
        check(json!({"metadata": meta, "spec": {"containers": 3}}), Err("invalid type"));
    }

    #[test]
    fn peers_come_from_nodes() {
        let node = json!({
            "metadata": {"name": "b"},
            "spec": {"podCIDR": "10.244.1.0/24", "podCIDRs": ["10.244.1.0/24"]},
            "status": {
                "addresses": [{"type": "Hostname", "address": "b"}, {"type": "InternalIP", "address": "192.0.2.2"}],
                "conditions": [{"type": "Ready", "status": "True"}],
            },
        });
        let expect = Peer {
            name: "b".into(),
            internal_ip: "192.0.2.2".into(),
            pod_cidrs: vec!["10.244.1.0/24".into()],
            ready: true,
        };
        assert_eq!(peer(&node), expect);
        assert_eq!(peer(&json!({})), Peer::default());
    }
}
