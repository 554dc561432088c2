//! Scheduler extensions beside themselves: candidates that are compared before
//! they are asked, and recordings that are replayed.

mod support;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use pintle_plugin_host::Compiler;
use pintle_plugin_host::trace::model::{Input, Live};
use pintle_plugin_host::trace::{
    self, Entry, RecordOptions, Recording, Replay, Report, TraceReader,
};
use serde_json::{Value, json};
use support::cluster::{Memory, node, pod};
use support::guests;
use support::host::Running;

const NODES: usize = 20;

/// Spreads pods of one app, knows of each that was decided, and scores nodes.
fn config() -> Value {
    json!({ "version": "old", "filter": "single", "score": "label" })
}

fn extension(component: &[u8], config: Value, shadow: Value) -> Value {
    let grants = json!([{ "apiGroups": [""], "kinds": ["Node", "Pod"], "verbs": ["watch"] }]);
    let mut plugin = guests::plugin("rule", "SchedulerExtension", component, config, grants);
    plugin["spec"]["rollout"]["shadow"] = shadow;
    plugin
}

fn labelled(mut object: Value, key: &str, value: &str) -> Value {
    object["metadata"]["labels"][key] = json!(value);
    object
}

/// Nodes with scores, the extension, and a scheduler that asks it.
async fn started(config: Value) -> Running {
    let memory = Memory::new();
    for index in 0..NODES {
        let scored = labelled(node(&format!("node-{index}")), "score", &index.to_string());
        memory.create(labelled(scored, "zone", "east"));
    }
    memory.create(extension(&guests::extension(), config, Value::Null));
    let asks = json!({ "extensions": true });
    let grants = guests::scheduler_grants();
    memory.create(guests::plugin("scheduler", "Scheduler", &guests::scheduler(), asks, grants));
    let running = Running::start(memory).await;
    running.status("rule", "active", |status| status["phase"] == "Active").await;
    running
}

fn propose(running: &Running, config: Value, shadow: Value) -> Value {
    let candidate = guests::variant(&guests::extension(), 1);
    running.change("rule", extension(&candidate, config, shadow)["spec"].clone())
}

/// Ten pods, two of each app; now and then a node changes, comes or goes.
fn some_pods(memory: &Memory, round: usize) {
    for index in 0..10 {
        let app = format!("app-{round}-{}", index / 2);
        memory.create(labelled(pod(&format!("pod-{round}-{index}")), "app", &app));
    }
    let changed = format!("node-{}", round % NODES);
    let score = json!({ "metadata": { "labels": { "score": (round % 100).to_string() } } });
    memory.merge("Node", "", &changed, score);
    let comes = labelled(node(&format!("extra-{round}")), "score", "50");
    memory.create(comes);
    if round > 0 {
        memory.delete("Node", "", &format!("extra-{}", round - 1));
    }
}

