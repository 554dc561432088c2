//! An autoscaler under rising and falling load.

use pintle_plugin_horizontal_pod_autoscaler::Plugin;
use pintle_sdk::prelude::*;
use pintle_sdk_testing::Cluster;
use serde_json::{Value, json};

const SECOND: i64 = 1000;

struct Load(Cluster);

impl Load {
    /// A Deployment with so many pods, each asking for 100 millicores.
    fn new(replicas: usize, spec: Value) -> Self {
        let mut cluster = Cluster::new().with::<Plugin>(json!({}));
        cluster.create(json!({"apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "web", "namespace": "default"},
            "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": "web"}}},
            "status": {"replicas": replicas}}));
        for number in 0..replicas {
            cluster.create(json!({"apiVersion": "v1", "kind": "Pod",
                "metadata": {"name": format!("web-{number}"), "namespace": "default", "labels": {"app": "web"}},
                "spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "100m"}}}]},
                "status": {"phase": "Running", "startTime": "2020-01-01T00:00:00Z",
                    "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2020-01-01T00:00:30Z"}]}}));
        }
        let mut hpa = json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": "web", "namespace": "default"},
            "spec": {"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
                "minReplicas": 1, "maxReplicas": 10,
                "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}}]}});
        pintle_sdk_testing::merge_patch(&mut hpa, &json!({ "spec": spec }));
        cluster.create(hpa);
        Load(cluster)
    }

    fn hpa() -> ObjectRef {
        HORIZONTAL_POD_AUTOSCALER.named("default", "web")
    }

    /// Every pod uses so many millicores.
    fn use_cpu(&mut self, milli: i64) {
        let names: Vec<String> = self
            .0
            .all(&POD)
            .iter()
            .map(|pod| pod["metadata"]["name"].as_str().unwrap().to_owned())
            .collect();
        for name in names {
            let metrics = json!({"apiVersion": "metrics.k8s.io/v1beta1", "kind": "PodMetrics",
                "metadata": {"name": name, "namespace": "default", "labels": {"app": "web"}},
                "timestamp": "2026-01-01T00:00:00Z", "window": "30s",
                "containers": [{"name": "c", "usage": {"cpu": format!("{milli}m")}}]});
            let kind = KindRef::new("metrics.k8s.io", "v1beta1", "PodMetrics");
            if self.0.object(&kind.named("default", name.as_str())).is_some() {
                self.0.delete(&kind.named("default", name.as_str()));
            }
            self.0.create(metrics);
        }
    }

    fn pass(&mut self, milliseconds: i64) {
        self.0.advance(milliseconds);
    }

    fn replicas(&self) -> i64 {
        let deployment = self.0.object(&DEPLOYMENT.named("default", "web")).unwrap();
        deployment["spec"]["replicas"].as_i64().unwrap()
    }

    fn reason(&self, kind: &str) -> String {
        let hpa = self.0.object(&Self::hpa()).unwrap();
        let found = hpa["status"]["conditions"].as_array().unwrap();
        let found = found.iter().find(|condition| condition["type"] == kind).unwrap();
        found["reason"].as_str().unwrap().to_owned()
    }
}

#[test]
fn more_load_more_replicas() {
    let mut load = Load::new(2, json!({}));
    load.use_cpu(100);
    load.pass(0);
    assert_eq!(load.replicas(), 4);
    assert_eq!(load.0.events.last().unwrap().reason, "SuccessfulRescale");
    assert_eq!(
        load.0.events.last().unwrap().note,
        "New size: 4; reason: cpu resource utilization (percentage of request) above target"
    );
    assert_eq!(load.reason("ScalingActive"), "ValidMetricFound");
    let hpa = load.0.object(&Load::hpa()).unwrap();
    assert_eq!(
        hpa["status"]["currentMetrics"][0]["resource"]["current"]["averageUtilization"],
        100
    );
}

#[test]
fn a_ratio_near_one_changes_nothing_and_nothing_is_written_again() {
    let mut load = Load::new(2, json!({}));
    load.use_cpu(52);
    load.pass(0);
    assert_eq!(load.replicas(), 2);
    let run = load.0.advance(60 * SECOND);
    assert!(run.reconciles >= 4);
    assert!(run.actions.is_empty(), "{:?}", run.actions);
}

