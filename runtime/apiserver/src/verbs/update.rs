//! Update: compare, prepare, admit, validate, compare-and-swap. Patches, scale
//! and binding all end here.

use std::sync::Arc;

use bytes::Bytes;
use pintle_api::kinds::{Resource, Subresource};
use pintle_api::status::StatusError;
use pintle_storage::{Expect, Guard};
use pintle_watch::Object;
use serde_json::Value;

use super::claims::{self, Asked, Holding};
use super::commit::Attempt;
use super::create::{check_kind, check_namespace};
use super::{
    MAX_ATTEMPTS, Preconditions, Target, Verbs, WriteOptions, Written, check_uid, fields,
    is_empty_list, metadata, metadata_str, set_metadata,
};
use crate::admission::Operation;
use crate::user::User;

/// Which part of the object a write may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Main,
    Status,
    /// `spec.finalizers` of namespaces.
    Finalizers,
    /// `status.conditions` of requests that somebody decides about.
    Approval,
    /// The caller has made the change itself, from the current object.
    Prepared,
}

impl Part {
    fn of(subresource: Option<Subresource>) -> Option<Part> {
        match subresource {
            None => Some(Part::Main),
            Some(Subresource::Status) => Some(Part::Status),
            Some(Subresource::Finalize) => Some(Part::Finalizers),
            Some(Subresource::Approval) => Some(Part::Approval),
            Some(_) => None,
        }
    }
}

/// A write in the making: where, by whom, and how.
pub(super) struct Change<'a> {
    pub target: Target<'a>,
    pub row: &'static Resource,
    pub part: Part,
}

impl Verbs {
    /// Replaces an object, or with a subresource its status, scale or finalizers. An
    /// object without `resourceVersion` is written unconditionally.
    #[allow(clippy::too_many_arguments)] // who, what (3), where (2) and how
    pub async fn update(
        &self,
        user: &User,
        resource: &'static Resource,
        subresource: Option<Subresource>,
        namespace: &str,
        name: &str,
        mut object: Value,
        options: &WriteOptions,
    ) -> Result<Written, StatusError> {
        if subresource == Some(Subresource::Scale) {
            return self.update_scale(user, resource, namespace, name, object, options).await;
        }
        let part = self.part(resource, subresource, "update")?;
        let warnings =
            fields::check(resource, &mut object, &options.duplicates, options.field_validation)?;
        check_kind(resource, &object)?;
        check_namespace(resource, namespace, &object)?;
        check_name(name, &object)?;
        let row = self.to_storage(resource, &mut object);
        if part == Part::Main {
            row.apply_defaults(&mut object);
        }
        let preconditions = Preconditions {
            uid: non_empty(metadata_str(&object, "uid")),
            resource_version: non_empty(metadata_str(&object, "resourceVersion")),
        };
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
        let written = self
            .modify(&change, warnings, |current, _| {
                check_version(row, name, &preconditions, current)?;
                Ok(object.clone())
            })
            .await?;
        self.present(resource, written)
    }

    pub(super) fn part(
        &self,
        resource: &Resource,
        subresource: Option<Subresource>,
        action: &str,
    ) -> Result<Part, StatusError> {
        Part::of(subresource)
            .ok_or_else(|| StatusError::method_not_allowed(resource.group_resource(), action))
    }

    /// Reads, changes and writes until no other write comes in between.
    /// `change` gets the current object and its parsed form and returns the
    /// new one; it runs again after a lost race, and its errors end the loop.
    pub(super) async fn modify(
        &self,
        change: &Change<'_>,
        warnings: Vec<String>,
        mut new: impl FnMut(&Object, &Value) -> Result<Value, StatusError>,
    ) -> Result<Written, StatusError> {
        let (row, target) = (change.row, &change.target);
        for _ in 0..MAX_ATTEMPTS {
            let current = self.get(row, target.namespace, target.name)?;
            let old = parse(&current)?;
            let object = new(&current, &old)?;
            let mut warnings = warnings.clone();
            if let Some((bytes, revision)) =
                self.replace(change, &current, &old, object, &mut warnings).await?
            {
                return Ok(Written { bytes, revision, warnings });
            }
        }
        Err(StatusError::modified(row.group_resource(), target.name))
    }

    /// One attempt; `None` when another write came first.
    async fn replace(
        &self,
        change: &Change<'_>,
        current: &Arc<Object>,
        old: &Value,
        mut new: Value,
        warnings: &mut Vec<String>,
    ) -> Result<Option<(Bytes, u64)>, StatusError> {
        let (row, target) = (change.row, &change.target);
        match change.part {
            Part::Main => row.prepare_update(&mut new, old),
            Part::Status => row.prepare_status(&mut new, old, self.clock.now_unix_ms()),
            Part::Approval => row.prepare_approval(&mut new, old, self.clock.now_unix_ms()),
            Part::Finalizers => row.prepare_finalize(&mut new, old),
            Part::Prepared => {}
        }
        let asked = Asked::of(row, &new);
        if change.part != Part::Prepared {
            self.admit(Operation::Update, row, target, &mut new, Some(old), warnings).await?;
        }
        match change.part {
            Part::Main => row.check(&new, Some(old))?,
            Part::Status => row.check_status(&new, old)?,
            Part::Approval => row.check_approval(&new, old)?,
            Part::Finalizers | Part::Prepared => {}
        }
        set_metadata(&mut new, "resourceVersion", metadata(old, "resourceVersion").clone());
        if new == *old && !is_finished(row, &new) {
            return Ok(Some((current.bytes.clone(), current.revision)));
        }
        let holdings = Holdings { before: claims::keys(row, old), asked };
        self.store(row, target, current, &new, holdings).await
    }

