//! What an extension says about pods while nodes are resident in it: 100 for each
//! node whose label is the pod's. Nodes are of [`TEMPLATES`] zones.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use pintle_api::meta::GroupVersionKind;
use pintle_plugin_host::ExtensionPanel;
use pintle_plugin_host::cluster::{Cluster, ListQuery, ObjectHandle};
use serde_json::{Value, json};

use super::{median, microseconds, middle};
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

/// `alike`: pods are of [`TEMPLATES`] templates; else each is of its own.
fn seat(cache: &Path, nodes: usize, alike: bool, component: &Bytes, config: &Value) -> Seated {
    let memory = Memory::new();
    for index in 0..nodes {
        let mut node = node(&format!("node-{index}"));
        node["metadata"]["labels"]["zone"] = format!("zone-{}", index % TEMPLATES).into();
        memory.create(node);
    }
    for index in 0..100 * BATCH {
        let mut pod = large_pod(&format!("pod-{index}"));
        pod["metadata"]["labels"]["zone"] = format!("zone-{}", index % TEMPLATES).into();
        if !alike {
            pod["metadata"]["labels"]["app"] = format!("app-{index}").into();
        }
        memory.create(pod);
    }
    let kind = Some(GroupVersionKind::new("", "v1", "Pod"));
    let pods = memory.list(&ListQuery { kind, ..ListQuery::default() }).objects;
    let panel = ExtensionPanel::new(memory.clone(), cache).expect("a panel");
    panel.seat("zone", component, config).expect("the guest loads");
    Seated { memory, panel, pods }
}

/// One call with a pod of 1.6 KB, in microseconds, and all of its answer. The host
/// remembers nothing: the extension does not say what its answer depends on.
pub struct Asked {
    /// Made with the SDK, and the pod is like none before.
    pub fresh: f64,
    /// The same, of a template that it was asked about before.
    pub known: f64,
    /// Made without the SDK: it looks at each node each time.
    pub bare: f64,
}

pub fn asked(cache: &Path, nodes: usize) -> Asked {
    let ask = |alike: bool, component: &Bytes, config: &Value| {
        let seated = seat(cache, nodes, alike, component, config);
        let mut next = seated.pods.iter().cycle();
        // So many of `fresh` that none is asked about twice.
        microseconds(median(2000, || {
            let pod = next.next().expect("a cycle has no end");
            seated.panel.ask(std::slice::from_ref(pod)).expect("it answers");
        }))
    };
    Asked {
        fresh: ask(false, &guests::rule(), &json!({})),
        known: ask(true, &guests::rule(), &json!({})),
        bare: ask(true, &guests::extension(), &json!({ "score": "zone" })),
    }
}

/// Microseconds for a pod in batches of [`BATCH`] pods of [`TEMPLATES`] templates:
/// the answer about one pod is that about the next of its template.
pub struct InBatches {
    /// No answer has to be asked for.
    pub known: f64,
    /// A node goes to another zone before each batch, so each template is asked
    /// about anew.
    pub nodes_change: f64,
}

pub fn in_batches(cache: &Path, nodes: usize) -> InBatches {
    let rule = guests::rule_of_fields();
    let Seated { memory, panel, pods } = seat(cache, nodes, true, &rule, &json!({}));
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let mut events = memory.subscribe();
    let mut per_pod = |nodes_change: bool| {
        let mut took = Vec::new();
        for (round, batch) in pods.chunks(BATCH).enumerate() {
            if nodes_change {
                let zone = format!("zone-{}", (round + 1) % TEMPLATES);
                let change = json!({ "metadata": { "labels": { "zone": zone } } });
                memory.merge("Node", "", "node-0", change);
                panel.observe(&runtime.block_on(events.next()).expect("nothing is lost"));
            }
            let started = Instant::now();
            // What a call had no time for is asked about in the next one.
            assert!((0..MOST_CALLS).any(|_| panel.ask(batch).is_ok()), "it answers");
            took.push(started.elapsed());
        }
        microseconds(middle(took)) / BATCH as f64
    };
    // Every template becomes known.
    per_pod(false);
    InBatches { known: per_pod(false), nodes_change: per_pod(true) }
}
