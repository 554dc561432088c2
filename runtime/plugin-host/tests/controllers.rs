//! Controllers, end to end through the host: events in, actions out, and what
//! happens to a plugin that misbehaves.

mod support;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use pintle_plugin_host::plugin::Role;
use pintle_plugin_host::{Compiler, Embedded, Host, HostConfig};
use serde_json::{Value, json};
use support::cluster::{Memory, config_map};
use support::{eventually, guests};
use tokio_util::sync::CancellationToken;

struct Running {
    memory: Arc<Memory>,
    host: Arc<Host>,
    shutdown: CancellationToken,
    task: tokio::task::JoinHandle<()>,
    directory: tempfile::TempDir,
}

impl Running {
    async fn start(memory: Arc<Memory>, embedded: Vec<Embedded>) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), memory, embedded).await
    }

    async fn start_in(
        directory: tempfile::TempDir,
        memory: Arc<Memory>,
        embedded: Vec<Embedded>,
    ) -> Self {
        let config = HostConfig {
            cache_directory: directory.path().join("cache"),
            compiler: Compiler::InProcess,
            embedded,
            sources: Default::default(),
        };
        let host = Host::new(config, memory.clone()).unwrap();
        let shutdown = CancellationToken::new();
        let task = tokio::spawn({
            let (host, shutdown) = (host.clone(), shutdown.clone());
            async move { host.run(shutdown).await }
        });
        host.ready().await;
        Self { memory, host, shutdown, task, directory }
    }

    async fn stop(self) -> tempfile::TempDir {
        self.shutdown.cancel();
        self.task.await.unwrap();
        self.directory
    }

    /// Another life of the server, with the same cache.
    async fn restart(self) -> Self {
        let memory = self.memory.clone();
        Self::start_in(self.stop().await, memory, Vec::new()).await
    }

    async fn status(&self, what: &str, check: impl Fn(&Value) -> bool) -> Value {
        support::eventually_showing(what, || {
            let status =
                self.memory.value("Plugin", "", "copier").map(|plugin| plugin["status"].clone());
            let status = status.unwrap_or_default();
            if check(&status) { Ok(status) } else { Err(status.to_string()) }
        })
        .await
    }
}

fn copier(config: Value) -> Value {
    guests::plugin("copier", "Controller", &guests::controller(), config, guests::copier_grants())
}

