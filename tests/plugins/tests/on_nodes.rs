//! The network plugin is swapped on a node while pods start there: every pod
//! gets one address of its own, keeps it, and runs.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use pintle_e2e::{Cluster, IMAGE, items, name, require_machine};
use pintle_plugins::components::{built, digest, variant};
use serde_json::{Value, json};

const PLUGIN: &str = "cni-routed";

/// At the same time: containers are started for real.
const MOST_PODS: usize = 12;

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

/// Pods come one after the other, for as long as `go_on`.
fn arrive(cluster: &Cluster, go_on: &AtomicBool) -> usize {
    let mut begun = 0;
    while go_on.load(Ordering::SeqCst) && begun < MOST_PODS {
        cluster.apply(&pod(&format!("flow-{begun}")).to_string());
        begun += 1;
        // The next one when this one is on its way, not all at once.
        cluster.wait("a pod to be taken up by its node", 60, |c| addresses(c).len() + 2 >= begun);
    }
    begun
}

#[test]
fn a_network_plugin_is_swapped_while_pods_start() {
    require_machine!();
    let components = built();
    let cluster = Cluster::start(1);
    let log = || std::fs::read_to_string(cluster.path().join("node-0.log")).unwrap();
    let go_on = AtomicBool::new(true);
    let next = variant(&std::fs::read(&components[PLUGIN]).unwrap(), 1);
    let file = cluster.path().join("next.wasm");
    std::fs::write(&file, &next).unwrap();
    let begun = std::thread::scope(|scope| {
        let flow = scope.spawn(|| arrive(&cluster, &go_on));
        let swapped = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            cluster.wait("the first pods to run", 60, |c| addresses(c).len() >= 2);
            let source = json!({"file": {"path": file}, "embedded": null});
            let patch = json!({"spec": {"source": source, "digest": digest(&next)}}).to_string();
            cluster.kubectl(&["patch", "plugin", PLUGIN, "--type=merge", "-p", &patch]);
            cluster
                .wait("the node to take it over", 30, |_| log().contains("network plugin swapped"));
            let swapped = addresses(&cluster).len();
            cluster.wait("pods after the swap", 60, |c| addresses(c).len() >= swapped + 3);
        }));
        // Also when it panics the flow has to end.
        go_on.store(false, Ordering::SeqCst);
        let begun = flow.join().expect("pods arrive");
        if let Err(panic) = swapped {
            std::panic::resume_unwind(panic);
        }
        begun
    });
    cluster.wait("every pod to run", 60, |c| addresses(c).len() == begun);
    let given = addresses(&cluster);
    let mut distinct: Vec<&String> = given.values().collect();
    distinct.sort();
    distinct.dedup();
    assert_eq!(distinct.len(), begun, "an address was given twice: {given:?}");
    for (pod, address) in &given {
        let inside = cluster.pintle(&["exec", pod, "--", "ip", "addr", "show", "eth0"]);
        assert_eq!(inside.matches("inet ").count(), 1, "{pod}: {inside}");
        assert!(inside.contains(&format!("inet {address}/")), "{pod}: {inside}");
    }
    // The server looks at the component too, in its own time.
    let status = |c: &Cluster| c.get(&format!("plugins {PLUGIN}"))["status"].clone();
    cluster.wait("the server to say so", 60, |c| {
        let status = status(c);
        status["phase"] == "Active" && status["activeDigest"] == digest(&next)
    });
    assert_eq!(status(&cluster)["strikesTotal"], 0);
    let faults = log().lines().filter(|line| line.contains("network plugin failed")).count();
    assert_eq!(faults, 0, "{}", log());

    // What the version before has set up, the one after takes down.
    cluster.kubectl(&["delete", "pods", "-l", "app=flow", "--wait=false"]);
    cluster.wait("every pod to be gone", 60, |c| items(&c.get("pods -l app=flow")).is_empty());
}
