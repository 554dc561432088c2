//! Classes and the numbers that pods get.

use pintle_plugin_priority::Plugin;
use pintle_sdk_testing::{Reviewing, objects::pod};
use serde_json::{Value, json};

fn class(name: &str, value: i64) -> Value {
    json!({"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass",
        "metadata": {"name": name}, "value": value})
}

fn reviewing() -> Reviewing {
    let mut reviewing = Reviewing::with::<Plugin>(json!({}));
    reviewing.create(class("high", 1000)).unwrap();
    let mut polite = class("polite", 10);
    polite["preemptionPolicy"] = json!("Never");
    reviewing.insert(class("high", 1000));
    reviewing.insert(polite);
    reviewing
}

fn check(reviewing: &mut Reviewing, spec: Value, expect: Value) {
    let mut object = pod("p").build();
    for (field, value) in spec.as_object().unwrap() {
        object["spec"][field] = value.clone();
    }
    let answer = reviewing.create(object);
    match expect.as_str() {
        Some(message) => assert_eq!(answer.unwrap_err().message, message),
        None => {
            let once = answer.unwrap().object;
            let spec = &once["spec"];
            let got =
                json!([spec["priorityClassName"], spec["priority"], spec["preemptionPolicy"]]);
            assert_eq!(got, expect);
            assert!(!reviewing.create(once).unwrap().patched, "admitted once, admitted unchanged");
        }
    }
}

#[test]
fn classes_become_numbers() {
    let mut reviewing = reviewing();
    let lower = "PreemptLowerPriority";
    check(&mut reviewing, json!({}), json!([null, 0, lower]));
    check(&mut reviewing, json!({"priorityClassName": "high"}), json!(["high", 1000, lower]));
    check(&mut reviewing, json!({"priorityClassName": "polite"}), json!(["polite", 10, "Never"]));
    check(
        &mut reviewing,
        json!({"priorityClassName": "unknown"}),
        json!("no PriorityClass with name unknown was found"),
    );
    check(
        &mut reviewing,
        json!({"priorityClassName": "high", "priority": 7}),
        json!(
            "the integer value of priority (7) must not be provided in pod spec; priority admission controller computed 1000 from the given PriorityClass name"
        ),
    );
    check(
        &mut reviewing,
        json!({"priorityClassName": "high", "preemptionPolicy": "Never"}),
        json!(
            "the string value of PreemptionPolicy (Never) must not be provided in pod spec; priority admission controller computed PreemptLowerPriority from the given PriorityClass name"
        ),
    );
}

#[test]
fn there_is_one_default_for_all() {
    let mut reviewing = reviewing();
    let mut common = class("common", 5);
    common["globalDefault"] = json!(true);
    reviewing.create(common.clone()).unwrap();
    reviewing.insert(common.clone());
    check(&mut reviewing, json!({}), json!(["common", 5, "PreemptLowerPriority"]));
    let mut second = class("second", 6);
    second["globalDefault"] = json!(true);
    assert_eq!(
        reviewing.create(second).unwrap_err().message,
        "PriorityClass common is already marked as globalDefault. Only one globalDefault can exist"
    );
    reviewing.update(common.clone(), common).unwrap();
}

#[test]
fn classes_of_the_system_stay() {
    let mut reviewing = reviewing();
    reviewing.delete(class("high", 1000)).unwrap();
    assert_eq!(
        reviewing.delete(class("system-node-critical", 2_000_001_000)).unwrap_err().message,
        "this is a system priority class and cannot be deleted"
    );
}
