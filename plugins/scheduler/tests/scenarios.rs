//! Scenarios that read like what a person would try.

use pintle_plugin_scheduler::{Config, Plugin};
use pintle_sdk::NoExtensions;
use pintle_sdk::prelude::*;
use pintle_sdk::scheduler::{Decision, Delta, Scheduler};
use serde_json::{Value, json};

fn object(kind: KindRef, name: &str, json: Value) -> Object {
    Object {
        reference: kind.named("", name),
        uid: format!("{name}-uid"),
        revision: 1,
        json: serde_json::to_vec(&json).unwrap(),
    }
}

fn node(name: &str, cpu: &str, extra: Value) -> Object {
    let mut node = json!({
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
        "spec": {},
        "status": {"allocatable": {"cpu": cpu, "memory": "8Gi", "pods": "10"}},
    });
    merge(&mut node, extra);
    object(NODE, name, node)
}

fn pod(name: &str, cpu: &str, extra: Value) -> Object {
    let mut pod = json!({
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]},
    });
    merge(&mut pod, extra);
    object(POD, name, pod)
}

fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from,
    }
}

fn plugin(nodes: &[Object]) -> Plugin {
    let mut plugin = Plugin::new(Config::default()).unwrap();
    plugin.sync(nodes.iter().cloned().map(Delta::Upsert).collect());
    plugin
}

fn context() -> Context {
    Context { now_unix_ms: 1_000_000, seed: 1, revision: 1 }
}

fn schedule(plugin: &mut Plugin, pod: &Object) -> Decision {
    plugin.schedule(&context(), &NoExtensions, vec![pod.clone()]).remove(0)
}

fn bound_to(plugin: &mut Plugin, pod: &Object) -> String {
    match schedule(plugin, pod) {
        Decision::Bind { node, .. } => node,
        other => panic!("{other:?}"),
    }
}

fn refusal(plugin: &mut Plugin, pod: &Object) -> String {
    match schedule(plugin, pod) {
        Decision::Unschedulable { message, .. } => message,
        other => panic!("{other:?}"),
    }
}

#[test]
fn messages_read_as_in_kubernetes() {
    fn check(nodes: &[Object], pod: &Object, expect: &str) {
        assert_eq!(refusal(&mut plugin(nodes), pod), expect);
    }
    check(&[], &pod("p", "1", json!({})), "no nodes available to schedule pods");
    check(
        &[node("a", "1", json!({})), node("b", "1", json!({}))],
        &pod("p", "2", json!({})),
        "0/2 nodes are available: 2 Insufficient cpu. preemption: 0/2 nodes are available: \
         2 Preemption is not helpful for scheduling.",
    );
    let taint =
        json!({"spec": {"taints": [{"key": "dedicated", "value": "db", "effect": "NoSchedule"}]}});
    check(
        &[
            node("a", "1", taint),
            node("b", "4", json!({"spec": {"unschedulable": true}})),
            node("c", "4", json!({"status": {"allocatable": {"pods": "0"}}})),
        ],
        &pod("p", "2", json!({})),
        "0/3 nodes are available: 1 Too many pods, 1 node(s) had untolerated taint(s), \
         1 node(s) were unschedulable. preemption: 0/3 nodes are available: \
         3 Preemption is not helpful for scheduling.",
    );
    check(
        &[node("a", "1", json!({}))],
        &pod("p", "1", json!({"spec": {"nodeSelector": {"disk": "ssd"}}})),
        "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector. preemption: \
         0/1 nodes are available: 1 Preemption is not helpful for scheduling.",
    );
}

#[test]
fn nodes_that_are_not_the_one_named_are_not_looked_at_further() {
    // As the pods of a DaemonSet ask for their node.
    let named = |names: Value| {
        let fields: Vec<Value> = (names.as_array().unwrap().iter())
            .map(|name| json!({"key": "metadata.name", "operator": "In", "values": [name]}))
            .collect();
        json!({"spec": {"affinity": {"nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution":
                {"nodeSelectorTerms": [{"matchFields": fields}]}}}}})
    };
    let nodes = [
        node("a", "1", json!({})),
        node("b", "4", json!({"spec": {"unschedulable": true}})),
        node("c", "4", json!({})),
    ];
    let mut plugin = plugin(&nodes);
    assert_eq!(
        refusal(&mut plugin, &pod("large", "2", named(json!(["a"])))),
        "0/3 nodes are available: 1 Insufficient cpu, 2 node(s) didn't satisfy plugin(s) \
         [NodeAffinity]. preemption: 0/3 nodes are available: \
         3 Preemption is not helpful for scheduling."
    );
    assert_eq!(
        refusal(&mut plugin, &pod("torn", "1", named(json!(["a", "c"])))),
        "0/3 nodes are available: pod affinity terms conflict. preemption: \
         0/3 nodes are available: 3 Preemption is not helpful for scheduling."
    );
    assert_eq!(bound_to(&mut plugin, &pod("small", "1", named(json!(["a"])))), "a");
}

