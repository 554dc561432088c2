//! Lists: those merged by a key, those of primitives, those that are replaced,
//! and the order of what comes out.

use serde_json::{Value, json};

use super::{CONTAINER, META, POD_SPEC, check, named, refused};

#[test]
fn containers_merge_by_name() {
    check(
        POD_SPEC,
        json!({"containers": [{"name": "a", "image": "a:1", "tty": true}, {"name": "b", "image": "b:1"}]}),
        json!({"containers": [{"name": "b", "image": "b:2"}]}),
        json!({"containers": [{"name": "a", "image": "a:1", "tty": true}, {"name": "b", "image": "b:2"}]}),
    );
    // A new element has no place in the object, so it comes first.
    check(
        POD_SPEC,
        json!({"containers": named("a b")}),
        json!({"containers": named("c")}),
        json!({"containers": named("c a b")}),
    );
    check(
        POD_SPEC,
        json!({"containers": named("a b c")}),
        json!({"containers": named("c d")}),
        json!({"containers": named("a b c d")}),
    );
    check(
        POD_SPEC,
        json!({"containers": named("a b")}),
        json!({"containers": [{"$patch": "delete", "name": "a"}]}),
        json!({"containers": named("b")}),
    );
    check(
        POD_SPEC,
        json!({"containers": named("a b")}),
        json!({"containers": [{"$patch": "replace"}, {"name": "c"}]}),
        json!({"containers": named("c")}),
    );
    check(
        POD_SPEC,
        json!({"containers": named("a b")}),
        json!({"containers": [{"$patch": "replace", "name": "c"}]}),
        json!({"containers": named("c")}),
    );
    check(
        POD_SPEC,
        json!({"containers": named("a")}),
        json!({"containers": [{"$patch": "merge", "name": "a", "image": "x"}]}),
        json!({"containers": [{"name": "a", "image": "x"}]}),
    );
    check(
        POD_SPEC,
        json!({}),
        json!({"containers": [{"$patch": "delete", "name": "a"}, {"name": "b"}]}),
        json!({"containers": named("b")}),
    );
    check(POD_SPEC, json!({"containers": named("a")}), json!({"containers": null}), json!({}));
}

#[test]
fn order_can_be_set() {
    let order = |names: &str, patch: Value| json!({"$setElementOrder/containers": named(names), "containers": patch});
    check(
        POD_SPEC,
        json!({"containers": named("a b")}),
        order("b a", named("b a")),
        json!({"containers": named("b a")}),
    );
    check(
        POD_SPEC,
        json!({"containers": named("a b")}),
        order("a b c", named("c")),
        json!({"containers": named("a b c")}),
    );
    check(
        POD_SPEC,
        json!({"containers": named("a b c")}),
        json!({"$setElementOrder/containers": named("c a b")}),
        json!({"containers": named("c a b")}),
    );
    // What only the object has keeps its place between the named ones.
    check(
        POD_SPEC,
        json!({"containers": named("a x b")}),
        order("b a", json!([])),
        json!({"containers": named("x b a")}),
    );
    check(
        POD_SPEC,
        json!({"containers": named("x a b")}),
        order("a b", json!([])),
        json!({"containers": named("x a b")}),
    );
    check(
        POD_SPEC,
        json!({"containers": named("a x b")}),
        order("a c b", named("c")),
        json!({"containers": named("a c x b")}),
    );
    check(POD_SPEC, json!({}), order("b a", named("b a")), json!({"containers": named("b a")}));
    check(POD_SPEC, json!({}), json!({"$setElementOrder/containers": named("a")}), json!({}));
    check(
        POD_SPEC,
        json!({"containers": named("a b")}),
        order("b", json!([{"$patch": "delete", "name": "a"}])),
        json!({"containers": named("b")}),
    );
    refused(
        POD_SPEC,
        json!({"containers": named("a b")}),
        order("a b", named("b a")),
        422,
        "the order in patch list [\"b\" \"a\"] does not match the $setElementOrder list [\"a\" \"b\"]",
    );
    refused(
        POD_SPEC,
        json!({"containers": named("a b")}),
        order("a b", named("c")),
        422,
        "the order in patch list [\"c\"] does not match the $setElementOrder list [\"a\" \"b\"]",
    );
}

