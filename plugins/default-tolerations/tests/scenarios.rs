//! Which tolerations a pod comes out with.

use pintle_plugin_default_tolerations::Plugin;
use pintle_sdk_testing::{Reviewing, objects::pod};
use serde_json::{Value, json};

fn about(taint: &str, seconds: i64) -> Value {
    json!({"key": format!("node.kubernetes.io/{taint}"), "operator": "Exists",
        "effect": "NoExecute", "tolerationSeconds": seconds})
}

fn check(config: Value, tolerations: Value, expect: Value) {
    let mut reviewing = Reviewing::with::<Plugin>(config);
    let mut object = pod("p").build();
    if !tolerations.is_null() {
        object["spec"]["tolerations"] = tolerations;
    }
    let once = reviewing.create(object).unwrap().object;
    assert_eq!(once["spec"]["tolerations"], expect);
    // What was admitted once is admitted unchanged.
    assert!(!reviewing.create(once).unwrap().patched);
}

#[test]
fn silent_nodes_are_tolerated_for_a_while() {
    let both = json!([about("not-ready", 300), about("unreachable", 300)]);
    check(json!({}), Value::Null, both.clone());
    check(json!({}), json!([]), both);
    check(
        json!({"notReadySeconds": 5, "unreachableSeconds": 7}),
        Value::Null,
        json!([about("not-ready", 5), about("unreachable", 7)]),
    );
}

#[test]
fn what_the_pod_says_itself_stays() {
    let everything = json!([{"operator": "Exists"}]);
    check(json!({}), everything.clone(), everything);
    let mine = json!({"key": "mine", "operator": "Exists", "effect": "NoSchedule"});
    let own = about("not-ready", 5);
    check(json!({}), json!([own, mine]), json!([own, mine, about("unreachable", 300)]));
    let other_effect = json!({"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoSchedule"});
    check(
        json!({}),
        json!([other_effect]),
        json!([other_effect, about("not-ready", 300), about("unreachable", 300)]),
    );
}
