//! What keeps namespaces, owners and quotas in order.

use pintle_plugins::flow::{Made, Row, Work};
use serde_json::json;

use crate::objects::*;

pub const ROWS: &[Row] = &[
    Row {
        plugin: "garbage-collector",
        spec: nothing,
        prepare: no_preparation,
        work: Work::Made(Made {
            begin: |stage, unit| {
                let owner = json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "gone",
                    "uid": "0b9e5e1c-0000-4000-8000-000000000000"});
                let object = json!({"metadata": {"name": unit, "ownerReferences": [owner]}});
                stage.create("v1/configmaps", object);
            },
            look_at: |stage| stage.path("v1/configmaps"),
            sees: gone,
            each: 1,
            told: None,
        }),
    },
    Row {
        plugin: "namespace",
        spec: nothing,
        prepare: no_preparation,
        work: Work::Made(Made {
            begin: |stage, unit| {
                let object = json!({"metadata": {"name": unit}});
                stage.api.create("/api/v1/namespaces", &object).ok();
                let maps = format!("/api/v1/namespaces/{unit}/configmaps");
                stage.api.create(&maps, &json!({"metadata": {"name": "left-behind"}})).ok();
                stage.api.delete(&format!("/api/v1/namespaces/{unit}")).ok();
            },
            look_at: |_| "/api/v1/namespaces".to_owned(),
            sees: gone,
            each: 1,
            told: None,
        }),
    },
    Row {
        plugin: "root-ca-publisher",
        spec: || json!({"config": {"rootCA": "-----BEGIN CERTIFICATE-----"}}),
        prepare: no_preparation,
        work: Work::Made(Made {
            begin: |stage, unit| {
                let object = json!({"metadata": {"name": unit}});
                stage.api.create("/api/v1/namespaces", &object).ok();
            },
            look_at: |_| {
                "/api/v1/configmaps?fieldSelector=metadata.name%3Dkube-root-ca.crt".to_owned()
            },
            sees: |kind, object| {
                let namespace = object["metadata"]["namespace"].as_str()?.to_owned();
                (kind == "ADDED").then(|| (namespace, uid(object)))
            },
            each: 1,
            told: None,
        }),
    },
    Row {
        plugin: "resource-quota-controller",
        spec: nothing,
        prepare: no_preparation,
        work: Work::Made(Made {
            begin: |stage, unit| {
                let object = json!({"metadata": {"name": unit}, "spec": {"hard": {"pods": "9"}}});
                stage.create("v1/resourcequotas", object);
            },
            look_at: |stage| stage.path("v1/resourcequotas"),
            sees: |_, object| itself(object, object["status"]["hard"]["pods"] == "9"),
            each: 1,
            told: None,
        }),
    },
    Row {
        plugin: "clusterrole-aggregation",
        spec: nothing,
        prepare: |stage| {
            let rule = json!({"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]});
            let object = json!({"rules": [rule],
                "metadata": {"name": "swap-part", "labels": {"swap": "part"}}});
            stage.api.create("/apis/rbac.authorization.k8s.io/v1/clusterroles", &object).ok();
        },
        work: Work::Made(Made {
            begin: |stage, unit| {
                let selector = json!({"matchLabels": {"swap": "part"}});
                let object = json!({"metadata": {"name": unit}, "rules": [],
                    "aggregationRule": {"clusterRoleSelectors": [selector]}});
                stage.api.create("/apis/rbac.authorization.k8s.io/v1/clusterroles", &object).ok();
            },
            look_at: |_| "/apis/rbac.authorization.k8s.io/v1/clusterroles".to_owned(),
            sees: |_, object| itself(object, object["rules"][0]["resources"][0] == "pods"),
            each: 1,
            told: None,
        }),
    },
];
