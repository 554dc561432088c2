//! Profiles, volumes, budgets and nominations as a person would try them.

mod support;

use pintle_sdk::KindRef;
use pintle_sdk::prelude::NODE;
use pintle_sdk::scheduler::{Decision, Delta, Scheduler};
use serde_json::{Value, json};
use support::*;

fn two() -> Vec<pintle_sdk::Object> {
    vec![node("a", "4", json!({})), node("b", "4", json!({}))]
}

#[test]
fn each_profile_answers_to_its_own_name() {
    let config =
        json!({"profiles": [{"schedulerName": "packer", "scoringStrategy": "MostAllocated"}]});
    let mut plugin = configured(config, &two());
    assert_eq!(plugin.describe().scheduler_names, ["default-scheduler", "packer"]);
    upsert(&mut plugin, &[pod("there", "1", json!({"spec": {"nodeName": "a"}}))]);
    let packed = json!({"spec": {"schedulerName": "packer"}});
    assert_eq!(bound_to(&mut plugin, &pod("p", "1", json!({}))), "b");
    plugin.forget(vec!["p-uid".to_owned()]);
    assert_eq!(bound_to(&mut plugin, &pod("q", "1", packed)), "a");
}

#[test]
fn a_rule_that_is_disabled_says_nothing() {
    let cordoned = node("a", "1", json!({"spec": {"unschedulable": true}}));
    let big = pod("p", "2", json!({}));
    let message = refusal(&mut plugin(std::slice::from_ref(&cordoned)), &big);
    assert!(message.starts_with("0/1 nodes are available: 1 node(s) were unschedulable."));
    let config = json!({"disabled": ["NodeUnschedulable", "DefaultPreemption"]});
    let message = refusal(&mut configured(config, std::slice::from_ref(&cordoned)), &big);
    assert_eq!(message, "0/1 nodes are available: 1 Insufficient cpu.");
    let config = json!({"disabled": ["NodeUnschedulable", "NodeResourcesFit"]});
    assert_eq!(bound_to(&mut configured(config, &[cordoned]), &big), "a");
}

#[test]
fn a_line_of_ones_own_scores_utilization() {
    // Best at half full.
    let config = json!({"scoringStrategy": "RequestedToCapacityRatio", "weights": {"balance": 0},
        "resources": [{"name": "cpu"}], "requestedToCapacityRatio": [
            {"utilization": 0, "score": 0}, {"utilization": 50, "score": 10}, {"utilization": 100, "score": 0}]});
    let mut plugin = configured(config, &[node("a", "8", json!({})), node("b", "4", json!({}))]);
    assert_eq!(bound_to(&mut plugin, &pod("p", "2", json!({}))), "b");
    assert_eq!(bound_to(&mut plugin, &pod("q", "2", json!({}))), "a");
}

