//! Authorizers beside themselves: candidates that are compared before they decide,
//! recordings that are replayed, and swaps under requests.

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use bytes::Bytes;
use parking_lot::Mutex;
use pintle_plugin_host::Compiler;
use pintle_plugin_host::authorizer::{AccessRequest, AccessUser, Verdict};
use pintle_plugin_host::trace::model::{Input, Live};
use pintle_plugin_host::trace::{
    self, Entry, RecordOptions, Recording, Replay, Report, TraceReader,
};
use serde_json::{Value, json};
use support::cluster::Memory;
use support::eventually_showing;
use support::guests;
use support::host::Running;

fn authorizer(component: &[u8], config: Value, shadow: Value) -> Value {
    let grants = json!([{"apiGroups": [""], "kinds": ["ConfigMap"], "verbs": ["watch"]}]);
    let mut plugin = guests::plugin("maps", "Authorizer", component, config, grants);
    plugin["spec"]["rollout"]["shadow"] = shadow;
    plugin
}

fn plain() -> Value {
    json!({"plain": true})
}

fn map(user: &str, data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": user, "namespace": "default"}, "data": data})
}

fn request<'a>(
    user: &'a str,
    verb: &'a str,
    extra: &'a BTreeMap<String, Vec<String>>,
) -> AccessRequest<'a> {
    AccessRequest {
        user: AccessUser { name: user, uid: "", groups: &[], extra },
        verb,
        group: "",
        version: "v1",
        resource: "pods",
        subresource: "",
        namespace: "default",
        name: "p",
        path: "",
        required_fields: &[],
    }
}

async fn ask(running: &Running, user: &str, verb: &str) -> Verdict {
    running.host.authorizers().authorize(&request(user, verb, &BTreeMap::new())).await
}

async fn started() -> Running {
    let memory = Memory::new();
    memory.create(authorizer(&guests::authorizer(), plain(), Value::Null));
    for user in ["jane", "joe"] {
        memory.create(map(user, json!({"get": "allow", "delete": "deny"})));
    }
    let running = Running::start(memory).await;
    running.status("maps", "active", |status| status["phase"] == "Active").await;
    running
}

/// Each verb once per user; what Ann may changes every time.
async fn some_requests(running: &Running, round: usize) {
    let says = if round.is_multiple_of(2) { "allow" } else { "deny" };
    if round == 0 {
        running.memory.create(map("ann", json!({"get": says})));
    } else {
        running.memory.merge("ConfigMap", "default", "ann", json!({"data": {"get": says}}));
    }
    for user in ["jane", "joe", "ann"] {
        for verb in ["get", "delete", "list"] {
            // The second answer comes from memory.
            assert_eq!(ask(running, user, verb).await, ask(running, user, verb).await);
        }
    }
    let allowed = matches!(ask(running, "ann", "get").await, Verdict::Allow(_));
    assert_eq!(allowed, says == "allow", "round {round}");
}

fn propose(running: &Running, config: Value, shadow: Value) -> Value {
    let candidate = guests::variant(&guests::authorizer(), 1);
    running.change("maps", authorizer(&candidate, config, shadow)["spec"].clone())
}

/// The shadow has caught up with all that was asked, or is no more.
async fn caught_up(running: &Running) {
    let seen = || {
        let shown = running.host.divergences("maps").unwrap_or_default();
        shown["decisions"].as_u64().unwrap_or(0) + shown["skipped"].as_u64().unwrap_or(0)
    };
    let before = seen();
    // What it is not shown yet, because it is shown the present first, counts for nothing.
    ask(running, "jane", "get").await;
    eventually_showing("a comparison", || {
        let status = running.memory.value("Plugin", "", "maps").unwrap()["status"].clone();
        let is_over = status["phase"] != "Shadowing" && status["phase"] != "Loading";
        if is_over || seen() > before { Ok(()) } else { Err(status.to_string()) }
    })
    .await;
}

