//! Events as Kubernetes' users know them, written in the background.

use std::collections::HashMap;
use std::collections::VecDeque;
use std::sync::Arc;

use pintle_api::time::{format_micros, format_seconds};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tracing::debug;

use crate::client::{Api, MERGE_PATCH, chain};
use crate::clock::Clock;
use crate::pod::model::Pod;

/// Events waiting to be written; more are dropped, as Kubernetes does.
const QUEUE: usize = 256;
/// Events that a repetition is counted on instead of written anew.
const REMEMBERED: usize = 512;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Normal,
    Warning,
}

#[derive(Debug, Clone)]
struct Note {
    involved: Value,
    namespace: String,
    kind: Kind,
    reason: String,
    message: String,
    at: i64,
}

/// Cheap to clone.
#[derive(Clone)]
pub struct Recorder {
    queue: mpsc::Sender<Note>,
    clock: Arc<dyn Clock>,
}

impl Recorder {
    /// Starts the task that writes; it ends with the last recorder.
    pub fn start(api: Api, node: String, clock: Arc<dyn Clock>) -> Recorder {
        let (queue, notes) = mpsc::channel(QUEUE);
        tokio::spawn(write_all(api, node, notes));
        Recorder { queue, clock }
    }

    pub fn pod(
        &self,
        pod: &Pod,
        container: Option<&str>,
        kind: Kind,
        reason: &str,
        message: impl Into<String>,
    ) {
        let mut involved = json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "namespace": pod.metadata.namespace,
            "name": pod.metadata.name,
            "uid": pod.metadata.uid,
            "resourceVersion": pod.metadata.resource_version,
        });
        if let Some(container) = container {
            let list = if pod.is_init(container) { "initContainers" } else { "containers" };
            involved["fieldPath"] = format!("spec.{list}{{{container}}}").into();
        }
        self.note(involved, &pod.metadata.namespace, kind, reason, message.into());
    }

    pub fn node(&self, name: &str, kind: Kind, reason: &str, message: impl Into<String>) {
        let involved = json!({"kind": "Node", "apiVersion": "v1", "name": name, "uid": name});
        self.note(involved, "default", kind, reason, message.into());
    }

    fn note(&self, involved: Value, namespace: &str, kind: Kind, reason: &str, message: String) {
        let note = Note {
            involved,
            namespace: namespace.to_owned(),
            kind,
            reason: reason.to_owned(),
            message,
            at: self.clock.now_unix_ms(),
        };
        if self.queue.try_send(note).is_err() {
            debug!(reason, "event dropped, too many are waiting");
        }
    }
}

#[derive(Default)]
struct Seen {
    by_key: HashMap<String, (String, u64)>,
    order: VecDeque<String>,
}

impl Seen {
    fn remember(&mut self, key: String, name: String) {
        if self.order.len() >= REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.by_key.remove(&oldest);
        }
        self.order.push_back(key.clone());
        self.by_key.insert(key, (name, 1));
    }
}

async fn write_all(api: Api, node: String, mut notes: mpsc::Receiver<Note>) {
    let mut seen = Seen::default();
    let mut number = 0u64;
    while let Some(note) = notes.recv().await {
        number += 1;
        if let Err(error) = write(&api, &node, &note, number, &mut seen).await {
            // An event is a courtesy: losing one harms nothing.
            debug!(reason = note.reason, error = chain(&error), "event not written");
        }
    }
}

async fn write(
    api: &Api,
    node: &str,
    note: &Note,
    number: u64,
    seen: &mut Seen,
) -> Result<(), crate::client::ApiError> {
    let collection = format!("/api/v1/namespaces/{}/events", note.namespace);
    let key = format!(
        "{}\0{}\0{}\0{}",
        note.involved["uid"], note.involved["fieldPath"], note.reason, note.message
    );
    let now = format_seconds(note.at);
    if let Some((name, count)) = seen.by_key.get_mut(&key) {
        *count += 1;
        let patch = json!({"count": count, "lastTimestamp": now});
        match api.patch(&format!("{collection}/{name}"), MERGE_PATCH, &patch).await {
            // It lived its hour: write it anew.
            Err(error) if error.is_not_found() => {}
            result => return result.map(|_| ()),
        }
    }
    let involved = note.involved["name"].as_str().unwrap_or_default();
    let name = format!("{involved}.{:x}{number:x}", note.at.unsigned_abs());
    let event = json!({
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"namespace": note.namespace, "name": name},
        "involvedObject": note.involved,
        "type": match note.kind { Kind::Normal => "Normal", Kind::Warning => "Warning" },
        "reason": note.reason,
        "message": note.message,
        "source": {"component": "kubelet", "host": node},
        "reportingComponent": "kubelet",
        "reportingInstance": node,
        "firstTimestamp": now,
        "lastTimestamp": now,
        "eventTime": Value::Null,
        "count": 1,
    });
    api.create(&collection, &event).await?;
    seen.by_key.remove(&key);
    seen.order.retain(|known| *known != key);
    seen.remember(key, name);
    Ok(())
}

/// For leases, which want microseconds.
pub fn micro_time(unix_ms: i64) -> String {
    format_micros(unix_ms.saturating_mul(1000))
}
