use super::*;
use crate::bindings::types::Manifest;
use crate::plugin::GrantRule;
use crate::testing::{Still, event, object};
use serde_json::{Value, json};

fn kind_ref(group: &str, kind: &str) -> KindRef {
    KindRef { group: group.into(), version: "v1".into(), kind: kind.into() }
}

fn mapping(watch: Watch) -> Mapping {
    let manifest = Manifest { name: String::new(), version: String::new(), needs: Vec::new() };
    let everything = GrantRule {
        api_groups: vec!["*".into()],
        kinds: vec!["*".into()],
        verbs: vec!["*".into()],
        ..GrantRule::default()
    };
    let description = Description { manifest, watches: vec![watch] };
    Mapping::new(&description, Arc::new(Grants::new(vec![everything]))).unwrap()
}

fn watch(kind: Option<&str>, enqueue: Enqueue) -> Watch {
    Watch {
        kind: kind.map(|kind| kind_ref("", kind)),
        changes: Changes::ADDED | Changes::MODIFIED | Changes::DELETED,
        having: None,
        when_changed: Vec::new(),
        enqueue,
    }
}

fn pod(name: &str, more: Value) -> Value {
    let mut pod = json!({ "kind": "Pod", "metadata": { "name": name, "namespace": "n" } });
    json_patch::merge(&mut pod, &more);
    pod
}

/// `now` after `before`, as the watch maps it: `kind namespace/name`, sorted.
fn keys(watch: Watch, present: &[Value], before: Option<Value>, now: Value) -> Vec<String> {
    let cluster = Still(present.iter().map(|value| object(1, value.clone())).collect());
    let mapping = mapping(watch);
    let mut ignored = Vec::new();
    mapping.map_present(&cluster, &mut |key, _| ignored.push(key));
    let (before, now) = (before.map(|value| object(2, value)), object(3, now));
    let change = if before.is_some() { Change::Modified } else { Change::Added };
    let mut keys = Vec::new();
    mapping.map(&event(change, &now, before.as_ref()), &cluster, &mut |key, _| {
        keys.push(format!("{} {}/{}", key.kind.kind, key.namespace, key.name));
    });
    keys.sort();
    keys.dedup();
    keys
}

#[test]
fn objects_enqueue_themselves_their_owner_and_their_namesake() {
    let owned = json!({ "metadata": { "ownerReferences": [
        { "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": "u", "controller": true }] } });
    let replica_set = || kind_ref("apps", "ReplicaSet");
    assert_eq!(
        keys(watch(Some("Pod"), Enqueue::Itself), &[], None, pod("a", json!({}))),
        ["Pod n/a"]
    );
    assert!(keys(watch(Some("Node"), Enqueue::Itself), &[], None, pod("a", json!({}))).is_empty());
    let owner = watch(Some("Pod"), Enqueue::ControllerOwner(replica_set()));
    assert_eq!(keys(owner.clone(), &[], None, pod("a", owned.clone())), ["ReplicaSet n/web"]);
    let other = watch(Some("Pod"), Enqueue::ControllerOwner(kind_ref("apps", "StatefulSet")));
    assert!(keys(other, &[], None, pod("a", owned.clone())).is_empty());
    let released = keys(owner, &[], Some(pod("a", owned)), pod("a", json!({})));
    assert_eq!(released, ["ReplicaSet n/web"], "the owner it had is told");
    let node = json!({ "kind": "Node", "metadata": { "name": "a" } });
    let namesake = || watch(Some("Pod"), Enqueue::SameName(kind_ref("", "Node")));
    assert_eq!(keys(namesake(), &[node], None, pod("a", json!({}))), ["Node /a"]);
    assert_eq!(keys(namesake(), &[], None, pod("a", json!({}))), ["Node n/a"]);
}

#[test]
fn objects_enqueue_what_they_name_and_what_selects_them() {
    let named =
        |path: &str| watch(Some("Pod"), Enqueue::NamedBy((kind_ref("", "Node"), path.into())));
    let on = |node: &str| pod("a", json!({ "spec": { "nodeName": node } }));
    assert_eq!(keys(named("spec.nodeName"), &[], Some(on("x")), on("y")), ["Node /x", "Node /y"]);
    assert_eq!(keys(named("metadata.namespace"), &[], None, on("x")), ["Node /n"]);
    let service = |name: &str, namespace: &str, selector: Value| json!({ "kind": "Service", "metadata": { "name": name, "namespace": namespace }, "spec": { "selector": selector } });
    let present = [
        service("web", "n", json!({ "app": "web" })),
        service("db", "n", json!({ "app": "db" })),
        service(
            "set",
            "n",
            json!({ "matchExpressions": [{ "key": "app", "operator": "Exists" }] }),
        ),
        service("labels", "n", json!({ "matchLabels": { "app": "web" } })),
        service("all", "n", json!({})),
        service("none", "n", json!(null)),
        service("web", "elsewhere", json!({ "app": "web" })),
    ];
    let selected =
        watch(Some("Pod"), Enqueue::SelectedBy((kind_ref("", "Service"), "spec.selector".into())));
    let labelled = |app: &str| pod("a", json!({ "metadata": { "labels": { "app": app } } }));
    assert_eq!(
        keys(selected.clone(), &present, None, labelled("web")),
        ["Service n/all", "Service n/labels", "Service n/set", "Service n/web"]
    );
    let relabelled = keys(selected, &present, Some(labelled("db")), labelled("web"));
    assert_eq!(
        relabelled,
        ["Service n/all", "Service n/db", "Service n/labels", "Service n/set", "Service n/web"]
    );
    let nodes = [json!({ "kind": "Node", "metadata": { "name": "x" } })];
    let all = watch(Some("Pod"), Enqueue::AllOf(kind_ref("", "Node")));
    assert_eq!(keys(all, &nodes, None, pod("a", json!({}))), ["Node /x"]);
}

#[test]
fn conditions_hold_back_what_does_not_matter() {
    let deleted = json!({ "metadata": { "deletionTimestamp": "2026-01-01T00:00:00Z" } });
    let having = || Watch {
        having: Some("metadata.deletionTimestamp".into()),
        ..watch(None, Enqueue::Itself)
    };
    assert!(keys(having(), &[], None, pod("a", json!({}))).is_empty());
    assert_eq!(keys(having(), &[], None, pod("a", deleted)), ["Pod n/a"]);
    let changed =
        || Watch { when_changed: vec!["spec".into()], ..watch(Some("Pod"), Enqueue::Itself) };
    let spec = |x: i32, y: i32| pod("a", json!({ "spec": { "x": x }, "status": { "y": y } }));
    assert!(keys(changed(), &[], Some(spec(1, 1)), spec(1, 2)).is_empty());
    assert_eq!(keys(changed(), &[], Some(spec(1, 1)), spec(2, 1)), ["Pod n/a"]);
    let plugin = |calls: i32| {
        json!({ "apiVersion": "plugins.pintle.dev/v1alpha1", "kind": "Plugin",
                "metadata": { "name": "x", "generation": 1 }, "status": { "calls": calls } })
    };
    let counted = keys(watch(None, Enqueue::Itself), &[], Some(plugin(1)), plugin(2));
    assert!(counted.is_empty(), "counters wake nobody: {counted:?}");
}

#[test]
fn a_watch_without_a_grant_is_refused() {
    let manifest = Manifest { name: String::new(), version: String::new(), needs: Vec::new() };
    let description = Description { manifest, watches: vec![watch(None, Enqueue::Itself)] };
    let error = Mapping::new(&description, Arc::new(Grants::default())).err().unwrap();
    assert!(error.contains("watches every kind"), "{error}");
}
