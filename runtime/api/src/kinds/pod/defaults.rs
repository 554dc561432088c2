//! What a pod's author may leave out.

use serde_json::{Value, json};

use super::super::json::{
    bool_at, child, default_int, default_str, default_to, is_set, items_mut, object_at, set,
    str_at, value_at,
};
use super::super::validation::quantity;
use super::GRACE_SECONDS;
use crate::quantity::Quantity;

/// `0644`, the mode of projected files.
const FILE_MODE: i64 = 0o644;
const TOKEN_SECONDS: i64 = 3600;

/// Fills in a pod's spec: what every spec gets, and what only a pod itself gets,
/// so that templates stay as short as their authors wrote them.
pub(super) fn pod(spec: &mut Value) {
    pod_spec(spec);
    if !spec.is_object() {
        return;
    }
    default_to(spec, "enableServiceLinks", true);
    let host_network = bool_at(spec, &["hostNetwork"]);
    for list in ["containers", "initContainers"] {
        for one in items_mut(spec, list) {
            requests_from_limits(one);
            if host_network {
                host_ports(one);
            }
        }
    }
}

/// Fills in the spec of a pod or of a workload's template.
pub(in super::super) fn pod_spec(spec: &mut Value) {
    if !spec.is_object() {
        return;
    }
    default_str(spec, "restartPolicy", "Always");
    default_str(spec, "dnsPolicy", "ClusterFirst");
    default_str(spec, "schedulerName", "default-scheduler");
    default_to(spec, "terminationGracePeriodSeconds", GRACE_SECONDS);
    default_to(spec, "securityContext", json!({}));
    service_account(spec);
    for list in ["containers", "initContainers", "ephemeralContainers"] {
        for one in items_mut(spec, list) {
            container(one);
        }
    }
    for one in items_mut(spec, "volumes") {
        volume(one);
    }
}

/// The old name of the field is served beside the new one.
fn service_account(spec: &mut Value) {
    let mut name = str_at(spec, &["serviceAccountName"]).to_owned();
    if name.is_empty() {
        name = str_at(spec, &["serviceAccount"]).to_owned();
    }
    if !name.is_empty() {
        set(spec, "serviceAccountName", name.as_str());
        set(spec, "serviceAccount", name);
    }
}

fn container(container: &mut Value) {
    if !container.is_object() {
        return;
    }
    let policy = pull_policy(str_at(container, &["image"]));
    default_str(container, "imagePullPolicy", policy);
    default_str(container, "terminationMessagePath", "/dev/termination-log");
    default_str(container, "terminationMessagePolicy", "File");
    // Always served, even when empty.
    default_to(container, "resources", json!({}));
    for amounts in ["limits", "requests"] {
        round_to_milli(container, amounts);
    }
    for port in items_mut(container, "ports") {
        default_str(port, "protocol", "TCP");
    }
    for variable in items_mut(container, "env") {
        field_ref(variable.get_mut("valueFrom"));
    }
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(probe) = container.get_mut(name).filter(|probe| probe.is_object()) {
            default_int(probe, "timeoutSeconds", 1);
            default_int(probe, "periodSeconds", 10);
            default_int(probe, "successThreshold", 1);
            default_int(probe, "failureThreshold", 3);
            handler(probe);
        }
    }
    if let Some(lifecycle) = container.get_mut("lifecycle") {
        for hook in ["postStart", "preStop"] {
            if let Some(hook) = lifecycle.get_mut(hook) {
                handler(hook);
            }
        }
    }
}

fn handler(handler: &mut Value) {
    if let Some(get) = handler.get_mut("httpGet").filter(|get| get.is_object()) {
        default_str(get, "path", "/");
        default_str(get, "scheme", "HTTP");
    }
    if let Some(grpc) = handler.get_mut("grpc").filter(|grpc| grpc.is_object()) {
        default_to(grpc, "service", "");
    }
}

