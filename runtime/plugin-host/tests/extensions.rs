//! Scheduler extensions, end to end through the host: what they say decides
//! where pods are bound, and whatever they do, pods are bound.

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use pintle_plugin_host::{Compiler, Host, HostConfig};
use serde_json::{Value, json};
use support::cluster::{Memory, config_map, node, pod};
use support::{eventually_showing, guests};
use tokio_util::sync::CancellationToken;

struct Running {
    memory: Arc<Memory>,
    shutdown: CancellationToken,
    task: tokio::task::JoinHandle<()>,
    directory: tempfile::TempDir,
}

/// A Plugin object of the tests' extension.
fn extension(name: &str, config: Value) -> Value {
    let grants =
        json!([{ "apiGroups": [""], "kinds": ["Node", "Pod", "ConfigMap"], "verbs": ["watch"] }]);
    guests::plugin(name, "SchedulerExtension", &guests::extension(), config, grants)
}

fn scheduler() -> Value {
    let config = json!({ "extensions": true });
    guests::plugin(
        "scheduler",
        "Scheduler",
        &guests::scheduler(),
        config,
        guests::scheduler_grants(),
    )
}

impl Running {
    async fn start(memory: Arc<Memory>) -> Self {
        Self::start_in(memory, tempfile::tempdir().unwrap()).await
    }

    async fn start_in(memory: Arc<Memory>, directory: tempfile::TempDir) -> Self {
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
        Self { memory, shutdown, task, directory }
    }

    /// A cluster with these nodes (name, zone, score), this extension and a scheduler.
    async fn with(nodes: &[(&str, &str, &str)], extensions: &[Value]) -> Self {
        let memory = Memory::new();
        for (name, zone, score) in nodes {
            memory.create(labelled(node(name), &[("zone", zone), ("score", score)]));
        }
        for extension in extensions {
            memory.create(extension.clone());
        }
        memory.create(scheduler());
        let running = Self::start(memory).await;
        for extension in extensions {
            running.phase(extension["metadata"]["name"].as_str().unwrap(), "Active").await;
        }
        running
    }

    fn pod(&self, name: &str, labels: &[(&str, &str)]) {
        self.memory.create(labelled(pod(name), labels));
    }

    fn pods(&self, prefix: &str, count: usize, labels: &[(&str, &str)]) {
        (0..count).for_each(|index| self.pod(&format!("{prefix}-{index}"), labels));
    }

    async fn bound(&self, count: usize) {
        eventually_showing("all bound", || {
            let bound = self.memory.count_bound();
            if bound == count {
                return Ok(());
            }
            let mut waiting = self.memory.values("Pod");
            waiting.retain(|pod| pod["spec"]["nodeName"].is_null());
            Err(format!("{bound}; {waiting:?}; {:?}", self.memory.values("Plugin")))
        })
        .await;
        assert_eq!(self.memory.double_bindings.load(Ordering::SeqCst), 0);
    }

    /// Where the pod runs, once it does.
    async fn node_of(&self, name: &str) -> String {
        eventually_showing(&format!("{name} is bound"), || {
            let pod = self.memory.value("Pod", "default", name).ok_or("no such pod")?;
            match pod["spec"]["nodeName"].as_str() {
                Some(node) => Ok(node.to_owned()),
                None => Err(pod["status"].to_string()),
            }
        })
        .await
    }

    /// What the pod says once it could not be bound.
    async fn refused(&self, name: &str, message: &str) {
        eventually_showing(&format!("{name} is told {message:?}"), || {
            let pod = self.memory.value("Pod", "default", name).ok_or("no such pod")?;
            let said = pod["status"]["conditions"][0]["message"].as_str().unwrap_or_default();
            if said.contains(message) { Ok(()) } else { Err(pod.to_string()) }
        })
        .await;
    }

    async fn status(&self, plugin: &str, what: &str, check: impl Fn(&Value) -> bool) -> Value {
        eventually_showing(&format!("{plugin}: {what}"), || {
            let status =
                self.memory.value("Plugin", "", plugin).map(|plugin| plugin["status"].clone());
            let status = status.unwrap_or_default();
            if check(&status) { Ok(status) } else { Err(status.to_string()) }
        })
        .await
    }

    async fn phase(&self, plugin: &str, phase: &str) -> Value {
        self.status(plugin, phase, |status| status["phase"] == phase).await
    }

