//! What makes pods, and what places them.

use pintle_plugins::flow::{Made, Row, Stage, Work};
use serde_json::{Value, json};

use crate::objects::*;

pub const ROWS: &[Row] = &[
    Row {
        plugin: "deployment",
        spec: nothing,
        prepare: no_preparation,
        work: Work::Made(Made {
            begin: |stage, unit| drop(stage.create("apps/v1/deployments", replicas(unit, 1))),
            look_at: |stage| stage.path("apps/v1/replicasets"),
            sees: owned,
            each: 1,
            told: Some(("ScalingReplicaSet", 1)),
        }),
    },
    Row {
        plugin: "replicaset",
        spec: nothing,
        prepare: no_preparation,
        work: Work::Made(Made {
            begin: |stage, unit| drop(stage.create("apps/v1/replicasets", replicas(unit, 2))),
            look_at: pods,
            sees: owned,
            each: 2,
            told: Some(("SuccessfulCreate", 2)),
        }),
    },
    Row {
        plugin: "replicationcontroller",
        spec: nothing,
        prepare: no_preparation,
        work: Work::Made(Made {
            begin: |stage, unit| {
                let object = replication_controller(unit, 2);
                stage.create("v1/replicationcontrollers", object);
            },
            look_at: pods,
            sees: owned,
            each: 2,
            told: Some(("SuccessfulCreate", 2)),
        }),
    },
    Row {
        plugin: "statefulset",
        spec: nothing,
        prepare: no_preparation,
        work: Work::Made(Made {
            begin: |stage, unit| {
                let mut object = replicas(unit, 2);
                object["spec"]["podManagementPolicy"] = json!("Parallel");
                object["spec"]["serviceName"] = json!(unit);
                stage.create("apps/v1/statefulsets", object);
            },
            look_at: pods,
            sees: owned,
            each: 2,
            told: Some(("SuccessfulCreate", 2)),
        }),
    },
    Row {
        plugin: "daemonset",
        spec: nothing,
        prepare: no_preparation,
        work: Work::Made(Made {
            begin: |stage, unit| {
                let mut object = replicas(unit, 0);
                object["spec"]["replicas"].take();
                object["spec"]["template"]["spec"]["nodeSelector"] = json!({"swap": "here"});
                stage.create("apps/v1/daemonsets", object);
            },
            look_at: pods,
            sees: owned,
            each: 1,
            told: Some(("SuccessfulCreate", 1)),
        }),
    },
    Row {
        plugin: "job",
        spec: nothing,
        prepare: no_preparation,
        work: Work::Made(Made {
            begin: |stage, unit| {
                let object = job(unit);
                stage.create("batch/v1/jobs", object);
            },
            look_at: pods,
            sees: owned,
            each: 1,
            told: Some(("SuccessfulCreate", 1)),
        }),
    },
    Row {
        plugin: "cronjob",
        spec: nothing,
        prepare: no_preparation,
        work: Work::Made(Made {
            begin: one_run_was_missed,
            look_at: |stage| stage.path("batch/v1/jobs"),
            sees: owned,
            each: 1,
            told: Some(("SuccessfulCreate", 1)),
        }),
    },
    Row {
        plugin: "ttl-after-finished",
        spec: nothing,
        prepare: no_preparation,
        work: Work::Made(Made {
            begin: finished_job,
            look_at: |stage| stage.path("batch/v1/jobs"),
            sees: gone,
            each: 1,
            told: None,
        }),
    },
    Row {
        plugin: "horizontal-pod-autoscaler",
        spec: nothing,
        prepare: no_preparation,
        work: Work::Made(Made {
            begin: below_its_minimum,
            look_at: |stage| stage.path("v1/replicationcontrollers"),
            sees: |_, object| itself(object, object["spec"]["replicas"] == 2),
            each: 1,
            told: Some(("SuccessfulRescale", 1)),
        }),
    },
    Row {
        plugin: "disruption",
        spec: nothing,
        prepare: no_preparation,
        work: Work::Made(Made {
            begin: |stage, unit| {
                let selector = json!({"matchLabels": {"app": unit}});
                let object = json!({"metadata": {"name": unit},
                    "spec": {"minAvailable": 1, "selector": selector}});
                stage.create("policy/v1/poddisruptionbudgets", object);
            },
            look_at: |stage| stage.path("policy/v1/poddisruptionbudgets"),
            sees: |_, object| itself(object, object["status"]["observedGeneration"] == 1),
            each: 1,
            told: None,
        }),
    },
    Row {
        plugin: "scheduler",
        spec: nothing,
        prepare: no_preparation,
        work: Work::Made(Made {
            begin: |stage, unit| {
                let mut spec = pending();
                spec["schedulerName"] = json!("default-scheduler");
                stage.create("v1/pods", json!({"metadata": {"name": unit}, "spec": spec}));
            },
            look_at: pods,
            sees: |_, object| itself(object, object["spec"]["nodeName"].is_string()),
            each: 1,
            told: Some(("Scheduled", 1)),
        }),
    },
];

fn pods(stage: &Stage) -> String {
    stage.path("v1/pods")
}

fn replicas(name: &str, replicas: u64) -> Value {
    json!({
        "metadata": {"name": name},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": name}},
            "template": template(name)},
    })
}

fn replication_controller(name: &str, replicas: u64) -> Value {
    json!({
        "metadata": {"name": name},
        "spec": {"replicas": replicas, "selector": {"app": name}, "template": template(name)},
    })
}

fn job(name: &str) -> Value {
    let mut template = template(name);
    template["spec"]["restartPolicy"] = json!("Never");
    json!({"metadata": {"name": name}, "spec": {"template": template}})
}

/// The year before last it ran last, and it is to run once a year.
fn one_run_was_missed(stage: &mut Stage, unit: &str) {
    let object = json!({
        "metadata": {"name": unit},
        "spec": {"schedule": "0 0 1 1 *", "suspend": true,
            "jobTemplate": {"spec": job(unit)["spec"]}},
    });
    stage.create("batch/v1/cronjobs", object);
    let status = json!({"lastScheduleTime": "2025-01-01T00:00:00Z"});
    stage.set_status("batch/v1/cronjobs", unit, status);
    let path = format!("{}/{unit}", stage.path("batch/v1/cronjobs"));
    stage.api.merge(&path, &json!({"spec": {"suspend": false}})).ok();
}

/// Run by somebody else than the job controller.
fn finished_job(stage: &mut Stage, unit: &str) {
    let mut object = job(unit);
    object["spec"]["ttlSecondsAfterFinished"] = json!(0);
    object["spec"]["managedBy"] = json!("pintle.dev/test");
    stage.create("batch/v1/jobs", object);
    let time = "2026-01-01T00:00:00Z";
    let condition =
        |kind: &str| json!({"type": kind, "status": "True", "lastTransitionTime": time});
    let status = json!({"startTime": time, "completionTime": time,
        "conditions": [condition("SuccessCriteriaMet"), condition("Complete")]});
    stage.set_status("batch/v1/jobs", unit, status);
}

fn below_its_minimum(stage: &mut Stage, unit: &str) {
    stage.create("v1/replicationcontrollers", replication_controller(unit, 1));
    let cpu = json!({"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}});
    let object = json!({
        "metadata": {"name": unit},
        "spec": {
            "scaleTargetRef": {"apiVersion": "v1", "kind": "ReplicationController", "name": unit},
            "minReplicas": 2, "maxReplicas": 3,
            "metrics": [{"type": "Resource", "resource": cpu}],
        },
    });
    stage.create("autoscaling/v2/horizontalpodautoscalers", object);
}