#[test]
fn a_full_node_says_that_nobody_can_be_preempted() {
    let mut plugin = plugin(&[node("a", "1", json!({}))]);
    assert_eq!(bound_to(&mut plugin, &pod("first", "600m", json!({}))), "a");
    assert_eq!(
        refusal(&mut plugin, &pod("second", "600m", json!({}))),
        "0/1 nodes are available: 1 Insufficient cpu. preemption: 0/1 nodes are available: \
         1 No preemption victims found for incoming pod."
    );
}

#[test]
fn forgetting_and_removal_give_the_room_back() {
    let mut plugin = plugin(&[node("a", "1", json!({}))]);
    let (first, second) = (pod("first", "1", json!({})), pod("second", "1", json!({})));
    assert_eq!(bound_to(&mut plugin, &first), "a");
    refusal(&mut plugin, &second);
    plugin.forget(vec![first.uid.clone()]);
    assert_eq!(bound_to(&mut plugin, &second), "a");
    let confirmed = pod("second", "1", json!({"spec": {"nodeName": "a"}}));
    // Confirmed twice, counted once.
    plugin.sync(vec![Delta::Upsert(confirmed.clone()), Delta::Upsert(confirmed.clone())]);
    refusal(&mut plugin, &first);
    plugin.sync(vec![Delta::Remove(confirmed)]);
    assert_eq!(bound_to(&mut plugin, &first), "a");
    let finished =
        pod("first", "1", json!({"spec": {"nodeName": "a"}, "status": {"phase": "Succeeded"}}));
    plugin.sync(vec![Delta::Upsert(finished)]);
    assert_eq!(bound_to(&mut plugin, &second), "a");
}

#[test]
fn taints_tolerations_and_cordon() {
    let tainted = json!({"spec": {"unschedulable": true, "taints": [{"key": "k", "value": "v", "effect": "NoExecute"}]}});
    let mut plugin = plugin(&[node("a", "4", tainted)]);
    let tolerations = |list: Value| pod("p", "1", json!({"spec": {"tolerations": list}}));
    refusal(&mut plugin, &tolerations(json!([])));
    refusal(&mut plugin, &tolerations(json!([{"key": "k", "value": "v"}])));
    let both = json!([{"key": "k", "value": "v", "effect": "NoExecute"},
        {"key": "node.kubernetes.io/unschedulable", "operator": "Exists", "effect": "NoSchedule"}]);
    assert_eq!(bound_to(&mut plugin, &tolerations(both)), "a");
    assert_eq!(bound_to(&mut plugin, &tolerations(json!([{"operator": "Exists"}]))), "a");
}

#[test]
fn pods_of_one_owner_spread() {
    let nodes: Vec<Object> =
        (0..4).map(|index| node(&format!("n{index}"), "8", json!({}))).collect();
    let mut plugin = plugin(&nodes);
    let owner = json!({"metadata": {"ownerReferences": [{"uid": "rs", "controller": true}]}});
    let mut used: Vec<String> = (0..4)
        .map(|index| bound_to(&mut plugin, &pod(&format!("p{index}"), "100m", owner.clone())))
        .collect();
    used.sort();
    assert_eq!(used, ["n0", "n1", "n2", "n3"]);
}

#[test]
fn preferences_decide_between_equal_nodes() {
    let zone = |zone: &str| json!({"metadata": {"labels": {"zone": zone}}});
    let soft = json!({"spec": {"taints": [{"key": "k", "effect": "PreferNoSchedule"}]}});
    let mut plugin =
        plugin(&[node("a", "4", zone("a")), node("b", "4", zone("b")), node("c", "4", soft)]);
    let affinity = json!({"spec": {"affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [
        {"weight": 1, "preference": {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["b"]}]}}]}}}});
    assert_eq!(bound_to(&mut plugin, &pod("p", "1", affinity)), "b");
    for index in 0..4 {
        assert_ne!(bound_to(&mut plugin, &pod(&format!("q{index}"), "1m", json!({}))), "c");
    }
}

#[test]
fn host_ports_are_taken_once() {
    let mut plugin = plugin(&[node("a", "4", json!({}))]);
    let port = |name: &str, ip: &str| {
        let ports =
            json!([{"containerPort": 80, "hostPort": 8080, "hostIP": ip, "protocol": "TCP"}]);
        pod(name, "1m", json!({"spec": {"containers": [{"name": "c", "ports": ports}]}}))
    };
    assert_eq!(bound_to(&mut plugin, &port("one", "10.0.0.1")), "a");
    assert_eq!(bound_to(&mut plugin, &port("two", "10.0.0.2")), "a");
    let message = refusal(&mut plugin, &port("all", ""));
    assert!(
        message.contains("1 node(s) didn't have free ports for the requested pod ports"),
        "{message}"
    );
}