    /// Applies another spec and waits until it decides.
    async fn swap(&self, plugin: &Value, component: &[u8]) {
        let name = plugin["metadata"]["name"].as_str().unwrap();
        let mut spec = plugin["spec"].clone();
        let other = guests::plugin(name, "SchedulerExtension", component, json!({}), json!([]));
        (spec["source"], spec["digest"]) =
            (other["spec"]["source"].clone(), other["spec"]["digest"].clone());
        // A merge takes away only what it names.
        let before = self.memory.value("Plugin", "", name).unwrap()["spec"]["config"].clone();
        for key in before.as_object().unwrap().keys() {
            let config = spec["config"].as_object_mut().unwrap();
            config.entry(key).or_insert(Value::Null);
        }
        self.memory.merge("Plugin", "", name, json!({ "spec": spec }));
        let plugin = self.memory.value("Plugin", "", name).unwrap();
        let generation = plugin["metadata"]["generation"].clone();
        self.status(name, "swapped", |status| {
            status["observedGeneration"] == generation && status["phase"] == "Active"
        })
        .await;
    }

    async fn stop(self) -> tempfile::TempDir {
        self.shutdown.cancel();
        self.task.await.unwrap();
        self.directory
    }
}

fn labelled(mut object: Value, labels: &[(&str, &str)]) -> Value {
    for (key, value) in labels.iter().filter(|(_, value)| !value.is_empty()) {
        object["metadata"]["labels"][key] = json!(value);
    }
    object
}

fn with(mut plugin: Value, field: &str, value: Value) -> Value {
    plugin["spec"][field] = value;
    plugin
}

const TWO_ZONES: &[(&str, &str, &str)] =
    &[("a", "east", "10"), ("b", "west", "90"), ("c", "west", "")];

