//! Plugins that misbehave in every way known, through the real binary: each is
//! named on its object, and nothing else suffers.

mod support;

use std::collections::BTreeMap;

use pintle_e2e::{Cluster, items, name, require_machine};
use serde_json::{Value, json};
use support::*;

/// A component of nothing but the wish to make requests.
fn asking_for_the_network() -> Vec<u8> {
    let import = b"wasi:http/outgoing-handler@0.2.3";
    let mut bytes = b"\0asm\x0d\0\x01\0".to_vec();
    // A type: an instance with nothing in it.
    bytes.extend([7, 3, 1, 0x42, 0]);
    // An import of that type.
    bytes.extend([10, import.len() as u8 + 5, 1, 0, import.len() as u8]);
    bytes.extend(import);
    bytes.extend([5, 0]);
    bytes
}

fn config_map(name: &str, data: Value) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": { "name": name, "labels": { "copy": "please" } },
        "data": data,
    })
}

/// Who made the copy of `name`.
fn copied_by(cluster: &Cluster, name: &str) -> String {
    let copy = format!("configmaps {name}-copy");
    cluster.wait(&copy, |c| c.get(&copy)["data"]["by"].is_string());
    cluster.get(&copy)["data"]["by"].as_str().unwrap().to_owned()
}

fn copier_grants() -> Value {
    json!([{
        "apiGroups": [""], "kinds": ["ConfigMap"],
        "verbs": ["get", "list", "watch", "create", "patch"],
    }])
}

/// Short for what never ends, and then so much fuel that time is up before it
/// is; generous for everything else, however slow the machine.
fn budgets(what: &str, memory_bytes: u64) -> Value {
    let deadline = if what == "loop" { 300 } else { 10_000 };
    json!({
        "memoryBytes": memory_bytes,
        "deadlineMilliseconds": deadline,
        "fuelPerCall": 1_000_000_000_000_u64,
    })
}

/// A version of the counting scheduler.
fn counting_version(version: &str, schedule: Value) -> Value {
    json!({
        "grants": counting_grants(),
        "budgets": budgets(schedule.as_str().unwrap_or_default(), 64 << 20),
        "config": { "version": version, "schedule": schedule },
        "rollout": { "windowSeconds": 600, "maxStrikes": 3 },
    })
}

#[test]
fn bad_versions_are_named_and_the_good_one_goes_on() {
    require_machine!();
    let mut cluster = Cluster::start(0);
    add_nodes(&cluster, 5);
    assert_pods_are_bound(&cluster, "by-the-default");
    let good = counting();
    apply_plugin(
        &cluster,
        "scheduler",
        "Scheduler",
        &[inline(&good), counting_version("good", Value::Null)],
    );
    let before = phase(&cluster, "scheduler", "Active");
    assert_eq!(before["version"], "good");

    versions_that_cannot_be_loaded(&mut cluster, &good);
    versions_that_fault(&cluster, &good);
    a_rollback_outlives_the_server(&mut cluster, &good);
    swaps_under_load(&cluster, &good);
    controllers(&cluster);
    admission(&cluster);
    deleted_defaults_stay_deleted(&mut cluster);
}