    /// Reads, changes and writes until no other write comes in between, as
    /// [`Verbs::modify`] does, for a change that the server makes by itself and
    /// that is one: nobody reviews it, and no state before is kept to compare.
    pub(super) async fn amend(
        &self,
        row: &'static Resource,
        target: &Target<'_>,
        mut edit: impl FnMut(&Object, &mut Value) -> Result<(), StatusError>,
    ) -> Result<Written, StatusError> {
        for _ in 0..MAX_ATTEMPTS {
            let current = self.get(row, target.namespace, target.name)?;
            let mut object = parse(&current)?;
            let before = claims::keys(row, &object);
            edit(&current, &mut object)?;
            let holdings = Holdings { before, asked: Asked::of(row, &object) };
            if let Some((bytes, revision)) =
                self.store(row, target, &current, &object, holdings).await?
            {
                return Ok(Written { bytes, revision, warnings: Vec::new() });
            }
        }
        Err(StatusError::modified(row.group_resource(), target.name))
    }

    /// Writes the next state of `current`, or removes it if that was its last;
    /// `None` when another write came first.
    async fn store(
        &self,
        row: &Resource,
        target: &Target<'_>,
        current: &Object,
        new: &Value,
        holdings: Holdings,
    ) -> Result<Option<(Bytes, u64)>, StatusError> {
        let encoded = self.encode(new)?;
        if target.dry_run {
            return Ok(Some((encoded.with_revision(Some(current.revision)), current.revision)));
        }
        let Holdings { before, asked } = holdings;
        let key = Bytes::from(row.key(target.namespace, target.name));
        if is_finished(row, new) {
            let holding = Holding::between(before, Vec::new());
            return Ok(match self.remove(key, current.revision, &holding).await? {
                Attempt::Lost(_) => None,
                Attempt::Done(revision) => Some((encoded.with_revision(Some(revision)), revision)),
            });
        }
        let guard = Guard { key: key.clone(), expect: Expect::ModRevision(current.revision) };
        let holding = Holding::between(before, claims::keys(row, new));
        Ok(match self.put(row, key, encoded, vec![guard], &holding).await? {
            Attempt::Lost(lost) if claims::is_claim(row, &lost) => {
                asked.lost(row, target.name, &lost)?;
                None
            }
            Attempt::Lost(_) => None,
            Attempt::Done(done) => Some(done),
        })
    }
}

/// What an object held before a write, and what the write asks for by itself.
struct Holdings {
    before: Vec<Bytes>,
    asked: Asked,
}

/// An object that is being deleted goes when nothing holds it any more: no
/// finalizer, no grace period, and for namespaces nothing in `spec.finalizers`.
pub(super) fn is_finished(row: &Resource, object: &Value) -> bool {
    metadata(object, "deletionTimestamp").is_string()
        && is_empty_list(metadata(object, "finalizers"))
        && metadata(object, "deletionGracePeriodSeconds").as_i64().unwrap_or(0) == 0
        && !holds_itself(row, object)
}

/// Kinds with a `finalize` subresource have finalizers in their spec.
pub(super) fn holds_itself(row: &Resource, object: &Value) -> bool {
    row.has(Subresource::Finalize) && !object.pointer("/spec/finalizers").is_none_or(is_empty_list)
}

pub(super) fn parse(object: &Object) -> Result<Value, StatusError> {
    serde_json::from_slice(&object.bytes).map_err(StatusError::internal)
}

fn non_empty(text: &str) -> Option<String> {
    (!text.is_empty() && text != "0").then(|| text.to_string())
}

fn check_name(name: &str, object: &Value) -> Result<(), StatusError> {
    let sent = metadata_str(object, "name");
    if sent == name {
        return Ok(());
    }
    if sent.is_empty() {
        return Err(StatusError::bad_request(
            "the name of the object is missing, it must be the name on the URL",
        ));
    }
    Err(StatusError::bad_request(format!(
        "the name of the object ({sent}) does not match the name on the URL ({name})"
    )))
}

/// What an update says about the object that it was made from.
pub(super) fn check_version(
    row: &Resource,
    name: &str,
    preconditions: &Preconditions,
    current: &Object,
) -> Result<(), StatusError> {
    check_uid(row, name, preconditions, current)?;
    if let Some(version) = &preconditions.resource_version
        && version.parse() != Ok(current.revision)
    {
        return Err(StatusError::modified(row.group_resource(), name));
    }
    Ok(())
}
