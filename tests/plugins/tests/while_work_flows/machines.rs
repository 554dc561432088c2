//! What is decided about nodes, and about pods on nodes that are not there.

use pintle_plugins::flow::{Made, Row, Stage, Work};
use serde_json::{Value, json};

use crate::objects::*;

pub const ROWS: &[Row] = &[
    Row {
        plugin: "node-ipam",
        // A range of 256 is not enough for all the nodes that other rows make.
        spec: || json!({"config": {"clusterCIDR": "10.128.0.0/9"}}),
        prepare: no_preparation,
        work: Work::Made(Made {
            begin: |stage, unit| node(stage, unit, "True"),
            look_at: |_| "/api/v1/nodes".to_owned(),
            // No two nodes have the same addresses, and none gets others later.
            sees: |_, object| Some((name(object), object["spec"]["podCIDR"].as_str()?.to_owned())),
            each: 1,
            told: None,
        }),
    },
    Row {
        plugin: "node-lifecycle",
        spec: nothing,
        prepare: no_preparation,
        work: Work::Made(Made {
            begin: |stage, unit| node(stage, unit, "False"),
            look_at: |_| "/api/v1/nodes".to_owned(),
            sees: |_, object| {
                let is = |taint: &Value| {
                    taint["key"] == "node.kubernetes.io/not-ready" && taint["effect"] == "NoExecute"
                };
                let taints = object["spec"]["taints"].as_array()?;
                itself(object, taints.iter().any(is))
            },
            each: 1,
            told: None,
        }),
    },
    Row {
        plugin: "pod-gc",
        spec: || json!({"config": {"nodeGoneSeconds": 0}}),
        prepare: no_preparation,
        work: Work::Made(Made {
            begin: |stage, unit| {
                let mut spec = pending();
                spec["nodeName"] = json!("there-is-none");
                stage.create("v1/pods", json!({"metadata": {"name": unit}, "spec": spec}));
            },
            look_at: |stage| stage.path("v1/pods"),
            sees: gone,
            each: 1,
            told: None,
        }),
    },
];

/// Of no size, so that no pod of another row is placed there.
fn node(stage: &mut Stage, name: &str, ready: &str) {
    let mut status = status_of_node(ready);
    status["capacity"] = json!({});
    status["allocatable"] = json!({});
    let object = json!({"metadata": {"name": name}, "spec": {"unschedulable": true},
        "status": status});
    stage.api.create("/api/v1/nodes", &object).ok();
}
