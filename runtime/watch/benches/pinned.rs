//! What a read of the past costs, by how much has happened since: 5000 nodes and 20000
//! pods, of which a workload has 20 and a node 4.
//!
//! `cargo bench -p pintle-watch --bench pinned`

use std::{
    hint::black_box,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use pintle_api::{
    kinds::{Registry, ResourceId},
    selector::LabelSelector,
};
use pintle_storage::{EngineKind, Op, Options as StoreOptions, Store, Txn, Value, open};
use pintle_watch::{Bus, Options, Query, Topic};

const NODES: usize = 5000;
const PODS: usize = 20_000;
const REPLICAS: usize = 20;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(run());
}

async fn run() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(EngineKind::Sled, dir.path(), StoreOptions::default()).unwrap();
    let registry = Registry::builtin();
    let bus = Bus::new(registry, Options::default());
    bus.load(Arc::clone(&store)).await.unwrap();
    let pods = registry.by_plural("", "v1", "pods").map(|row| row.id).unwrap();
    commit(&*store, (0..NODES).map(node)).await;
    commit(&*store, (0..PODS).map(|n| pod(n, 0))).await;
    println!("{:<44} {:>9} {:>9} {:>9}", "events since the pinned revision", 0, 100, 1000);
    let revision = bus.revision();
    let mut lines: Vec<(&str, Vec<String>)> = Vec::new();
    let (mut written, mut turn) = (0, 1);
    for events in [0, 100, 1000] {
        // Of pods all over the cluster, and of the one that is asked for.
        while written < events {
            let some = (written..events.min(written + 100)).map(|n| pod(n * 7 % PODS, turn));
            written += some.len();
            commit(&*store, some).await;
            turn += 1;
        }
        for (line, cell) in measure(&bus, pods, revision) {
            match lines.iter_mut().find(|(known, _)| *known == line) {
                Some((_, cells)) => cells.push(cell),
                None => lines.push((line, vec![cell])),
            }
        }
    }
    for (line, cells) in lines {
        println!("{line:<44} {:>9} {:>9} {:>9}", cells[0], cells[1], cells[2]);
    }
}

fn measure(bus: &Bus, pods: ResourceId, revision: u64) -> Vec<(&'static str, String)> {
    let at = || bus.at(revision).unwrap();
    let uid = owner(0);
    let labels = LabelSelector::parse("app=web-0000,tier in (front,back)").unwrap();
    let get = |name: String| {
        median(2000, || at().get(pods, "default", &name).unwrap().map_or(0, |_| 1), None)
    };
    let list = |times, query: Query<'_>, expect| {
        median(times, || at().select(&query).unwrap().len(), Some(expect))
    };
    let of = Query::of(pods);
    let on_node = Topic::field("spec.nodeName", "node-0007");
    vec![
        ("get, not changed since", get(name(PODS - 1))),
        ("get, changed since", get(name(0))),
        ("get, not there", get("nothing".to_owned())),
        ("list by owner, 20 of 20000", list(1000, Query { owner_uid: Some(&uid), ..of }, REPLICAS)),
        (
            "list by owner of any kind, 20",
            list(1000, Query { owner_uid: Some(&uid), ..Query::default() }, REPLICAS),
        ),
        (
            "list by labels in a namespace, 20 of 20000",
            list(1000, Query { labels: Some(&labels), namespace: Some("default"), ..of }, REPLICAS),
        ),
        (
            "list by node, 4 of 20000",
            median(1000, || at().list_topic(pods, &on_node).unwrap().len(), Some(PODS / NODES)),
        ),
        ("list all 20000", list(30, of, PODS)),
    ]
}

fn median(times: usize, mut read: impl FnMut() -> usize, expect: Option<usize>) -> String {
    let mut taken: Vec<Duration> = (0..times)
        .map(|_| {
            let started = Instant::now();
            let found = black_box(read());
            assert!(expect.is_none_or(|expect| expect == found), "{found}");
            started.elapsed()
        })
        .collect();
    taken.sort_unstable();
    format!("{:.1} us", taken[taken.len() / 2].as_secs_f64() * 1e6)
}

async fn commit(store: &dyn Store, ops: impl Iterator<Item = Op>) {
    let ops: Vec<_> = ops.collect();
    for ops in ops.chunks(1000) {
        store.commit(Txn { guards: Vec::new(), ops: ops.to_vec() }).await.unwrap();
    }
}

fn name(n: usize) -> String {
    format!("web-{:04}-{n:05}", n / REPLICAS)
}

fn owner(n: usize) -> String {
    format!("c1f4ad9c-6c2c-4a30-8b5e-{:012}", n / REPLICAS)
}

fn put(key: String, rest: &str) -> Op {
    let head = r#"{"metadata":{"resourceVersion":""#;
    let value =
        Value { bytes: Bytes::from(format!("{head}{rest}")), revision_at: Some(head.len() as u32) };
    Op::Put { key: Bytes::from(key), value, expires_at_unix_seconds: None }
}

fn node(n: usize) -> Op {
    let name = format!("node-{n:04}");
    let labels = format!(r#"{{"kubernetes.io/hostname":"{name}","zone":"{}"}}"#, n % 3);
    put(
        format!("/registry/nodes/{name}"),
        &format!(r#"","name":"{name}","labels":{labels}}},"spec":{{}}}}"#),
    )
}

/// A pod of about 1.2 KB.
fn pod(n: usize, turn: usize) -> Op {
    let (name, app, uid) = (name(n), n / REPLICAS, owner(n));
    let (node, filler) = (n % NODES, "x".repeat(700));
    put(
        format!("/registry/pods/default/{name}"),
        &format!(
            r#"","name":"{name}","namespace":"default","uid":"2f1b9d1c-8f0f-4b7e-9f57-{n:012}","labels":{{"app":"web-{app:04}","tier":"front","team":"shop","pod-template-hash":"7c5ddbdf54"}},"ownerReferences":[{{"apiVersion":"apps/v1","kind":"ReplicaSet","name":"web-{app:04}","uid":"{uid}","controller":true}}]}},"spec":{{"nodeName":"node-{node:04}","containers":[{{"name":"web","image":"registry.example/web:1","command":["{filler}"]}}]}},"status":{{"phase":"Running","turn":{turn}}}}}"#
        ),
    )
}
