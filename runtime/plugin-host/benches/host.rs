//! What the host adds to a decision: calls, instances, loading, swaps, and the
//! rate of scheduling through it. The cluster is in memory and free of charge.

mod figures;
#[path = "../tests/support/mod.rs"]
mod support;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use bytes::Bytes;
use figures::microseconds;
use pintle_api::meta::GroupVersionKind;
use pintle_plugin_host::admission::{AdmissionRequest, AdmissionUser, Document, Operation};
use pintle_plugin_host::plugin::Role;
use pintle_plugin_host::{Compiler, Embedded, Host, HostConfig};
use serde_json::{Value, json};
use support::cluster::{Memory, config_map, large_pod, node};
use support::{eventually, guests};
use tokio_util::sync::CancellationToken;

fn main() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    if let Some(cache) = std::env::args().skip_while(|argument| argument != RESIDENT).nth(1) {
        return runtime.block_on(resident(std::path::Path::new(&cache)));
    }
    let directory = tempfile::tempdir().expect("a directory");
    let cache = directory.path().join("cache");
    loading(&cache);
    calls(&cache);
    extensions(&cache);
    runtime.block_on(admission(&cache));
    runtime.block_on(scheduling(&cache));
    // The first process compiles, the second one finds everything in the cache.
    for _ in 0..2 {
        let program = std::env::current_exe().expect("this program has a path");
        let status = std::process::Command::new(program).arg(RESIDENT).arg(&cache).status();
        assert!(status.expect("this program runs again").success());
    }
}

const RESIDENT: &str = "--resident-with-cache";

fn report(what: &str, value: impl std::fmt::Display) {
    println!("{what:<58} {value}");
}

fn loading(cache: &std::path::Path) {
    let took = figures::instance::loading(cache, &guests::scheduler(), Role::Scheduler);
    report("compile a component of 115 KB", format!("{:.1} ms", microseconds(took.compile) / 1e3));
    report(
        "digest, check and load it from the cache",
        format!("{:.1} µs", microseconds(took.from_cache)),
    );
}

fn calls(cache: &std::path::Path) {
    let took = figures::instance::calls(cache);
    report("one call with nine strings", format!("{:.1} µs", microseconds(took.call)));
    report("instantiate, describe and one call", format!("{:.1} µs", microseconds(took.fresh)));
}

fn extensions(cache: &std::path::Path) {
    for nodes in [100, 5000] {
        let asked = figures::extension::asked(cache, nodes);
        for (what, took) in
            [("like none before", asked.fresh), ("known", asked.known), ("no SDK", asked.bare)]
        {
            report(
                &format!("extension asked about a pod of 1.6 KB, {nodes} nodes, {what}"),
                format!("{took:.1} µs"),
            );
        }
    }
    let took = figures::extension::in_batches(cache, 5000);
    report(
        "per pod in batches of 128, 100 templates / nodes change",
        format!("{:.2} / {:.2} µs", took.known, took.nodes_change),
    );
}

async fn run(
    cache: &std::path::Path,
    memory: Arc<Memory>,
    embedded: Vec<Embedded>,
) -> (Arc<Host>, CancellationToken) {
    for plugin in &embedded {
        memory.create(guests::embedded(&plugin.name, plugin.role.as_str()));
    }
    let config = HostConfig {
        cache_directory: cache.to_owned(),
        compiler: Compiler::InProcess,
        embedded,
        sources: Default::default(),
    };
    let host = Host::new(config, memory.clone()).expect("a host");
    let shutdown = CancellationToken::new();
    tokio::spawn({
        let (host, shutdown) = (host.clone(), shutdown.clone());
        async move { host.run(shutdown).await }
    });
    host.ready().await;
    (host, shutdown)
}

fn embedded(name: &str, role: Role, wasm: Bytes) -> Embedded {
    Embedded { name: name.to_owned(), role, wasm, config: Value::Null, reviews: Vec::new() }
}

