//! Follows what the API says of this node's pods and of all nodes.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use serde_json::Value;
use tokio::sync::{mpsc, watch};
use tracing::{info, warn};

use crate::client::chain;
use crate::net::{Peer, PodNetwork};
use crate::node::object::Readiness;
use crate::pod::driver::{PodHandle, Shared};
use crate::pod::model::Pod;
use crate::pod::record::safe_name;
use crate::pod::runtime::PodRuntime;
use crate::reflector::{Change, Identity};
use crate::stream::Pods;

/// A pod of an earlier life, and its record if that can be read.
pub(crate) type KnownPod = (Pod, Option<PodRuntime>);

/// The state that changes of the API act on.
pub(crate) struct Node {
    pub name: String,
    pub shared: Arc<Shared>,
    pub pods: Arc<Pods>,
    pub network: Option<Arc<PodNetwork>>,
    pub ended: mpsc::UnboundedSender<String>,
    pub ready: watch::Sender<Readiness>,
    /// Counts how often the node's own object was lost, or changed by others.
    pub disturbed: watch::Sender<u64>,
    /// Uids of the pods that the API has.
    pub listed: HashSet<String>,
    pub peers: BTreeMap<String, Peer>,
    pub routes: Routes,
}

impl Node {
    /// Addresses whose pods are not even on record.
    pub async fn release_orphans(&self, known: &[KnownPod]) {
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
    pub async fn remove_orphan_roots(&self, known: &[KnownPod]) {
        let uids: Vec<String> = known.iter().map(|(pod, _)| pod.metadata.uid.clone()).collect();
        if let Err(error) = self.shared.images.keep_only(uids).await {
            warn!(error, "unused root file systems could not be removed");
        }
    }

    /// Pods go on before the API is heard: a node needs no server to keep them.
    pub fn take_up(&self, known: Vec<KnownPod>) {
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

    pub fn on_pod(&mut self, change: Change) {
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

    pub fn on_ended(&mut self, uid: &str) {
        self.pods.write().remove(uid);
    }

    pub async fn on_node(&mut self, change: Change) {
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
                // What was set before knew nothing of the range.
                if matches!(self.routes, Routes::Set) {
                    self.routes = Routes::Failed { retry_at: 0 };
                }
                self.pods.read().values().for_each(PodHandle::retry);
            }
            Err(error) => {
                warn!(error = chain(&error), "the node's address range could not be written down")
            }
        }
        let now = readiness(Some(network));
        self.ready.send_if_modified(|shown| std::mem::replace(shown, now.clone()) != now);
    }

    pub async fn set_routes(&mut self) {
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

    pub fn routes_due(&self) -> Option<i64> {
        match self.routes {
            Routes::Failed { retry_at } => Some(retry_at),
            _ => None,
        }
    }
}

const ROUTES_RETRY_MS: i64 = 2_000;

/// Whether pods can run here as far as the network is concerned.
pub(crate) fn readiness(network: Option<&PodNetwork>) -> Readiness {
    match network {
        Some(network) if !network.has_range() => {
            Err("network plugin is not ready: the node has no pod address range (spec.podCIDR) yet"
                .into())
        }
        _ => Ok(()),
    }
}

/// How far the routes to the other nodes are.
pub(crate) enum Routes {
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