#[test]
fn extended_resources_are_counted() {
    let mut plugin = plugin(&[
        node("plain", "8", json!({})),
        node("gpu", "8", json!({"status": {"allocatable": {"example.com/gpu": "1"}}})),
    ]);
    let gpu = json!({"spec": {"containers": [{"resources": {"limits": {"example.com/gpu": 1}}}]}});
    assert_eq!(bound_to(&mut plugin, &pod("one", "1", gpu.clone())), "gpu");
    let message = refusal(&mut plugin, &pod("two", "1", gpu));
    assert!(
        message.starts_with("0/2 nodes are available: 2 Insufficient example.com/gpu."),
        "{message}"
    );
}

#[test]
fn the_least_important_pods_are_preempted() {
    let mut plugin = plugin(&[node("a", "2", json!({})), node("b", "2", json!({}))]);
    let on = |name: &str, node: &str, cpu: &str, priority: i32| {
        Delta::Upsert(pod(name, cpu, json!({"spec": {"nodeName": node, "priority": priority}})))
    };
    plugin.sync(vec![on("a1", "a", "1", 5), on("a2", "a", "1", 9), on("b1", "b", "2", 10)]);
    let urgent = pod("urgent", "1", json!({"spec": {"priority": 100}}));
    let Decision::Preempt { node, victims, message, .. } = schedule(&mut plugin, &urgent) else {
        panic!()
    };
    assert_eq!((node.as_str(), victims), ("a", vec!["a1-uid".to_owned()]));
    assert_eq!(message, "0/2 nodes are available: 2 Insufficient cpu.");
    // The victim is leaving: no second one is taken meanwhile.
    let message = refusal(&mut plugin, &urgent);
    assert!(
        message
            .ends_with("preemption: not eligible due to a terminating pod on the nominated node."),
        "{message}"
    );
    plugin.sync(vec![Delta::Remove(pod("a1", "1", json!({})))]);
    assert_eq!(bound_to(&mut plugin, &urgent), "a");
    let modest = pod("modest", "1", json!({"spec": {"priority": 1}}));
    assert!(
        refusal(&mut plugin, &modest).contains("2 No preemption victims found for incoming pod.")
    );
    let polite = pod("polite", "1", json!({"spec": {"priority": 50, "preemptionPolicy": "Never"}}));
    assert!(
        refusal(&mut plugin, &polite)
            .ends_with("preemption: not eligible due to preemptionPolicy=Never.")
    );
}

#[test]
fn what_is_not_pending_is_ignored() {
    let mut plugin = plugin(&[node("a", "4", json!({}))]);
    for extra in [
        json!({"spec": {"nodeName": "a"}}),
        json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}),
        json!({"spec": {"schedulingGates": [{"name": "wait"}]}}),
    ] {
        let decision = schedule(&mut plugin, &pod("p", "1", extra));
        assert!(matches!(decision, Decision::Ignore(_)), "{decision:?}");
    }
    let broken = Object { json: b"{".to_vec(), ..pod("p", "1", json!({})) };
    assert!(matches!(schedule(&mut plugin, &broken), Decision::Ignore(_)));
}

#[test]
fn nodes_come_and_go() {
    let mut plugin = plugin(&[node("a", "1", json!({}))]);
    let first = pod("first", "1", json!({}));
    assert_eq!(bound_to(&mut plugin, &first), "a");
    plugin.sync(vec![
        Delta::Remove(node("a", "1", json!({}))),
        Delta::Upsert(node("b", "1", json!({}))),
    ]);
    let second = pod("second", "1", json!({}));
    assert_eq!(bound_to(&mut plugin, &second), "b");
    // The pod that stayed behind still counts when its node returns.
    plugin.sync(vec![Delta::Upsert(node("a", "1", json!({})))]);
    refusal(&mut plugin, &pod("third", "1", json!({})));
}

#[test]
fn the_same_seed_decides_the_same() {
    let nodes: Vec<Object> =
        (0..50).map(|index| node(&format!("n{index}"), "4", json!({}))).collect();
    let run = |seed| {
        let mut plugin = plugin(&nodes);
        let pods = (0..100).map(|index| pod(&format!("p{index}"), "1", json!({}))).collect();
        plugin.schedule(&Context { seed, ..context() }, &NoExtensions, pods)
    };
    assert_eq!(run(7), run(7));
    assert_ne!(run(7), run(8));
}

