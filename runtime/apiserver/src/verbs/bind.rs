//! Binding: a pod gets its node, once.

use pintle_api::kinds::{Resource, Subresource};
use pintle_api::meta::{GroupKind, GroupResource};
use pintle_api::status::{FieldError, StatusError};
use pintle_api::time;
use serde_json::{Value, json};

use super::update::{Change, Part, check_version};
use super::{Preconditions, Target, Verbs, WriteOptions, Written, fields, metadata_str};
use crate::user::User;

const BINDING_RESOURCE: GroupResource<'static> = GroupResource::new("", "pods/binding");

impl Verbs {
    /// Binds a pod as a `Binding` object says.
    pub async fn bind(
        &self,
        user: &User,
        pods: &'static Resource,
        namespace: &str,
        name: &str,
        mut binding: Value,
        options: &WriteOptions,
    ) -> Result<Written, StatusError> {
        if !pods.has(Subresource::Binding) {
            return Err(StatusError::method_not_allowed(pods.group_resource(), "bind"));
        }
        fields::check_message(
            "core.v1.Binding",
            "Binding",
            "v1",
            &mut binding,
            &options.duplicates,
            options.field_validation,
        )?;
        let node = check_binding(name, &binding)?.to_string();
        let preconditions = Preconditions {
            uid: Some(metadata_str(&binding, "uid").to_string()).filter(|uid| !uid.is_empty()),
            resource_version: Some(metadata_str(&binding, "resourceVersion").to_string())
                .filter(|version| !version.is_empty()),
        };
        let now = time::format_seconds(self.clock.now_unix_ms());
        let change = Change {
            target: Target {
                user,
                namespace,
                name,
                subresource: "binding",
                dry_run: options.dry_run,
            },
            row: pods,
            part: Part::Prepared,
        };
        let metadata = binding.get("metadata").unwrap_or(&Value::Null);
        self.modify(&change, Vec::new(), |current, old| {
            check_version(pods, name, &preconditions, current)?;
            check_pod(name, old)?;
            let mut pod = old.clone();
            pod["spec"]["nodeName"] = node.as_str().into();
            for map in ["labels", "annotations"] {
                merge_map(&mut pod["metadata"], map, metadata);
            }
            set_scheduled(&mut pod, &now);
            Ok(pod)
        })
        .await
    }

    /// Binds a pod to a node by name; what a scheduler's decision comes to.
    pub async fn bind_to_node(
        &self,
        user: &User,
        pods: &'static Resource,
        namespace: &str,
        name: &str,
        uid: &str,
        node: &str,
    ) -> Result<Written, StatusError> {
        let binding = json!({
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": name, "namespace": namespace, "uid": uid},
            "target": {"apiVersion": "v1", "kind": "Node", "name": node},
        });
        self.bind(user, pods, namespace, name, binding, &WriteOptions::default()).await
    }
}

fn check_binding<'a>(name: &str, binding: &'a Value) -> Result<&'a str, StatusError> {
    let text = |pointer: &str| binding.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let sent = text("/metadata/name");
    if !sent.is_empty() && sent != name {
        return Err(StatusError::bad_request("name in URL does not match name in Binding object"));
    }
    let mut errors = Vec::new();
    let kind = text("/target/kind");
    if !kind.is_empty() && kind != "Node" {
        errors.push(FieldError::not_supported("target.kind", kind, &["Node", "<empty>"]));
    }
    if text("/target/name").is_empty() {
        errors.push(FieldError::required("target.name", ""));
    }
    if !errors.is_empty() {
        return Err(StatusError::invalid(GroupKind::new("", "Binding"), name, errors));
    }
    Ok(binding.pointer("/target/name").and_then(Value::as_str).unwrap_or_default())
}

fn check_pod(name: &str, pod: &Value) -> Result<(), StatusError> {
    let conflict = |cause: &str| Err(StatusError::conflict(BINDING_RESOURCE, name, cause));
    if pod["metadata"]["deletionTimestamp"].is_string() {
        return conflict(&format!("pod {name} is being deleted, cannot be assigned to a host"));
    }
    let node = pod["spec"]["nodeName"].as_str().unwrap_or_default();
    if !node.is_empty() {
        return conflict(&format!("pod {name} is already assigned to node {node:?}"));
    }
    if pod["spec"]["schedulingGates"].as_array().is_some_and(|gates| !gates.is_empty()) {
        return conflict(&format!("pod {name} has non-empty .spec.schedulingGates"));
    }
    Ok(())
}

fn merge_map(metadata: &mut Value, field: &str, from: &Value) {
    let Some(from) = from.get(field).and_then(Value::as_object).filter(|from| !from.is_empty())
    else {
        return;
    };
    let into = &mut metadata[field];
    if !into.is_object() {
        *into = json!({});
    }
    for (key, value) in from {
        into[key] = value.clone();
    }
}

fn set_scheduled(pod: &mut Value, now: &str) {
    let scheduled = json!({
        "type": "PodScheduled",
        "status": "True",
        "lastTransitionTime": now,
    });
    if !pod["status"].is_object() {
        pod["status"] = json!({});
    }
    let conditions = &mut pod["status"]["conditions"];
    if !conditions.is_array() {
        *conditions = json!([]);
    }
    if let Some(conditions) = conditions.as_array_mut() {
        conditions.retain(|condition| condition["type"] != "PodScheduled");
        conditions.push(scheduled);
    }
}