/// Asks until the comparison is over.
async fn until_decided(running: &Running) -> Value {
    // Until it has been shown the present there is nothing to wait for.
    while running.host.divergences("maps").is_some_and(|shown| shown["decisions"] == 0) {
        ask(running, "jane", "get").await;
        tokio::task::yield_now().await;
    }
    for round in 0..200 {
        some_requests(running, round).await;
        caught_up(running).await;
        let status = running.memory.value("Plugin", "", "maps").unwrap()["status"].clone();
        if status["phase"] != "Shadowing" && status["phase"] != "Loading" {
            return status;
        }
    }
    panic!("{:?}", running.host.divergences("maps"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_program_never_diverges_and_takes_over_by_itself() {
    let running = started().await;
    let generation = propose(&running, json!({"version": "new"}), json!({"decisions": 150}));
    let shadowing = running.phase("maps", &generation, "Shadowing").await;
    assert_eq!(shadowing["version"], "1", "the one before answers");
    let status = until_decided(&running).await;
    let shown = running.host.divergences("maps");
    assert_eq!(
        (&status["phase"], &status["version"]),
        (&json!("Active"), &json!("new")),
        "{status} {shown:?}"
    );
    assert_eq!(status["shadow"]["divergences"], 0, "{status} {shown:?}");
    assert_eq!(status["shadow"]["agreements"], 150, "{status}");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_would_allow_more_never_decides_and_people_see_what() {
    let running = started().await;
    // So many that it does not take over before it is asked what it sees differently.
    let generation = propose(&running, json!({"generous": true}), json!({"decisions": 1_000_000}));
    running.phase("maps", &generation, "Shadowing").await;
    assert_eq!(
        ask(&running, "jane", "list").await,
        Verdict::NoOpinion(String::new()),
        "the candidate's opinion counts for nothing"
    );
    until_decided(&running).await;
    let status = running.phase("maps", &generation, "RolledBack").await;
    assert_eq!((&status["reason"], &status["version"]), (&json!("Diverged"), &json!("1")));
    let shown = running.host.divergences("maps").unwrap();
    let item = &shown["items"][0];
    assert_eq!(item["input"]["kind"], "SubjectAccessReview", "{shown}");
    assert!(item["input"]["name"].as_str().unwrap().contains("list pods p"), "{shown}");
    assert_eq!(item["active"], json!({"noOpinion": ""}), "{shown}");
    assert_eq!(item["candidate"], json!({"allow": ""}), "{shown}");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_see_no_wrong_answer_while_versions_are_swapped() {
    let running = started().await;
    let (stop, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let askers: Vec<_> = ["jane", "joe", "jane", "joe"]
        .into_iter()
        .map(|user| {
            let (host, stop, asked) = (running.host.clone(), stop.clone(), asked.clone());
            tokio::spawn(async move {
                let extra = BTreeMap::new();
                while !stop.load(Ordering::Relaxed) {
                    let answers = [("get", true), ("delete", false), ("list", false)];
                    for (verb, expect) in answers {
                        let asked = request(user, verb, &extra);
                        let verdict = host.authorizers().authorize(&asked).await;
                        let allowed = matches!(verdict, Verdict::Allow(_));
                        assert_eq!(allowed, expect, "{user} {verb}: {verdict:?}");
                    }
                    asked.fetch_add(3, Ordering::Relaxed);
                    tokio::task::yield_now().await;
                }
            })
        })
        .collect();
    for round in 0..5u8 {
        let component = guests::variant(&guests::authorizer(), round);
        let config = json!({"version": format!("v{round}")});
        let spec = authorizer(&component, config, Value::Null)["spec"].clone();
        let generation = running.change("maps", spec);
        let status = running.phase("maps", &generation, "Active").await;
        assert_eq!(status["version"], format!("v{round}"));
        // Each version decides something.
        let before = asked.load(Ordering::Relaxed);
        running.status("maps", "requests", |_| asked.load(Ordering::Relaxed) > before + 30).await;
    }
    stop.store(true, Ordering::Relaxed);
    for asker in askers {
        asker.await.unwrap();
    }
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_one_that_cannot_be_loaded_lets_nobody_in_if_it_says_so() {
    let running = started().await;
    assert!(matches!(ask(&running, "jane", "get").await, Verdict::Allow(_)));
    // Never loaded, and what it would have said is unknown.
    let mut broken =
        guests::plugin("a-broken", "Authorizer", &guests::authorizer(), json!({}), json!([]));
    running.memory.create(broken.clone());
    running.status("a-broken", "the refusal", |status| status["phase"] == "Failed").await;
    assert!(matches!(ask(&running, "jane", "get").await, Verdict::Allow(_)));
    let Verdict::NoAnswer(reason) = ask(&running, "jane", "list").await else {
        panic!("an answer")
    };
    assert!(reason.contains(r#"authorizer plugin "a-broken" gave no answer"#), "{reason}");
    broken["spec"]["failurePolicy"] = json!("Fail");
    let generation = running.change("a-broken", broken["spec"].clone());
    running.phase("a-broken", &generation, "Failed").await;
    let Verdict::Deny(reason) = ask(&running, "jane", "get").await else { panic!("not denied") };
    assert!(reason.contains("a-broken"), "{reason}");
    running.memory.delete("Plugin", "", "a-broken");
    running.status("maps", "its end", |_| !running.host.authorizers().has("a-broken")).await;
    assert!(matches!(ask(&running, "jane", "get").await, Verdict::Allow(_)));
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
        tokio::task::spawn_blocking(move || host.record("maps", &options, sink).unwrap());
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
async fn what_was_recorded_of_an_authorizer_replays_bit_by_bit() {
    let running = started().await;
    some_requests(&running, 0).await;
    let (recording, written) = record(&running).await;
    let (mut rounds, end) = (1, Instant::now() + support::PATIENCE);
    while recording.progress().calls.load(Ordering::Relaxed) < 100 {
        some_requests(&running, rounds).await;
        let user = AccessUser { name: "jane", uid: "", groups: &[], extra: &BTreeMap::new() };
        running.host.authorizers().rules(&user, "default").await;
        rounds += 1;
        assert!(Instant::now() < end, "{:?}", recording.progress());
    }
    tokio::task::spawn_blocking(move || recording.stop()).await.unwrap();
    let bytes = written.lock().clone();

    let mut reader = TraceReader::open(&bytes[..]).unwrap();
    let (mut asked, mut listed, mut told) = (0, 0, 0);
    while let Some(entry) = reader.read().unwrap() {
        let Entry::Call(call) = entry else { continue };
        match call.input {
            Input::Authorize { .. } => asked += 1,
            Input::Rules { .. } => listed += 1,
            _ => {
                told += 1;
                continue;
            }
        }
        assert_eq!(call.live, Live::Same, "the recorder answers as the active one: {call:?}");
    }
    assert!(asked > 20 && listed > 2 && told > 2, "{asked} {listed} {told}");

    let report = replay(bytes.clone(), None).await;
    assert!(report.is_identical(), "{report:?}");
    assert_eq!(report.role, "Authorizer");
    assert!(report.calls >= 100, "{report:?}");

    let report = replay(bytes, Some(json!({"generous": true}))).await;
    assert!(!report.is_identical());
    let first = &report.differences[0];
    let what = (first.export.as_str(), first.kind.as_str());
    assert_eq!(what, ("authorize", "SubjectAccessReview"), "{first:?}");
    assert_eq!(first.now, json!({"allow": ""}), "{first:?}");
    running.stop().await;
}
