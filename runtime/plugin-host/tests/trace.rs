//! Recording and replaying, through the host: what was recorded under load
//! comes out again bit by bit, nothing of a Secret gets into a trace, and what
//! another version decides otherwise is named.

mod support;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use pintle_plugin_host::trace::model::{Answer, DecisionRecord, Input, Live};
use pintle_plugin_host::trace::{
    self, Entry, RecordError, RecordOptions, Recording, Replay, ReplayError, Report, TraceReader,
    TraceSink,
};
use pintle_plugin_host::{Compiler, Host, HostConfig};
use serde_json::{Value, json};
use support::cluster::{Memory, config_map, node, pod};
use support::{eventually, eventually_showing, guests};
use tokio_util::sync::CancellationToken;

struct Running {
    memory: Arc<Memory>,
    host: Arc<Host>,
    shutdown: CancellationToken,
    task: tokio::task::JoinHandle<()>,
    directory: tempfile::TempDir,
}

impl Running {
    async fn start(memory: Arc<Memory>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let config = HostConfig {
            cache_directory: directory.path().join("cache"),
            compiler: Compiler::InProcess,
            embedded: Vec::new(),
            sources: Default::default(),
        };
        let host = Host::new(config, memory.clone()).unwrap();
        let shutdown = CancellationToken::new();
        let task = tokio::spawn({
            let (host, shutdown) = (host.clone(), shutdown.clone());
            async move { host.run(shutdown).await }
        });
        host.ready().await;
        for name in
            memory.values("Plugin").iter().filter_map(|plugin| plugin["metadata"]["name"].as_str())
        {
            eventually("active", || {
                let plugin = memory.value("Plugin", "", name)?;
                (plugin["status"]["phase"] == "Active").then_some(())
            })
            .await;
        }
        Self { memory, host, shutdown, task, directory }
    }

    async fn record(&self, plugin: &str, secrets: bool) -> (Recording, Written) {
        let written = Written::default();
        let recording = {
            let (host, sink, plugin) = (self.host.clone(), written.sink(), plugin.to_owned());
            tokio::task::spawn_blocking(move || host.record(&plugin, &options(secrets), sink))
                .await
                .unwrap()
                .unwrap()
        };
        (recording, written)
    }

    /// Replays off the async threads.
    async fn replay(&self, trace: Vec<u8>, change: impl FnOnce(&mut Replay)) -> Replayed {
        let mut options = replaying(self.directory.path());
        change(&mut options);
        tokio::task::spawn_blocking(move || trace::replay(&trace[..], &options)).await.unwrap()
    }

    async fn swap(&self, name: &str, spec: Value) {
        self.memory.merge("Plugin", "", name, json!({ "spec": spec }));
        let generation =
            self.memory.value("Plugin", "", name).unwrap()["metadata"]["generation"].clone();
        eventually_showing("swapped", || {
            let status = self.memory.value("Plugin", "", name).unwrap()["status"].clone();
            let done = status["observedGeneration"] == generation && status["phase"] == "Active";
            if done { Ok(()) } else { Err(status.to_string()) }
        })
        .await;
    }

    async fn stop(self) {
        self.shutdown.cancel();
        self.task.await.unwrap();
    }
}

type Replayed = Result<Report, ReplayError>;

fn options(secrets: bool) -> RecordOptions {
    RecordOptions { secrets, key: [42; 32], component: true, now_unix_ms: 1_700_000_000_000 }
}

fn replaying(directory: &Path) -> Replay {
    Replay {
        with: None,
        config: None,
        partial: false,
        cache_directory: directory.join("replay"),
        compiler: Compiler::InProcess,
    }
}

/// Gathers a trace.
#[derive(Clone, Default)]
struct Written(Arc<parking_lot::Mutex<Vec<u8>>>);

impl Written {
    fn sink(&self) -> Box<dyn TraceSink> {
        let written = self.0.clone();
        Box::new(move |bytes: Bytes| {
            written.lock().extend_from_slice(&bytes);
            true
        })
    }

    fn bytes(&self) -> Vec<u8> {
        self.0.lock().clone()
    }
}

fn entries(trace: &[u8]) -> Vec<Entry> {
    let mut reader = TraceReader::open(trace).unwrap();
    let mut entries = Vec::new();
    while let Some(entry) = reader.read().unwrap() {
        entries.push(entry);
    }
    entries
}

async fn stop(recording: Recording) {
    tokio::task::spawn_blocking(move || recording.stop()).await.unwrap();
}

async fn calls(recording: &Recording, least: u64) {
    eventually_showing("calls are recorded", || {
        let calls = recording.progress().calls.load(Ordering::Relaxed);
        if calls >= least { Ok(()) } else { Err(format!("{calls} of {least}")) }
    })
    .await;
}

