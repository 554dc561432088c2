//! The scale subresource: `autoscaling/v1` Scale as a view of a workload.

use pintle_api::kinds::{Resource, Subresource};
use pintle_api::meta::GroupKind;
use pintle_api::selector::LabelSelector;
use pintle_api::status::{FieldError, StatusError};
use serde_json::{Value, json};

use super::patch::{Patch, refused};
use super::update::{Change, Part, check_version, parse};
use super::{Preconditions, Target, Verbs, WriteOptions, Written, fields, metadata, metadata_str};
use crate::user::User;

const SCALE_MESSAGE: &str = "autoscaling.v1.Scale";

impl Verbs {
    pub fn get_scale(
        &self,
        resource: &Resource,
        namespace: &str,
        name: &str,
    ) -> Result<Value, StatusError> {
        if !resource.has(Subresource::Scale) {
            return Err(StatusError::no_such_resource());
        }
        Ok(view(&parse(&*self.get(resource, namespace, name)?)?))
    }

    pub async fn update_scale(
        &self,
        user: &User,
        resource: &'static Resource,
        namespace: &str,
        name: &str,
        mut scale: Value,
        options: &WriteOptions,
    ) -> Result<Written, StatusError> {
        let warnings = check(&mut scale, options)?;
        let sent = metadata_str(&scale, "name");
        if !sent.is_empty() && sent != name {
            return Err(StatusError::bad_request(format!(
                "the name of the object ({sent}) does not match the name on the URL ({name})"
            )));
        }
        let preconditions = preconditions(&scale);
        self.set_replicas(
            user,
            resource,
            namespace,
            name,
            options,
            warnings,
            &preconditions,
            |_| Ok(scale.clone()),
        )
        .await
    }

    pub(super) async fn patch_scale(
        &self,
        user: &User,
        resource: &'static Resource,
        namespace: &str,
        name: &str,
        patch: &Patch,
        options: &WriteOptions,
    ) -> Result<Written, StatusError> {
        let none = Preconditions::default();
        self.set_replicas(user, resource, namespace, name, options, Vec::new(), &none, |old| {
            let mut scale = view(old);
            patch
                .apply(&mut scale, SCALE_MESSAGE)
                .map_err(|error| refused(resource, name, &error))?;
            check(&mut scale, options)?;
            let version = metadata_str(&scale, "resourceVersion");
            if !version.is_empty() && version != metadata_str(old, "resourceVersion") {
                return Err(StatusError::modified(resource.group_resource(), name));
            }
            Ok(scale)
        })
        .await
    }

    #[allow(clippy::too_many_arguments)] // who, what, where, how and on which conditions
    async fn set_replicas(
        &self,
        user: &User,
        resource: &'static Resource,
        namespace: &str,
        name: &str,
        options: &WriteOptions,
        warnings: Vec<String>,
        preconditions: &Preconditions,
        scale: impl Fn(&Value) -> Result<Value, StatusError>,
    ) -> Result<Written, StatusError> {
        if !resource.has(Subresource::Scale) {
            return Err(StatusError::no_such_resource());
        }
        let change = Change {
            target: Target {
                user,
                namespace,
                name,
                subresource: "scale",
                dry_run: options.dry_run,
            },
            row: resource,
            part: Part::Main,
        };
        let mut written = self
            .modify(&change, warnings, |current, old| {
                check_version(resource, name, preconditions, current)?;
                let replicas = replicas(name, &scale(old)?)?;
                let mut object = old.clone();
                object["spec"]["replicas"] = replicas.into();
                Ok(object)
            })
            .await?;
        let scaled = view(&written.to_value()?);
        written.bytes = serde_json::to_vec(&scaled).map_err(StatusError::internal)?.into();
        Ok(written)
    }
}

fn check(scale: &mut Value, options: &WriteOptions) -> Result<Vec<String>, StatusError> {
    fields::check_message(
        SCALE_MESSAGE,
        "Scale",
        "autoscaling/v1",
        scale,
        &options.duplicates,
        options.field_validation,
    )
}

fn preconditions(scale: &Value) -> Preconditions {
    let given =
        |field: &str| Some(metadata_str(scale, field).to_string()).filter(|text| !text.is_empty());
    Preconditions { uid: given("uid"), resource_version: given("resourceVersion") }
}

fn replicas(name: &str, scale: &Value) -> Result<i64, StatusError> {
    let replicas = scale.pointer("/spec/replicas").and_then(Value::as_i64).unwrap_or(0);
    if replicas < 0 {
        let error =
            FieldError::invalid("spec.replicas", replicas, "must be greater than or equal to 0");
        return Err(StatusError::invalid(
            GroupKind::new("autoscaling", "Scale"),
            name,
            vec![error],
        ));
    }
    Ok(replicas)
}

fn view(object: &Value) -> Value {
    let number = |pointer: &str| object.pointer(pointer).and_then(Value::as_i64).unwrap_or(0);
    let selector = object
        .pointer("/spec/selector")
        .and_then(|selector| LabelSelector::from_json(selector).ok())
        .map(|selector| selector.to_string())
        .unwrap_or_default();
    json!({
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {
            "name": metadata(object, "name"),
            "namespace": metadata(object, "namespace"),
            "uid": metadata(object, "uid"),
            "resourceVersion": metadata(object, "resourceVersion"),
            "creationTimestamp": metadata(object, "creationTimestamp"),
        },
        "spec": {"replicas": number("/spec/replicas")},
        "status": {"replicas": number("/status/replicas"), "selector": selector},
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scale_shows_wanted_and_present_replicas() {
        let scale = view(&json!({
            "metadata": {"name": "web", "namespace": "a", "uid": "u", "resourceVersion": "7"},
            "spec": {"replicas": 3, "selector": {"matchLabels": {"app": "web"}}},
            "status": {"replicas": 2},
        }));
        assert_eq!(scale["spec"]["replicas"], 3);
        assert_eq!(scale["status"], json!({"replicas": 2, "selector": "app=web"}));
        assert_eq!(scale["metadata"]["resourceVersion"], "7");
    }

    #[test]
    fn replicas_are_not_negative() {
        let error = replicas("web", &json!({"spec": {"replicas": -1}})).unwrap_err();
        assert_eq!(
            error.to_string(),
            "Scale.autoscaling \"web\" is invalid: spec.replicas: Invalid value: -1: must be greater than or equal to 0"
        );
    }
}