#[tokio::test(flavor = "multi_thread")]
async fn a_score_decides_among_nodes_and_a_filter_takes_them_away() {
    let score = extension("prefers", json!({ "score": "label", "podFields": ["metadata.labels"] }));
    let filter = extension("zones", json!({ "filter": "zone" }));
    let running = Running::with(TWO_ZONES, &[score, filter]).await;
    running.pod("any", &[]);
    assert_eq!(running.node_of("any").await, "b", "it has the best score");
    running.pod("east", &[("zone", "east")]);
    assert_eq!(running.node_of("east").await, "a", "the others are filtered out");
    running.pod("north", &[("zone", "north")]);
    running.refused("north", "0/3 nodes are available: 3 node(s) in another zone.").await;
    let mut moved = labelled(node("c"), &[("zone", "north")]);
    moved["metadata"]["name"] = json!("c");
    running.memory.merge("Node", "", "c", moved);
    assert_eq!(running.node_of("north").await, "c", "a change of the node made room");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn scores_are_summed_by_weight() {
    let zone = extension("zone", json!({ "score": "zone", "podFields": ["metadata.labels.zone"] }));
    let label = extension("label", json!({ "score": "label" }));
    // East: 100 × 1 + 10 × 2 = 120; west: 0 + 90 × 2 = 180.
    let running = Running::with(TWO_ZONES, &[zone.clone(), with(label, "weight", json!(2))]).await;
    running.pod("first", &[("zone", "east")]);
    assert_eq!(running.node_of("first").await, "b");
    // East: 100 × 9 + 20 = 920.
    running.swap(&with(zone, "weight", json!(9)), &guests::extension()).await;
    running.pod("second", &[("zone", "east")]);
    assert_eq!(running.node_of("second").await, "a");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_come_go_and_take_over_numbers() {
    let label = extension("label", json!({ "score": "label", "podFields": ["metadata.labels"] }));
    let running = Running::with(&[("a", "", "10"), ("b", "", "20")], &[label]).await;
    running.pod("one", &[]);
    assert_eq!(running.node_of("one").await, "b");
    running.memory.delete("Node", "", "b");
    running.memory.create(labelled(node("c"), &[("score", "5")]));
    running.pod("two", &[]);
    assert_eq!(running.node_of("two").await, "a", "c has b's number, not its score");
    for round in 0..50 {
        let (gone, new) = (format!("n{round}"), format!("n{}", round + 1));
        if round > 0 {
            running.memory.delete("Node", "", &gone);
        }
        let score = (50 + round % 3).to_string();
        running.memory.create(labelled(node(&new), &[("score", &score)]));
        let name = format!("round-{round}");
        running.pod(&name, &[]);
        assert_eq!(running.node_of(&name).await, new);
    }
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_extension_knows_of_every_pod_that_was_just_decided() {
    let single = extension("single", json!({ "filter": "single" }));
    let nodes: Vec<(String, String)> =
        (0..20).map(|index| (format!("n{index}"), String::new())).collect();
    let nodes: Vec<(&str, &str, &str)> =
        nodes.iter().map(|(name, zone)| (name.as_str(), zone.as_str(), "")).collect();
    let running = Running::with(&nodes, &[single]).await;
    *running.memory.latency.lock() = Duration::from_millis(5);
    running.memory.refuse_bindings.store(5, Ordering::SeqCst);
    running.pods("web", 25, &[("app", "web")]);
    running.bound(20).await;
    let mut per_node = BTreeMap::<String, usize>::new();
    for pod in running.memory.values("Pod") {
        if let Some(node) = pod["spec"]["nodeName"].as_str() {
            *per_node.entry(node.to_owned()).or_default() += 1;
        }
    }
    assert_eq!(per_node.len(), 20, "one on each node: {per_node:?}");
    let waiting: Vec<String> = running
        .memory
        .values("Pod")
        .iter()
        .filter(|pod| pod["spec"]["nodeName"].is_null())
        .map(|pod| pod["metadata"]["name"].as_str().unwrap().to_owned())
        .collect();
    running.refused(&waiting[0], "20 node(s) had such a pod.").await;
    let bound =
        running.memory.values("Pod").into_iter().find(|pod| pod["spec"]["nodeName"].is_string());
    running.memory.delete("Pod", "default", bound.unwrap()["metadata"]["name"].as_str().unwrap());
    running.bound(20).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rejected_pod_is_decided_again_when_the_extension_may_say_otherwise() {
    let gate = extension("gate", json!({ "filter": "gate", "podFields": ["metadata.labels"] }));
    let running = Running::with(&[("a", "", "")], &[gate]).await;
    running.pod("early", &[]);
    running.refused("early", "1 the gate is closed.").await;
    running.memory.create(config_map("open", json!({})));
    assert_eq!(running.node_of("early").await, "a");
    running.memory.delete("ConfigMap", "default", "open");
    running.pod("late", &[]);
    running.refused("late", "1 the gate is closed.").await;
    running.memory.merge("Plugin", "", "gate", json!({ "spec": { "suspended": true } }));
    assert_eq!(running.node_of("late").await, "a", "without the extension nobody objects");
    running.phase("gate", "Suspended").await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_extension_has_a_say_only_in_pods_of_the_schedulers_it_names() {
    let config = json!({ "filter": "zone", "schedulerNames": ["somebody-else"] });
    let running = Running::with(&[("a", "east", "")], &[extension("other", config)]).await;
    running.pod("west", &[("zone", "west")]);
    assert_eq!(running.node_of("west").await, "a");
    let config = json!({ "filter": "zone", "schedulerNames": ["default-scheduler"] });
    running.swap(&extension("other", config), &guests::extension()).await;
    running.pod("again", &[("zone", "west")]);
    running.refused("again", "1 node(s) in another zone.").await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_faulty_version_is_rolled_back_within_the_same_question() {
    for fault in ["trap", "loop", "hoard", "score", "number"] {
        let good = extension("rule", json!({ "filter": "zone", "version": "good" }));
        let running = Running::with(TWO_ZONES, &[good]).await;
        let mut config = json!({ "filter": "zone", "fault": fault, "version": "bad" });
        if fault == "number" {
            config["filter"].take();
        }
        let bad = guests::variant(&guests::extension(), 1);
        running.swap(&extension("rule", config), &bad).await;
        running.pod("east", &[("zone", "east")]);
        assert_eq!(running.node_of("east").await, "a", "{fault}: the version before has filtered");
        let status = running.phase("rule", "RolledBack").await;
        assert_eq!(status["version"], "good", "{fault}");
        assert_eq!(status["rolledBackFrom"], guests::digest(&bad), "{fault}");
        running.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_version_to_roll_back_to_the_failure_policy_answers() {
    for (policy, fault) in
        [("Ignore", "trap"), ("Ignore", "hoard"), ("Fail", "trap"), ("Fail", "loop")]
    {
        let config = json!({ "filter": "zone", "fault": fault });
        let faulty = with(extension("rule", config), "failurePolicy", json!(policy));
        let running = Running::with(TWO_ZONES, std::slice::from_ref(&faulty)).await;
        running.pods("pod", 10, &[("zone", "nowhere")]);
        if policy == "Ignore" {
            running.bound(10).await;
        } else {
            for index in 0..10 {
                running.refused(&format!("pod-{index}"), "3 extension rule failed.").await;
            }
            assert_eq!(running.memory.count_bound(), 0);
            let mended = with(faulty, "config", json!({ "score": "label" }));
            running.swap(&mended, &guests::variant(&guests::extension(), 2)).await;
            running.bound(10).await;
        }
        running.stop().await;
    }
}

/// The longest time between two bindings, and how long at most whoever watched
/// them did not get the processor: what the machine does besides.
#[derive(Debug)]
struct Gap {
    bound: Duration,
    unwatched: Duration,
}

/// Creates a pod every two milliseconds and watches.
async fn longest_gap(running: &Running, prefix: &str, count: usize) -> Gap {
    let before = running.memory.bindings.load(Ordering::SeqCst);
    let watcher = tokio::task::spawn_blocking({
        let memory = running.memory.clone();
        move || {
            let (mut seen, mut since) = (before, Instant::now());
            let mut longest = Gap { bound: Duration::ZERO, unwatched: Duration::ZERO };
            let give_up = Instant::now() + support::PATIENCE;
            while seen < before + count && Instant::now() < give_up {
                let looked = Instant::now();
                // Observes from outside, finer than what it measures.
                std::thread::sleep(Duration::from_micros(500));
                longest.unwatched = longest.unwatched.max(looked.elapsed());
                let now = memory.bindings.load(Ordering::SeqCst);
                if now > seen {
                    longest.bound = longest.bound.max(since.elapsed());
                    (seen, since) = (now, Instant::now());
                }
            }
            longest
        }
    });
    for index in 0..count {
        running.pod(&format!("{prefix}-{index}"), &[("zone", "west")]);
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    watcher.await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_extension_that_misbehaves_slows_only_itself() {
    let good = extension("good", json!({ "score": "zone", "podFields": ["metadata.labels"] }));
    let running = Running::with(TWO_ZONES, &[good]).await;
    let quiet = longest_gap(&running, "quiet", 200).await;
    let mut bound = 200;
    for fault in ["trap", "loop", "hoard", "late", "sync"] {
        let name = format!("bad-{fault}");
        let config = json!({ "score": "label", "fault": fault });
        running.memory.create(extension(&name, config));
        let gap = longest_gap(&running, fault, 200).await;
        bound += 200;
        running.bound(bound).await;
        // On a machine that does nothing else it is a fifth of half a second.
        let most = Duration::from_millis(500).max(quiet.bound * 5) + 3 * gap.unwatched;
        assert!(gap.bound < most, "{fault}: {gap:?}, without it {quiet:?}");
        // The other one goes on: every pod has the zone that it prefers.
        for pod in running.memory.values("Pod") {
            assert_ne!(pod["spec"]["nodeName"], "a", "{fault}");
        }
        if fault == "late" {
            running
                .status(&name, "struck", |status| status["strikesTotal"].as_u64() > Some(0))
                .await;
        } else {
            running.phase(&name, "Failed").await;
        }
    }
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_extension_does_not_hold_back_bindings_that_are_decided() {
    let slow = extension("slow", json!({ "score": "label", "slow": 20_000 }));
    let budgets = json!({ "fuelPerCall": 2_000_000_000, "deadlineMilliseconds": 2000 });
    let running = Running::with(TWO_ZONES, &[with(slow, "budgets", budgets)]).await;
    let started = Instant::now();
    running.pods("pod", 30, &[]);
    eventually_showing("the first are bound", || {
        if running.memory.count_bound() > 0 { Ok(()) } else { Err("none".to_owned()) }
    })
    .await;
    let first = started.elapsed();
    running.bound(30).await;
    let all = started.elapsed();
    assert!(first * 2 < all, "the first after {first:?}, all after {all:?}");
    let status = running.phase("slow", "Active").await;
    assert_eq!(status["strikesTotal"], 0);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_has_used_up_its_processors_is_not_called_before_that_is_paid_for() {
    let greedy = |policy: &str| {
        let extension = extension("greedy", json!({ "score": "label", "slow": 30_000 }));
        // A call takes tens of milliseconds, so the next one may come seconds later.
        let budgets = json!({
            "fuelPerCall": 2_000_000_000, "deadlineMilliseconds": 2000, "cpuMillicores": 20,
        });
        with(with(extension, "budgets", budgets), "failurePolicy", json!(policy))
    };
    // Pods do not wait for it ...
    let running = Running::with(TWO_ZONES, &[greedy("Ignore")]).await;
    running.pods("pod", 200, &[]);
    running.bound(200).await;
    let status = running.phase("greedy", "Active").await;
    assert!(status["calls"].as_u64() < Some(100), "{status}");
    assert_eq!(status["strikesTotal"], 0, "{status}");
    running.stop().await;
    // ... unless its rule is to be kept at any price.
    let running = Running::with(TWO_ZONES, &[greedy("Fail")]).await;
    running.pods("pod", 3, &[]);
    eventually_showing("some pod is told why it waits", || {
        let pods = running.memory.values("Pod");
        let told = |pod: &Value| {
            let message = pod["status"]["conditions"][0]["message"].as_str().unwrap_or_default();
            message.contains("extension greedy has used up its cpuMillicores")
        };
        if pods.iter().any(told) { Ok(()) } else { Err(format!("{pods:?}")) }
    })
    .await;
    running.bound(3).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn swaps_under_load_keep_every_rule_in_force() {
    let rule = |version: &str| {
        extension(
            "rule",
            json!({ "filter": "zone", "version": version, "podFields": ["metadata.labels"] }),
        )
    };
    let running = Running::with(TWO_ZONES, &[rule("0")]).await;
    let creating = tokio::spawn({
        let memory = running.memory.clone();
        async move {
            for index in 0..1500 {
                let zone = if index % 3 == 0 { "east" } else { "west" };
                memory.create(labelled(pod(&format!("{zone}-{index}")), &[("zone", zone)]));
                if index % 20 == 0 {
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
            }
        }
    });
    for round in 1..6_u8 {
        let component = guests::variant(&guests::extension(), round);
        running.swap(&rule(&round.to_string()), &component).await;
    }
    creating.await.unwrap();
    running.bound(1500).await;
    for pod in running.memory.values("Pod") {
        let name = pod["metadata"]["name"].as_str().unwrap();
        let node = pod["spec"]["nodeName"].as_str().unwrap();
        assert_eq!(name.starts_with("east"), node == "a", "{name} on {node}");
    }
    let status = running.phase("rule", "Active").await;
    assert_eq!(status["swaps"], 5);
    assert_eq!(status["strikesTotal"], 0);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_restart_of_the_server_the_rules_are_in_force_before_pods_are_bound() {
    let rule = extension("rule", json!({ "filter": "zone", "version": "good" }));
    let running = Running::with(TWO_ZONES, std::slice::from_ref(&rule)).await;
    running.pod("first", &[("zone", "east")]);
    assert_eq!(running.node_of("first").await, "a");
    // A version that cannot be loaded does not take the good one away, now or then.
    let mut broken = rule.clone();
    broken["spec"]["config"] = json!({ "neither": "filter nor score" });
    running.memory.merge(
        "Plugin",
        "",
        "rule",
        json!({ "spec": { "config": { "filter": null, "fault": null } } }),
    );
    running.phase("rule", "Rejected").await;
    let memory = running.memory.clone();
    let directory = running.stop().await;
    memory.create(labelled(pod("meanwhile"), &[("zone", "east")]));
    let running = Running::start_in(memory, directory).await;
    assert_eq!(running.node_of("meanwhile").await, "a");
    running.phase("rule", "Rejected").await;
    running.pod("later", &[("zone", "nowhere")]);
    running.refused("later", "3 node(s) in another zone.").await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_events_are_made_up_for_from_lists() {
    let single = extension("single", json!({ "filter": "single" }));
    let label = extension("label", json!({ "score": "label", "podFields": ["metadata.labels"] }));
    let running = Running::with(&[("a", "", "50"), ("b", "", "10")], &[label, single]).await;
    running.pod("web", &[("app", "web")]);
    assert_eq!(running.node_of("web").await, "a");
    for round in 0..5 {
        running.memory.break_streams();
        let name = format!("n{round}");
        running.memory.create(labelled(node(&name), &[("score", "90")]));
        running.pod(&format!("web-{round}"), &[("app", "web")]);
        assert_eq!(running.node_of(&format!("web-{round}")).await, name);
        running.memory.break_streams();
        running.memory.delete("Node", "", &name);
    }
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_an_extension_is_refused_with_a_reason() {
    let running = Running::with(&[("a", "", "")], &[]).await;
    let cases = [
        (extension("idle", json!({})), "InvalidDescription", "neither of the abilities"),
        (
            with(extension("blind", json!({ "score": "zone" })), "grants", json!([])),
            "NeedsNotGranted",
            "Node",
        ),
        (
            extension("paths", json!({ "score": "zone", "podFields": ["spec..x"] })),
            "InvalidDescription",
            "no paths",
        ),
        (
            guests::plugin(
                "role",
                "SchedulerExtension",
                &guests::scheduler(),
                json!({}),
                json!([]),
            ),
            "WrongRole",
            "pintle:plugin/scheduler@0.1.0",
        ),
    ];
    for (plugin, reason, message) in cases {
        running.memory.create(plugin.clone());
        let status = running.phase(plugin["metadata"]["name"].as_str().unwrap(), "Failed").await;
        assert_eq!(status["reason"], reason, "{status}");
        assert!(status["message"].as_str().unwrap().contains(message), "{status}");
    }
    running.stop().await;
}