/// An image without tag and digest means the tag `latest`, which may move.
fn pull_policy(image: &str) -> &'static str {
    let last = image.rsplit('/').next().unwrap_or_default();
    let latest = last.split_once(':').is_none_or(|(_, tag)| tag == "latest");
    if latest && !image.contains('@') { "Always" } else { "IfNotPresent" }
}

/// Amounts finer than a thousandth are rounded up to one.
fn round_to_milli(container: &mut Value, field: &str) {
    let amounts = container.get_mut("resources").and_then(|resources| resources.get_mut(field));
    for amount in
        amounts.and_then(Value::as_object_mut).into_iter().flat_map(|map| map.values_mut())
    {
        if let Ok(exact) = quantity(amount)
            && !exact.is_milli()
        {
            *amount = Quantity::from_milli(exact.milli()).to_string().into();
        }
    }
}

/// What is limited and not requested is requested up to its limit.
fn requests_from_limits(container: &mut Value) {
    let Some(limits) = object_at(container, &["resources", "limits"]).cloned() else { return };
    if limits.is_empty() {
        return;
    }
    let requests = child(container, "resources").and_then(|resources| child(resources, "requests"));
    let Some(requests) = requests else { return };
    for (name, limit) in limits {
        default_to(requests, &name, limit);
    }
}

/// On the node's own network every port is a port of the node.
fn host_ports(container: &mut Value) {
    for port in items_mut(container, "ports") {
        if let Some(number) = value_at(port, &["containerPort"]).as_i64() {
            default_int(port, "hostPort", number);
        }
    }
}

fn field_ref(holder: Option<&mut Value>) {
    if let Some(reference) =
        holder.and_then(|holder| holder.get_mut("fieldRef")).filter(|field| field.is_object())
    {
        default_str(reference, "apiVersion", "v1");
    }
}

fn volume(volume: &mut Value) {
    let Some(map) = volume.as_object() else { return };
    if !map.iter().any(|(key, value)| key != "name" && !value.is_null()) {
        set(volume, "emptyDir", json!({}));
    }
    if let Some(image) = volume.get_mut("image").filter(|source| source.is_object()) {
        let policy = pull_policy(str_at(image, &["reference"]));
        default_str(image, "pullPolicy", policy);
    }
    if let Some(host_path) = volume.get_mut("hostPath").filter(|source| source.is_object()) {
        default_to(host_path, "type", "");
    }
    for name in ["secret", "configMap", "downwardAPI", "projected"] {
        if let Some(source) = volume.get_mut(name).filter(|source| source.is_object()) {
            default_to(source, "defaultMode", FILE_MODE);
            downward_items(source);
            for part in items_mut(source, "sources") {
                if let Some(token) = part.get_mut("serviceAccountToken").filter(|t| t.is_object()) {
                    default_int(token, "expirationSeconds", TOKEN_SECONDS);
                }
                if let Some(downward) = part.get_mut("downwardAPI") {
                    downward_items(downward);
                }
            }
        }
    }
    if let Some(claim) = volume
        .get_mut("ephemeral")
        .and_then(|source| source.get_mut("volumeClaimTemplate"))
        .and_then(|template| template.get_mut("spec"))
        && !is_set(claim, "volumeMode")
    {
        set(claim, "volumeMode", "Filesystem");
    }
}

