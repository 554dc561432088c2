//! What an extension says about pods while nodes are resident in it: 100 for each
//! node whose label is the pod's, so it looks at all of them.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use pintle_api::meta::GroupVersionKind;
use pintle_plugin_host::ExtensionPanel;
use pintle_plugin_host::cluster::{Cluster, ListQuery, ObjectHandle};
use serde_json::{Value, json};

use super::{median, microseconds};
use crate::support::cluster::{Memory, large_pod, node};
use crate::support::guests;

pub const BATCH: usize = 128;
pub const TEMPLATES: usize = 100;

/// For one batch.
const MOST_CALLS: usize = 20;

struct Seated {
    memory: Arc<Memory>,
    panel: ExtensionPanel,
    pods: Vec<ObjectHandle>,
}

fn seat(cache: &Path, nodes: usize, component: &Bytes, config: &Value) -> Seated {
    let memory = Memory::new();
    for index in 0..nodes {
        let mut node = node(&format!("node-{index}"));
        node["metadata"]["labels"]["zone"] = format!("zone-{}", index % TEMPLATES).into();
        memory.create(node);
    }
    for index in 0..100 * BATCH {
        let mut pod = large_pod(&format!("pod-{index}"));
        pod["metadata"]["labels"]["zone"] = format!("zone-{}", index % TEMPLATES).into();
        memory.create(pod);
    }
    let kind = Some(GroupVersionKind::new("", "v1", "Pod"));
    let pods = memory.list(&ListQuery { kind, ..ListQuery::default() }).objects;
    let panel = ExtensionPanel::new(memory.clone(), cache).expect("a panel");
    panel.seat("zone", component, config).expect("the guest loads");
    Seated { memory, panel, pods }
}

/// One call with a pod of 1.6 KB, in microseconds, and all of its answer.
pub fn asked(cache: &Path, nodes: usize) -> f64 {
    let seated = seat(cache, nodes, &guests::rule(), &json!({}));
    let mut next = seated.pods.iter().cycle();
    let asked = median(2000, || {
        let pod = next.next().expect("a cycle has no end");
        seated.panel.ask(std::slice::from_ref(pod)).expect("it answers");
    });
    microseconds(asked)
}

/// Microseconds for a pod in batches of [`BATCH`] pods of [`TEMPLATES`] templates:
/// the answer about one pod is that about the next of its template.
pub struct InBatches {
    /// No answer has to be asked for.
    pub known: f64,
    /// A node changes before each batch, so each template is asked about anew.
    pub nodes_change: f64,
}

pub fn in_batches(cache: &Path, nodes: usize) -> InBatches {
    let by_label = json!({ "score": "zone", "podFields": ["metadata.labels"] });
    let Seated { memory, panel, pods } = seat(cache, nodes, &guests::extension(), &by_label);
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let mut events = memory.subscribe();
    let mut per_pod = |nodes_change: bool| {
        let mut took = Duration::ZERO;
        for (round, batch) in pods.chunks(BATCH).enumerate() {
            if nodes_change {
                memory.merge("Node", "", "node-0", json!({ "spec": { "round": round } }));
                panel.observe(&runtime.block_on(events.next()).expect("nothing is lost"));
            }
            let started = Instant::now();
            // What a call had no time for is asked about in the next one.
            assert!((0..MOST_CALLS).any(|_| panel.ask(batch).is_ok()), "it answers");
            took += started.elapsed();
        }
        microseconds(took) / pods.len() as f64
    };
    // Every template becomes known.
    per_pod(false);
    InBatches { known: per_pod(false), nodes_change: per_pod(true) }
}
