//! The scale subresource: `autoscaling/v1` Scale as a view of a workload.

use pintle_api::kinds::{Resource, Subresource, apply_scale, to_scale};
use pintle_api::status::StatusError;
use serde_json::Value;

use super::patch::{Patch, refused};
use super::update::{Change, Part, check_version, parse};
use super::{Preconditions, Target, Verbs, WriteOptions, Written, fields, metadata_str};
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
        Ok(to_scale(&parse(&*self.get(resource, namespace, name)?)?))
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
            let mut scale = to_scale(old);
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
                let mut object = old.clone();
                apply_scale(&mut object, &scale(old)?)?;
                Ok(object)
            })
            .await?;
        let scaled = to_scale(&written.to_value()?);
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
