//! The rules of containers: names, ports, environment, mounts, resources, probes.

use std::collections::BTreeSet;

use serde_json::Value;

use super::super::json::{bool_at, is_set, items, object_at, str_at, value_at};
use super::super::validation::{Check, quantity};
use super::spec::{is_sidecar, security};
use super::volume::relative;
use crate::names;

const PULL_POLICIES: &[&str] = &["Always", "IfNotPresent", "Never"];
const PROTOCOLS: &[&str] = &["SCTP", "TCP", "UDP"];
const FIELD_PATHS: &[&str] = &[
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];
const HANDLERS: &[&str] = &["exec", "httpGet", "tcpSocket", "grpc", "sleep"];

/// Checks all containers of a pod; `volumes` are the names that mounts may use.
pub(super) fn validate(spec: &Value, volumes: &BTreeSet<&str>, check: &mut Check<'_>) {
    let mut all = Seen::default();
    for (index, container) in items(spec, &["initContainers"]).iter().enumerate() {
        let mut check = check.item("initContainers", index);
        one(container, spec, volumes, &mut all, &mut check);
        init_only(container, &mut check);
    }
    let containers = items(spec, &["containers"]);
    if containers.is_empty() {
        check.required("containers", "");
    }
    for (index, container) in containers.iter().enumerate() {
        let mut check = check.item("containers", index);
        one(container, spec, volumes, &mut all, &mut check);
    }
}

/// What must be unique in the whole pod.
#[derive(Default)]
struct Seen<'v> {
    names: BTreeSet<&'v str>,
    host_ports: BTreeSet<String>,
}

fn one<'v>(
    container: &'v Value,
    spec: &Value,
    volumes: &BTreeSet<&str>,
    seen: &mut Seen<'v>,
    check: &mut Check<'_>,
) {
    let name = str_at(container, &["name"]);
    if name.is_empty() {
        check.required("name", "");
    } else if let Some(message) = names::dns_label(name) {
        check.invalid("name", name, message);
    } else if !seen.names.insert(name) {
        check.duplicate("name", name);
    }
    let image = str_at(container, &["image"]);
    if image.is_empty() {
        check.required("image", "");
    } else if image.trim() != image {
        check.invalid("image", image, "must not have leading or trailing whitespace");
    }
    match str_at(container, &["imagePullPolicy"]) {
        "" => check.required("imagePullPolicy", ""),
        _ => check.one_of(container, "imagePullPolicy", PULL_POLICIES),
    }
    check.one_of(container, "terminationMessagePolicy", &["FallbackToLogsOnError", "File"]);
    ports(container, bool_at(spec, &["hostNetwork"]), &mut seen.host_ports, check);
    environment(container, check);
    mounts(container, volumes, check);
    resources(value_at(container, &["resources"]), &mut check.field("resources"));
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if is_set(container, name) {
            probe(&container[name], name != "readinessProbe", &mut check.field(name));
        }
    }
    for name in ["postStart", "preStop"] {
        let hook = value_at(container, &["lifecycle", name]);
        if hook.is_object() {
            handler(hook, &mut check.field("lifecycle").field(name));
        }
    }
    let context = value_at(container, &["securityContext"]);
    let mut check = check.field("securityContext");
    security(context, &mut check);
    if bool_at(context, &["privileged"])
        && value_at(context, &["allowPrivilegeEscalation"]).as_bool() == Some(false)
    {
        check.invalid(
            "allowPrivilegeEscalation",
            false,
            "cannot set `allowPrivilegeEscalation` to false and `privileged` to true",
        );
    }
}

fn init_only(container: &Value, check: &mut Check<'_>) {
    check.one_of(container, "restartPolicy", &["Always"]);
    if is_sidecar(container) {
        return;
    }
    for field in ["lifecycle", "livenessProbe", "readinessProbe", "startupProbe"] {
        if is_set(container, field) {
            check.forbidden(
                field,
                "may not be set for init containers without restartPolicy=Always",
            );
        }
    }
}