#[test]
fn env_merges_by_name() {
    check(
        CONTAINER,
        json!({"env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]}),
        json!({"env": [{"name": "B", "value": null, "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
            "$setElementOrder/env": named("A B")}),
        json!({"env": [{"name": "A", "value": "1"}, {"name": "B", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]}),
    );
    check(
        POD_SPEC,
        json!({"containers": [{"name": "c", "env": [{"name": "A", "value": "1"}]}]}),
        json!({"containers": [{"name": "c", "env": [{"name": "A", "$patch": "delete"}]}]}),
        json!({"containers": [{"name": "c", "env": []}]}),
    );
}

#[test]
fn ports_merge_by_number_and_then_by_protocol() {
    check(
        CONTAINER,
        json!({"ports": [{"containerPort": 80, "name": "old"}]}),
        json!({"ports": [{"containerPort": 80, "name": "web"}]}),
        json!({"ports": [{"containerPort": 80, "name": "web"}]}),
    );
    let dns = json!({"ports": [{"containerPort": 53}, {"containerPort": 53, "protocol": "UDP"}]});
    check(
        CONTAINER,
        dns.clone(),
        json!({"ports": [{"containerPort": 53, "protocol": "UDP", "name": "dns"}]}),
        json!({"ports": [{"containerPort": 53}, {"containerPort": 53, "protocol": "UDP", "name": "dns"}]}),
    );
    check(
        CONTAINER,
        dns.clone(),
        json!({"ports": [{"containerPort": 53, "protocol": "TCP", "name": "dns"}]}),
        json!({"ports": [{"containerPort": 53, "protocol": "TCP", "name": "dns"}, {"containerPort": 53, "protocol": "UDP"}]}),
    );
    // Both protocols in one patch meet only one in the object: the second is new.
    check(CONTAINER, json!({"ports": [{"containerPort": 53}]}), dns.clone(), dns);
    check(
        "core.v1.ServiceSpec",
        json!({"ports": [{"port": 80, "targetPort": 8080}]}),
        json!({"ports": [{"port": 443}, {"port": 80}]}),
        json!({"ports": [{"port": 443}, {"port": 80, "targetPort": 8080}]}),
    );
}

#[test]
fn volumes_and_retained_keys() {
    check(
        POD_SPEC,
        json!({"volumes": [{"name": "v", "emptyDir": {}}]}),
        json!({"volumes": [{"name": "v", "$retainKeys": ["name", "configMap"], "configMap": {"name": "c"}}]}),
        json!({"volumes": [{"name": "v", "configMap": {"name": "c"}}]}),
    );
    check(
        "apps.v1.DeploymentSpec",
        json!({"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}),
        json!({"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}),
        json!({"strategy": {"type": "Recreate"}}),
    );
    check(
        "apps.v1.DeploymentSpec",
        json!({"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}),
        json!({"strategy": {"$retainKeys": ["type"], "type": "Recreate", "rollingUpdate": null}}),
        json!({"strategy": {"type": "Recreate"}}),
    );
    refused(
        "apps.v1.DeploymentSpec",
        json!({"strategy": {"type": "RollingUpdate"}}),
        json!({"strategy": {"$retainKeys": ["type"], "type": "Recreate", "rollingUpdate": {}}}),
        422,
        "the keys of strategy are not all in its $retainKeys list",
    );
    check(
        CONTAINER,
        json!({"volumeMounts": [{"mountPath": "/a", "name": "v"}]}),
        json!({"volumeMounts": [{"mountPath": "/b", "name": "v"}]}),
        json!({"volumeMounts": [{"mountPath": "/b", "name": "v"}, {"mountPath": "/a", "name": "v"}]}),
    );
}

#[test]
fn atomic_lists_are_replaced() {
    check(
        POD_SPEC,
        json!({"tolerations": [{"key": "a"}, {"key": "b"}]}),
        json!({"tolerations": [{"key": "c"}]}),
        json!({"tolerations": [{"key": "c"}]}),
    );
    check(CONTAINER, json!({"args": ["a", "b"]}), json!({"args": ["b"]}), json!({"args": ["b"]}));
    check(CONTAINER, json!({"args": ["a", "b"]}), json!({"args": []}), json!({"args": []}));
    check(
        "core.v1.NodeSpec",
        json!({"taints": [{"key": "a", "effect": "NoSchedule"}]}),
        json!({"taints": null}),
        json!({}),
    );
}

#[test]
fn lists_of_primitives() {
    check(
        META,
        json!({"finalizers": ["a", "b"]}),
        json!({"finalizers": ["b", "c"]}),
        json!({"finalizers": ["a", "b", "c"]}),
    );
    check(
        META,
        json!({"finalizers": ["a", "b"]}),
        json!({"$deleteFromPrimitiveList/finalizers": ["a", "x"]}),
        json!({"finalizers": ["b"]}),
    );
    check(
        META,
        json!({"finalizers": ["a", "b"]}),
        json!({"$deleteFromPrimitiveList/finalizers": ["a"], "finalizers": ["c"], "$setElementOrder/finalizers": ["c", "b"]}),
        json!({"finalizers": ["c", "b"]}),
    );
    check(
        META,
        json!({"finalizers": ["a", "b"]}),
        json!({"$setElementOrder/finalizers": ["b", "a"]}),
        json!({"finalizers": ["b", "a"]}),
    );
    check(META, json!({"finalizers": ["a"]}), json!({"finalizers": null}), json!({}));
    check(META, json!({}), json!({"$deleteFromPrimitiveList/finalizers": ["a"]}), json!({}));
    refused(
        META,
        json!({"finalizers": ["a"]}),
        json!({"$deleteFromPrimitiveList/finalizers": "a"}),
        400,
        "$deleteFromPrimitiveList/finalizers is not a list",
    );
}

#[test]
fn owner_references_merge_by_uid() {
    check(
        META,
        json!({"ownerReferences": [{"uid": "1", "name": "a", "controller": true}]}),
        json!({"ownerReferences": [{"uid": "1", "controller": null}, {"uid": "2", "name": "b"}]}),
        json!({"ownerReferences": [{"uid": "1", "name": "a"}, {"uid": "2", "name": "b"}]}),
    );
    check(
        META,
        json!({"ownerReferences": [{"uid": "1", "name": "a"}, {"uid": "2", "name": "b"}]}),
        json!({"ownerReferences": [{"$patch": "delete", "uid": "1"}], "uid": "3"}),
        json!({"ownerReferences": [{"uid": "2", "name": "b"}], "uid": "3"}),
    );
}

#[test]
fn conditions_merge_by_type() {
    check(
        "core.v1.NodeStatus",
        json!({"conditions": [{"type": "Ready", "status": "False", "reason": "x"}, {"type": "DiskPressure", "status": "False"}]}),
        json!({"$setElementOrder/conditions": [{"type": "Ready"}, {"type": "DiskPressure"}],
            "conditions": [{"type": "Ready", "status": "True"}]}),
        json!({"conditions": [{"type": "Ready", "status": "True", "reason": "x"}, {"type": "DiskPressure", "status": "False"}]}),
    );
}
