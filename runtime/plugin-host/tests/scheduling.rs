//! Schedulers, end to end through the host: every pod bound once and only once,
//! whatever happens to the plugin meanwhile.

mod support;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use pintle_plugin_host::{Compiler, Host, HostConfig};
use serde_json::{Value, json};
use support::cluster::{Memory, node, pod};
use support::{eventually, eventually_showing, guests};
use tokio_util::sync::CancellationToken;

struct Running {
    memory: Arc<Memory>,
    shutdown: CancellationToken,
    task: tokio::task::JoinHandle<()>,
    _directory: tempfile::TempDir,
}

fn scheduler(component: &[u8], config: Value) -> Value {
    guests::plugin("scheduler", "Scheduler", component, config, guests::scheduler_grants())
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
        Self { memory, shutdown, task, _directory: directory }
    }

    /// Returns the generation of the spec.
    fn swap(&self, component: &[u8], config: Value) -> Value {
        let next = scheduler(component, config);
        self.memory.merge("Plugin", "", "scheduler", json!({ "spec": next["spec"] }));
        let plugin = self.memory.value("Plugin", "", "scheduler").unwrap();
        plugin["metadata"]["generation"].clone()
    }

    async fn status(&self, what: &str, check: impl Fn(&Value) -> bool) -> Value {
        eventually_showing(what, || {
            let status =
                self.memory.value("Plugin", "", "scheduler").map(|plugin| plugin["status"].clone());
            let status = status.unwrap_or_default();
            if check(&status) { Ok(status) } else { Err(status.to_string()) }
        })
        .await
    }

    async fn all_bound(&self, count: usize) {
        eventually_showing("all bound", || {
            let bound = self.memory.count_bound();
            if bound == count {
                return Ok(());
            }
            let plugin = self.memory.value("Plugin", "", "scheduler").unwrap_or_default();
            Err(format!("{bound}; {}", plugin["status"]))
        })
        .await;
    }

    /// Pods per node: the guest balances, so a pod that it lost or counted twice shows.
    fn spread(&self) -> (usize, usize) {
        let mut counts = std::collections::BTreeMap::<String, usize>::new();
        for node in self.memory.values("Node") {
            counts.insert(node["metadata"]["name"].as_str().unwrap().to_owned(), 0);
        }
        for pod in self.memory.values("Pod") {
            if let Some(node) = pod["spec"]["nodeName"].as_str() {
                *counts.entry(node.to_owned()).or_default() += 1;
            }
        }
        (counts.values().copied().min().unwrap_or(0), counts.values().copied().max().unwrap_or(0))
    }

    async fn stop(self) {
        self.shutdown.cancel();
        self.task.await.unwrap();
    }
}