async fn start(config: Value) -> Running {
    let memory = Memory::new();
    memory.create(copier(config));
    Running::start(memory, Vec::new()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_embedded_controller_acts() {
    let memory = Memory::new();
    memory.create(guests::embedded("copier", "Controller"));
    memory.create(config_map("before", json!({})));
    let embedded = Embedded {
        name: "copier".into(),
        role: Role::Controller,
        wasm: guests::controller(),
        config: json!({ "version": "7" }),
        reviews: Vec::new(),
    };
    let running = Running::start(memory.clone(), vec![embedded]).await;
    memory.create(config_map("after", json!({})));
    for name in ["before-copy", "after-copy"] {
        let copy = eventually(name, || memory.value("ConfigMap", "default", name)).await;
        assert_eq!(copy["data"]["by"], "7");
    }
    let status = running
        .status("active", |status| status["phase"] == "Active" && status["calls"] != 0)
        .await;
    assert_eq!(status["version"], "7");
    assert_eq!(status["activeDigest"], guests::digest(&guests::controller()));
    assert_eq!(status["needs"][0]["kinds"], json!(["ConfigMap"]));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_controller_reads_its_own_writes() {
    let running = start(json!({})).await;
    *running.memory.latency.lock() = std::time::Duration::from_millis(1);
    running.memory.create(config_map("counter", json!({ "do": "count", "limit": "100" })));
    eventually("counted to 100", || {
        let value = running.memory.value("ConfigMap", "default", "counter")?;
        (value["data"]["count"] == "100").then_some(())
    })
    .await;
    assert_eq!(
        running.memory.conflicts.load(Ordering::SeqCst),
        0,
        "no step was tried on a stale object"
    );
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn misbehaviour_is_named_and_other_keys_go_on() {
    async fn check(what: &str, budgets: Value, reason: &str, message: &str) {
        let memory = Memory::new();
        let mut plugin = copier(json!({}));
        plugin["spec"]["budgets"] = budgets;
        plugin["spec"]["rollout"]["maxStrikes"] = json!(1000);
        memory.create(plugin);
        let running = Running::start(memory.clone(), Vec::new()).await;
        memory.create(config_map("bad", json!({ "do": what })));
        let status = running.status(what, |status| status["strikesTotal"].as_u64() > Some(0)).await;
        assert_eq!(status["phase"], "Active", "{status}");
        assert_eq!(status["reason"], reason, "{status}");
        assert!(status["message"].as_str().unwrap().contains(message), "{status}");
        memory.create(config_map("good", json!({})));
        eventually("the good one is copied", || memory.value("ConfigMap", "default", "good-copy"))
            .await;
        running.stop().await;
    }
    check("trap", json!({}), "Trapped", "asked to trap").await;
    check("loop", json!({ "fuelPerCall": 1_000_000 }), "OutOfFuel", "1000000").await;
    check(
        "loop",
        json!({ "fuelPerCall": 1u64 << 50, "deadlineMilliseconds": 50 }),
        "DeadlineExceeded",
        "50 ms",
    )
    .await;
    check("hoard", json!({ "memoryBytes": 16 << 20 }), "OutOfMemory", "16 MiB").await;
    check("secret", json!({}), "UngrantedAction", "create Secret in namespace default").await;
    check("huge", json!({}), "InvalidReply", "more than the").await;
    check("oversized", json!({ "memoryBytes": 512 << 20 }), "Trapped", "").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_is_retried_with_back_off_and_shown() {
    let running = start(json!({})).await;
    running.memory.create(config_map("difficult", json!({ "do": "error" })));
    let status = running
        .status("retried", |status| {
            status["message"].as_str().is_some_and(|message| message.contains("attempt 3"))
        })
        .await;
    assert_eq!(status["reason"], "ReconcileError");
    assert_eq!(status["strikesTotal"], 0);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn strikes_in_a_row_stop_a_plugin_and_a_new_version_revives_it() {
    let running = start(json!({})).await;
    for name in ["bad", "worse", "worst"] {
        running.memory.create(config_map(name, json!({ "do": "trap" })));
    }
    let status = running.status("failed", |status| status["phase"] == "Failed").await;
    assert!(
        status["message"].as_str().unwrap().contains("3 different inputs in a row"),
        "{status}"
    );
    assert_eq!(status["reason"], "Trapped");
    running.memory.merge(
        "Plugin",
        "",
        "copier",
        json!({ "spec": { "config": { "behaves": true } } }),
    );
    running.status("active again", |status| status["phase"] == "Active").await;
    eventually("decided by the new version", || {
        running.memory.value("ConfigMap", "default", "bad-copy")
    })
    .await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_faults_within_the_window_is_rolled_back_and_its_input_decided_again() {
    let good = guests::controller();
    let bad = guests::variant(&good, 2);
    let running = start(json!({ "behaves": true, "version": "good" })).await;
    running.status("active", |status| status["phase"] == "Active").await;
    let next = guests::plugin(
        "copier",
        "Controller",
        &bad,
        json!({ "behaves": null, "version": "bad" }),
        guests::copier_grants(),
    );
    running.memory.merge("Plugin", "", "copier", json!({ "spec": next["spec"] }));
    let status = running.status("swapped", |status| status["version"] == "bad").await;
    assert_eq!(status["previousDigest"], guests::digest(&good));
    assert_eq!(status["activeDigest"], guests::digest(&bad));
    running.memory.create(config_map("bad", json!({ "do": "trap" })));
    let copy =
        eventually("decided again", || running.memory.value("ConfigMap", "default", "bad-copy"))
            .await;
    assert_eq!(copy["data"]["by"], "good");
    let status = running.status("rolled back", |status| status["phase"] == "RolledBack").await;
    assert_eq!(status["activeDigest"], guests::digest(&good));
    assert!(status["message"].as_str().unwrap().contains(&guests::digest(&bad)), "{status}");
    eventually("an Event tells", || {
        running
            .memory
            .events
            .lock()
            .iter()
            .any(|(name, reason, _)| name == "copier" && reason == "RolledBack")
            .then_some(())
    })
    .await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_version_that_worked_outlives_the_server_until_the_spec_changes() {
    let good = guests::controller();
    let change = |memory: &Memory, component: &[u8], config: Value| {
        let next =
            guests::plugin("copier", "Controller", component, config, guests::copier_grants());
        memory.merge("Plugin", "", "copier", json!({ "spec": next["spec"] }));
        // What the API server does.
        let old = memory.value("Plugin", "", "copier").unwrap();
        let generation = old["metadata"]["generation"].as_i64().unwrap_or(0) + 1;
        memory.merge("Plugin", "", "copier", json!({ "metadata": { "generation": generation } }));
    };
    let mut running = start(json!({ "behaves": true, "version": "good" })).await;
    running.status("active", |status| status["phase"] == "Active").await;
    // Only the configuration differs, so the digest alone would not tell which one is which.
    change(&running.memory, &good, json!({ "behaves": null, "version": "bad" }));
    running.status("swapped", |status| status["version"] == "bad").await;
    running.memory.create(config_map("bad", json!({ "do": "trap" })));
    running.status("rolled back", |status| status["phase"] == "RolledBack").await;
    for round in 0..2 {
        running = running.restart().await;
        let status = running.status("taken up", |status| status["phase"] == "RolledBack").await;
        assert_eq!(status["rolledBackFrom"], guests::digest(&good), "{status}");
        let name = format!("x{round}");
        running.memory.create(config_map(&name, json!({})));
        let copy = eventually("decided", || {
            running.memory.value("ConfigMap", "default", &format!("{name}-copy"))
        })
        .await;
        assert_eq!(copy["data"]["by"], "good");
    }
    change(&running.memory, b"#!/bin/sh", json!({ "version": "no component" }));
    running.status("rejected", |status| status["phase"] == "Rejected").await;
    running = running.restart().await;
    let status = running
        .status("taken up", |status| status["phase"] == "Rejected" && status["version"] == "good")
        .await;
    assert_eq!(status["reason"], "NotAComponent", "{status}");
    assert_eq!(status["activeDigest"], guests::digest(&good), "{status}");
    change(&running.memory, &good, json!({ "behaves": true, "version": "mended" }));
    let status = running.status("active", |status| status["phase"] == "Active").await;
    assert_eq!(status["version"], "mended");
    assert!(status["rolledBackFrom"].is_null() && status["activeConfig"].is_null(), "{status}");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_does_not_load_never_replaces_one_that_works() {
    async fn check(change: Value, reason: &str, message: &str) {
        let running = start(json!({ "version": "works" })).await;
        running.status("active", |status| status["phase"] == "Active").await;
        running.memory.merge("Plugin", "", "copier", json!({ "spec": change }));
        let status = running.status(reason, |status| status["phase"] == "Rejected").await;
        assert_eq!(status["reason"], reason, "{status}");
        assert!(status["message"].as_str().unwrap().contains(message), "{status}");
        running.memory.create(config_map("x", json!({})));
        let copy = eventually("the old version goes on", || {
            running.memory.value("ConfigMap", "default", "x-copy")
        })
        .await;
        assert_eq!(copy["data"]["by"], "works");
        running.stop().await;
    }
    use base64::Engine as _;
    let inline = |bytes: &[u8]| {
        let data = base64::engine::general_purpose::STANDARD.encode(bytes);
        json!({ "source": { "inline": { "data": data } }, "digest": guests::digest(bytes) })
    };
    check(
        json!({ "digest": format!("sha256:{}", "0".repeat(64)) }),
        "DigestMismatch",
        "the digest is",
    )
    .await;
    check(inline(b"#!/bin/sh"), "NotAComponent", "not WebAssembly").await;
    check(inline(b"\0asm\x01\0\0\0"), "NotAComponent", "core module").await;
    check(inline(&guests::controller()[..1000]), "CompileError", "compile").await;
    check(inline(&guests::admission()), "WrongRole", "pintle:plugin/admission@0.1.0").await;
    check(json!({ "config": { "refuse": "no such thing" } }), "InvalidConfig", "no such thing")
        .await;
    check(json!({ "config": { "describe": "trap" } }), "Trapped", "asked to trap in describe")
        .await;
    check(json!({ "grants": [] }), "NeedsNotGranted", "get ConfigMap (to copy them)").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn suspended_and_deleted_plugins_decide_nothing() {
    let running = start(json!({})).await;
    running.status("active", |status| status["phase"] == "Active").await;
    running.memory.merge("Plugin", "", "copier", json!({ "spec": { "suspended": true } }));
    running.status("suspended", |status| status["phase"] == "Suspended").await;
    running.memory.create(config_map("x", json!({})));
    running.memory.merge("Plugin", "", "copier", json!({ "spec": { "suspended": false } }));
    eventually("resumed and caught up", || running.memory.value("ConfigMap", "default", "x-copy"))
        .await;
    running.memory.delete("Plugin", "", "copier");
    running.memory.create(copier(json!({ "version": "second" })));
    running.status("the new object counts", |status| status["version"] == "second").await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_events_are_made_up_for_by_lists() {
    let running = start(json!({})).await;
    running.status("active", |status| status["phase"] == "Active").await;
    for round in 0..5 {
        running.memory.break_streams();
        let name = format!("x{round}");
        running.memory.create(config_map(&name, json!({})));
        eventually("copied", || {
            running.memory.value("ConfigMap", "default", &format!("{name}-copy"))
        })
        .await;
    }
    let _ = running.host.admission();
    running.stop().await;
}
