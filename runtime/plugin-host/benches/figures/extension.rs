//! What an extension says about pods while many nodes are resident in it: 100
//! for each node whose label is the pod's, so it looks at all of them.

use std::path::Path;
use std::time::Instant;

use pintle_api::meta::GroupVersionKind;
use pintle_plugin_host::ExtensionPanel;
use pintle_plugin_host::cluster::{Cluster, ListQuery, ObjectHandle};
use serde_json::{Value, json};

use super::{median, microseconds};
use crate::support::cluster::{Memory, large_pod, node};
use crate::support::guests;

pub const BATCH: usize = 128;
pub const TEMPLATES: usize = 100;

/// Microseconds for a pod.
pub struct PerPod {
    /// One call, and all of its answer.
    pub asked: f64,
    /// In batches of [`BATCH`] pods of [`TEMPLATES`] templates, where the answer
    /// about one pod is that about the next of its template.
    pub in_batches: f64,
}

pub fn measure(cache: &Path, nodes: usize) -> PerPod {
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
    let pods: Vec<ObjectHandle> = memory.list(&ListQuery { kind, ..ListQuery::default() }).objects;
    let panel = |config: &Value| {
        let panel = ExtensionPanel::new(memory.clone(), cache).expect("a panel");
        panel.seat("zone", &guests::extension(), config).expect("the guest loads");
        panel
    };
    let every = panel(&json!({ "score": "zone" }));
    let mut next = pods.iter().cycle();
    let asked = median(2000, || {
        let pod = next.next().expect("a cycle has no end");
        every.ask(std::slice::from_ref(pod)).expect("it answers");
    });
    let by_label = panel(&json!({ "score": "zone", "podFields": ["metadata.labels"] }));
    for template in &pods[..TEMPLATES] {
        by_label.ask(std::slice::from_ref(template)).expect("it answers");
    }
    let started = Instant::now();
    for batch in pods.chunks(BATCH) {
        by_label.ask(batch).expect("it answers");
    }
    let in_batches = microseconds(started.elapsed()) / pods.len() as f64;
    PerPod { asked: microseconds(asked), in_batches }
}
