//! Strategic merge, scenario by scenario: the object, the patch, the outcome.
//! Here those of fields, maps and whole requests.

mod lists;

use super::{PatchError, strategic_merge};
use serde_json::{Value, json};

#[track_caller]
fn check(message: &str, mut target: Value, patch: Value, expect: Value) {
    strategic_merge(&mut target, &patch, message).unwrap();
    assert_eq!(target, expect, "\n got: {target}\nwant: {expect}");
}

#[track_caller]
fn refused(message: &str, mut target: Value, patch: Value, code: u16, expect: &str) {
    let error = strategic_merge(&mut target, &patch, message).unwrap_err();
    assert_eq!((error.code(), error.to_string().as_str()), (code, expect));
}

const POD_SPEC: &str = "core.v1.PodSpec";
const CONTAINER: &str = "core.v1.Container";
const META: &str = "meta.v1.ObjectMeta";

/// `[{"name": "a"}, {"name": "b"}]` from `"a b"`.
fn named(names: &str) -> Value {
    names.split_whitespace().map(|name| json!({ "name": name })).collect()
}

#[test]
fn plain_fields() {
    check(
        "apps.v1.Deployment",
        json!({"spec": {"replicas": 1, "paused": true}}),
        json!({"spec": {"replicas": 3}}),
        json!({"spec": {"replicas": 3, "paused": true}}),
    );
    check(
        "apps.v1.Deployment",
        json!({"spec": {"replicas": 1}}),
        json!({"spec": {"replicas": null}}),
        json!({"spec": {}}),
    );
    check(
        "apps.v1.Deployment",
        json!({}),
        json!({"spec": {"replicas": null, "paused": true}}),
        json!({"spec": {"paused": true}}),
    );
    check(
        "core.v1.Pod",
        json!({"spec": "wrong"}),
        json!({"spec": {"nodeName": "n"}}),
        json!({"spec": {"nodeName": "n"}}),
    );
}

#[test]
fn maps_of_strings() {
    check(
        META,
        json!({"labels": {"a": "1", "b": "2"}}),
        json!({"labels": {"a": null, "c": "3"}}),
        json!({"labels": {"b": "2", "c": "3"}}),
    );
    check(
        META,
        json!({}),
        json!({"annotations": {"a": "1", "b": null}}),
        json!({"annotations": {"a": "1"}}),
    );
    check(
        META,
        json!({"labels": {"a": "1"}}),
        json!({"labels": {"$patch": "replace", "b": "2"}}),
        json!({"labels": {"b": "2"}}),
    );
    check(
        META,
        json!({"labels": {"a": "1"}}),
        json!({"labels": {"$patch": "delete"}}),
        json!({"labels": {}}),
    );
    check(
        "core.v1.ConfigMap",
        json!({"data": {"a": "1"}}),
        json!({"data": {"b": "2"}}),
        json!({"data": {"a": "1", "b": "2"}}),
    );
}

#[test]
fn free_form_parts_merge_as_plain_json() {
    check(
        "plugins.v1alpha1.Plugin",
        json!({"spec": {"config": {"weights": [{"name": "a"}], "x": 1}}}),
        json!({"spec": {"config": {"weights": [{"name": "b"}], "x": null}}}),
        json!({"spec": {"config": {"weights": [{"name": "b"}]}}}),
    );
    check(
        "core.v1.Pod",
        json!({"unknown": {"a": [1]}}),
        json!({"unknown": {"a": [2], "b": 1}}),
        json!({"unknown": {"a": [2], "b": 1}}),
    );
}

#[test]
fn deleting_what_is_not_there() {
    check(POD_SPEC, json!({}), json!({"nodeSelector": {"$patch": "delete"}}), json!({}));
    check(
        POD_SPEC,
        json!({}),
        json!({"securityContext": {"runAsUser": 1, "seccompProfile": {"$patch": "delete"}}}),
        json!({"securityContext": {"runAsUser": 1}}),
    );
}

/// As kubectl sends it for a deployment whose image, variable and volume changed.
#[test]
fn a_patch_of_kubectl_apply() {
    let template = |spec: Value| json!({"spec": {"template": {"spec": spec}}});
    check(
        "apps.v1.Deployment",
        template(json!({
            "containers": [{"name": "web", "image": "x:1", "env": [{"name": "A", "value": "1"}],
                "ports": [{"containerPort": 80, "protocol": "TCP"}]}],
            "volumes": [{"name": "v", "emptyDir": {}}],
        })),
        template(json!({
            "$setElementOrder/containers": [{"name": "web"}],
            "$setElementOrder/volumes": [{"name": "v"}],
            "containers": [{"$setElementOrder/env": [{"name": "A"}], "env": [{"name": "A", "value": "2"}],
                "image": "x:2", "name": "web"}],
            "volumes": [{"$retainKeys": ["hostPath", "name"], "emptyDir": null, "hostPath": {"path": "/x"}, "name": "v"}],
        })),
        template(json!({
            "containers": [{"name": "web", "image": "x:2", "env": [{"name": "A", "value": "2"}],
                "ports": [{"containerPort": 80, "protocol": "TCP"}]}],
            "volumes": [{"name": "v", "hostPath": {"path": "/x"}}],
        })),
    );
}

