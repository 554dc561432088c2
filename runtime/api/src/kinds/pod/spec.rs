//! The rules of a pod's spec, shared by pods and the templates of workloads.

use std::collections::BTreeSet;

use serde_json::Value;

use super::super::json::{bool_at, items, str_at, value_at};
use super::super::metadata;
use super::super::validation::Check;
use super::{container, placement, volume};
use crate::names;
use crate::status::FieldError;

const RESTART_POLICIES: &[&str] = &["Always", "OnFailure", "Never"];
const DNS_POLICIES: &[&str] = &["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"];
const MAX_SECONDS: i64 = i32::MAX as i64;

/// An init container that keeps running beside the others.
pub(super) fn is_sidecar(container: &Value) -> bool {
    str_at(container, &["restartPolicy"]) == "Always"
}

/// Every rule of a `PodSpec` at `path`.
pub(super) fn pod_spec(spec: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let mut check = Check::new(errors, path);
    let volumes = volume::validate(spec, &mut check);
    container::validate(spec, &volumes, &mut check);
    match str_at(spec, &["restartPolicy"]) {
        "" => check.required("restartPolicy", ""),
        _ => check.one_of(spec, "restartPolicy", RESTART_POLICIES),
    }
    match str_at(spec, &["dnsPolicy"]) {
        "" => check.required("dnsPolicy", ""),
        "None" if items(spec, &["dnsConfig", "nameservers"]).is_empty() => {
            check.required(
                "dnsConfig.nameservers",
                "must provide at least one DNS nameserver when `dnsPolicy` is None",
            );
        }
        _ => check.one_of(spec, "dnsPolicy", DNS_POLICIES),
    }
    for (field, rule) in [
        ("serviceAccountName", names::dns_subdomain as fn(&str) -> Option<String>),
        ("nodeName", names::dns_subdomain),
        ("hostname", names::dns_label),
        ("subdomain", names::dns_label),
        ("priorityClassName", names::dns_subdomain),
        ("runtimeClassName", names::dns_subdomain),
        ("schedulerName", names::qualified_name),
    ] {
        if !str_at(spec, &[field]).is_empty() {
            check.syntax(spec, field, rule);
        }
    }
    if let Some(seconds) = value_at(spec, &["activeDeadlineSeconds"]).as_i64()
        && !(1..=MAX_SECONDS).contains(&seconds)
    {
        check.invalid(
            "activeDeadlineSeconds",
            seconds,
            "must be between 1 and 2147483647, inclusive",
        );
    }
    placement::validate(spec, &mut check);
    host_namespaces(spec, &mut check);
    security(value_at(spec, &["securityContext"]), &mut check.field("securityContext"));
    for (index, secret) in items(spec, &["imagePullSecrets"]).iter().enumerate() {
        if str_at(secret, &["name"]).is_empty() {
            check.item("imagePullSecrets", index).required("name", "");
        }
    }
    for (index, gate) in items(spec, &["readinessGates"]).iter().enumerate() {
        check.item("readinessGates", index).syntax(gate, "conditionType", names::qualified_name);
    }
    let mut gates = BTreeSet::new();
    for (index, gate) in items(spec, &["schedulingGates"]).iter().enumerate() {
        let name = str_at(gate, &["name"]);
        let mut check = check.item("schedulingGates", index);
        if let Some(message) = names::qualified_name(name) {
            check.invalid("name", name, message);
        }
        if !gates.insert(name) {
            check.duplicate("name", name);
        }
    }
}

/// The template of a workload whose pods run for ever: its metadata's labels and its spec.
pub(in super::super) fn template(template: &Value, path: &str, errors: &mut Vec<FieldError>) {
    template_of(template, path, &["Always"], errors);
    if value_at(template, &["spec", "activeDeadlineSeconds"]).is_i64() {
        Check::new(errors, format!("{path}.spec")).forbidden(
            "activeDeadlineSeconds",
            "activeDeadlineSeconds in ReplicaSet is not Supported",
        );
    }
}

