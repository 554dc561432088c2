//! A node takes over another version of the network plugin and refuses one that
//! makes no sense; the pods that are there go on.

mod support;

use pintle_e2e::{Cluster, IMAGE, require_machine};
use serde_json::{Value, json};
use support::*;

/// The default network plugin.
fn routed() -> Vec<u8> {
    let workspace = pintle_e2e::workspace();
    let target = workspace.join("target/guests");
    let built = pintle_plugin_build::build(&workspace, &["pintle-plugin-cni-routed"], &target);
    std::fs::read(&built.expect("the plugin builds")[0].path).unwrap()
}

fn assert_pod_serves(cluster: &Cluster, name: &str) {
    let object = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "name": name, "labels": { "app": name } },
        "spec": {
            "terminationGracePeriodSeconds": 0,
            "containers": [{
                "name": "main", "image": IMAGE, "imagePullPolicy": "Never",
                "command": ["httpd", "-f", "-p", "80", "-h", "/etc"],
            }],
        },
    });
    cluster.apply(&object.to_string());
    cluster.wait_ready_pods(&format!("app={name}"), 1);
    assert_pod_answers(cluster, name);
}

/// Through the network, from a container beside it.
fn assert_pod_answers(cluster: &Cluster, name: &str) {
    let address = cluster.get(&format!("pods {name}"))["status"]["podIP"].clone();
    let url = format!("http://{}/passwd", address.as_str().unwrap());
    cluster.wait(&format!("an answer from {name}"), |c| {
        let page = c.try_pintle(&["exec", name, "--", "wget", "-qO-", &url]);
        page.stdout.contains("root")
    });
}

#[test]
fn a_node_follows_the_network_plugin() {
    require_machine!();
    let cluster = Cluster::start(1);
    let log = |c: &Cluster| std::fs::read_to_string(c.path().join("node-0.log")).unwrap();
    assert_pod_serves(&cluster, "first");

    let next = variant(&routed(), 1);
    let config = json!({ "config": { "mtu": 1300 } });
    // Too large for `inline`, of which `apply` keeps a copy in an annotation.
    let file = cluster.path().join("cni.wasm");
    std::fs::write(&file, &next).unwrap();
    let source = json!({
        "source": { "file": { "path": file }, "embedded": null },
        "digest": digest(&next),
    });
    apply_plugin(&cluster, "cni-routed", "CNI", &[source, config]);
    assert_eq!(phase(&cluster, "cni-routed", "Active")["activeDigest"], digest(&next));
    cluster.wait("the node to take it over", |c| log(c).contains("network plugin swapped"));
    assert_pod_serves(&cluster, "second");
    let links = cluster.pintle(&["exec", "second", "--", "cat", "/sys/class/net/eth0/mtu"]);
    assert_eq!(links.trim(), "1300", "planned by the new version");
    assert_pod_answers(&cluster, "first");

    let mut script = inline(b"#!/bin/sh\n");
    script["source"]["file"] = Value::Null;
    apply_plugin(&cluster, "cni-routed", "CNI", &[script]);
    phase(&cluster, "cni-routed", "Rejected");
    cluster.wait("the node to refuse it", |c| log(c).contains("the one before goes on"));
    assert_pod_serves(&cluster, "third");

    // What the agent does without for itself is not taken from containers.
    let status = cluster.pintle(&["exec", "third", "--", "cat", "/proc/1/status"]);
    assert!(!status.contains("THP_enabled:\t0"), "{status}");
    // And the old version's pods go without a trace.
    cluster.pintle(&["delete", "pod", "first"]);
    cluster.wait("the first pod to be gone", |c| c.get("pods first").is_null());
}
