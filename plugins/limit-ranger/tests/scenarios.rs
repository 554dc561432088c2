//! What bounds do to pods and claims.

use pintle_plugin_limit_ranger::Plugin;
use pintle_sdk_testing::{Reviewing, objects::pod};
use serde_json::{Value, json};

fn reviewing(limit: Value) -> Reviewing {
    let mut reviewing = Reviewing::with::<Plugin>(json!({}));
    reviewing.insert(json!({"apiVersion": "v1", "kind": "LimitRange",
        "metadata": {"name": "bounds", "namespace": "default"}, "spec": {"limits": [limit]}}));
    reviewing
}

fn with(resources: &[Value]) -> Value {
    let containers: Vec<Value> = resources
        .iter()
        .enumerate()
        .map(|(index, resources)| json!({"name": format!("c{index}"), "resources": resources}))
        .collect();
    pod("p").set("spec.containers", containers).build()
}

fn refused(limit: Value, resources: &[Value], expect: &str) {
    let answer = reviewing(limit).create(with(resources));
    assert_eq!(answer.map(|_| ()).map_err(|denied| denied.message), Err(expect.to_owned()));
}

#[test]
fn what_is_open_is_filled_in_and_noted() {
    let mut reviewing = reviewing(json!({"type": "Container",
        "default": {"cpu": "1", "memory": "1Gi"}, "defaultRequest": {"cpu": "100m"}}));
    let own = json!({"limits": {"cpu": "2"}, "claims": [{"name": "gpu"}]});
    let once = reviewing.create(with(&[json!({}), own])).unwrap().object;
    assert_eq!(
        once["spec"]["containers"][0]["resources"],
        json!({"requests": {"cpu": "100m"}, "limits": {"cpu": "1", "memory": "1Gi"}})
    );
    assert_eq!(
        once["spec"]["containers"][1]["resources"],
        json!({"requests": {"cpu": "100m"}, "limits": {"cpu": "2", "memory": "1Gi"},
            "claims": [{"name": "gpu"}]})
    );
    assert_eq!(
        once["metadata"]["annotations"]["kubernetes.io/limit-ranger"],
        "LimitRanger plugin set: cpu request for container c0; cpu, memory limit for container c0; cpu request for container c1; memory limit for container c1"
    );
    assert!(!reviewing.create(once).unwrap().patched, "admitted once, admitted unchanged");
}

#[test]
fn bounds_of_containers() {
    let bound = |field: &str, amounts: Value| json!({"type": "Container", field: amounts});
    let cpu = |request: &str, limit: &str| json!({"requests": {"cpu": request}, "limits": {"cpu": limit}});
    let (min, max) = (bound("min", json!({"cpu": "100m"})), bound("max", json!({"cpu": "1"})));
    refused(
        min.clone(),
        &[json!({})],
        "minimum cpu usage per Container is 100m.  No request is specified",
    );
    refused(
        min.clone(),
        &[cpu("50m", "1")],
        "minimum cpu usage per Container is 100m, but request is 50m",
    );
    refused(
        max.clone(),
        &[cpu("1", "1"), json!({})],
        "maximum cpu usage per Container is 1.  No limit is specified",
    );
    refused(
        max.clone(),
        &[cpu("1", "1500m")],
        "maximum cpu usage per Container is 1, but limit is 1500m",
    );
    let ratio = bound("maxLimitRequestRatio", json!({"cpu": "2"}));
    refused(
        ratio.clone(),
        &[cpu("100m", "300m")],
        "cpu max limit to request ratio per Container is 2, but provided ratio is 3.000000",
    );
    refused(
        ratio.clone(),
        &[json!({"limits": {"cpu": "1"}})],
        "cpu max limit to request ratio per Container is 2, but no request is specified or request is 0",
    );
    for (limit, resources) in
        [(min, cpu("100m", "1")), (max, cpu("1", "1")), (ratio, cpu("1", "2"))]
    {
        reviewing(limit).create(with(&[resources])).unwrap();
    }
    refused(
        json!({"type": "Container", "min": {"cpu": "1"}, "max": {"memory": "1Gi"}}),
        &[json!({"requests": {"cpu": "1m"}, "limits": {"memory": "2Gi"}})],
        "[minimum cpu usage per Container is 1, but request is 1m, maximum memory usage per Container is 1Gi, but limit is 2Gi]",
    );
}

#[test]
fn bounds_of_pods_and_claims() {
    let half = json!({"requests": {"memory": "600Mi"}, "limits": {"memory": "600Mi"}});
    refused(
        json!({"type": "Pod", "max": {"memory": "1Gi"}}),
        &[half.clone(), half],
        "maximum memory usage per Pod is 1Gi, but limit is 1200Mi",
    );
    let claim = |storage: &str| {
        json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim",
            "metadata": {"name": "c", "namespace": "default"},
            "spec": {"resources": {"requests": {"storage": storage}}}})
    };
    let mut reviewing = reviewing(json!({"type": "PersistentVolumeClaim",
        "min": {"storage": "1Gi"}, "max": {"storage": "5Gi"}}));
    reviewing.create(claim("2Gi")).unwrap();
    assert_eq!(
        reviewing.create(claim("500Mi")).unwrap_err().message,
        "minimum storage usage per PersistentVolumeClaim is 1Gi, but request is 500Mi"
    );
    assert_eq!(
        reviewing.update(claim("2Gi"), claim("10Gi")).unwrap_err().message,
        "maximum storage usage per PersistentVolumeClaim is 5Gi, but request is 10Gi"
    );
}

#[test]
fn other_namespaces_are_free() {
    let mut reviewing = reviewing(json!({"type": "Container", "min": {"cpu": "1"}}));
    let mut object = with(&[json!({})]);
    object["metadata"]["namespace"] = json!("free");
    assert!(!reviewing.create(object).unwrap().patched);
}