#[test]
fn bounds_and_pace_limit_what_is_asked_for() {
    let mut load = Load::new(2, json!({"maxReplicas": 3}));
    load.use_cpu(500);
    load.pass(0);
    assert_eq!((load.replicas(), load.reason("ScalingLimited")), (3, "TooManyReplicas".to_owned()));
    let slow = json!({"behavior": {"scaleUp": {"policies": [{"type": "Pods", "value": 1, "periodSeconds": 60}]}}});
    let mut load = Load::new(2, slow);
    load.use_cpu(500);
    load.pass(0);
    assert_eq!((load.replicas(), load.reason("ScalingLimited")), (3, "ScaleUpLimit".to_owned()));
    load.pass(30 * SECOND);
    assert_eq!(load.replicas(), 3);
    load.pass(31 * SECOND);
    assert_eq!(load.replicas(), 4);
}

#[test]
fn down_goes_only_what_was_not_needed_for_a_while() {
    let mut load = Load::new(4, json!({}));
    load.use_cpu(50);
    load.pass(0);
    assert_eq!(load.replicas(), 4);
    load.use_cpu(10);
    load.pass(15 * SECOND);
    assert_eq!(load.replicas(), 4, "four were needed a moment ago");
    assert_eq!(load.reason("AbleToScale"), "ScaleDownStabilized");
    load.pass(270 * SECOND);
    assert_eq!(load.replicas(), 4);
    load.pass(30 * SECOND);
    assert_eq!(load.replicas(), 1);
    load.pass(400 * SECOND);
    let hpa = load.0.object(&Load::hpa()).unwrap();
    assert_eq!(hpa["metadata"]["annotations"]["autoscaling.pintle.dev/history"], Value::Null);
}

#[test]
fn what_cannot_be_measured_scales_nothing() {
    let mut load = Load::new(2, json!({}));
    load.pass(0);
    assert_eq!(load.replicas(), 2);
    assert_eq!(load.reason("ScalingActive"), "FailedGetResourceMetric");
    let events = load.0.events.len();
    load.pass(60 * SECOND);
    assert_eq!(load.0.events.len(), events, "said once");
    let mut load = Load::new(2, json!({"scaleTargetRef": {"name": "other"}}));
    load.pass(0);
    assert_eq!(load.reason("AbleToScale"), "FailedGetScale");
    let mut load = Load::new(0, json!({}));
    load.pass(0);
    assert_eq!(load.reason("ScalingActive"), "ScalingDisabled");
}

#[test]
fn a_number_outside_of_the_bounds_is_brought_back() {
    let mut load = Load::new(1, json!({"minReplicas": 3}));
    load.pass(0);
    assert_eq!(load.replicas(), 3);
    let mut load = Load::new(5, json!({"maxReplicas": 2}));
    load.pass(0);
    assert_eq!(load.replicas(), 2);
}

#[test]
fn external_and_object_metrics() {
    let external = json!([{"type": "External", "external": {"metric": {"name": "queue"},
        "target": {"type": "AverageValue", "averageValue": "10"}}}]);
    let mut load = Load::new(2, json!({ "metrics": external }));
    load.0.create(
        json!({"apiVersion": "external.metrics.k8s.io/v1beta1", "kind": "ExternalMetricValue",
        "metadata": {"name": "q", "namespace": "default"}, "metricName": "queue", "value": "45"}),
    );
    load.pass(0);
    assert_eq!(load.replicas(), 5);
    let object = json!([{"type": "Object", "object": {"metric": {"name": "rps"},
        "describedObject": {"apiVersion": "v1", "kind": "Service", "name": "web"}, "target": {"type": "Value", "value": "100"}}}]);
    let mut load = Load::new(2, json!({ "metrics": object }));
    load.0.create(json!({"apiVersion": "custom.metrics.k8s.io/v1beta2", "kind": "MetricValue",
        "metadata": {"name": "m", "namespace": "default"}, "metric": {"name": "rps"},
        "describedObject": {"kind": "Service", "name": "web"}, "value": "200"}));
    load.pass(0);
    assert_eq!(load.replicas(), 4);
}
