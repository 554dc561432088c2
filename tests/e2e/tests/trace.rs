//! Recording a plugin of a running cluster and replaying the file without one,
//! with the commands that docs/record-and-replay.md shows.

mod support;

use std::path::{Path, PathBuf};
use std::process::{Child, Output};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use pintle_e2e::{Cluster, items, require_kubectl};
use serde_json::{Value, json};
use support::{add_nodes, most_allocated};

fn deployment(replicas: usize) -> String {
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": { "name": "web" },
        "spec": {
            "replicas": replicas,
            "selector": { "matchLabels": { "app": "web" } },
            "template": {
                "metadata": { "labels": { "app": "web" } },
                "spec": { "containers": [{
                    "name": "main",
                    "image": "none",
                    "resources": { "requests": { "cpu": "100m", "memory": "64Mi" } },
                }] },
            },
        },
    })
    .to_string()
}

fn bare_pod(number: usize) -> String {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "name": format!("bare-{number}") },
        "spec": { "containers": [{
            "name": "main",
            "image": "none",
            "resources": { "requests": { "cpu": "1", "memory": "1Gi" } },
        }] },
    })
    .to_string()
}

fn bound(cluster: &Cluster) -> usize {
    let pods = cluster.get("pods -l app=web");
    items(&pods).iter().filter(|pod| pod["spec"]["nodeName"].is_string()).count()
}

fn scale(cluster: &Cluster, replicas: usize) {
    cluster.apply(&deployment(replicas));
    cluster.wait(&format!("{replicas} pods to be bound"), |c| bound(c) == replicas);
}

/// A recording under way: its header has been written.
fn record(cluster: &Cluster, plugin: &str, file: &Path, more: &[&str]) -> Child {
    let output = file.to_string_lossy();
    let mut arguments = vec!["plugin", "record", plugin, "-o", &output];
    arguments.extend(more);
    let child = cluster.client().spawn(&arguments);
    cluster.wait("the recording to begin", |_| size(file) > 0);
    child
}

fn size(file: &Path) -> u64 {
    std::fs::metadata(file).map_or(0, |metadata| metadata.len())
}

fn ended(child: Child) -> Output {
    child.wait_with_output().unwrap()
}