/// Makes pods until the comparison is over, and what follows from it.
async fn until_decided(running: &Running) -> Value {
    let memory = &running.memory;
    for round in 0..200 {
        some_pods(memory, round);
        running.all_bound((round + 1) * 10).await;
        let status = memory.value("Plugin", "", "rule").unwrap()["status"].clone();
        if status["phase"] != "Shadowing" && status["phase"] != "Loading" {
            return status;
        }
    }
    panic!("{:?}", running.host.divergences("rule"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_program_never_diverges_and_takes_over_by_itself() {
    let running = started(config()).await;
    *running.memory.latency.lock() = Duration::from_millis(1);
    running.memory.refuse_bindings.store(5, Ordering::SeqCst);
    let mut new = config();
    new["version"] = json!("new");
    let generation = propose(&running, new, json!({ "decisions": 150 }));
    let shadowing = running.phase("rule", &generation, "Shadowing").await;
    assert_eq!(shadowing["version"], "old", "the one before answers");
    let status = until_decided(&running).await;
    let shown = running.host.divergences("rule");
    assert_eq!(
        (&status["phase"], &status["version"]),
        (&json!("Active"), &json!("new")),
        "{status} {shown:?}"
    );
    assert_eq!(status["shadow"]["divergences"], 0, "{status} {shown:?}");
    assert_eq!(status["shadow"]["agreements"], 150, "{status}");
    assert_eq!(running.memory.double_bindings.load(Ordering::SeqCst), 0);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_says_something_else_is_never_asked_and_people_see_about_which_nodes() {
    let running = started(config()).await;
    let mut other = config();
    other["score"] = json!("zone");
    let generation =
        propose(&running, other, json!({ "decisions": 100, "maxDivergencePercent": 4 }));
    running.phase("rule", &generation, "Shadowing").await;
    let status = until_decided(&running).await;
    assert_eq!((&status["phase"], &status["reason"]), (&json!("RolledBack"), &json!("Diverged")));
    assert_eq!(status["version"], "old");
    assert_eq!(status["activeDigest"], guests::digest(&guests::extension()));
    assert_eq!(status["shadow"]["divergences"], 5, "{status}");
    let shown = running.host.divergences("rule").unwrap();
    let item = &shown["items"][0];
    assert_eq!(item["input"]["kind"], "Pod", "{shown}");
    let score = |side: &str| item[side]["nodes"]["node-15"]["score"].clone();
    assert_eq!((score("active"), score("candidate")), (json!(15), json!(0)), "{shown}");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_traps_beside_the_active_version_takes_over_nothing() {
    let running = started(config()).await;
    let mut trapping = config();
    trapping["fault"] = json!("late");
    let generation = propose(&running, trapping, json!({ "decisions": 1000 }));
    running.phase("rule", &generation, "Shadowing").await;
    let status = until_decided(&running).await;
    assert_eq!((&status["phase"], &status["reason"]), (&json!("RolledBack"), &json!("Trapped")));
    assert_eq!(status["version"], "old");
    running.stop().await;
}

type Written = Arc<Mutex<Vec<u8>>>;

async fn record(running: &Running) -> (Recording, Written) {
    let written = Written::default();
    let sink = {
        let written = written.clone();
        Box::new(move |bytes: Bytes| {
            written.lock().extend_from_slice(&bytes);
            true
        })
    };
    let host = running.host.clone();
    let options = RecordOptions { secrets: false, key: [42; 32], component: true, now_unix_ms: 0 };
    let recording =
        tokio::task::spawn_blocking(move || host.record("rule", &options, sink).unwrap());
    (recording.await.unwrap(), written)
}

async fn replay(trace: Vec<u8>, config: Option<Value>) -> Report {
    let directory = tempfile::tempdir().unwrap();
    let options = Replay {
        with: None,
        config,
        partial: false,
        cache_directory: directory.path().join("replay"),
        compiler: Compiler::InProcess,
    };
    tokio::task::spawn_blocking(move || trace::replay(&trace[..], &options).unwrap()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_recorded_of_an_extension_replays_bit_by_bit() {
    let running = started(config()).await;
    // In the middle of it: what was decided before is shown to the recorder.
    some_pods(&running.memory, 0);
    running.all_bound(10).await;
    let (recording, written) = record(&running).await;
    let (mut rounds, end) = (1, Instant::now() + support::PATIENCE);
    while recording.progress().calls.load(Ordering::Relaxed) < 100 {
        some_pods(&running.memory, rounds);
        rounds += 1;
        running.all_bound(rounds * 10).await;
        assert!(Instant::now() < end, "{:?}", recording.progress());
    }
    tokio::task::spawn_blocking(move || recording.stop()).await.unwrap();
    let bytes = written.lock().clone();

    let mut reader = TraceReader::open(&bytes[..]).unwrap();
    let (mut filtered, mut scored, mut told) = (0, 0, 0);
    while let Some(entry) = reader.read().unwrap() {
        let Entry::Call(call) = entry else { continue };
        match call.input {
            Input::Filter { .. } => filtered += 1,
            Input::Score { .. } => scored += 1,
            _ => {
                told += 1;
                continue;
            }
        }
        assert_eq!(call.live, Live::Same, "the recorder answers as the active one: {call:?}");
    }
    assert!(filtered > 20 && scored > 20 && told > 20, "{filtered} {scored} {told}");

    let report = replay(bytes.clone(), None).await;
    assert!(report.is_identical(), "{report:?}");
    assert_eq!(report.role, "SchedulerExtension");
    assert!(report.calls >= 100, "{report:?}");

    let report = replay(bytes, Some(json!({ "score": "zone" }))).await;
    assert!(!report.is_identical());
    let first = &report.differences[0];
    assert_eq!((first.export.as_str(), first.kind.as_str()), ("score", "Pod"), "{first:?}");
    assert!(first.what.starts_with("the score of node number "), "{first:?}");
    running.stop().await;
}
