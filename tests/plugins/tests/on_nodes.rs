//! The network plugin is swapped on a node while pods start there: every pod
//! gets one address of its own, keeps it, and runs.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use pintle_e2e::{Cluster, IMAGE, items, name, require_kubectl};
use pintle_plugins::components::{built, digest, variant};
use serde_json::{Value, json};

const PLUGIN: &str = "cni-routed";

/// Alive at the same time: containers are started for real.
const ALIVE: usize = 8;

/// Started before anyone asks for the swap, and after it took place.
const AROUND: usize = 3;

fn pod(name: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": "flow"}},
        "spec": {
            "terminationGracePeriodSeconds": 0,
            "containers": [{"name": "main", "image": IMAGE, "imagePullPolicy": "Never",
                "command": ["sleep", "1000000"]}],
        },
    })
}

/// Addresses of pods that run, by name.
fn addresses(cluster: &Cluster) -> BTreeMap<String, String> {
    let pods = cluster.get("pods -l app=flow");
    let running = items(&pods).iter().filter(|pod| pod["status"]["phase"] == "Running");
    let addressed = running.filter_map(|pod| {
        Some((name(pod).to_owned(), pod["status"]["podIP"].as_str()?.to_owned()))
    });
    addressed.collect()
}

/// Pods come one after the other for as long as `go_on`, and the oldest leave,
/// so that the flow has no end of its own: a swap falls into it however fast
/// or slow the machine is. `begun` counts them.
fn arrive(cluster: &Cluster, go_on: &AtomicBool, begun: &AtomicUsize) {
    while go_on.load(Ordering::SeqCst) {
        let next = begun.fetch_add(1, Ordering::SeqCst);
        cluster.apply(&pod(&format!("flow-{next}")).to_string());
        if let Some(oldest) = next.checked_sub(ALIVE) {
            let oldest = format!("flow-{oldest}");
            cluster.kubectl(&["delete", "pod", &oldest, "--wait=false"]);
        }
        // The next one when the one before runs, not all at once.
        if let Some(before) = next.checked_sub(1) {
            let before = format!("flow-{before}");
            cluster.wait("the pod before to run", |c| addresses(c).contains_key(&before));
        }
    }
}

#[test]
fn a_network_plugin_is_swapped_while_pods_start() {
    require_kubectl!();
    let components = built();
    let cluster = Cluster::start(1);
    let log = || std::fs::read_to_string(cluster.path().join("node-0.log")).unwrap();
    let go_on = AtomicBool::new(true);
    let next = variant(&std::fs::read(&components[PLUGIN]).unwrap(), 1);
    let file = cluster.path().join("next.wasm");
    std::fs::write(&file, &next).unwrap();
    let begun = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let flow = scope.spawn(|| arrive(&cluster, &go_on, &begun));
        let swapped = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            // A pod is begun when the one before it runs.
            let flows = |n: usize| begun.load(Ordering::SeqCst) > n;
            cluster.wait("the first pods to run", |_| flows(AROUND));
            let source = json!({"file": {"path": file}, "embedded": null});
            let patch = json!({"spec": {"source": source, "digest": digest(&next)}}).to_string();
            cluster.kubectl(&["patch", "plugin", PLUGIN, "--type=merge", "-p", &patch]);
            cluster.wait("the node to take it over", |_| log().contains("network plugin swapped"));
            let after = begun.load(Ordering::SeqCst) + AROUND;
            cluster.wait("pods after the swap", |_| flows(after + 1));
        }));
        // Also when it panics the flow has to end.
        go_on.store(false, Ordering::SeqCst);
        flow.join().expect("pods arrive");
        if let Err(panic) = swapped {
            std::panic::resume_unwind(panic);
        }
    });
    let begun = begun.into_inner();
    let alive = begun.min(ALIVE);
    cluster.wait("every pod to run, and the others to be gone", |c| {
        items(&c.get("pods -l app=flow")).len() == alive && addresses(c).len() == alive
    });
    let given = addresses(&cluster);
    let mut distinct: Vec<&String> = given.values().collect();
    distinct.sort();
    distinct.dedup();
    assert_eq!(distinct.len(), alive, "an address was given twice: {given:?}");
    for (pod, address) in &given {
        let inside = cluster.pintle(&["exec", pod, "--", "ip", "addr", "show", "eth0"]);
        assert_eq!(inside.matches("inet ").count(), 1, "{pod}: {inside}");
        assert!(inside.contains(&format!("inet {address}/")), "{pod}: {inside}");
    }
    // The server looks at the component too, in its own time.
    let status = |c: &Cluster| c.get(&format!("plugins {PLUGIN}"))["status"].clone();
    cluster.wait("the server to say so", |c| {
        let status = status(c);
        status["phase"] == "Active" && status["activeDigest"] == digest(&next)
    });
    assert_eq!(status(&cluster)["strikesTotal"], 0);
    let faults = log().lines().filter(|line| line.contains("network plugin failed")).count();
    assert_eq!(faults, 0, "{}", log());

    // What the version before has set up, the one after takes down.
    cluster.kubectl(&["delete", "pods", "-l", "app=flow", "--wait=false"]);
    cluster.wait("every pod to be gone", |c| items(&c.get("pods -l app=flow")).is_empty());
}
