//! Who is behind a Service.

use pintle_plugins::flow::{Made, Row, Stage, Work};
use serde_json::{Value, json};

use crate::objects::*;

pub const ROWS: &[Row] = &[
    Row {
        plugin: "endpoints",
        spec: nothing,
        prepare: |stage| ready_pod(stage, "web"),
        work: Work::Made(Made {
            begin: |stage, unit| service(stage, unit, json!({"app": "web"})),
            look_at: |stage| stage.path("v1/endpoints"),
            sees: |_, object| itself(object, object["subsets"][0]["addresses"].is_array()),
            each: 1,
            told: None,
        }),
    },
    Row {
        plugin: "endpointslice",
        spec: nothing,
        prepare: |stage| ready_pod(stage, "web"),
        work: Work::Made(Made {
            begin: |stage, unit| service(stage, unit, json!({"app": "web"})),
            look_at: slices,
            sees: |_, object| slice(object, "endpointslice-controller.k8s.io"),
            each: 1,
            told: None,
        }),
    },
    Row {
        plugin: "endpointslice-mirroring",
        spec: nothing,
        prepare: no_preparation,
        work: Work::Made(Made {
            begin: |stage, unit| {
                service(stage, unit, Value::Null);
                let subset = json!({"addresses": [{"ip": "192.0.2.7"}],
                    "ports": [{"port": 80, "protocol": "TCP"}]});
                let object = json!({"metadata": {"name": unit}, "subsets": [subset]});
                stage.create("v1/endpoints", object);
            },
            look_at: slices,
            sees: |_, object| slice(object, "endpointslicemirroring-controller.k8s.io"),
            each: 1,
            told: None,
        }),
    },
    Row {
        plugin: "service-addresses",
        spec: nothing,
        prepare: no_preparation,
        work: answered(|stage, number| {
            let path = stage.path("v1/services");
            let name = format!("service-{number}");
            let spec = json!({"type": "NodePort", "ports": [{"port": 80}]});
            let object = json!({"metadata": {"name": name}, "spec": spec});
            let done = stage.api.create(&path, &object).holds(|service| {
                let spec = &service["spec"];
                spec["clusterIP"].is_string() && spec["ports"][0]["nodePort"].is_i64()
            });
            // There are only so many node ports.
            stage.api.delete(&format!("{path}/{name}")).ok();
            done
        }),
    },
    Row {
        plugin: "service-cidrs",
        spec: nothing,
        prepare: no_preparation,
        work: Work::Made(Made {
            begin: |stage, unit| {
                let object = json!({"metadata": {"name": unit}, "spec": {"ports": [{"port": 80}]}});
                stage.create("v1/services", object);
            },
            look_at: |_| "/apis/networking.k8s.io/v1/ipaddresses".to_owned(),
            sees: |_, object| {
                let parent = &object["spec"]["parentRef"];
                let ours = parent["namespace"] == "swap-service-cidrs";
                ours.then(|| Some((parent["name"].as_str()?.to_owned(), uid(object))))?
            },
            each: 1,
            told: None,
        }),
    },
];

fn service(stage: &mut Stage, name: &str, selector: Value) {
    let object = json!({
        "metadata": {"name": name},
        // Of those that have an address of their own there are only so many.
        "spec": {"selector": selector, "clusterIP": "None", "ports": [{"port": 80}]},
    });
    stage.create("v1/services", object);
}

fn slices(stage: &Stage) -> String {
    stage.path("discovery.k8s.io/v1/endpointslices")
}

fn slice(object: &Value, manager: &str) -> Option<(String, String)> {
    let labels = &object["metadata"]["labels"];
    let service = labels["kubernetes.io/service-name"].as_str()?.to_owned();
    let made = labels["endpointslice.kubernetes.io/managed-by"] == manager
        && object["endpoints"][0]["addresses"].is_array();
    made.then(|| (service, uid(object)))
}
