//! What the bus does per second, and what it costs to hold objects.
//!
//! `cargo bench -p pintle-watch`. Commits carry a thousand objects each, so that the disk is
//! not what is measured.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use pintle_api::kinds::{Registry, ResourceId};
use pintle_storage::{EngineKind, Op, Options as StoreOptions, Store, Txn, Value, open};
use pintle_watch::{Bus, From, Options, Topic};

const OBJECTS: usize = 10_000;
const PER_COMMIT: usize = 1000;

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

    let before = resident();
    let mut bytes = 0;
    for batch in 0..OBJECTS / PER_COMMIT {
        bytes += write(&*store, batch, "").await;
    }
    println!(
        "{OBJECTS} objects of {} bytes: {} MB of JSON, {} MB more resident (ring, index and \
         engine included)",
        bytes / OBJECTS,
        bytes >> 20,
        resident().saturating_sub(before) >> 20
    );
    let (before, start) = (resident(), Instant::now());
    let second = Bus::new(registry, Options::default());
    second.load(Arc::clone(&store)).await.unwrap();
    println!(
        "loading them from the store: {} ms, {} MB for objects and indexes",
        start.elapsed().as_millis(),
        resident().saturating_sub(before) >> 20
    );
    drop(second);
    let start = Instant::now();
    let lists = 200;
    for _ in 0..lists {
        assert_eq!(bus.list(pods, None).objects.len(), OBJECTS);
    }
    println!("list of {OBJECTS}: {} us", start.elapsed().as_micros() / lists);

    quiet(&*store, "no watcher").await;
    let names: Vec<_> = (0..OBJECTS).map(|n| Topic::name("elsewhere", &name(n))).collect();
    let idle = watchers(&bus, pods, names);
    quiet(&*store, &format!("{OBJECTS} watchers of other objects")).await;
    idle.stop().await;

    let names = (0..OBJECTS).map(|n| Topic::name("default", &name(n))).collect();
    deliver(&*store, watchers(&bus, pods, names), 1).await;
    let all = vec![Topic::All; 1000];
    deliver(&*store, watchers(&bus, pods, all), 1000).await;
}

fn name(n: usize) -> String {
    format!("web-7c5ddbdf54-{n:05}")
}

/// A pod of about 1.6 KB.
fn pod(n: usize, node: &str) -> Op {
    let name = name(n);
    let head = r#"{"apiVersion":"v1","kind":"Pod","metadata":{"resourceVersion":""#;
    let filler = "x".repeat(600);
    let bytes = Bytes::from(format!(
        r#"{head}","name":"{name}","namespace":"default","uid":"2f1b9d1c-8f0f-4b7e-9f57-{n:012}","creationTimestamp":"2026-01-01T00:00:00Z","labels":{{"app":"web","pod-template-hash":"7c5ddbdf54","tier":"front"}},"ownerReferences":[{{"apiVersion":"apps/v1","kind":"ReplicaSet","name":"web-7c5ddbdf54","uid":"c1f4ad9c-6c2c-4a30-8b5e-3a4d0fb0a111","controller":true,"blockOwnerDeletion":true}}]}},"spec":{{"nodeName":"{node}","containers":[{{"name":"web","image":"registry.example/web:1","command":["{filler}"],"resources":{{"requests":{{"cpu":"100m","memory":"64Mi"}}}},"terminationMessagePath":"/dev/termination-log"}}],"restartPolicy":"Always","schedulerName":"default-scheduler","tolerations":[{{"key":"node.kubernetes.io/not-ready","operator":"Exists","effect":"NoExecute","tolerationSeconds":300}}]}},"status":{{"phase":"Pending","conditions":[{{"type":"PodScheduled","status":"True","lastTransitionTime":"2026-01-01T00:00:00Z"}}]}}}}"#
    ));
    let value = Value { bytes, revision_at: Some(head.len() as u32) };
    Op::Put {
        key: Bytes::from(format!("/registry/pods/default/{name}")),
        value,
        expires_at_unix_seconds: None,
    }
}

async fn write(store: &dyn Store, batch: usize, node: &str) -> usize {
    let first = batch * PER_COMMIT % OBJECTS;
    let ops: Vec<_> = (first..first + PER_COMMIT).map(|n| pod(n, node)).collect();
    let done = store.commit(Txn { guards: Vec::new(), ops }).await.unwrap();
    done.records.iter().flatten().map(|record| record.value.len()).sum()
}

/// Events per second, durable, that nobody waits for.
async fn quiet(store: &dyn Store, what: &str) {
    let start = Instant::now();
    for batch in 0..20 {
        write(store, batch, "n1").await;
    }
    let rate = 20.0 * PER_COMMIT as f64 / start.elapsed().as_secs_f64();
    println!("{what}: {rate:.0} events/s committed");
}

struct Watchers {
    delivered: Arc<AtomicU64>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

fn watchers(bus: &Bus, resource: ResourceId, topics: Vec<Topic>) -> Watchers {
    let delivered = Arc::new(AtomicU64::new(0));
    let tasks = topics
        .into_iter()
        .map(|topic| {
            let mut watcher = bus.watch(resource, topic, From::Now).unwrap();
            let delivered = Arc::clone(&delivered);
            tokio::spawn(async move {
                while let Ok(events) = watcher.next().await {
                    delivered.fetch_add(events.len() as u64, Ordering::Relaxed);
                }
            })
        })
        .collect();
    Watchers { delivered, tasks }
}

impl Watchers {
    async fn stop(self) {
        for task in self.tasks {
            task.abort();
            let _ = task.await;
        }
    }
}

/// Each event reaches `each` watchers.
async fn deliver(store: &dyn Store, watchers: Watchers, each: u64) {
    let batches = 10;
    let start = Instant::now();
    for batch in 0..batches {
        write(store, batch, "n2").await;
    }
    let expect = (batches * PER_COMMIT) as u64 * each;
    while watchers.delivered.load(Ordering::Relaxed) < expect {
        // Only the measurement polls.
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    println!(
        "{} watchers, {each} per event: {:.0} deliveries/s",
        watchers.tasks.len(),
        expect as f64 / start.elapsed().as_secs_f64()
    );
    watchers.stop().await;
}

/// Resident bytes of this process.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: usize = statm.split(' ').nth(1).and_then(|n| n.parse().ok()).unwrap_or(0);
    pages * 4096
}