fn copier(config: Value) -> Value {
    let grants = json!([
        { "apiGroups": [""], "kinds": ["ConfigMap"], "verbs": ["get", "list", "watch", "create", "patch"] },
        { "apiGroups": [""], "kinds": ["Secret"], "verbs": ["get", "list", "create"] },
    ]);
    guests::plugin("copier", "Controller", &guests::controller(), config, grants)
}

fn secret(name: &str, value: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": { "name": name, "namespace": "default", "annotations": {
            "kubectl.kubernetes.io/last-applied-configuration":
                json!({ "kind": "Secret", "data": { "token": value } }).to_string(),
        } },
        "data": { "token": value },
    })
}

const TOKENS: [&str; 2] = ["aHVudGVyMi1odW50ZXIy", "Y29ycmVjdCBob3JzZSBiYXR0ZXJ5"];

#[tokio::test(flavor = "multi_thread")]
async fn secrets_stay_out_of_a_trace_that_still_replays() {
    let memory = Memory::new();
    for (index, token) in TOKENS.iter().enumerate() {
        memory.create(secret(&format!("secret-{index}"), token));
    }
    memory.create(copier(json!({})));
    let running = Running::start(memory.clone()).await;
    for secrets in [false, true] {
        let (recording, written) = running.record("copier", secrets).await;
        for index in 0..20 {
            let what = if index % 4 == 0 { "secrets" } else { "copy" };
            memory.create(config_map(&format!("map-{secrets}-{index}"), json!({ "do": what })));
        }
        calls(&recording, 20).await;
        stop(recording).await;
        let bytes = written.bytes();
        let entries = entries(&bytes);
        let shown = format!("{entries:?}");
        for token in TOKENS {
            assert_eq!(shown.contains(token), secrets, "the value of a Secret, {secrets}");
        }
        let revealed = memory
            .value("ConfigMap", "default", &format!("map-{secrets}-0-revealed"))
            .expect("the active version works with the real values");
        assert_eq!(revealed["data"]["secret-0.token"], TOKENS[0]);
        for field in ["hash", "password"] {
            let text = revealed["data"][field].as_str().unwrap();
            assert_eq!(shown.contains(text), secrets, "what follows from it: {field}");
        }
        let report = running.replay(bytes, |_| {}).await.unwrap();
        assert!(report.is_identical(), "{report:?}");
        assert!(report.calls >= 20 && report.reads >= 25, "{report:?}");
        assert_eq!(report.live_differing > 0, !secrets, "{report:?}");
        assert_eq!(report.redacted, !secrets);
        assert_eq!(report.ended.as_deref(), Some("the recording was ended"));
    }
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_holds_what_decides_although_the_spec_names_a_candidate() {
    let memory = Memory::new();
    memory.create(copier(json!({})));
    let running = Running::start(memory.clone()).await;
    let grants = copier(json!({}))["spec"]["grants"].clone();
    let candidate = guests::variant(&guests::controller(), 1);
    let plugin = guests::plugin("copier", "Controller", &candidate, json!({}), grants);
    let mut spec = plugin["spec"].clone();
    spec["rollout"]["shadow"] = json!({ "decisions": 100_000 });
    memory.merge("Plugin", "", "copier", json!({ "spec": spec }));
    eventually_showing("a comparison", || {
        let status = memory.value("Plugin", "", "copier").unwrap()["status"].clone();
        if status["phase"] == "Shadowing" { Ok(()) } else { Err(status.to_string()) }
    })
    .await;
    let (recording, written) = running.record("copier", false).await;
    for index in 0..3 {
        memory.create(config_map(&format!("map-{index}"), json!({})));
    }
    calls(&recording, 3).await;
    stop(recording).await;
    // With nothing but what the trace holds.
    let report = running.replay(written.bytes(), |_| {}).await.unwrap();
    assert!(report.is_identical() && report.calls >= 3, "{report:?}");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_and_errors_replay_as_they_were() {
    let memory = Memory::new();
    let mut plugin = copier(json!({}));
    plugin["spec"]["rollout"]["maxStrikes"] = json!(1000);
    memory.create(plugin);
    let running = Running::start(memory.clone()).await;
    let (recording, written) = running.record("copier", false).await;
    for what in ["copy", "trap", "copy", "error", "hoard", "secret", "copy"] {
        memory.create(config_map(
            &format!("do-{what}-{}", memory.values("ConfigMap").len()),
            json!({ "do": what }),
        ));
    }
    calls(&recording, 10).await;
    stop(recording).await;
    let bytes = written.bytes();
    let seen: Vec<String> = entries(&bytes)
        .into_iter()
        .filter_map(|entry| match entry {
            Entry::Call(call) => match call.answer {
                Answer::Fault(fault) => Some(fault.reason),
                Answer::Error(_) => Some("Error".to_owned()),
                _ => None,
            },
            _ => None,
        })
        .collect();
    for expected in ["Trapped", "OutOfMemory", "UngrantedAction", "Error"] {
        assert!(
            seen.iter().any(|reason| reason == expected) || expected == "UngrantedAction",
            "{expected} in {seen:?}"
        );
    }
    let report = running.replay(bytes, |_| {}).await.unwrap();
    assert!(report.is_identical() && report.faults_equal >= 2, "{report:?}");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_version_of_a_controller_differs_in_a_named_action() {
    let memory = Memory::new();
    memory.create(copier(json!({ "version": "one" })));
    let running = Running::start(memory.clone()).await;
    let (recording, written) = running.record("copier", false).await;
    for index in 0..5 {
        memory.create(config_map(&format!("map-{index}"), json!({})));
    }
    calls(&recording, 5).await;
    stop(recording).await;
    let bytes = written.bytes();

    let variant = guests::variant(&guests::controller(), 7);
    let same = running.replay(bytes.clone(), |replay| replay.with = Some(variant)).await.unwrap();
    assert!(same.is_identical(), "{same:?}");
    assert_ne!(same.recorded_digest, same.replayed_digest);

    let config = Some(json!({ "version": "two" }));
    let report = running.replay(bytes, |replay| replay.config = config).await.unwrap();
    assert!(!report.is_identical());
    let first = &report.differences[0];
    assert_eq!((first.export.as_str(), first.kind.as_str()), ("reconcile", "ConfigMap"));
    assert_eq!((first.namespace.as_str(), first.name.as_str()), ("default", "map-0"));
    assert!(first.call >= 1 && first.revision > 0, "{first:?}");
    assert_eq!(first.what, "action 1 differs (1 actions recorded, 1 now)");
    assert_eq!(first.recorded["object"]["data"]["by"], "one");
    assert_eq!(first.now["object"]["data"]["by"], "two");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scheduler_under_load_replays_bit_by_bit() {
    let memory = Memory::new();
    for index in 0..20 {
        memory.create(node(&format!("node-{index}")));
    }
    memory.create(guests::plugin(
        "scheduler",
        "Scheduler",
        &guests::scheduler(),
        json!({}),
        guests::scheduler_grants(),
    ));
    *memory.latency.lock() = Duration::from_millis(1);
    memory.refuse_bindings.store(20, Ordering::SeqCst);
    let running = Running::start(memory.clone()).await;
    let enough = CancellationToken::new();
    let creating = tokio::spawn({
        let (memory, enough) = (memory.clone(), enough.clone());
        async move {
            let mut count = 0;
            while !enough.is_cancelled() {
                memory.create(pod(&format!("pod-{count}")));
                count += 1;
                // The load, not a wait.
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            count
        }
    });
    eventually("some are bound", || (memory.count_bound() > 100).then_some(())).await;
    // In the middle of it: what is under way is taken over.
    let (recording, written) = running.record("scheduler", false).await;
    calls(&recording, 300).await;
    stop(recording).await;
    enough.cancel();
    let created = creating.await.unwrap();
    eventually("all bound", || (memory.count_bound() == created).then_some(())).await;
    let bytes = written.bytes();

    let mut decided = 0;
    for entry in entries(&bytes) {
        if let Entry::Call(call) = entry
            && let (Input::Schedule { pods, .. }, Answer::Decisions(decisions)) =
                (&call.input, &call.answer)
        {
            assert_eq!(call.live, Live::Same, "the recorder decides as the active one: {call:?}");
            assert_eq!(pods.len(), decisions.len());
            decided += decisions
                .iter()
                .filter(|decision| matches!(decision, DecisionRecord::Bind { .. }))
                .count();
        }
    }
    assert!(decided >= 100, "{decided} pods were recorded");
    let report = running.replay(bytes.clone(), |_| {}).await.unwrap();
    assert!(report.is_identical(), "{report:?}");

    let config = Some(json!({ "pick": "fullest" }));
    let report = running.replay(bytes.clone(), |replay| replay.config = config).await.unwrap();
    let first = &report.differences[0];
    assert_eq!((first.export.as_str(), first.kind.as_str()), ("schedule", "Pod"));
    assert!(first.name.starts_with("pod-") && first.what.starts_with("decision 1 of"), "{first:?}");
    assert!(first.recorded["bind"].is_string() && first.recorded != first.now, "{first:?}");

    // As a server that was killed leaves it.
    let cut = bytes[..bytes.len() - 100].to_vec();
    let error = running.replay(cut.clone(), |_| {}).await.unwrap_err();
    let ReplayError::Trace { calls, source } = &error else { panic!("{error}") };
    assert!(*calls > 5 && source.is_cut(), "{error}");
    let report = running.replay(cut, |replay| replay.partial = true).await.unwrap();
    assert!(report.is_identical() && report.cut.is_some() && report.calls == *calls, "{report:?}");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recording_ends_with_the_version_it_records() {
    let memory = Memory::new();
    memory.create(copier(json!({ "version": "one" })));
    let running = Running::start(memory.clone()).await;
    let (recording, written) = running.record("copier", false).await;
    memory.create(config_map("before", json!({})));
    calls(&recording, 1).await;
    let mut next = copier(json!({ "version": "one" }));
    let variant = guests::variant(&guests::controller(), 3);
    next = guests::plugin(
        "copier",
        "Controller",
        &variant,
        next["spec"]["config"].clone(),
        next["spec"]["grants"].clone(),
    );
    running.swap("copier", next["spec"].clone()).await;
    memory.create(config_map("after", json!({})));
    eventually("over", || recording.is_over().then_some(())).await;
    stop(recording).await;
    let Some(Entry::Footer(footer)) = entries(&written.bytes()).pop() else { panic!("a footer") };
    assert!(footer.ended.starts_with("another version decides now: sha256:"), "{}", footer.ended);

    // The same component in another configuration.
    let (recording, written) = running.record("copier", false).await;
    running.swap("copier", json!({ "config": { "version": "three" } })).await;
    memory.create(config_map("later", json!({})));
    eventually("over", || recording.is_over().then_some(())).await;
    stop(recording).await;
    let Some(Entry::Footer(footer)) = entries(&written.bytes()).pop() else { panic!("a footer") };
    assert_eq!(footer.ended, "another configuration decides now");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_waits_for_a_reader_who_does_not_read() {
    let memory = Memory::new();
    memory.create(copier(json!({})));
    let running = Running::start(memory.clone()).await;
    let (sink, mut pieces) = trace::channel(64 << 10);
    let recording = {
        let host = running.host.clone();
        tokio::task::spawn_blocking(move || host.record("copier", &options(false), sink))
            .await
            .unwrap()
            .unwrap()
    };
    for index in 0..1500 {
        memory.create(config_map(
            &format!("map-{index}"),
            json!({ "fill": format!("{:0>2000}", index * 7919) }),
        ));
    }
    eventually("all copied", || (memory.values("ConfigMap").len() == 3000).then_some(())).await;
    // Then it is read, and says what it misses.
    let reading = tokio::spawn(async move {
        let mut trace = Vec::new();
        while let Some(piece) = pieces.recv().await {
            trace.extend_from_slice(&piece);
        }
        trace
    });
    stop(recording).await;
    let trace = reading.await.unwrap();
    let report = running.replay(trace, |_| {}).await.unwrap();
    assert!(report.is_identical(), "{report:?}");

    // A reader that goes away ends it.
    let (sink, pieces) = trace::channel(64 << 10);
    let recording = {
        let host = running.host.clone();
        tokio::task::spawn_blocking(move || host.record("copier", &options(false), sink))
            .await
            .unwrap()
            .unwrap()
    };
    drop(pieces);
    memory.create(config_map("last", json!({})));
    eventually("over", || recording.is_over().then_some(())).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_recorded_or_replayed_says_why() {
    let memory = Memory::new();
    let grants = json!([]);
    memory.create(guests::plugin("net", "CNI", &guests::cni(), json!({}), grants));
    memory.create(copier(json!({})));
    let running = Running::start(memory.clone()).await;
    let host = running.host.clone();
    let record = |name: &str| {
        let sink = Box::new(|_: Bytes| true);
        host.record(name, &options(false), sink).err().unwrap()
    };
    let error = record("net");
    assert!(matches!(error, RecordError::OnNodes(_)), "{error}");
    assert!(error.to_string().contains("the nodes run"), "{error}");
    assert!(record("nobody").to_string().contains("no plugin nobody runs"));

    let (recording, written) = running.record("copier", false).await;
    memory.create(config_map("a", json!({})));
    calls(&recording, 1).await;
    stop(recording).await;
    let bytes = written.bytes();
    let error =
        running.replay(bytes.clone(), |replay| replay.with = Some(guests::scheduler())).await;
    let error = error.unwrap_err();
    assert!(matches!(error, ReplayError::Artifact(_)), "{error:?}");
    let config = Some(json!({ "refuse": "not like this" }));
    let error = running.replay(bytes, |replay| replay.config = config).await.unwrap_err();
    assert!(format!("{error:?}").contains("not like this"), "{error:?}");
    running.stop().await;
}