fn versions_that_cannot_be_loaded(cluster: &mut Cluster, good: &[u8]) {
    let check = |cluster: &Cluster, what: &str, source: Value, reason: &str, message: &str| {
        let version = counting_version(what, Value::Null);
        apply_plugin(cluster, "scheduler", "Scheduler", &[source, version]);
        let status = phase(cluster, "scheduler", "Rejected");
        assert_eq!(status["reason"], reason, "{what}: {status}");
        assert!(status["message"].as_str().unwrap().contains(message), "{what}: {status}");
        assert_eq!(status["activeDigest"], digest(good), "{what}: {status}");
        assert_pods_are_bound(cluster, &format!("despite-{what}"));
    };
    check(cluster, "a-script", inline(b"#!/bin/sh\n"), "NotAComponent", "not WebAssembly");
    check(cluster, "a-core-module", inline(b"\0asm\x01\0\0\0"), "NotAComponent", "core module");
    check(
        cluster,
        "a-torn-file",
        inline(&good[..good.len() / 2]),
        "CompileError",
        "does not compile",
    );
    let mut wrong = inline(good);
    wrong["digest"] = json!(digest(b"other"));
    check(cluster, "a-wrong-digest", wrong, "DigestMismatch", &digest(good));
    let imports = inline(&asking_for_the_network());
    check(cluster, "the-network", imports, "UngrantedImport", "wasi:http/outgoing-handler@0.2.3");
    let copier = inline(&copier());
    check(cluster, "a-controller", copier, "WrongRole", "pintle:plugin/controller@0.1.0");
    check(
        cluster,
        "another-role",
        inline(&labelling()),
        "WrongRole",
        "pintle:plugin/admission@0.1.0",
    );

    // Nor does a new server start without a scheduler.
    cluster.server.take().unwrap().terminate();
    cluster.start_server();
    let status = phase(cluster, "scheduler", "Rejected");
    assert_eq!(status["reason"], "WrongRole", "{status}");
    assert_eq!(status["activeDigest"], digest(good), "{status}");
    assert_eq!(status["version"], "good", "its own configuration: {status}");
    assert_pods_are_bound(cluster, "with-a-new-server");
    // Back to what runs anyway.
    apply_plugin(
        cluster,
        "scheduler",
        "Scheduler",
        &[inline(good), counting_version("good", Value::Null)],
    );
    phase(cluster, "scheduler", "Active");
}

fn versions_that_fault(cluster: &Cluster, good: &[u8]) {
    let check = |what: &str, mark: u8, reason: &str| {
        let bad = variant(good, mark);
        let version = counting_version(what, json!(what));
        apply_plugin(cluster, "scheduler", "Scheduler", &[inline(&bad), version]);
        let status = phase(cluster, "scheduler", "Active");
        assert_eq!(status["activeDigest"], digest(&bad), "{what}: {status}");
        assert_eq!(status["previousDigest"], digest(good), "{what}: {status}");
        // The pod on which the new version fails is bound by the one before.
        assert_pods_are_bound(cluster, &format!("during-a-{what}"));
        let status = phase(cluster, "scheduler", "RolledBack");
        assert_eq!(status["reason"], reason, "{what}: {status}");
        assert_eq!(status["activeDigest"], digest(good), "{what}: {status}");
        assert_eq!(status["rolledBackFrom"], digest(&bad), "{what}: {status}");
        assert_eq!(status["version"], "good", "{what}: {status}");
    };
    check("trap", 1, "Trapped");
    check("loop", 2, "DeadlineExceeded");
    check("hoard", 3, "OutOfMemory");
    check("short", 4, "InvalidReply");
}

/// The version that was rolled back from is still the one of the spec: a new
/// server must not give it the pods again.
fn a_rollback_outlives_the_server(cluster: &mut Cluster, good: &[u8]) {
    for _ in 0..2 {
        cluster.server.take().unwrap().terminate();
        cluster.start_server();
        let status = phase(cluster, "scheduler", "RolledBack");
        assert_eq!(status["activeDigest"], digest(good), "{status}");
        assert_eq!(status["rolledBackFrom"], digest(&variant(good, 4)), "{status}");
        assert_eq!(status["version"], "good", "its own configuration: {status}");
    }
    assert_pods_are_bound(cluster, "after-the-restart");
}