#[test]
fn default_constraints_may_forbid() {
    let config = json!({"defaultConstraints": [
        {"maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "DoNotSchedule"}]});
    let mut plugin = configured(config, &[node("a", "9", json!({})), node("b", "1", json!({}))]);
    let set = json!({"metadata": {"ownerReferences": [{"uid": "set", "controller": true}]}});
    assert_eq!(bound_to(&mut plugin, &pod("p", "1", set.clone())), "a");
    assert_eq!(bound_to(&mut plugin, &pod("q", "1", set.clone())), "b");
    assert_eq!(bound_to(&mut plugin, &pod("r", "1", set.clone())), "a");
    let message = refusal(&mut plugin, &pod("s", "1", set));
    assert!(
        message.contains("1 Insufficient cpu, 1 node(s) didn't match pod topology spread"),
        "{message}"
    );
}

fn core(kind: &'static str) -> KindRef {
    KindRef::new("", "v1", kind)
}

fn claiming(name: &str, extra: Value) -> pintle_sdk::Object {
    let mut spec = json!({"spec": {"volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]}});
    merge(&mut spec, extra);
    pod(name, "1", spec)
}

#[test]
fn a_claim_decides_where_its_pod_runs() {
    let mut plugin = plugin(&two());
    let waiting = |why: &str| {
        format!(
            "0/2 nodes are available: {why}. preemption: 0/2 nodes are available: \
             2 Preemption is not helpful for scheduling."
        )
    };
    let pod = claiming("p", json!({}));
    assert_eq!(refusal(&mut plugin, &pod), waiting("persistentvolumeclaim \"data\" not found"));
    let claim = |spec: Value, phase: &str| {
        let json = json!({"metadata": {}, "spec": spec, "status": {"phase": phase}});
        object(core("PersistentVolumeClaim"), "default", "data", json)
    };
    upsert(&mut plugin, &[claim(json!({}), "Pending")]);
    assert_eq!(
        refusal(&mut plugin, &pod),
        waiting("pod has unbound immediate PersistentVolumeClaims")
    );
    let volume = json!({"spec": {"nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions":
        [{"key": "kubernetes.io/hostname", "operator": "In", "values": ["b"]}]}]}}}});
    upsert(
        &mut plugin,
        &[
            object(core("PersistentVolume"), "", "pv", volume),
            claim(json!({"volumeName": "pv", "accessModes": ["ReadWriteOncePod"]}), "Bound"),
        ],
    );
    assert_eq!(bound_to(&mut plugin, &pod), "b");
    let message = refusal(&mut plugin, &claiming("q", json!({})));
    assert!(
        message.starts_with(
            "0/2 nodes are available: 2 node has pod using PersistentVolumeClaim with the same name \
             and ReadWriteOncePod access mode. preemption: 0/2 nodes are available: 2 No preemption victims"
        ),
        "{message}"
    );
    let urgent = claiming("r", json!({"spec": {"priority": 5}}));
    let Decision::Preempt { node, victims, .. } = schedule(&mut plugin, &urgent) else { panic!() };
    assert_eq!((node.as_str(), victims), ("b", vec!["p-uid".to_owned()]));
}

#[test]
fn a_claim_that_waits_follows_its_class() {
    let mut plugin = plugin(&[
        node("a", "4", json!({"metadata": {"labels": {"topology.kubernetes.io/zone": "z1"}}})),
        node("b", "4", json!({"metadata": {"labels": {"topology.kubernetes.io/zone": "z2"}}})),
    ]);
    let class = json!({"provisioner": "p.example.com", "volumeBindingMode": "WaitForFirstConsumer",
        "allowedTopologies": [{"matchLabelExpressions": [{"key": "topology.kubernetes.io/zone", "values": ["z2"]}]}]});
    let claim = json!({"metadata": {}, "spec": {"storageClassName": "slow"}, "status": {"phase": "Pending"}});
    upsert(
        &mut plugin,
        &[
            object(KindRef::new("storage.k8s.io", "v1", "StorageClass"), "", "slow", class),
            object(core("PersistentVolumeClaim"), "default", "data", claim),
        ],
    );
    assert_eq!(bound_to(&mut plugin, &claiming("p", json!({}))), "b");
    upsert(&mut plugin, &[node("b", "4", json!({"spec": {"unschedulable": true}}))]);
    let message = refusal(&mut plugin, &claiming("q", json!({})));
    assert!(
        message.contains("1 node(s) didn't find available persistent volumes to bind"),
        "{message}"
    );
}

#[test]
fn a_local_volume_is_promised_to_one_pod_only() {
    let labelled = |name: &str| {
        node(name, "4", json!({"metadata": {"labels": {"kubernetes.io/hostname": name}}}))
    };
    let mut plugin = plugin(&[labelled("a"), labelled("b")]);
    let class = json!({"provisioner": "kubernetes.io/no-provisioner",
        "volumeBindingMode": "WaitForFirstConsumer"});
    let volume = |name: &str, node: &str, size: &str, phase: &str| {
        let json = json!({"spec": {"capacity": {"storage": size}, "storageClassName": "local",
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions":
                [{"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}]}]}}},
            "status": {"phase": phase}});
        object(core("PersistentVolume"), "", name, json)
    };
    let claim = |name: &str| {
        let json = json!({"metadata": {"creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"storageClassName": "local", "resources": {"requests": {"storage": "1Gi"}}},
            "status": {"phase": "Pending"}});
        object(core("PersistentVolumeClaim"), "default", name, json)
    };
    let using = |name: &str, claim: &str| {
        let data = json!({"name": "data", "persistentVolumeClaim": {"claimName": claim}});
        pod(name, "1", json!({"spec": {"volumes": [data]}}))
    };
    upsert(
        &mut plugin,
        &[
            object(KindRef::new("storage.k8s.io", "v1", "StorageClass"), "", "local", class),
            volume("on-a", "a", "1Gi", "Available"),
            volume("on-b", "b", "5Gi", "Available"),
            claim("one"),
            claim("two"),
            claim("three"),
        ],
    );
    let first = bound_to(&mut plugin, &using("p", "one"));
    let second = bound_to(&mut plugin, &using("q", "two"));
    assert_ne!(first, second, "one volume is on each node");
    let message = refusal(&mut plugin, &using("r", "three"));
    assert!(
        message.contains("2 node(s) didn't find available persistent volumes to bind"),
        "{message}"
    );
    // Who shares a claim goes where its volume will be.
    assert_eq!(bound_to(&mut plugin, &using("s", "two")), second);
    // The pod goes before its claim is bound: the volume is free again.
    plugin.sync(vec![Delta::Remove(using("p", "one"))]);
    assert_eq!(bound_to(&mut plugin, &using("r", "three")), first);
}

#[test]
fn budgets_are_kept_where_another_node_does() {
    let mut plugin = plugin(&two());
    let on = |name: &str, node: &str, app: &str, priority: i32| {
        pod(
            name,
            "4",
            json!({"metadata": {"labels": {"app": app}},
            "spec": {"nodeName": node, "priority": priority}}),
        )
    };
    let budget = json!({"spec": {"selector": {"matchLabels": {"app": "quorum"}}}, "status": {"disruptionsAllowed": 0}});
    upsert(
        &mut plugin,
        &[
            on("guarded", "a", "quorum", 1),
            on("important", "b", "web", 9),
            object(KindRef::new("policy", "v1", "PodDisruptionBudget"), "default", "b", budget),
        ],
    );
    let urgent = pod("urgent", "1", json!({"spec": {"priority": 100}}));
    let Decision::Preempt { victims, .. } = schedule(&mut plugin, &urgent) else { panic!() };
    assert_eq!(victims, ["important-uid"], "less important, but under a budget");
}

#[test]
fn a_nominated_pod_goes_where_room_was_made_for_it() {
    let mut plugin = plugin(&two());
    upsert(&mut plugin, &[pod("there", "3", json!({"spec": {"nodeName": "a"}}))]);
    // Without the nomination "b", which is empty, would be better.
    let nominated = pod("p", "1", json!({"status": {"nominatedNodeName": "a"}}));
    assert_eq!(bound_to(&mut plugin, &nominated), "a");
    // A node that does not fit (any more) is no reason to wait.
    let nominated = pod("q", "2", json!({"status": {"nominatedNodeName": "a"}}));
    assert_eq!(bound_to(&mut plugin, &nominated), "b");
    let nominated = pod("r", "1", json!({"status": {"nominatedNodeName": "gone"}}));
    assert_eq!(bound_to(&mut plugin, &nominated), "b");
}

#[test]
fn a_claim_on_a_node_yields_to_more_important_pods() {
    let mut plugin = plugin(&[node("a", "2", json!({}))]);
    let with = |name: &str, cpu: &str, priority: i32| {
        pod(name, cpu, json!({"spec": {"priority": priority}}))
    };
    upsert(&mut plugin, &[pod("low", "2", json!({"spec": {"nodeName": "a"}}))]);
    assert!(matches!(schedule(&mut plugin, &with("middle", "2", 5)), Decision::Preempt { .. }));
    plugin.sync(vec![Delta::Remove(pod("low", "2", json!({})))]);
    assert!(refusal(&mut plugin, &with("equal", "1", 5)).contains("1 Insufficient cpu"));
    assert_eq!(bound_to(&mut plugin, &with("high", "1", 9)), "a");
}

#[test]
fn namespaces_are_selected_by_their_labels() {
    let mut plugin = plugin(&[node("a", "4", json!({})), node("b", "9", json!({}))]);
    let there = object(
        pintle_sdk::prelude::POD,
        "team",
        "db",
        json!({
        "metadata": {"name": "db", "namespace": "team", "labels": {"app": "db"}},
        "spec": {"nodeName": "a", "containers": [{}]}}),
    );
    let namespace = |labels: Value| {
        object(core("Namespace"), "", "team", json!({"metadata": {"labels": labels}}))
    };
    upsert(&mut plugin, &[there, namespace(json!({}))]);
    let near = pod(
        "p",
        "1",
        json!({"spec": {"affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
        {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"app": "db"}},
         "namespaceSelector": {"matchLabels": {"tier": "data"}}}]}}}}),
    );
    let Decision::Unschedulable { message, wake_on, .. } = schedule(&mut plugin, &near) else {
        panic!()
    };
    assert!(message.contains("2 node(s) didn't match pod affinity rules"), "{message}");
    assert!(wake_on.other_changed && wake_on.pod_added);
    upsert(&mut plugin, &[namespace(json!({"tier": "data"}))]);
    assert_eq!(bound_to(&mut plugin, &near), "a");
    assert_eq!(NODE.kind, "Node");
}

#[test]
fn images_draw_pods_to_nodes_that_have_them() {
    let images = json!({"status": {"images": [{"names": ["big:1"], "sizeBytes": 2_000_000_000}]}});
    let mut plugin = plugin(&[node("a", "4", json!({})), node("b", "4", images)]);
    let wants = |name: &str, image: &str| {
        pod(
            name,
            "100m",
            json!({"spec": {"containers": [{"image": image, "resources": {"requests": {"cpu": "100m"}}}]}}),
        )
    };
    for index in 0..3 {
        assert_eq!(bound_to(&mut plugin, &wants(&format!("p{index}"), "big:1")), "b");
    }
}