#[test]
fn refusals() {
    refused(
        POD_SPEC,
        json!({"containers": named("a")}),
        json!({"containers": [{"image": "x"}]}),
        400,
        "map: {\"image\":\"x\"} does not contain declared merge key: name",
    );
    refused(
        POD_SPEC,
        json!({"containers": named("a")}),
        json!({"containers": ["a"]}),
        400,
        "an element of containers is not an object",
    );
    refused(
        META,
        json!({"labels": {}}),
        json!({"labels": {"$patch": "explode"}}),
        400,
        "unknown patch type \"explode\" in labels",
    );
    refused(
        POD_SPEC,
        json!({"containers": named("a")}),
        json!({"containers": [{"$patch": 1, "name": "a"}]}),
        400,
        "unknown patch type 1 in containers",
    );
    refused(
        POD_SPEC,
        json!({"containers": named("a")}),
        json!({"$setElementOrder/containers": {}}),
        400,
        "$setElementOrder/containers is not a list",
    );
    refused(
        POD_SPEC,
        json!({"volumes": named("a")}),
        json!({"volumes": [{"name": "a", "$retainKeys": 1}]}),
        400,
        "$retainKeys of volumes is not a list of strings",
    );
    refused(META, json!({}), json!([]), 400, "a strategic merge patch is a JSON object");
    let error = strategic_merge(&mut json!({}), &json!({}), "example.v1.Thing").unwrap_err();
    assert_eq!(error, PatchError::UnknownMessage("example.v1.Thing".to_owned()));
}

#[test]
fn an_empty_patch_changes_nothing_and_order_is_kept() {
    let object = json!({"containers": named("c a b"), "volumes": named("z y")});
    check(POD_SPEC, object.clone(), json!({}), object.clone());
    check(POD_SPEC, object.clone(), json!({"containers": []}), object);
}

mod properties {
    use super::*;
    use proptest::prelude::*;

    fn json_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<i32>().prop_map(Value::from),
            prop_oneof![Just("a"), Just("b"), Just("delete"), Just("replace")]
                .prop_map(Value::from),
        ];
        let key = prop_oneof![
            Just("name"),
            Just("containers"),
            Just("env"),
            Just("ports"),
            Just("containerPort"),
            Just("volumes"),
            Just("$patch"),
            Just("$retainKeys"),
            Just("$setElementOrder/containers"),
            Just("$setElementOrder/env"),
            Just("$deleteFromPrimitiveList/args"),
            Just("args"),
            Just("securityContext"),
        ];
        leaf.prop_recursive(5, 40, 5, move |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                proptest::collection::btree_map(key.clone().prop_map(str::to_owned), inner, 0..5)
                    .prop_map(|entries| Value::Object(entries.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn any_patch_gives_an_object_or_an_error(mut target in json_value(), patch in json_value()) {
            let _ = strategic_merge(&mut target, &patch, POD_SPEC);
        }

        /// A patch that names containers in the order it sets ends with them in that order.
        #[test]
        fn the_set_order_is_kept(server in "[a-f]{0,6}", wanted in "[a-h]{0,8}") {
            let list = |text: &str| {
                let mut seen = Vec::new();
                text.chars().filter(|c| !seen.contains(c) && { seen.push(*c); true }).map(|c| json!({"name": c.to_string()})).collect::<Vec<_>>()
            };
            let mut target = json!({"containers": list(&server)});
            let patch = json!({"$setElementOrder/containers": list(&wanted), "containers": list(&wanted)});
            strategic_merge(&mut target, &patch, POD_SPEC).unwrap();
            let result = target["containers"].as_array().unwrap();
            let kept: Vec<_> = result.iter().filter(|item| list(&wanted).contains(item)).cloned().collect();
            prop_assert_eq!(kept, list(&wanted));
            let rest: Vec<_> = result.iter().filter(|item| !list(&wanted).contains(item)).cloned().collect();
            let expected: Vec<_> = list(&server).into_iter().filter(|item| !list(&wanted).contains(item)).collect();
            prop_assert_eq!(rest, expected);
        }
    }
}
