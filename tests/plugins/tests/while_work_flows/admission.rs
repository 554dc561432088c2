//! What is filled in and refused: every request is decided, whatever is swapped.

use pintle_plugins::api::Answer;
use pintle_plugins::flow::{Answered, Row, Stage, Work};
use serde_json::{Value, json};

use crate::objects::*;

pub const ROWS: &[Row] = &[
    Row {
        plugin: "always-pull-images",
        spec: || json!({"suspended": false}),
        prepare: no_preparation,
        work: answered(|stage, number| {
            let mut spec = pending();
            spec["containers"][0]["imagePullPolicy"] = json!("Never");
            let made = pod(stage, number, spec);
            made.holds(|pod| pod["spec"]["containers"][0]["imagePullPolicy"] == "Always")
        }),
    },
    Row {
        plugin: "default-storage-class",
        spec: nothing,
        prepare: no_preparation,
        work: answered(|stage, number| {
            let spec = json!({"accessModes": ["ReadWriteOnce"],
                "resources": {"requests": {"storage": "1Gi"}}});
            let made = create(stage, "v1/persistentvolumeclaims", number, json!({"spec": spec}));
            made.holds(|claim| claim["spec"]["storageClassName"] == "standard")
        }),
    },
    Row {
        plugin: "default-tolerations",
        spec: nothing,
        prepare: no_preparation,
        work: answered(|stage, number| {
            let made = pod(stage, number, pending());
            made.holds(|pod| {
                let tolerations = pod["spec"]["tolerations"].as_array();
                tolerations.is_some_and(|all| {
                    all.len() == 2 && all.iter().all(|one| one["tolerationSeconds"] == 300)
                })
            })
        }),
    },
    Row {
        plugin: "limit-ranger",
        spec: nothing,
        prepare: |stage| {
            let limit = json!({"type": "Container", "defaultRequest": {"cpu": "7m"},
                "max": {"cpu": "1"}});
            let object = json!({"metadata": {"name": "bounds"}, "spec": {"limits": [limit]}});
            stage.create("v1/limitranges", object);
        },
        work: answered(|stage, number| {
            let mut spec = pending();
            if number.is_multiple_of(2) {
                return pod(stage, number, spec).holds(|pod| {
                    pod["spec"]["containers"][0]["resources"]["requests"]["cpu"] == "7m"
                });
            }
            spec["containers"][0]["resources"] = json!({"limits": {"cpu": "2"}});
            pod(stage, number, spec).is_refused("maximum cpu usage per Container is 1")
        }),
    },
    Row {
        plugin: "node-restriction",
        spec: nothing,
        prepare: |stage| {
            let object = json!({"metadata": {"name": "swap-restricted"}});
            stage.api.create("/api/v1/nodes", &object).ok();
        },
        work: answered(|stage, number| {
            let path = "/api/v1/nodes/swap-restricted";
            let label = match number.is_multiple_of(2) {
                true => "node-restriction.kubernetes.io/zone",
                false => "kubernetes.io/arch",
            };
            let labels = json!({ label: number.to_string() });
            stage.api.act_as("system:node:swap-restricted", &["system:nodes"]);
            let answer = stage.api.merge(path, &json!({"metadata": {"labels": labels}}));
            match number.is_multiple_of(2) {
                true => answer.is_refused("is not allowed to modify labels"),
                false => answer.holds(|_| true),
            }
        }),
    },
    Row {
        plugin: "pod-security",
        spec: nothing,
        prepare: |stage| {
            let labels = json!({"pod-security.kubernetes.io/enforce": "baseline"});
            let path = format!("/api/v1/namespaces/{}", stage.namespace);
            stage.api.merge(&path, &json!({"metadata": {"labels": labels}})).ok();
        },
        work: answered(|stage, number| {
            let mut spec = pending();
            if number.is_multiple_of(2) {
                return pod(stage, number, spec).holds(|_| true);
            }
            spec["hostNetwork"] = json!(true);
            pod(stage, number, spec).is_refused("violates PodSecurity")
        }),
    },
    Row {
        plugin: "priority",
        spec: nothing,
        prepare: no_preparation,
        work: answered(|stage, number| {
            let mut spec = pending();
            spec["priorityClassName"] = json!("system-node-critical");
            pod(stage, number, spec).holds(|pod| pod["spec"]["priority"] == 2_000_001_000)
        }),
    },
    Row {
        plugin: "resource-quota",
        spec: nothing,
        prepare: |stage| {
            let object = json!({"metadata": {"name": "few"},
                "spec": {"hard": {"count/secrets": "1"}}});
            stage.create("v1/resourcequotas", object);
        },
        // One after the other: what it remembers of requests that are under way is lost
        // in a swap.
        work: Work::Answered(Answered {
            clients: 1,
            ask: |stage, number| {
                let first = create(stage, "v1/secrets", number, json!({}));
                first.holds(|_| true)?;
                let second = json!({"metadata": {"name": format!("second-{number}")}});
                let secrets = stage.path("v1/secrets");
                stage.api.create(&secrets, &second).is_refused("exceeded quota: few")?;
                let path = format!("{secrets}/{}", name(&first.ok()));
                stage.api.delete(&path).holds(|_| true)
            },
        }),
    },
    Row {
        plugin: "runtime-class",
        spec: nothing,
        prepare: |stage| {
            let object = json!({"metadata": {"name": "swap"}, "handler": "swap",
                "overhead": {"podFixed": {"cpu": "11m"}}});
            stage.api.create("/apis/node.k8s.io/v1/runtimeclasses", &object).ok();
        },
        work: answered(|stage, number| {
            let mut spec = pending();
            spec["runtimeClassName"] = json!("swap");
            pod(stage, number, spec).holds(|pod| pod["spec"]["overhead"]["cpu"] == "11m")
        }),
    },
    Row {
        plugin: "service-account",
        spec: nothing,
        prepare: no_preparation,
        work: answered(|stage, number| {
            let made = pod(stage, number, pending());
            made.holds(|pod| pod["spec"]["serviceAccountName"] == "default")
        }),
    },
];

fn create(stage: &mut Stage, resource: &str, number: usize, mut object: Value) -> Answer {
    object["metadata"]["name"] = json!(format!("{}-{number}", stage.plugin));
    let path = stage.path(resource);
    stage.api.create(&path, &object)
}

fn pod(stage: &mut Stage, number: usize, spec: Value) -> Answer {
    create(stage, "v1/pods", number, json!({ "spec": spec }))
}
