//! Binding: a pod gets its node, once.

use pintle_api::kinds::{Resource, Subresource};
use pintle_api::meta::{GroupKind, GroupResource};
use pintle_api::status::{FieldError, StatusError};
use pintle_api::time;
use serde_json::{Value, json};

use super::update::check_version;
use super::{Preconditions, Target, Verbs, WriteOptions, Written, fields};
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
        let node = check_binding(name, &binding)?;
        let metadata = binding.get("metadata").unwrap_or(&Value::Null);
        let text = |field: &str| {
            let text = metadata.get(field).and_then(Value::as_str).unwrap_or_default();
            Some(text.to_owned()).filter(|text| !text.is_empty())
        };
        let preconditions =
            Preconditions { uid: text("uid"), resource_version: text("resourceVersion") };
        let target = binding_of(user, namespace, name, options.dry_run);
        self.assign(pods, &target, node, &preconditions, metadata).await
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
        let uid = Some(uid.to_owned()).filter(|uid| !uid.is_empty());
        let preconditions = Preconditions { uid, resource_version: None };
        let target = binding_of(user, namespace, name, false);
        self.assign(pods, &target, node, &preconditions, &Value::Null).await
    }

    async fn assign(
        &self,
        pods: &'static Resource,
        target: &Target<'_>,
        node: &str,
        preconditions: &Preconditions,
        metadata: &Value,
    ) -> Result<Written, StatusError> {
        let now = time::format_seconds(self.clock.now_unix_ms());
        self.amend(pods, target, |current, pod| {
            check_version(pods, target.name, preconditions, current)?;
            check_pod(target.name, pod)?;
            pod["spec"]["nodeName"] = node.into();
            for map in ["labels", "annotations"] {
                merge_map(&mut pod["metadata"], map, metadata);
            }
            set_scheduled(pod, &now);
            Ok(())
        })
        .await
    }
}

fn binding_of<'a>(user: &'a User, namespace: &'a str, name: &'a str, dry_run: bool) -> Target<'a> {
    Target { user, namespace, name, subresource: "binding", dry_run }
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
    let mut scheduled = json!({
        "type": "PodScheduled",
        "status": "True",
        "lastTransitionTime": now,
    });
    if let Some(generation) = pod["metadata"]["generation"].as_i64() {
        scheduled["observedGeneration"] = generation.into();
    }
    if !pod["status"].is_object() {
        pod["status"] = json!({});
    }
    // It named a node to wait for; now the pod has one.
    if let Some(status) = pod["status"].as_object_mut() {
        status.remove("nominatedNodeName");
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