fn with_nodes(count: usize) -> Arc<Memory> {
    let memory = Memory::new();
    for index in 0..count {
        memory.create(node(&format!("node-{index}")));
    }
    memory
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_before_and_after_are_bound_once() {
    let memory = with_nodes(10);
    memory.create(pod("before"));
    memory.create(scheduler(&guests::scheduler(), json!({})));
    let running = Running::start(memory.clone()).await;
    for index in 0..199 {
        memory.create(pod(&format!("pod-{index}")));
    }
    running.all_bound(200).await;
    assert_eq!(memory.bindings.load(Ordering::SeqCst), 200);
    assert_eq!(memory.double_bindings.load(Ordering::SeqCst), 0);
    assert_eq!(running.spread(), (20, 20));
    eventually("a Scheduled event", || {
        memory
            .events
            .lock()
            .iter()
            .any(|(name, reason, _)| name == "before" && reason == "Scheduled")
            .then_some(())
    })
    .await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_of_others_and_gated_pods_are_left_alone() {
    let memory = with_nodes(1);
    memory.create(scheduler(&guests::scheduler(), json!({})));
    let running = Running::start(memory.clone()).await;
    let mut other = pod("other");
    other["spec"]["schedulerName"] = json!("somebody-else");
    let mut gated = pod("gated");
    gated["spec"]["schedulingGates"] = json!([{ "name": "wait" }]);
    memory.create(other);
    memory.create(gated);
    memory.create(pod("mine"));
    running.all_bound(1).await;
    memory.merge("Pod", "default", "gated", json!({ "spec": { "schedulingGates": [] } }));
    running.all_bound(2).await;
    assert!(memory.value("Pod", "default", "other").unwrap()["spec"]["nodeName"].is_null());
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unschedulable_pod_is_told_once_and_tried_when_it_may_help() {
    let memory = Memory::new();
    memory.create(scheduler(&guests::scheduler(), json!({})));
    let running = Running::start(memory.clone()).await;
    memory.create(pod("waits"));
    eventually("told", || {
        let pod = memory.value("Pod", "default", "waits")?;
        (pod["status"]["conditions"][0]["message"] == "0/0 nodes are available").then_some(())
    })
    .await;
    memory.create(node("node-0"));
    running.all_bound(1).await;
    let events =
        memory.events.lock().iter().filter(|(_, reason, _)| reason == "FailedScheduling").count();
    assert_eq!(events, 1);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_binding_is_forgotten_and_tried_again() {
    let memory = with_nodes(4);
    memory.refuse_bindings.store(10, Ordering::SeqCst);
    memory.create(scheduler(&guests::scheduler(), json!({})));
    let running = Running::start(memory.clone()).await;
    for index in 0..40 {
        memory.create(pod(&format!("pod-{index}")));
    }
    running.all_bound(40).await;
    assert_eq!(running.spread(), (10, 10), "a refused pod is not counted on its first node");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn swaps_under_load_lose_nothing_and_bind_nothing_twice() {
    let memory = with_nodes(20);
    *memory.latency.lock() = Duration::from_millis(2);
    let versions = [guests::scheduler(), guests::variant(&guests::scheduler(), 1)];
    memory.create(scheduler(&versions[0], json!({})));
    let running = Running::start(memory.clone()).await;
    let creating = tokio::spawn({
        let memory = memory.clone();
        async move {
            for index in 0..2000 {
                memory.create(pod(&format!("pod-{index}")));
                if index % 20 == 0 {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            }
        }
    });
    for round in 1..6 {
        let generation =
            running.swap(&versions[round % 2], json!({ "version": round.to_string() }));
        let status = running
            .status("swapped", |status| {
                status["observedGeneration"] == generation && status["phase"] == "Active"
            })
            .await;
        assert_eq!(status["version"], round.to_string(), "active means that it decides");
    }
    creating.await.unwrap();
    running.all_bound(2000).await;
    assert_eq!(memory.bindings.load(Ordering::SeqCst), 2000);
    assert_eq!(memory.double_bindings.load(Ordering::SeqCst), 0);
    let (least, most) = running.spread();
    assert!(
        most - least <= 1,
        "each version knew what the one before had decided: {least}..{most}"
    );
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_faulty_version_is_rolled_back_and_its_pods_are_decided_again() {
    for fault in ["trap", "short"] {
        let memory = with_nodes(10);
        memory.create(scheduler(&guests::scheduler(), json!({ "version": "good" })));
        let running = Running::start(memory.clone()).await;
        for index in 0..50 {
            memory.create(pod(&format!("before-{index}")));
        }
        running.all_bound(50).await;
        let bad = guests::variant(&guests::scheduler(), 9);
        running.swap(&bad, json!({ "schedule": fault, "version": "bad" }));
        running.status("swapped", |status| status["version"] == "bad").await;
        for index in 0..50 {
            memory.create(pod(&format!("after-{index}")));
        }
        running.all_bound(100).await;
        let status = running.status("rolled back", |status| status["phase"] == "RolledBack").await;
        assert_eq!(status["version"], "good");
        assert_eq!(memory.double_bindings.load(Ordering::SeqCst), 0);
        assert_eq!(running.spread(), (10, 10));
        running.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_poisonous_pod_does_not_hold_up_the_others() {
    let memory = with_nodes(4);
    let mut plugin = scheduler(&guests::scheduler(), json!({ "poison": "poison" }));
    plugin["spec"]["rollout"]["maxStrikes"] = json!(1000);
    memory.create(plugin);
    let running = Running::start(memory.clone()).await;
    for index in 0..100 {
        memory.create(pod(&if index == 50 { "poison".to_owned() } else { format!("pod-{index}") }));
    }
    running.all_bound(99).await;
    running.status("struck", |status| status["strikesTotal"].as_u64() > Some(0)).await;
    assert_eq!(memory.double_bindings.load(Ordering::SeqCst), 0);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_schedulers_for_one_name_are_refused() {
    let memory = with_nodes(1);
    memory.create(scheduler(&guests::scheduler(), json!({})));
    let running = Running::start(memory.clone()).await;
    let mut second = scheduler(&guests::scheduler(), json!({}));
    second["metadata"]["name"] = json!("second");
    memory.create(second);
    let message = eventually("refused", || {
        let second = memory.value("Plugin", "", "second")?;
        (second["status"]["phase"] == "Failed").then(|| second["status"]["message"].clone())
    })
    .await;
    assert!(
        message.as_str().unwrap().contains("plugin scheduler schedules for default-scheduler"),
        "{message}"
    );
    running.stop().await;
}