fn swaps_under_load(cluster: &Cluster, good: &[u8]) {
    const PODS: usize = 500;
    let list = |c: &Cluster| c.get("pods -l app=load");
    let there = items(&list(cluster)).len();
    std::thread::scope(|scope| {
        let creators: Vec<_> = (0..4)
            .map(|part| {
                scope.spawn(move || {
                    let documents: Vec<String> = (0..PODS / 4)
                        .map(|number| pod(&format!("load-{part}-{number}")).to_string())
                        .collect();
                    cluster.apply(&documents.join("\n---\n"));
                })
            })
            .collect();
        let mut mark = 10;
        // Marks are bytes; so many are more than enough.
        while mark < 13 || mark < 200 && creators.iter().any(|creator| !creator.is_finished()) {
            let next = variant(good, mark);
            let version = counting_version(&format!("v{mark}"), Value::Null);
            apply_plugin(cluster, "scheduler", "Scheduler", &[inline(&next), version]);
            let digest = digest(&next);
            status(cluster, "scheduler", "the next version", |status| {
                status["phase"] == "Active" && status["activeDigest"] == digest
            });
            mark += 1;
        }
        eprintln!("{} swaps", mark - 10);
    });
    cluster.wait("every pod to be bound", |c| {
        let pods = list(c);
        let bound = items(&pods).iter().filter(|pod| pod["spec"]["nodeName"].is_string()).count();
        bound == there + PODS
    });
    // A version that takes over with a wrong view of the nodes would fill them unevenly.
    let mut by_node: BTreeMap<String, usize> = BTreeMap::new();
    for pod in items(&list(cluster)) {
        let node = pod["spec"]["nodeName"].as_str().unwrap_or_default();
        *by_node.entry(node.to_owned()).or_default() += 1;
    }
    let (least, most) = (by_node.values().min().unwrap(), by_node.values().max().unwrap());
    assert_eq!(by_node.len(), 5, "{by_node:?}");
    assert!(most - least <= 1, "{by_node:?}");
    let status = status(cluster, "scheduler", "the counters", |status| status["queueDepth"] == 0);
    assert_eq!(status["conflicts"], 0, "a pod was bound twice, or tried to: {status}");
    assert_eq!(status["strikesTotal"], 0, "{status}");
}

fn controllers(cluster: &Cluster) {
    let version_for = |what: &str, version: &str, behaves: bool| {
        json!({
            "grants": copier_grants(),
            "config": { "version": version, "behaves": behaves },
            "budgets": budgets(what, 32 << 20),
            "rollout": { "windowSeconds": 600, "maxStrikes": 2 },
        })
    };
    let version = |version: &str, behaves: bool| version_for("", version, behaves);
    let good = copier();
    // What a manifest asks for is granted on demand only.
    let file = GUESTS[0].to_string_lossy().into_owned();
    let refused = cluster.try_pintle(&["plugin", "load", "copier", &file, "--role", "Controller"]);
    assert!(!refused.success);
    assert!(refused.stdout.contains("ConfigMap"), "{refused:?}");
    let ungranted = phase(cluster, "copier", "Failed");
    assert_eq!(ungranted["reason"], "NeedsNotGranted", "{ungranted}");
    cluster.pintle(&["plugin", "rm", "copier"]);
    cluster.pintle(&["plugin", "load", "copier", &file, "--role", "Controller", "--grant"]);
    cluster.apply(&config_map("first", json!({})).to_string());
    assert_eq!(copied_by(cluster, "first"), "1");

    apply_plugin(cluster, "copier", "Controller", &[inline(&good), version("good", true)]);
    phase(cluster, "copier", "Active");
    for (what, reason) in [
        ("trap", "Trapped"),
        ("loop", "DeadlineExceeded"),
        ("hoard", "OutOfMemory"),
        ("secret", "UngrantedAction"),
    ] {
        // `behaves` shields from `trap`, `loop` and `hoard`, not from ungranted wishes.
        let bad = variant(&good, b'a');
        let version_that_fails = version_for(what, "bad", false);
        apply_plugin(cluster, "copier", "Controller", &[inline(&bad), version_that_fails]);
        phase(cluster, "copier", "Active");
        cluster.apply(&config_map(what, json!({ "do": what })).to_string());
        if what == "secret" {
            // The version before wishes the same: it is the object, which is left alone.
            let found = status(cluster, "copier", "parked", |status| status["parked"].is_array());
            assert_eq!(found["phase"], "RolledBack", "{found}");
            assert_eq!(found["reason"], reason, "{found}");
            let parked = &found["parked"][0];
            assert_eq!(parked["object"], "ConfigMap default/secret", "{found}");
            let message = parked["message"].as_str().unwrap();
            assert!(message.contains("create Secret in namespace default"), "{found}");
            assert!(items(&cluster.get("secrets")).is_empty());
        } else {
            assert_eq!(copied_by(cluster, what), "good");
            let status = phase(cluster, "copier", "RolledBack");
            assert_eq!(status["reason"], reason, "{status}");
        }
        assert_pods_are_bound(cluster, &format!("beside-a-{what}"));
        // Or the next bad version would fail on this one before anybody can look.
        cluster.pintle(&["delete", "configmap", what]);
        apply_plugin(cluster, "copier", "Controller", &[inline(&good), version("good", true)]);
        // What decides is what the spec says again.
        phase(cluster, "copier", "Active");
    }
    let suspended = json!({ "suspended": true });
    let spec = [inline(&good), version("good", true), suspended];
    apply_plugin(cluster, "copier", "Controller", &spec);
    phase(cluster, "copier", "Suspended");
    apply_plugin(cluster, "copier", "Controller", &spec[..2]);
    phase(cluster, "copier", "Active");
    cluster.apply(&config_map("revived", json!({})).to_string());
    assert_eq!(copied_by(cluster, "revived"), "good");

    cluster.pintle(&["plugin", "rm", "copier"]);
    cluster.apply(&config_map("late", json!({})).to_string());
    apply_plugin(cluster, "copier", "Controller", &[inline(&good), version("again", true)]);
    assert_eq!(copied_by(cluster, "late"), "again");
}

