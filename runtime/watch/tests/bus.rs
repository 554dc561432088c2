//! The bus over a real store.

use std::sync::Arc;

use bytes::Bytes;
use pintle_api::kinds::Registry;
use pintle_storage::{EngineKind, Options as StoreOptions, Store, Txn, Value, open};
use pintle_watch::{Bus, EventKind, From, Options, Topic};

struct World {
    store: Arc<dyn Store>,
    bus: Bus,
    _dir: tempfile::TempDir,
}

async fn world(options: Options) -> World {
    let dir = tempfile::tempdir().unwrap();
    let store = open(EngineKind::Sled, dir.path(), StoreOptions::default()).unwrap();
    let bus = Bus::new(Registry::builtin(), options);
    bus.load(Arc::clone(&store)).await.unwrap();
    World { store, bus, _dir: dir }
}

fn pod(namespace: &str, name: &str, node: &str) -> Txn {
    let head = r#"{"metadata":{"resourceVersion":""#;
    let json = format!(
        r#"{head}","name":"{name}","namespace":"{namespace}"}},"spec":{{"nodeName":"{node}"}}}}"#
    );
    let value = Value { bytes: Bytes::from(json), revision_at: Some(head.len() as u32) };
    Txn::put(format!("/registry/pods/{namespace}/{name}"), value)
}

#[tokio::test]
async fn a_write_is_listed_and_watched() {
    let World { store, bus, _dir } = world(Options::default()).await;
    let pods = bus.registry().by_plural("", "v1", "pods").unwrap().id;
    let mut all = bus.watch(pods, Topic::All, From::Now).unwrap();
    let mut node = bus.watch(pods, Topic::field("spec.nodeName", "n1"), From::Now).unwrap();
    let mut everything = bus.watch_all(From::Initial).unwrap();
    store.commit(pod("default", "a", "")).await.unwrap();
    store.commit(pod("default", "a", "n1")).await.unwrap();
    assert_eq!(bus.revision(), 2);
    let object = bus.get(pods, "default", "a").unwrap();
    assert_eq!((object.revision, object.field("spec.nodeName")), (2, Some("n1")));
    store.commit(Txn::delete("/registry/pods/default/a")).await.unwrap();
    let kinds = |events: Vec<Arc<pintle_watch::Event>>| {
        events.iter().map(|event| (event.revision, event.kind)).collect::<Vec<_>>()
    };
    use EventKind::*;
    assert_eq!(kinds(all.next().await.unwrap()), [(1, Added), (2, Modified), (3, Deleted)]);
    assert_eq!(kinds(everything.next().await.unwrap()), [(1, Added), (2, Modified), (3, Deleted)]);
    let events = node.next().await.unwrap();
    let seen: Vec<_> = events
        .iter()
        .filter_map(|event| {
            event.for_selector(|object| object.field("spec.nodeName") == Some("n1"))
        })
        .map(|(kind, object)| (kind, object.parse()["metadata"]["resourceVersion"].clone()))
        .collect();
    assert_eq!(seen, [(Added, "2".into()), (Deleted, "3".into())]);
}