async fn admission(cache: &std::path::Path) {
    let memory = Memory::new();
    let (host, shutdown) =
        run(cache, memory, vec![embedded("a", Role::Admission, guests::admission())]).await;
    let chain = host.admission();
    let object = config_map("x", json!({ "text": "x".repeat(1500) }));
    let kind = GroupVersionKind::parse("v1", "ConfigMap");
    let request = |kind| AdmissionRequest {
        operation: Operation::Create,
        kind,
        subresource: "",
        namespace: "default",
        name: "x",
        user: AdmissionUser { name: "me", uid: "", groups: &[] },
        object: Some(Document::Parsed(&object)),
        old_object: None,
        dry_run: false,
    };
    let runs = 5000;
    let started = Instant::now();
    for _ in 0..runs {
        chain.review(request(&kind)).await.expect("admitted");
    }
    report(
        "mutate and validate an object of 1.6 KB",
        format!("{:.1} µs", started.elapsed().as_secs_f64() * 1e6 / f64::from(runs)),
    );
    let other = GroupVersionKind::parse("v1", "Pod");
    let started = Instant::now();
    for _ in 0..runs {
        chain.review(request(&other)).await.expect("admitted");
    }
    report(
        "a request that no plugin wants",
        format!("{:.2} µs", started.elapsed().as_secs_f64() * 1e6 / f64::from(runs)),
    );
    shutdown.cancel();
}

/// The scheduler that comes with the server, or else the tests' own.
fn scheduler() -> (&'static str, Bytes) {
    let default = guests::defaults().into_iter().find(|(name, _)| name == "scheduler");
    default.map_or_else(
        || ("tests' scheduler", guests::scheduler()),
        |(_, wasm)| ("default scheduler", wasm),
    )
}

async fn scheduling(cache: &std::path::Path) {
    let (which, component) = scheduler();
    let memory = Memory::new();
    for index in 0..5000 {
        memory.create(node(&format!("node-{index}")));
    }
    let plugin = |component: &[u8]| {
        guests::plugin("s", "Scheduler", component, json!({}), guests::every_grant())
    };
    memory.create(plugin(&component));
    let (_, shutdown) = run(cache, memory.clone(), Vec::new()).await;
    for (name, count) in [("warm", 1000usize), ("pod", 5000)] {
        let before = memory.count_bound();
        let started = Instant::now();
        for index in 0..count {
            memory.create(large_pod(&format!("{name}-{index}")));
        }
        eventually("all are bound", || {
            (memory.bindings.load(Ordering::SeqCst) == before + count).then_some(())
        })
        .await;
        if name == "pod" {
            let rate = count as f64 / started.elapsed().as_secs_f64();
            report(&format!("pods of 1.6 KB bound, 5000 nodes, {which}"), format!("{rate:.0} /s"));
        }
    }
    for round in 1..4 {
        let component = guests::variant(&component, round);
        let next = plugin(&component);
        let started = Instant::now();
        memory.merge("Plugin", "", "s", json!({ "spec": next["spec"] }));
        let status = eventually("swapped", || {
            let status = memory.value("Plugin", "", "s")?["status"].clone();
            (status["activeDigest"] == next["spec"]["digest"]).then_some(status)
        })
        .await;
        report(
            "swap with 5000 nodes and 6000 pods: pause / from apply",
            format!(
                "{} µs / {:.0} ms",
                status["lastSwapPauseMicroseconds"],
                started.elapsed().as_secs_f64() * 1e3
            ),
        );
    }
    shutdown.cancel();
}

/// The default plugins side by side in this process, and nothing to do.
async fn resident(cache: &std::path::Path) {
    let memory = Memory::new();
    let role = |name: &str| match name {
        "scheduler" => Role::Scheduler,
        "always-pull-images"
        | "default-storage-class"
        | "default-tolerations"
        | "limit-ranger"
        | "node-restriction"
        | "pod-security"
        | "priority"
        | "resource-quota"
        | "runtime-class"
        | "service-account" => Role::Admission,
        "cni-routed" => Role::Cni,
        _ => Role::Controller,
    };
    let defaults = guests::defaults();
    let plugins: Vec<Embedded> =
        defaults.into_iter().map(|(name, wasm)| embedded(&name, role(&name), wasm)).collect();
    let count = plugins.len();
    let before = resident_kib();
    let started = Instant::now();
    let (_, shutdown) = run(cache, memory.clone(), plugins).await;
    let took = started.elapsed().as_secs_f64() * 1e3;
    let grown = resident_kib().saturating_sub(before);
    report(
        &format!("{count} default plugins: ready after / resident more"),
        format!("{took:.0} ms / {grown} KiB"),
    );
    for plugin in memory.values("Plugin") {
        let status = &plugin["status"];
        if status["phase"] != "Active" {
            let name = plugin["metadata"]["name"].as_str().unwrap_or_default();
            report(&format!("  {name}"), format!("{} {}", status["phase"], status["message"]));
        }
    }
    shutdown.cancel();
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok()).unwrap_or_default()
}
