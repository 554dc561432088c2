//! The agent: wires the node's parts together and follows the API.

use std::collections::{BTreeMap, HashSet};
use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use pintle_containers::{ContentStore, StoreError};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::client::{Api, ApiClient, ApiError, chain};
use crate::clock::until;
use crate::config::AgentConfig;
use crate::events::{Kind, Recorder};
use crate::follow::{KnownPod, Node, Routes, readiness};
use crate::inotify::DirWatch;
use crate::net::{PodNetwork, PodNetworkConfig};
use crate::node::facts::Facts;
use crate::node::object::NodeIdentity;
use crate::node::{keep_lease, keep_node};
use crate::pod::driver::{PodHandle, Shared};
use crate::pod::files::Dns;
use crate::pod::images::Images;
use crate::pod::record::{Record, safe_name};
use crate::reflector::reflect;
use crate::stream::{Pods, StreamHandler};

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
    _lock: File,
}

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
                    mtu: config.pod_mtu(),
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
        // Each pod says once that it has ended, so the pods are its bound.
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

/// How long a lock of an agent that has just died may outlive it.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);

/// `None`: another agent has it.
fn lock(dir: &Path) -> io::Result<Option<File>> {
    let path = dir.join("agent.lock");
    let file = OpenOptions::new().write(true).create(true).truncate(false).open(path)?;
    let give_up = Instant::now() + LOCK_PATIENCE;
    loop {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(Some(file)),
            Err(Errno::WOULDBLOCK) if Instant::now() >= give_up => return Ok(None),
            // A program that the last agent was just starting holds the lock from
            // its fork to its exec. Nothing tells of the exec but another look.
            Err(Errno::WOULDBLOCK) => std::thread::sleep(Duration::from_millis(10)),
            Err(error) => return Err(error.into()),
        }
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
