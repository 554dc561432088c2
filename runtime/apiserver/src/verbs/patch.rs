//! Patches: three ways to say what changes, applied to the newest object.

use pintle_api::kinds::{Resource, Subresource};
use pintle_api::patch::{PatchError, json_patch, merge_patch, strategic_merge};
use pintle_api::schema;
use pintle_api::status::StatusError;
use serde_json::Value;

use super::update::{Change, check_version};
use super::{Preconditions, Target, Verbs, WriteOptions, Written, fields, metadata_str};
use crate::user::User;

/// A patch document by its kind.
#[derive(Debug, Clone)]
pub enum Patch {
    /// RFC 6902.
    Json(Value),
    /// RFC 7386.
    Merge(Value),
    /// Kubernetes' own, which knows how lists merge.
    Strategic(Value),
}

impl Patch {
    /// Applies the patch to an object of the given schema message.
    pub fn apply(&self, object: &mut Value, message: &str) -> Result<(), PatchError> {
        match self {
            Patch::Json(patch) => json_patch(object, patch),
            Patch::Merge(patch) => merge_patch(object, patch),
            Patch::Strategic(patch) => strategic_merge(object, patch, message),
        }
    }

    fn metadata(&self, field: &str) -> Option<String> {
        match self {
            Patch::Json(_) => None,
            Patch::Merge(patch) | Patch::Strategic(patch) => {
                let text = metadata_str(patch, field);
                (!text.is_empty()).then(|| text.to_string())
            }
        }
    }
}

impl Verbs {
    /// Patches an object or a subresource of it. Without a `resourceVersion`
    /// in the patch, a lost race means that it is applied again.
    #[allow(clippy::too_many_arguments)] // who, what (3), where (2) and how
    pub async fn patch(
        &self,
        user: &User,
        resource: &'static Resource,
        subresource: Option<Subresource>,
        namespace: &str,
        name: &str,
        patch: &Patch,
        options: &WriteOptions,
    ) -> Result<Written, StatusError> {
        if subresource == Some(Subresource::Scale) {
            return self.patch_scale(user, resource, namespace, name, patch, options).await;
        }
        let part = self.part(resource, subresource, "patch")?;
        let preconditions = Preconditions {
            uid: patch.metadata("uid"),
            resource_version: patch.metadata("resourceVersion"),
        };
        let row = self.storage_row(resource);
        let change = Change {
            target: Target {
                user,
                namespace,
                name,
                subresource: subresource.map_or("", Subresource::name),
                dry_run: options.dry_run,
            },
            row,
            part,
        };
        let mut warnings = Vec::new();
        let mut written = self
            .modify(&change, Vec::new(), |current, old| {
                check_version(row, name, &preconditions, current)?;
                let mut object = old.clone();
                if let Some(alias) = &resource.alias {
                    (alias.from_storage)(&mut object);
                }
                patch
                    .apply(&mut object, resource.schema)
                    .map_err(|error| refused(resource, name, &error))?;
                warnings = fields::check(
                    resource,
                    &mut object,
                    &options.duplicates,
                    options.field_validation,
                )?;
                check_patched(resource, name, old, current.revision, &object)?;
                self.to_storage(resource, &mut object);
                if subresource.is_none() {
                    row.apply_defaults(&mut object);
                }
                Ok(object)
            })
            .await?;
        warnings.append(&mut written.warnings);
        written.warnings = warnings;
        self.present(resource, written)
    }
}

/// A JSON patch may touch what other patches were checked for beforehand.
fn check_patched(
    resource: &Resource,
    name: &str,
    old: &Value,
    revision: u64,
    object: &Value,
) -> Result<(), StatusError> {
    super::create::check_kind(resource, object)?;
    if metadata_str(object, "name") != name
        || metadata_str(object, "namespace") != metadata_str(old, "namespace")
    {
        return Err(StatusError::bad_request(
            "a patch may not change the name or the namespace of an object",
        ));
    }
    let version = metadata_str(object, "resourceVersion");
    if !version.is_empty() && version.parse() != Ok(revision) {
        return Err(StatusError::modified(resource.group_resource(), name));
    }
    if metadata_str(object, "uid") != metadata_str(old, "uid") {
        let cause = format!(
            "Precondition failed: UID in precondition: {}, UID in object meta: {}",
            metadata_str(object, "uid"),
            metadata_str(old, "uid")
        );
        return Err(StatusError::conflict(resource.group_resource(), name, &cause));
    }
    Ok(())
}

pub(super) fn refused(resource: &Resource, name: &str, error: &PatchError) -> StatusError {
    let reason = match error.code() {
        413 => "RequestEntityTooLarge",
        415 => "UnsupportedMediaType",
        422 => "Invalid",
        _ => return StatusError::bad_request(error.to_string()),
    };
    let mut status = StatusError::new(
        error.code(),
        reason,
        match reason {
            "Invalid" => {
                "the server rejected our request due to an error in our request".to_string()
            }
            _ => error.to_string(),
        },
    );
    if reason == "Invalid" {
        status.0.message = format!("{}: {error}", status.0.message);
        status.0.details = Some(pintle_api::status::StatusDetails {
            name: name.to_string(),
            group: resource.group.to_string(),
            kind: resource.plural.to_string(),
            causes: vec![pintle_api::status::StatusCause {
                reason: "FieldValueInvalid".to_string(),
                message: error.to_string(),
                field: "patch".to_string(),
            }],
            ..Default::default()
        });
    }
    status
}

/// Reads a patch document; duplicates in it are reported like in any body.
pub fn parse_document(bytes: &[u8]) -> Result<(Value, Vec<String>), StatusError> {
    schema::decode_json_strict(bytes)
        .map_err(|error| StatusError::bad_request(format!("error decoding patch: {error}")))
}