#[test]
fn a_bad_configuration_is_refused() {
    let parse = |text: &str| {
        pintle_sdk::config::parse::<Config>(text.as_bytes()).and_then(Plugin::new).map(|_| ())
    };
    assert!(parse("").is_ok());
    assert!(parse(r#"{"scoringStrategy":"MostAllocated","weights":{"spread":0}}"#).is_ok());
    assert!(
        parse(r#"{"schedulerName":"x"}"#).unwrap_err().contains("unknown field `schedulerName`")
    );
    assert!(parse(r#"{"schedulerNames":[]}"#).is_err());
    assert!(parse(r#"{"weights":{"spread":101}}"#).is_err());
}

fn labelled(name: &str, app: &str, extra: Value) -> Object {
    let mut own = json!({"metadata": {"labels": {"app": app}}});
    merge(&mut own, extra);
    pod(name, "1m", own)
}

fn zones(names: &[(&str, &str)]) -> Vec<Object> {
    let one = |(name, zone): &(&str, &str)| {
        node(name, "4", json!({"metadata": {"labels": {"zone": zone}}}))
    };
    names.iter().map(one).collect()
}

fn term(app: &str, key: &str) -> Value {
    json!({"requiredDuringSchedulingIgnoredDuringExecution": [
        {"labelSelector": {"matchLabels": {"app": app}}, "topologyKey": key}]})
}

#[test]
fn pods_that_keep_apart() {
    let mut plugin = plugin(&zones(&[("a", "1"), ("b", "1"), ("c", "2")]));
    let apart = json!({"spec": {"affinity": {"podAntiAffinity": term("db", "zone")}}});
    let first = bound_to(&mut plugin, &labelled("one", "db", apart.clone()));
    let second = bound_to(&mut plugin, &labelled("two", "db", apart.clone()));
    assert!((first == "c") != (second == "c"), "{first} {second}");
    let message = refusal(&mut plugin, &labelled("three", "db", apart));
    assert!(
        message.starts_with(
            "0/3 nodes are available: 3 node(s) didn't match pod anti-affinity rules."
        ),
        "{message}"
    );
    // What has no rule of its own is kept away by the others' rules.
    let message = refusal(&mut plugin, &labelled("plain", "db", json!({})));
    assert!(
        message.contains("3 node(s) didn't satisfy existing pods anti-affinity rules"),
        "{message}"
    );
    bound_to(&mut plugin, &labelled("other", "web", json!({})));
}

#[test]
fn pods_that_keep_together() {
    let mut plugin = plugin(&zones(&[("a", "1"), ("b", "1"), ("c", "2")]));
    let near = |app: &str| json!({"spec": {"affinity": {"podAffinity": term(app, "zone")}}});
    let message = refusal(&mut plugin, &labelled("alone", "web", near("db")));
    assert!(message.contains("3 node(s) didn't match pod affinity rules"), "{message}");
    // The first of a group may go anywhere, the others follow.
    let first = bound_to(&mut plugin, &labelled("one", "db", near("db")));
    for name in ["two", "three"] {
        let next = bound_to(&mut plugin, &labelled(name, "db", near("db")));
        assert_eq!(next == "c", first == "c");
    }
    let follower = bound_to(&mut plugin, &labelled("alone", "web", near("db")));
    assert_eq!(follower == "c", first == "c");
}

#[test]
fn topology_spread_constraints_hold() {
    let mut plugin = plugin(&zones(&[("a", "1"), ("b", "2")]));
    let constraint = json!([{"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": {"app": "web"}}}]);
    let spread = json!({"spec": {"topologySpreadConstraints": constraint}});
    let mut on_a = 0;
    for index in 0..8 {
        on_a += usize::from(
            bound_to(&mut plugin, &labelled(&format!("p{index}"), "web", spread.clone())) == "a",
        );
        assert!((2 * on_a).abs_diff(index + 1) <= 1);
    }
    // Zone 2 is closed: zone 1 may only be one ahead.
    plugin.sync(vec![Delta::Upsert(node(
        "b",
        "4",
        json!({"metadata": {"labels": {"zone": "2"}}, "spec": {"unschedulable": true}}),
    ))]);
    assert_eq!(bound_to(&mut plugin, &labelled("p8", "web", spread.clone())), "a");
    let message = refusal(&mut plugin, &labelled("p9", "web", spread));
    assert!(
        message.contains(
            "1 node(s) didn't match pod topology spread constraints, 1 node(s) were unschedulable"
        ),
        "{message}"
    );
}

#[test]
fn more_shapes_than_are_remembered() {
    let mut plugin = plugin(&zones(&[("a", "1"), ("b", "1"), ("c", "2")]));
    for index in 0..2500 {
        let owner = json!({"metadata": {"ownerReferences": [{"uid": format!("rs-{index}"), "controller": true}]}});
        let one = pod(&format!("p{index}"), "1m", owner);
        bound_to(&mut plugin, &one);
        plugin.forget(vec![one.uid]);
    }
}