fn ports(
    container: &Value,
    host_network: bool,
    used: &mut BTreeSet<String>,
    check: &mut Check<'_>,
) {
    let mut seen = BTreeSet::new();
    for (index, port) in items(container, &["ports"]).iter().enumerate() {
        let mut check = check.item("ports", index);
        let name = str_at(port, &["name"]);
        if !name.is_empty() {
            if let Some(message) = names::port_name(name) {
                check.invalid("name", name, message);
            } else if !seen.insert(name) {
                check.duplicate("name", name);
            }
        }
        let number = value_at(port, &["containerPort"]).as_i64().unwrap_or_default();
        if number == 0 {
            check.required("containerPort", "");
        } else {
            check.port(port, "containerPort");
        }
        let protocol = str_at(port, &["protocol"]);
        if protocol.is_empty() {
            check.required("protocol", "");
        } else {
            check.one_of(port, "protocol", PROTOCOLS);
        }
        let host_port = value_at(port, &["hostPort"]).as_i64().unwrap_or_default();
        if host_port != 0 {
            check.port(port, "hostPort");
            if host_network && host_port != number {
                check.invalid(
                    "hostPort",
                    host_port,
                    "must match `containerPort` when `hostNetwork` is true",
                );
            }
            let key = format!("{protocol}/{}/{host_port}", str_at(port, &["hostIP"]));
            if used.contains(&key) {
                check.duplicate("hostPort", key);
            } else {
                used.insert(key);
            }
        }
    }
}

fn environment(container: &Value, check: &mut Check<'_>) {
    for (index, variable) in items(container, &["env"]).iter().enumerate() {
        let mut check = check.item("env", index);
        let name = str_at(variable, &["name"]);
        if name.is_empty() {
            check.required("name", "");
        } else if let Some(message) = names::env_var_name(name) {
            check.invalid("name", name, message);
        }
        if is_set(variable, "valueFrom") {
            value_from(variable, &mut check.field("valueFrom"));
        }
    }
    for (index, source) in items(container, &["envFrom"]).iter().enumerate() {
        let mut check = check.item("envFrom", index);
        let kinds: Vec<&str> =
            ["configMapRef", "secretRef"].into_iter().filter(|kind| is_set(source, kind)).collect();
        match kinds.as_slice() {
            [] => check.invalid("", "", "must specify one of: `configMapRef` or `secretRef`"),
            [kind] => {
                if str_at(source, &[kind, "name"]).is_empty() {
                    check.field(kind).required("name", "");
                }
            }
            _ => check.invalid("", "", "may not have more than one field specified at a time"),
        }
    }
}

fn value_from(variable: &Value, check: &mut Check<'_>) {
    let source = &variable["valueFrom"];
    let kinds: Vec<&str> =
        ["fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef", "fileKeyRef"]
            .into_iter()
            .filter(|kind| is_set(source, kind))
            .collect();
    match kinds.as_slice() {
        [] => check.invalid(
            "",
            "",
            "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`",
        ),
        _ if !str_at(variable, &["value"]).is_empty() => {
            check.invalid("", "", "may not be specified when `value` is not empty");
        }
        ["fieldRef"] => field_ref(&source["fieldRef"], &mut check.field("fieldRef")),
        ["resourceFieldRef"] => {
            if str_at(source, &["resourceFieldRef", "resource"]).is_empty() {
                check.field("resourceFieldRef").required("resource", "");
            }
        }
        [kind @ ("configMapKeyRef" | "secretKeyRef")] => {
            let mut check = check.field(kind);
            for field in ["name", "key"] {
                if str_at(source, &[kind, field]).is_empty() {
                    check.required(field, "");
                }
            }
        }
        [_] => {}
        _ => check.invalid("", "", "may not have more than one field specified at a time"),
    }
}