/// The template of a workload whose pods may restart their containers by these policies.
pub(in super::super) fn template_of(
    template: &Value,
    path: &str,
    policies: &[&str],
    errors: &mut Vec<FieldError>,
) {
    let labels = value_at(template, &["metadata", "labels"]);
    metadata::labels(labels, &format!("{path}.labels"), errors);
    let spec = value_at(template, &["spec"]);
    pod_spec(spec, &format!("{path}.spec"), errors);
    let policy = str_at(spec, &["restartPolicy"]);
    if !policies.contains(&policy) && RESTART_POLICIES.contains(&policy) {
        Check::new(errors, format!("{path}.spec")).not_supported("restartPolicy", policy, policies);
    }
}

fn host_namespaces(spec: &Value, check: &mut Check<'_>) {
    if bool_at(spec, &["hostPID"]) && bool_at(spec, &["shareProcessNamespace"]) {
        check.invalid(
            "shareProcessNamespace",
            true,
            "ShareProcessNamespace and HostPID cannot both be enabled",
        );
    }
}

/// The ids that both the pod's and a container's security context may set.
pub(super) fn security(context: &Value, check: &mut Check<'_>) {
    for (field, detail) in [
        ("runAsUser", "must be between 0 and 2147483647, inclusive"),
        ("runAsGroup", "must be between 0 and 2147483647, inclusive"),
        ("fsGroup", "must be between 0 and 2147483647, inclusive"),
    ] {
        if let Some(id) = value_at(context, &[field]).as_i64()
            && !(0..=MAX_SECONDS).contains(&id)
        {
            check.invalid(field, id, detail);
        }
    }
    for (index, group) in items(context, &["supplementalGroups"]).iter().enumerate() {
        if !group.as_i64().is_some_and(|id| (0..=MAX_SECONDS).contains(&id)) {
            let field = format!("supplementalGroups[{index}]");
            check.invalid(&field, group.clone(), "must be between 0 and 2147483647, inclusive");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::defaults::pod as default_pod;
    use super::*;
    use crate::status::expect_errors;
    use serde_json::json;

    /// Lays `change` over a good spec, defaults it and lists what is wrong.
    fn check(change: Value, expect: &[&str]) {
        let mut spec = json!({"containers": [{"name": "c", "image": "web"}]});
        for (key, value) in change.as_object().unwrap() {
            spec[key] = value.clone();
        }
        default_pod(&mut spec);
        let mut errors = Vec::new();
        pod_spec(&spec, "spec", &mut errors);
        expect_errors(&errors, expect);
    }

    fn container(change: Value, expect: &[&str]) {
        let mut one = json!({"name": "c", "image": "web"});
        for (key, value) in change.as_object().unwrap() {
            one[key] = value.clone();
        }
        check(json!({"containers": [one], "volumes": [{"name": "v"}]}), expect);
    }

    #[test]
    fn pods() {
        check(json!({}), &[]);
        check(json!({"containers": []}), &["spec.containers: Required value"]);
        check(
            json!({"restartPolicy": "Maybe"}),
            &[
                r#"spec.restartPolicy: Unsupported value: "Maybe": supported values: "Always", "OnFailure", "Never""#,
            ],
        );
        check(json!({"dnsPolicy": "X"}), &["spec.dnsPolicy: Unsupported value"]);
        check(
            json!({"nodeSelector": {"a b": "c"}}),
            &[r#"spec.nodeSelector: Invalid value: "a b""#],
        );
        check(
            json!({"activeDeadlineSeconds": 0}),
            &["spec.activeDeadlineSeconds: Invalid value: 0: must be between"],
        );
        check(json!({"tolerations": [{"key": "a", "operator": "Exists"}]}), &[]);
        check(
            json!({"tolerations": [{"operator": "Like", "key": "a"}]}),
            &["spec.tolerations[0].operator: Unsupported value"],
        );
        check(
            json!({"securityContext": {"runAsUser": -1}}),
            &["spec.securityContext.runAsUser: Invalid value: -1"],
        );
    }

    #[test]
    fn containers() {
        container(json!({"name": ""}), &["spec.containers[0].name: Required value"]);
        container(
            json!({"name": "C"}),
            &[r#"spec.containers[0].name: Invalid value: "C": a lowercase RFC 1123 label"#],
        );
        container(json!({"image": ""}), &["spec.containers[0].image: Required value"]);
        container(json!({"image": " web"}), &["spec.containers[0].image: Invalid value"]);
        check(
            json!({"containers": [{"name": "c", "image": "a"}, {"name": "c", "image": "b"}]}),
            &[r#"spec.containers[1].name: Duplicate value: "c""#],
        );
        check(
            json!({"initContainers": [{"name": "c", "image": "a"}]}),
            &[r#"spec.containers[0].name: Duplicate value: "c""#],
        );
        container(
            json!({"imagePullPolicy": "X"}),
            &["spec.containers[0].imagePullPolicy: Unsupported value"],
        );
        container(json!({"ports": [{"containerPort": 80}]}), &[]);
        container(
            json!({"ports": [{"containerPort": 0}]}),
            &["spec.containers[0].ports[0].containerPort: Required value"],
        );
        container(
            json!({"ports": [{"containerPort": 70000}]}),
            &[
                "spec.containers[0].ports[0].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive",
            ],
        );
        container(
            json!({"ports": [{"containerPort": 1, "name": "a"}, {"containerPort": 2, "name": "a"}]}),
            &[r#"spec.containers[0].ports[1].name: Duplicate value: "a""#],
        );
        container(
            json!({"ports": [{"containerPort": 1, "protocol": "X"}]}),
            &["spec.containers[0].ports[0].protocol: Unsupported value"],
        );
        container(
            json!({"ports": [{"containerPort": 1, "hostPort": 5}, {"containerPort": 2, "hostPort": 5}]}),
            &[r#"spec.containers[0].ports[1].hostPort: Duplicate value: "TCP//5""#],
        );
    }

    #[test]
    fn environment() {
        container(json!({"env": [{"name": "A", "value": "b"}]}), &[]);
        container(
            json!({"env": [{"name": ""}]}),
            &["spec.containers[0].env[0].name: Required value"],
        );
        container(
            json!({"env": [{"name": "A=B"}]}),
            &["spec.containers[0].env[0].name: Invalid value"],
        );
        container(
            json!({"env": [{"name": "A", "value": "b", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]}),
            &[
                "spec.containers[0].env[0].valueFrom: Invalid value: \"\": may not be specified when `value` is not empty",
            ],
        );
        container(
            json!({"env": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.nothing"}}}]}),
            &["spec.containers[0].env[0].valueFrom.fieldRef.fieldPath: Unsupported value"],
        );
        container(
            json!({"env": [{"name": "A", "valueFrom": {}}]}),
            &["spec.containers[0].env[0].valueFrom: Invalid value"],
        );
        container(
            json!({"env": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['a']"}}}]}),
            &[],
        );
    }

    #[test]
    fn mounts_and_volumes() {
        container(json!({"volumeMounts": [{"name": "v", "mountPath": "/a"}]}), &[]);
        container(
            json!({"volumeMounts": [{"name": "w", "mountPath": "/a"}]}),
            &[r#"spec.containers[0].volumeMounts[0].name: Not found: "w""#],
        );
        container(
            json!({"volumeMounts": [{"name": "v"}]}),
            &["spec.containers[0].volumeMounts[0].mountPath: Required value"],
        );
        container(
            json!({"volumeMounts": [{"name": "v", "mountPath": "/a"}, {"name": "v", "mountPath": "/a"}]}),
            &[
                r#"spec.containers[0].volumeMounts[1].mountPath: Invalid value: "/a": must be unique"#,
            ],
        );
        container(
            json!({"volumeMounts": [{"name": "v", "mountPath": "/a", "subPath": "../b"}]}),
            &[
                "spec.containers[0].volumeMounts[0].subPath: Invalid value: \"../b\": must not contain '..'",
            ],
        );
        check(
            json!({"volumes": [{"name": "v"}, {"name": "v"}]}),
            &[r#"spec.volumes[1].name: Duplicate value: "v""#],
        );
        check(
            json!({"volumes": [{"name": "v", "emptyDir": {}, "hostPath": {"path": "/a"}}]}),
            &["spec.volumes[0].hostPath: Forbidden: may not specify more than 1 volume type"],
        );
        check(
            json!({"volumes": [{"name": "v", "hostPath": {}}]}),
            &["spec.volumes[0].hostPath.path: Required value"],
        );
        check(
            json!({"volumes": [{"name": "v", "hostPath": {"path": "/a", "type": "Odd"}}]}),
            &["spec.volumes[0].hostPath.type: Unsupported value"],
        );
        check(
            json!({"volumes": [{"name": "v", "configMap": {}}]}),
            &["spec.volumes[0].configMap.name: Required value"],
        );
        check(
            json!({"volumes": [{"name": "v", "secret": {}}]}),
            &["spec.volumes[0].secret.secretName: Required value"],
        );
    }

    #[test]
    fn resources() {
        container(json!({"resources": {"requests": {"cpu": "1"}, "limits": {"cpu": "2"}}}), &[]);
        container(
            json!({"resources": {"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}}),
            &[
                r#"spec.containers[0].resources.requests: Invalid value: "2": must be less than or equal to cpu limit of 1"#,
            ],
        );
        container(
            json!({"resources": {"requests": {"cpu": "-1"}}}),
            &[
                r#"spec.containers[0].resources.requests[cpu]: Invalid value: "-1": must be greater than or equal to 0"#,
            ],
        );
        container(
            json!({"resources": {"requests": {"memory": "lots"}}}),
            &[
                "spec.containers[0].resources.requests[memory]: Invalid value: \"lots\": quantities must match",
            ],
        );
        container(
            json!({"resources": {"requests": {"apples": "1"}}}),
            &[
                r#"spec.containers[0].resources.requests[apples]: Invalid value: "apples": must be a standard resource for containers"#,
            ],
        );
        container(json!({"resources": {"limits": {"example.com/apples": "1"}}}), &[]);
    }

    #[test]
    fn probes() {
        container(json!({"livenessProbe": {"exec": {"command": ["true"]}}}), &[]);
        container(
            json!({"livenessProbe": {}}),
            &["spec.containers[0].livenessProbe: Required value: must specify a handler type"],
        );
        container(
            json!({"livenessProbe": {"exec": {"command": ["true"]}, "successThreshold": 2}}),
            &["spec.containers[0].livenessProbe.successThreshold: Invalid value: 2: must be 1"],
        );
        container(
            json!({"readinessProbe": {"httpGet": {"port": 0}}}),
            &["spec.containers[0].readinessProbe.httpGet.port: Invalid value: 0"],
        );
        check(
            json!({"initContainers": [{"name": "i", "image": "a", "readinessProbe": {"exec": {"command": ["true"]}}}]}),
            &[
                "spec.initContainers[0].readinessProbe: Forbidden: may not be set for init containers without restartPolicy=Always",
            ],
        );
    }

    #[test]
    fn mistyped_input_never_panics() {
        let mut errors = Vec::new();
        for spec in [
            json!(null),
            json!(1),
            json!({"containers": {"a": 1}}),
            json!({"containers": [1, null, []], "volumes": ["x"], "tolerations": [null]}),
        ] {
            pod_spec(&spec, "spec", &mut errors);
        }
        assert!(!errors.is_empty());
    }
}
