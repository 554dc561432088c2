//! What becomes of pods on their way in.

use pintle_plugin_admission_defaults::{Config, Plugin};
use pintle_sdk::admission::{Admission, Operations, Phase, Request, Response, User, Verdict};
use pintle_sdk::prelude::*;
use pintle_sdk_testing::World;
use proptest::prelude::*;
use serde_json::{Value, json};

fn review(pod: &[u8]) -> Response {
    let request = Request {
        reference: POD.named("default", "p"),
        subresource: String::new(),
        operation: Operations::CREATE,
        phase: Phase::Mutating,
        dry_run: false,
        user: User::default(),
        json: pod.to_vec(),
        old_json: Vec::new(),
    };
    Plugin::new(Config::default()).unwrap().review(&Context::default(), &World::new(), &request)
}

fn admitted(spec: Value) -> Value {
    let mut pod =
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": spec});
    match review(pod.to_string().as_bytes()).verdict {
        Verdict::Allow => {}
        Verdict::Patch(patch) => json_patch::patch(
            &mut pod,
            &serde_json::from_slice::<json_patch::Patch>(&patch).unwrap(),
        )
        .unwrap(),
        Verdict::Deny { message, .. } => panic!("{message}"),
    }
    pod["spec"].clone()
}

fn eviction(taint: &str, seconds: i64) -> Value {
    json!({"key": format!("node.kubernetes.io/{taint}"), "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": seconds})
}

#[test]
fn everything_that_is_open_is_filled_in() {
    assert_eq!(
        admitted(json!({"containers": []})),
        json!({
            "containers": [],
            "serviceAccountName": "default",
            "serviceAccount": "default",
            "priority": 0,
            "preemptionPolicy": "PreemptLowerPriority",
            "tolerations": [eviction("not-ready", 300), eviction("unreachable", 300)],
        })
    );
}

#[test]
fn what_is_set_stays() {
    let spec = json!({
        "serviceAccountName": "web", "serviceAccount": "web", "priority": 7, "preemptionPolicy": "Never",
        "tolerations": [{"operator": "Exists"}],
    });
    assert_eq!(admitted(spec.clone()), spec);
    let mine = json!({"key": "mine", "operator": "Exists", "effect": "NoSchedule"});
    let own = eviction("not-ready", 5);
    let tolerations = admitted(json!({"tolerations": [own, mine]}))["tolerations"].clone();
    assert_eq!(tolerations, json!([own, mine, eviction("unreachable", 300)]));
    assert_eq!(admitted(json!({"serviceAccount": "old"}))["serviceAccountName"], "old");
    assert_eq!(admitted(json!({"serviceAccountName": "a\"b"}))["serviceAccount"], "a\"b");
}

#[test]
fn classes_have_priorities() {
    assert_eq!(
        admitted(json!({"priorityClassName": "system-node-critical"}))["priority"],
        2_000_001_000
    );
    let response = review(br#"{"metadata":{},"spec":{"priorityClassName":"unknown"}}"#);
    assert_eq!(response.warnings, ["no PriorityClass with name unknown was found"]);
}

#[test]
fn what_cannot_be_read_is_left_to_the_server() {
    assert_eq!(review(b"{").verdict, Verdict::Allow);
    assert_eq!(review(br#"{"spec":{"priority":"high"}}"#).verdict, Verdict::Allow);
}

proptest! {
    /// A pod that was admitted once is admitted unchanged.
    #[test]
    fn idempotent(
        account in prop::option::of("[a-z]{0,3}"), priority in prop::option::of(any::<i32>()),
        tolerations in prop::option::of(prop::collection::vec((0..3u8, 0..3u8), 0..4)),
    ) {
        let tolerations = tolerations.map(|list| {
            let keys = ["", "node.kubernetes.io/not-ready", "other"];
            let effects = ["", "NoExecute", "NoSchedule"];
            let one = |(key, effect): (u8, u8)| {
                let (key, effect) = (keys[usize::from(key)], effects[usize::from(effect)]);
                json!({"key": key, "effect": effect, "operator": "Exists"})
            };
            list.into_iter().map(one).collect::<Vec<_>>()
        });
        let mut spec = json!({});
        pintle_sdk_testing::merge_patch(
            &mut spec,
            &json!({"serviceAccountName": account, "priority": priority, "tolerations": tolerations}),
        );
        let once = admitted(spec);
        prop_assert_eq!(admitted(once.clone()), once);
    }
}