fn admission(cluster: &Cluster) {
    let spec = json!({ "grants": [], "config": {}, "budgets": { "deadlineMilliseconds": 500 } });
    apply_plugin(cluster, "labelling", "Admission", &[inline(&labelling()), spec]);
    phase(cluster, "labelling", "Active");
    let create = |name: &str, what: &str| {
        let file = cluster.path().join(format!("admission-{name}.yaml"));
        std::fs::write(&file, config_map(name, json!({ "do": what })).to_string()).unwrap();
        cluster.try_pintle(&["apply", "-f", &file.to_string_lossy()])
    };
    assert!(create("welcome", "nothing").success);
    let labels = cluster.get("configmaps welcome")["metadata"]["labels"].clone();
    assert_eq!(labels["admitted-by"], "1", "{labels}");
    let refused = create("forbidden", "nothing");
    assert!(!refused.success && refused.stderr.contains("the name is forbidden"), "{refused:?}");
    for what in ["trap", "loop", "nonsense"] {
        let refused = create(what, what);
        assert!(!refused.success && refused.stderr.contains("labelling"), "{refused:?}");
        assert!(create(&format!("after-{what}"), "nothing").success);
    }
    assert_pods_are_bound(cluster, "beside-admission");
    cluster.pintle(&["plugin", "rm", "labelling"]);
    cluster.wait("the plugin to be gone", |_| create("forbidden", "nothing").success);
}

fn deleted_defaults_stay_deleted(cluster: &mut Cluster) {
    cluster.pintle(&["plugin", "rm", "endpointslice"]);
    cluster.server.take().unwrap().terminate();
    cluster.start_server();
    let plugins = cluster.get("plugins");
    let names: Vec<&str> = items(&plugins).iter().map(name).collect();
    assert!(!names.contains(&"endpointslice"), "{names:?}");
    assert!(names.contains(&"deployment"), "{names:?}");
    assert_pods_are_bound(cluster, "at-the-end");
}