fn field_ref(reference: &Value, check: &mut Check<'_>) {
    let path = str_at(reference, &["fieldPath"]);
    if path.is_empty() {
        check.required("fieldPath", "");
        return;
    }
    let keyed = |of: &str| {
        path.strip_prefix(of)
            .and_then(|rest| rest.strip_prefix("['"))
            .and_then(|rest| rest.strip_suffix("']"))
    };
    match keyed("metadata.labels").or_else(|| keyed("metadata.annotations")) {
        Some(key) => {
            if let Some(message) = names::qualified_name(&key.to_lowercase()) {
                check.invalid("fieldPath", key, message);
            }
        }
        None if !FIELD_PATHS.contains(&path) => check.not_supported("fieldPath", path, FIELD_PATHS),
        None => {}
    }
}

fn mounts(container: &Value, volumes: &BTreeSet<&str>, check: &mut Check<'_>) {
    let mut paths = BTreeSet::new();
    for (index, mount) in items(container, &["volumeMounts"]).iter().enumerate() {
        let mut check = check.item("volumeMounts", index);
        let name = str_at(mount, &["name"]);
        if name.is_empty() {
            check.required("name", "");
        } else if !volumes.contains(name) {
            let path = check.path("name");
            check.errors().push(crate::status::FieldError::not_found(path, name));
        }
        let path = str_at(mount, &["mountPath"]);
        if path.is_empty() {
            check.required("mountPath", "");
        } else if !paths.insert(path) {
            check.invalid("mountPath", path, "must be unique");
        }
        relative(mount, "subPath", false, &mut check);
        relative(mount, "subPathExpr", false, &mut check);
        check.one_of(mount, "mountPropagation", &["Bidirectional", "HostToContainer", "None"]);
    }
}

fn resources(resources: &Value, check: &mut Check<'_>) {
    for field in ["limits", "requests"] {
        for name in object_at(resources, &[field]).into_iter().flatten().map(|(name, _)| name) {
            let standard = matches!(name.as_str(), "cpu" | "memory" | "ephemeral-storage")
                || name.starts_with("hugepages-");
            if !name.contains('/') && !standard {
                let path = format!("{field}[{name}]");
                check.invalid(&path, name.as_str(), "must be a standard resource for containers");
            }
        }
        check.quantities(resources, field);
    }
    let limits = value_at(resources, &["limits"]);
    for (name, request) in object_at(resources, &["requests"]).into_iter().flatten() {
        let (Ok(request), Some(Ok(limit))) = (quantity(request), limits.get(name).map(quantity))
        else {
            continue;
        };
        let overcommits = matches!(name.as_str(), "cpu" | "memory" | "ephemeral-storage");
        if request > limit {
            let detail = format!("must be less than or equal to {name} limit of {limit}");
            check.invalid("requests", request.to_string(), detail);
        } else if request != limit && !overcommits {
            let detail = format!("must be equal to {name} limit of {limit}");
            check.invalid("requests", request.to_string(), detail);
        }
    }
}

fn probe(probe: &Value, restarts: bool, check: &mut Check<'_>) {
    handler(probe, check);
    for field in [
        "initialDelaySeconds",
        "timeoutSeconds",
        "periodSeconds",
        "successThreshold",
        "failureThreshold",
    ] {
        check.not_negative(probe, field);
    }
    if restarts {
        let threshold = value_at(probe, &["successThreshold"]).as_i64().unwrap_or(1);
        if threshold != 1 {
            check.invalid("successThreshold", threshold, "must be 1");
        }
    }
}

fn handler(handler: &Value, check: &mut Check<'_>) {
    let mut kinds = HANDLERS.iter().copied().filter(|kind| is_set(handler, kind));
    let Some(kind) = kinds.next() else {
        check.required("", "must specify a handler type");
        return;
    };
    for extra in kinds {
        check.forbidden(extra, "may not specify more than 1 handler type");
    }
    let action = &handler[kind];
    let mut check = check.field(kind);
    match kind {
        "exec" if items(action, &["command"]).is_empty() => check.required("command", ""),
        "httpGet" => {
            if str_at(action, &["path"]).is_empty() {
                check.required("path", "");
            }
            check.port_or_name(action, "port");
            check.one_of(action, "scheme", &["HTTP", "HTTPS"]);
        }
        "tcpSocket" => check.port_or_name(action, "port"),
        "grpc" => check.port(action, "port"),
        _ => {}
    }
}
