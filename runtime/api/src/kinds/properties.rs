//! What holds for every row, whatever a client sends.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{CreateMeta, Registry, Resource, fill_create_meta};

/// A valid object of each kind, rich enough that every rule has something to look at.
fn sample(row: &Resource) -> Value {
    let template = json!({
        "metadata": {"labels": {"app": "web"}},
        "spec": {
            "nodeName": "n",
            "containers": [{
                "name": "c", "image": "web:1",
                "ports": [{"containerPort": 80, "name": "http"}],
                "env": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
                "volumeMounts": [{"name": "v", "mountPath": "/v"}],
                "resources": {"limits": {"cpu": "1", "memory": "1Gi"}},
                "livenessProbe": {"httpGet": {"port": "http"}}
            }],
            "initContainers": [{"name": "i", "image": "web:1", "restartPolicy": "Always"}],
            "volumes": [{"name": "v", "configMap": {"name": "m", "items": [{"key": "k", "path": "p"}]}}],
            "tolerations": [{"key": "k", "operator": "Exists"}]
        }
    });
    let mut pod = template["spec"].clone();
    pod["securityContext"] = json!({"runAsUser": 1});
    pod["affinity"] = json!({
        "nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
            {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a"]}]}]}},
        "podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
            {"topologyKey": "zone", "labelSelector": {"matchLabels": {"app": "web"}}}]}
    });
    pod["topologySpreadConstraints"] =
        json!([{"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}]);
    let workload = {
        let mut template = template.clone();
        template["spec"].as_object_mut().unwrap().remove("nodeName");
        json!({"spec": {"replicas": 2, "selector": {"matchLabels": {"app": "web"}}, "template": template}})
    };
    let mut object = match row.kind {
        "Pod" => {
            json!({"spec": pod, "status": {"phase": "Running", "containerStatuses": [{"name": "c", "restartCount": 1}],
            "initContainerStatuses": [{"name": "i", "state": {"running": {}}}]}})
        }
        "Deployment" | "ReplicaSet" | "StatefulSet" => workload,
        "ReplicationController" => {
            let mut controller = workload;
            controller["spec"]["selector"] = json!({"app": "web"});
            controller
        }
        "DaemonSet" => {
            let mut daemons = workload;
            daemons["spec"].as_object_mut().unwrap().remove("replicas");
            daemons
        }
        "Job" | "CronJob" => {
            let mut template = workload["spec"]["template"].clone();
            template["spec"]["restartPolicy"] = "Never".into();
            let job = json!({"template": template, "podFailurePolicy": {"rules": [
                {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]}]}});
            match row.kind {
                "Job" => json!({ "spec": job }),
                _ => json!({"spec": {"schedule": "*/5 * * * *", "jobTemplate": {"spec": job}}}),
            }
        }
        "HorizontalPodAutoscaler" => {
            json!({"spec": {"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
            "maxReplicas": 5, "metrics": [{"type": "Resource", "resource": {"name": "cpu",
                "target": {"type": "Utilization", "averageUtilization": 50}}}]}})
        }
        "LimitRange" => {
            json!({"spec": {"limits": [{"type": "Container", "max": {"cpu": "2"}, "min": {"cpu": "100m"}, "default": {"cpu": "1"}}]}})
        }
        "ResourceQuota" => json!({"spec": {"hard": {"pods": "10"}, "scopes": ["BestEffort"]}}),
        "Endpoints" => {
            json!({"subsets": [{"addresses": [{"ip": "10.0.0.1"}], "ports": [{"port": 80}]}]})
        }
        "Role" | "ClusterRole" => {
            json!({"rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]})
        }
        "RoleBinding" | "ClusterRoleBinding" => {
            json!({"roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
            "subjects": [{"kind": "ServiceAccount", "name": "a", "namespace": "default"}, {"kind": "User", "name": "b"}]})
        }
        "PersistentVolume" => {
            json!({"spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/data"}}})
        }
        "PersistentVolumeClaim" => {
            json!({"spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}})
        }
        "StorageClass" => json!({"provisioner": "example.com/disk"}),
        "CSINode" => json!({"spec": {"drivers": [{"name": "d.example", "nodeID": "n"}]}}),
        "PodDisruptionBudget" => {
            json!({"spec": {"minAvailable": "50%", "selector": {"matchLabels": {"app": "web"}}}})
        }
        "PriorityClass" => json!({"value": 10}),
        "RuntimeClass" => json!({"handler": "runc"}),
        "PodTemplate" => json!({"template": template}),
        "Ingress" => {
            json!({"spec": {"rules": [{"host": "a.example", "http": {"paths": [{"path": "/", "pathType": "Prefix",
                "backend": {"service": {"name": "web", "port": {"number": 80}}}}]}}]}})
        }
        "IngressClass" => json!({"spec": {"controller": "example.com/ingress"}}),
        "ServiceCIDR" => json!({"spec": {"cidrs": ["10.96.0.0/16", "fd00::/108"]}}),
        "IPAddress" => {
            json!({"spec": {"parentRef": {"resource": "services", "namespace": "n", "name": "s"}}})
        }
        "NetworkPolicy" => json!({"spec": {"podSelector": {}, "ingress": [{}]}}),
        "VolumeAttachment" => {
            json!({"spec": {"attacher": "a.example", "nodeName": "n", "source": {"persistentVolumeName": "v"}}})
        }
        "Service" => json!({"spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]}}),
        "Node" => {
            json!({"spec": {"taints": [{"key": "k", "effect": "NoExecute"}], "podCIDRs": ["10.0.0.0/24"]},
            "status": {"capacity": {"cpu": "2"}, "conditions": [{"type": "Ready", "status": "True"}]}})
        }
        "ConfigMap" => json!({"data": {"a": "b"}, "binaryData": {"c": "AA=="}}),
        "Secret" => json!({"stringData": {"a": "b"}}),
        "EndpointSlice" => {
            json!({"addressType": "IPv4", "endpoints": [{"addresses": ["10.0.0.1"]}], "ports": [{"port": 80}]})
        }
        "CertificateSigningRequest" => {
            use base64::Engine;
            let csr = include_bytes!("../../tests/x509/jane.csr");
            let csr = base64::engine::general_purpose::STANDARD.encode(csr);
            json!({"spec": {"request": csr, "signerName": "kubernetes.io/kube-apiserver-client",
                "usages": ["client auth"], "expirationSeconds": 3600}})
        }
        "Event" => {
            json!({"involvedObject": {"kind": "Pod", "name": "p", "namespace": "default"}, "reason": "R"})
        }
        "Lease" => json!({"spec": {"holderIdentity": "n", "leaseDurationSeconds": 40}}),
        "PodMetrics" => json!({"timestamp": "2026-01-02T03:04:05Z", "window": "30s",
            "containers": [{"name": "c", "usage": {"cpu": "100m", "memory": "10Mi"}}]}),
        "NodeMetrics" => {
            json!({"timestamp": "2026-01-02T03:04:05Z", "window": "30s", "usage": {"cpu": "1"}})
        }
        "MetricValue" => json!({"describedObject": {"kind": "Pod", "name": "web"},
            "metric": {"name": "requests"}, "value": "100"}),
        "ExternalMetricValue" => json!({"metricName": "queue", "value": "30"}),
        "ControllerRevision" => json!({"data": {"a": 1}, "revision": 1}),
        "Plugin" => {
            json!({"spec": {"role": "CNI", "source": {"embedded": {"name": "a"}}, "rollout": {},
            "grants": [{"apiGroups": [""], "kinds": ["Node"], "verbs": ["get"]}]}})
        }
        _ => json!({}),
    };
    let name = if row.kind == "IPAddress" { "10.96.0.7" } else { "web" };
    object["metadata"] = json!({"name": name, "labels": {"a": "b"}, "annotations": {"c": "d"}});
    object
}

fn created(row: &Resource) -> Value {
    let mut object = sample(row);
    let namespace = if row.is_namespaced() { "default" } else { "" };
    fill_create_meta(&mut object, CreateMeta { uid: "u", now_ms: 0, namespace, name_suffix: "x" });
    row.apply_defaults(&mut object);
    row.prepare_create(&mut object);
    object
}

/// Replaces the `at`-th value of the tree (depth first) by `with`.
fn replace(value: &mut Value, at: &mut usize, with: &Value) {
    if *at == 0 {
        *value = with.clone();
        *at = usize::MAX;
        return;
    }
    *at -= 1;
    let children: Box<dyn Iterator<Item = &mut Value>> = match value {
        Value::Object(map) => Box::new(map.values_mut()),
        Value::Array(list) => Box::new(list.iter_mut()),
        _ => return,
    };
    for child in children {
        replace(child, at, with);
        if *at == usize::MAX {
            return;
        }
    }
}

fn anything() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
        Just(json!([])),
        Just(json!({})),
        Just(json!([null, 1, "é", {"name": 1}])),
        Just(json!({"name": [], "spec": 1, "é": {}})),
    ]
}

#[test]
fn every_sample_is_valid_and_settles() {
    for row in Registry::builtin().iter_stored() {
        let object = created(row);
        if let Err(error) = row.check(&object, None) {
            panic!("{row}: {error}");
        }
        let mut again = object.clone();
        row.apply_defaults(&mut again);
        assert_eq!(again, object, "defaults of {row} are not idempotent");
        row.prepare_update(&mut again, &object);
        assert_eq!(again, object, "an unchanged {row} changes");
        if let Err(error) = row.check(&again, Some(&object)) {
            panic!("{row}: {error}");
        }
        row.prepare_status(&mut again, &object, 0);
        assert_eq!(again, object, "an unchanged status of {row} changes");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    /// Schema checks come before these hooks, but they must not rely on it.
    #[test]
    fn nothing_panics(kind in 0..200_usize, at in 0..120_usize, with in anything(), update in any::<bool>()) {
        let registry = Registry::builtin();
        let row = registry.iter().nth(kind % registry.len()).unwrap();
        let good = created(row);
        let mut bad = if update { good.clone() } else { sample(row) };
        replace(&mut bad, &mut at.clone(), &with);
        row.apply_defaults(&mut bad);
        prop_assert_eq!(row.cells(&bad, 0).len(), row.columns.len());
        let mut updated = bad.clone();
        row.prepare_update(&mut updated, &good);
        let _ = row.check(&updated, Some(&good));
        row.prepare_status(&mut updated, &good, 0);
        let _ = row.check_status(&updated, &good);
        row.prepare_create(&mut bad);
        fill_create_meta(&mut bad, CreateMeta { uid: "u", now_ms: 0, namespace: "default", name_suffix: "x" });
        let _ = row.check(&bad, None);
        for field in row.selectable {
            let _ = field.value(&bad);
        }
        if let Some(alias) = row.alias {
            (alias.to_storage)(&mut bad);
            (alias.from_storage)(&mut bad);
        }
        if let Some(graceful) = row.graceful {
            let _ = graceful(&bad);
        }
    }
}