fn downward_items(source: &mut Value) {
    for item in items_mut(source, "items") {
        field_ref(Some(item));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(mut spec: Value, pointer: &str, expect: Value) {
        pod(&mut spec);
        assert_eq!(
            spec.pointer(pointer).cloned().unwrap_or_default(),
            expect,
            "{pointer} of {spec}"
        );
    }

    #[test]
    fn a_minimal_pod_becomes_complete() {
        let mut spec = json!({"containers": [{"name": "c", "image": "web"}]});
        pod(&mut spec);
        assert_eq!(
            spec,
            json!({
                "containers": [{"name": "c", "image": "web", "imagePullPolicy": "Always", "resources": {},
                    "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File"}],
                "restartPolicy": "Always", "dnsPolicy": "ClusterFirst", "schedulerName": "default-scheduler",
                "terminationGracePeriodSeconds": 30, "securityContext": {}, "enableServiceLinks": true
            })
        );
        let once = spec.clone();
        pod(&mut spec);
        assert_eq!(spec, once);
    }

    #[test]
    fn pull_policy_follows_the_tag() {
        for (image, expect) in [
            ("web", "Always"),
            ("web:latest", "Always"),
            ("web:1", "IfNotPresent"),
            ("host:5000/web", "Always"),
            ("host:5000/web:1", "IfNotPresent"),
            ("web@sha256:00", "IfNotPresent"),
        ] {
            check(
                json!({"containers": [{"image": image}]}),
                "/containers/0/imagePullPolicy",
                expect.into(),
            );
        }
    }

    #[test]
    fn parts() {
        let limits = json!({"containers": [{"resources": {"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "100m"}}}]});
        check(limits, "/containers/0/resources/requests", json!({"cpu": "100m", "memory": "1Gi"}));
        let port = json!({"hostNetwork": true, "containers": [{"ports": [{"containerPort": 80}]}]});
        check(
            port,
            "/containers/0/ports/0",
            json!({"containerPort": 80, "hostPort": 80, "protocol": "TCP"}),
        );
        let probe = json!({"containers": [{"livenessProbe": {"httpGet": {"port": 80}, "timeoutSeconds": 0}}]});
        check(
            probe,
            "/containers/0/livenessProbe",
            json!({"httpGet": {"port": 80, "path": "/", "scheme": "HTTP"}, "timeoutSeconds": 1,
                "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3}),
        );
        let field = json!({"containers": [{"env": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]}]});
        check(field, "/containers/0/env/0/valueFrom/fieldRef/apiVersion", "v1".into());
        check(json!({"serviceAccountName": "a"}), "/serviceAccount", "a".into());
        check(json!({"serviceAccount": "a"}), "/serviceAccountName", "a".into());
    }

    #[test]
    fn volumes() {
        check(json!({"volumes": [{"name": "v"}]}), "/volumes/0/emptyDir", json!({}));
        check(
            json!({"volumes": [{"name": "v", "hostPath": {"path": "/a"}}]}),
            "/volumes/0/hostPath/type",
            "".into(),
        );
        check(
            json!({"volumes": [{"name": "v", "configMap": {"name": "c"}}]}),
            "/volumes/0/configMap/defaultMode",
            420.into(),
        );
        check(
            json!({"volumes": [{"name": "v", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}}]}),
            "/volumes/0/projected/sources/0/serviceAccountToken/expirationSeconds",
            3600.into(),
        );
    }

    #[test]
    fn templates_get_less() {
        let mut spec = json!({"hostNetwork": true, "containers": [{"image": "a:1", "ports": [{"containerPort": 80}],
            "resources": {"limits": {"cpu": "1"}}}]});
        pod_spec(&mut spec);
        assert_eq!(spec.get("enableServiceLinks"), None);
        assert_eq!(spec["containers"][0]["resources"], json!({"limits": {"cpu": "1"}}));
        assert_eq!(
            spec["containers"][0]["ports"],
            json!([{"containerPort": 80, "protocol": "TCP"}])
        );
    }

    #[test]
    fn amounts_are_at_least_thousandths() {
        check(
            json!({"containers": [{"resources": {"requests": {"cpu": "0.0001", "memory": "1Gi"}}}]}),
            "/containers/0/resources/requests",
            json!({"cpu": "1m", "memory": "1Gi"}),
        );
    }

    #[test]
    fn mistyped_input_is_left_for_validation() {
        for mut spec in [
            json!(null),
            json!([]),
            json!({"containers": 1, "volumes": [1, null]}),
            json!({"containers": [1]}),
        ] {
            pod(&mut spec);
        }
    }
}