/// As Ctrl-C does.
fn interrupted(child: Child) -> Output {
    kill(Pid::from_raw(child.id() as i32), Signal::SIGINT).unwrap();
    ended(child)
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Offline: in no cluster's network, with no kubeconfig.
fn replay(file: &Path, more: &[&str]) -> pintle_e2e::Output {
    let pintle = pintle_e2e::bin_dir().join("pintle");
    let cache = file.with_extension("cache");
    let mut arguments = vec![
        "-n".to_owned(),
        "env".to_owned(),
        "-u".to_owned(),
        "KUBECONFIG".to_owned(),
        format!("XDG_CACHE_HOME={}", cache.display()),
        pintle.to_string_lossy().into_owned(),
        "plugin".to_owned(),
        "replay".to_owned(),
        file.to_string_lossy().into_owned(),
    ];
    arguments.extend(more.iter().map(|argument| (*argument).to_owned()));
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    pintle_e2e::run("unshare", &arguments)
}

fn report(file: &Path, more: &[&str]) -> Value {
    let output = replay(file, &[more, &["--json"]].concat());
    serde_json::from_str(&output.stdout).unwrap_or_else(|_| panic!("no report: {output:?}"))
}

#[test]
fn what_plugins_decided_is_recorded_and_replayed_elsewhere() {
    require_kubectl!();
    let mut cluster = Cluster::start(0);
    add_nodes(&cluster, 5);
    scale(&cluster, 10);
    the_scheduler_replays_and_other_versions_differ(&cluster);
    controllers_replay(&cluster);
    the_api_is_what_it_says(&cluster);
    a_killed_server_leaves_a_trace_that_is_good_as_far_as_it_goes(&mut cluster);
}

fn the_scheduler_replays_and_other_versions_differ(cluster: &Cluster) {
    let file = cluster.path().join("scheduler.trace");
    let component = cluster.path().join("most-allocated.wasm");
    most_allocated(&component);
    let with = ["--with", &component.to_string_lossy()];
    let recording = record(cluster, "scheduler", &file, &[]);
    scale(cluster, 60);
    // Of no workload that would spread them.
    let bare: Vec<String> = (0..10).map(bare_pod).collect();
    cluster.apply(&bare.join("\n---\n"));
    cluster.wait("the last ones in the trace", |_| {
        let so_far = replay(&file, &[&with[..], &["--partial"]].concat());
        so_far.stdout.contains("schedule of Pod default/bare-")
    });
    let output = interrupted(recording);
    assert!(output.status.success(), "{output:?}");
    assert!(said(&output).contains("calls of plugin scheduler recorded"), "{}", said(&output));

    let same = replay(&file, &[]);
    assert_eq!(same.code, Some(0), "{same:?}");
    assert!(same.stdout.contains("all identical"), "{}", same.stdout);
    let found = report(&file, &[]);
    assert_eq!(found["role"], "Scheduler", "{found}");
    assert!(found["calls"].as_u64() > Some(2), "{found}");
    assert_eq!((&found["differing"], &found["liveDiffering"]), (&json!(0), &json!(0)), "{found}");

    // One that packs instead of spreading.
    let config = r#"{"scoringStrategy":"MostAllocated","weights":{"spread":0,"balance":0}}"#;
    let packing = replay(&file, &["--config", config]);
    assert_eq!(packing.code, Some(1), "{packing:?}");
    for part in ["First difference: call ", "schedule of Pod default/web-", "bind: silent-"] {
        assert!(packing.stdout.contains(part), "{part:?} in {}", packing.stdout);
    }
    let other = replay(&file, &with);
    assert_eq!(other.code, Some(1), "{other:?}");
    assert!(other.stdout.contains("schedule of Pod default/bare-"), "{}", other.stdout);

    damaged_files_are_refused(&file);
}

fn damaged_files_are_refused(file: &Path) {
    let bytes = std::fs::read(file).unwrap();
    let check = |bytes: &[u8], more: &[&str], expect: &str| {
        let damaged = file.with_extension("damaged");
        std::fs::write(&damaged, bytes).unwrap();
        let output = replay(&damaged, more);
        assert_eq!(output.code, Some(2), "{output:?}");
        assert!(output.stderr.contains(expect), "{expect:?} in {}", output.stderr);
    };
    let mut edited = bytes.clone();
    let middle = edited.len() / 2;
    edited[middle] ^= 0x20;
    check(&edited, &[], "is damaged");
    check(&edited, &["--partial"], "is damaged");
    check(&bytes[..bytes.len() - 10], &[], "the trace is cut");
    check(b"PK\x03\x04", &[], "this is no trace");
    check(&bytes, &["--config", "{"], "--config is not valid JSON");
    let absent = replay(Path::new("/nonexistent.trace"), &[]);
    assert_eq!(absent.code, Some(2), "{absent:?}");
}

fn controllers_replay(cluster: &Cluster) {
    let files: Vec<(&str, PathBuf, Child)> = ["deployment", "replicaset", "priority"]
        .map(|plugin| {
            let file = cluster.path().join(format!("{plugin}.trace"));
            let recording = record(cluster, plugin, &file, &[]);
            (plugin, file, recording)
        })
        .into();
    scale(cluster, 70);
    for (plugin, file, recording) in files {
        let calls = || report(&file, &["--partial"])["calls"].as_u64();
        cluster.wait("a call in the trace", |_| calls() >= Some(1));
        let output = interrupted(recording);
        assert!(output.status.success(), "{plugin}: {output:?}");
        let found = report(&file, &[]);
        assert!(found["calls"].as_u64() >= Some(1), "{plugin}: {found}");
        assert_eq!(found["differing"], 0, "{plugin}: {found}");
        assert_eq!(found["ended"], "the recording was ended", "{plugin}: {found}");
    }
}

fn the_api_is_what_it_says(cluster: &Cluster) {
    let timed = cluster.path().join("timed.trace");
    let output = ended(record(cluster, "priority", &timed, &["--for", "1s"]));
    assert!(output.status.success(), "{output:?}");
    assert_eq!(report(&timed, &[])["differing"], 0);
    let nobody = cluster.path().join("nobody.trace");
    let nobody = nobody.to_string_lossy();
    let refused = cluster.try_pintle(&["plugin", "record", "nobody", "-o", &nobody]);
    assert!(refused.stderr.contains("NotFound"), "{refused:?}");
    let refused = cluster.try_pintle(&["plugin", "record", "cni-routed", "-o", &nobody]);
    assert!(refused.stderr.contains("which the nodes run"), "{refused:?}");
    let diff = cluster.pintle(&["plugin", "diff", "scheduler"]);
    assert!(diff.contains("no version of plugin scheduler is being compared"), "{diff}");

    // kubectl speaks HTTP/2.
    let plugins = "/apis/plugins.pintle.dev/v1alpha1";
    let listed = cluster.kubectl(&["get", "--raw", plugins]);
    assert!(listed.contains("plugins/trace") && listed.contains("plugins/divergences"), "{listed}");
    let divergences =
        cluster.kubectl(&["get", "--raw", &format!("{plugins}/plugins/scheduler/divergences")]);
    let divergences: Value = serde_json::from_str(&divergences).unwrap();
    assert_eq!(divergences["plugin"], "scheduler");
    let file = cluster.path().join("kubectl.trace");
    let path = format!("{plugins}/plugins/deployment/trace?seconds=1&component=false");
    cluster.shell(&format!("kubectl get --raw '{path}' > {}", file.display()));
    let without = replay(&file, &[]);
    assert_eq!(without.code, Some(2), "{without:?}");
    assert!(without.stderr.contains("does not hold the component"), "{}", without.stderr);
    let refused = cluster.try_kubectl(&["get", "--raw", &path.replace("=1&", "=x&")]);
    assert!(refused.stderr.contains("a number from 1 to 86400"), "{refused:?}");
}

fn a_killed_server_leaves_a_trace_that_is_good_as_far_as_it_goes(cluster: &mut Cluster) {
    let file = cluster.path().join("killed.trace");
    let recording = record(cluster, "replicaset", &file, &[]);
    let before = size(&file);
    cluster.apply(&deployment(120));
    cluster.wait("calls in the trace", |_| size(&file) > before + 1000);
    cluster.server.take().unwrap().kill_9();
    let output = ended(recording);
    assert!(!output.status.success(), "{output:?}");
    assert!(said(&output).contains("is cut after"), "{}", said(&output));

    let whole = replay(&file, &[]);
    assert_eq!(whole.code, Some(2), "{whole:?}");
    assert!(whole.stderr.contains("whole calls") && whole.stderr.contains("is cut"), "{whole:?}");
    let partial = replay(&file, &["--partial"]);
    assert_eq!(partial.code, Some(0), "{partial:?}");
    assert!(report(&file, &["--partial"])["calls"].as_u64() >= Some(1));

    cluster.start_server();
    cluster.wait("the server to go on", |c| bound(c) == 120);
}
