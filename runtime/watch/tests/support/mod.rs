//! A store, a bus over it, and small objects.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::sync::Arc;

use bytes::Bytes;
use pintle_api::kinds::{Registry, ResourceId};
use pintle_storage::{EngineKind, Op, Options as StoreOptions, Store, Txn, Value, open};
use pintle_watch::{Bus, Event, Options};

pub struct World {
    pub store: Arc<dyn Store>,
    pub bus: Bus,
    pub pods: ResourceId,
    pub nodes: ResourceId,
    _dir: tempfile::TempDir,
}

pub async fn world(options: Options) -> World {
    let dir = tempfile::tempdir().unwrap();
    let store = open(EngineKind::Sled, dir.path(), StoreOptions::default()).unwrap();
    let registry = Registry::builtin();
    let bus = Bus::new(registry, options);
    bus.load(Arc::clone(&store)).await.unwrap();
    let id = |plural| registry.by_plural("", "v1", plural).unwrap().id;
    World { store, bus, pods: id("pods"), nodes: id("nodes"), _dir: dir }
}

/// An object with the given members after `metadata.resourceVersion`.
pub fn object(key: &str, meta: &str, rest: &str) -> Op {
    let head = r#"{"metadata":{"resourceVersion":""#;
    let bytes = Bytes::from(format!(r#"{head}"{meta}}}{rest}}}"#));
    let value = Value { bytes, revision_at: Some(head.len() as u32) };
    Op::Put { key: Bytes::copy_from_slice(key.as_bytes()), value, expires_at_unix_seconds: None }
}

pub fn pod_key(namespace: &str, name: &str) -> String {
    format!("/registry/pods/{namespace}/{name}")
}

pub fn pod(namespace: &str, name: &str, node: &str) -> Op {
    let meta =
        format!(r#","name":"{name}","namespace":"{namespace}","labels":{{"node":"{node}"}}"#);
    object(&pod_key(namespace, name), &meta, &format!(r#","spec":{{"nodeName":"{node}"}}"#))
}

pub fn node(name: &str) -> Op {
    object(&format!("/registry/nodes/{name}"), &format!(r#","name":"{name}""#), "")
}

pub fn delete(key: &str) -> Op {
    Op::Delete { key: Bytes::copy_from_slice(key.as_bytes()) }
}

pub fn txn(ops: impl Into<Vec<Op>>) -> Txn {
    Txn { guards: Vec::new(), ops: ops.into() }
}

/// Revision, kind and name; checks that the bytes carry the revision.
pub fn shape(events: &[Arc<Event>]) -> Vec<(u64, &'static str, String)> {
    events
        .iter()
        .map(|event| {
            let object = event.object.parse();
            assert_eq!(object["metadata"]["resourceVersion"], event.revision.to_string());
            assert_eq!(event.object.revision, event.revision);
            let name = format!("{}/{}", event.object.namespace(), event.object.name());
            (event.revision, event.kind.as_str(), name)
        })
        .collect()
}
