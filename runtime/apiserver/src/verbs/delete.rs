//! Delete: at once, after a grace period, or when the last finalizer is gone.

use bytes::Bytes;
use pintle_api::kinds::Resource;
use pintle_api::status::{Status, StatusError};
use pintle_api::time;
use pintle_storage::{Expect, Guard};
use pintle_watch::Object;
use serde_json::Value;

use super::claims::Holding;
use super::commit::Attempt;
use super::update::{holds_itself, parse};
use super::{
    MAX_ATTEMPTS, Preconditions, Target, Verbs, Written, check_preconditions, is_empty_list,
    metadata, set_metadata,
};
use crate::admission::Operation;
use crate::user::User;

const FINALIZER_ORPHAN: &str = "orphan";
const FINALIZER_FOREGROUND: &str = "foregroundDeletion";

/// What happens to the objects that this one owns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Propagation {
    Orphan,
    Background,
    Foreground,
}

impl Propagation {
    pub fn parse(text: &str) -> Option<Propagation> {
        match text {
            "Orphan" => Some(Propagation::Orphan),
            "Background" => Some(Propagation::Background),
            "Foreground" => Some(Propagation::Foreground),
            _ => None,
        }
    }
}

#[derive(Debug, Clone, Default)]
pub struct DeleteOptions {
    pub grace_period_seconds: Option<i64>,
    pub propagation: Option<Propagation>,
    pub preconditions: Preconditions,
    pub dry_run: bool,
}

/// What a delete did.
#[derive(Debug, Clone)]
pub enum Deleted {
    /// The object is gone; this was its last state.
    Gone { bytes: Bytes, revision: u64, status: Box<Status> },
    /// The object is marked and goes later.
    Marked(Written),
}

/// What is to be done with the object as it is now.
enum Plan {
    Remove,
    Mark(Value),
    /// It is on its way already.
    Leave,
}

impl Verbs {
    pub async fn delete(
        &self,
        user: &User,
        resource: &'static Resource,
        namespace: &str,
        name: &str,
        options: &DeleteOptions,
    ) -> Result<Deleted, StatusError> {
        let row = self.storage_row(resource);
        self.namespaces.check_delete(row, name)?;
        let target = Target { user, namespace, name, subresource: "", dry_run: options.dry_run };
        let mut warnings = Vec::new();
        for _ in 0..MAX_ATTEMPTS {
            let current = self.get(row, namespace, name)?;
            check_preconditions(row, name, &options.preconditions, &current)?;
            let mut old = parse(&current)?;
            warnings.clear();
            let review = self.admission.concerns(row, Operation::Delete);
            if review {
                let same = old.clone();
                self.admit(Operation::Delete, row, &target, &mut old, Some(&same), &mut warnings)
                    .await?;
            }
            let done = match plan(row, &old, options, self.clock.now_unix_ms()) {
                Plan::Leave => Some((current.bytes.clone(), current.revision)),
                Plan::Remove => {
                    if let Some(gone) = self.remove_now(row, &target, &current, &old).await? {
                        return Ok(gone);
                    }
                    None
                }
                Plan::Mark(mut marked) => {
                    self.namespaces.mark_terminating(row, &mut marked);
                    self.mark(row, &target, &current, &marked).await?
                }
            };
            if let Some((bytes, revision)) = done {
                let written = Written { bytes, revision, warnings };
                return Ok(Deleted::Marked(self.present(resource, written)?));
            }
        }
        Err(StatusError::modified(row.group_resource(), name))
    }

    async fn remove_now(
        &self,
        row: &Resource,
        target: &Target<'_>,
        current: &Object,
        old: &Value,
    ) -> Result<Option<Deleted>, StatusError> {
        let gone = |revision| Deleted::Gone {
            bytes: current.bytes.clone(),
            revision,
            status: Box::new(Status::deleted(row.group_resource(), target.name, &current.meta.uid)),
        };
        if target.dry_run {
            return Ok(Some(gone(current.revision)));
        }
        let key = Bytes::from(row.key(target.namespace, target.name));
        let holding = Holding::change(row, Some(old), None);
        Ok(match self.remove(key, current.revision, &holding).await? {
            Attempt::Done(revision) => Some(gone(revision)),
            Attempt::Lost(_) => None,
        })
    }

    async fn mark(
        &self,
        row: &Resource,
        target: &Target<'_>,
        current: &Object,
        marked: &Value,
    ) -> Result<Option<(Bytes, u64)>, StatusError> {
        let encoded = self.encode(marked)?;
        if target.dry_run {
            return Ok(Some((encoded.with_revision(Some(current.revision)), current.revision)));
        }
        let key = Bytes::from(row.key(target.namespace, target.name));
        let guard = Guard { key: key.clone(), expect: Expect::ModRevision(current.revision) };
        // What is on its way keeps what it holds until it is gone.
        let holding = Holding::default();
        Ok(match self.put(row, key, encoded, vec![guard], &holding).await? {
            Attempt::Done(done) => Some(done),
            Attempt::Lost(_) => None,
        })
    }
}

fn plan(row: &Resource, old: &Value, options: &DeleteOptions, now_ms: i64) -> Plan {
    let mut new = old.clone();
    set_finalizers(&mut new, options.propagation);
    let held = !is_empty_list(metadata(&new, "finalizers")) || holds_itself(row, &new);
    let grace = grace_seconds(row, old, options.grace_period_seconds);
    if grace == 0 && !held {
        return Plan::Remove;
    }
    let previous = metadata(old, "deletionTimestamp").as_str().and_then(time::parse);
    if let Some(previous_ms) = previous {
        let previous_grace = metadata(old, "deletionGracePeriodSeconds").as_i64().unwrap_or(0);
        // A second delete may shorten the wait, never lengthen it.
        if grace < previous_grace {
            let end = previous_ms - (previous_grace - grace) * 1000;
            set_metadata(&mut new, "deletionTimestamp", time::format_seconds(end));
            set_metadata(&mut new, "deletionGracePeriodSeconds", grace);
        }
        return if new == *old { Plan::Leave } else { Plan::Mark(new) };
    }
    set_metadata(&mut new, "deletionTimestamp", time::format_seconds(now_ms + grace * 1000));
    set_metadata(&mut new, "deletionGracePeriodSeconds", grace);
    // Controllers treat a marked object differently, which is a change of intent.
    if let Some(generation) = metadata(old, "generation").as_i64().filter(|g| *g > 0) {
        set_metadata(&mut new, "generation", generation + 1);
    }
    Plan::Mark(new)
}

/// Only what runs somewhere ends gracefully.
fn grace_seconds(row: &Resource, object: &Value, asked: Option<i64>) -> i64 {
    let Some(default) = row.graceful else { return 0 };
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let never_ran = text("/spec/nodeName").is_empty();
    let ended = matches!(text("/status/phase"), "Succeeded" | "Failed");
    if never_ran || ended {
        return 0;
    }
    match asked.unwrap_or_else(|| default(object)) {
        negative if negative < 0 => 1,
        grace => grace,
    }
}

fn set_finalizers(object: &mut Value, propagation: Option<Propagation>) {
    let Some(propagation) = propagation else { return };
    let mut finalizers: Vec<Value> = metadata(object, "finalizers")
        .as_array()
        .into_iter()
        .flatten()
        .filter(|finalizer| {
            !matches!(finalizer.as_str(), Some(FINALIZER_ORPHAN | FINALIZER_FOREGROUND))
        })
        .cloned()
        .collect();
    match propagation {
        Propagation::Orphan => finalizers.push(FINALIZER_ORPHAN.into()),
        Propagation::Foreground => finalizers.push(FINALIZER_FOREGROUND.into()),
        Propagation::Background => {}
    }
    if finalizers.is_empty() {
        if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.remove("finalizers");
        }
    } else {
        set_metadata(object, "finalizers", finalizers);
    }
}

#[cfg(test)]
mod tests {
    use pintle_api::kinds::Registry;
    use serde_json::json;

    use super::*;

    const NOW: i64 = 1_000_000_000_000;

    fn show(plan: Plan) -> String {
        match plan {
            Plan::Remove => "remove".to_string(),
            Plan::Leave => "leave".to_string(),
            Plan::Mark(object) => format!(
                "mark grace={} generation={} finalizers={}",
                metadata(&object, "deletionGracePeriodSeconds"),
                metadata(&object, "generation"),
                metadata(&object, "finalizers"),
            ),
        }
    }

    #[test]
    fn plans_follow_grace_and_finalizers() {
        let check = |plural: &str,
                     object: Value,
                     grace: Option<i64>,
                     propagation: Option<&str>,
                     expect: &str| {
            let row = Registry::builtin().iter().find(|row| row.plural == plural).unwrap();
            let options = DeleteOptions {
                grace_period_seconds: grace,
                propagation: propagation.and_then(Propagation::parse),
                ..Default::default()
            };
            assert_eq!(show(plan(row, &object, &options, NOW)), expect, "{plural} {object}");
        };
        let bound = json!({"metadata": {"generation": 1}, "spec": {"nodeName": "n", "terminationGracePeriodSeconds": 30}});
        check("pods", json!({"metadata": {}, "spec": {}}), None, None, "remove");
        check("pods", bound.clone(), None, None, "mark grace=30 generation=2 finalizers=null");
        check("pods", bound.clone(), Some(5), None, "mark grace=5 generation=2 finalizers=null");
        check("pods", bound.clone(), Some(0), None, "remove");
        check("pods", bound.clone(), Some(-7), None, "mark grace=1 generation=2 finalizers=null");
        let mut ended = bound.clone();
        ended["status"] = json!({"phase": "Succeeded"});
        check("pods", ended, None, None, "remove");
        let mut going = bound.clone();
        going["metadata"] =
            json!({"deletionTimestamp": "2001-09-09T01:46:40Z", "deletionGracePeriodSeconds": 30});
        check("pods", going.clone(), None, None, "leave");
        check("pods", going.clone(), Some(60), None, "leave");
        check(
            "pods",
            going.clone(),
            Some(10),
            None,
            "mark grace=10 generation=null finalizers=null",
        );
        check("pods", going, Some(0), None, "remove");
        check("configmaps", json!({"metadata": {}}), Some(30), None, "remove");
        check(
            "configmaps",
            json!({"metadata": {"finalizers": ["a/b"]}}),
            None,
            None,
            "mark grace=0 generation=null finalizers=[\"a/b\"]",
        );
        check(
            "deployments",
            json!({"metadata": {"generation": 4}}),
            None,
            Some("Foreground"),
            "mark grace=0 generation=5 finalizers=[\"foregroundDeletion\"]",
        );
        check(
            "deployments",
            json!({"metadata": {}}),
            None,
            Some("Orphan"),
            "mark grace=0 generation=null finalizers=[\"orphan\"]",
        );
        check(
            "deployments",
            json!({"metadata": {"finalizers": ["orphan"]}}),
            None,
            Some("Background"),
            "remove",
        );
        check(
            "namespaces",
            json!({"metadata": {}, "spec": {"finalizers": ["kubernetes"]}}),
            None,
            None,
            "mark grace=0 generation=null finalizers=null",
        );
        check(
            "namespaces",
            json!({"metadata": {}, "spec": {"finalizers": []}}),
            None,
            None,
            "remove",
        );
    }

    proptest::proptest! {
        /// Asking twice is like asking once, and a wait never gets longer.
        #[test]
        fn a_second_delete_changes_nothing(
            grace in proptest::option::of(0..100i64),
            default in 0..100i64,
            node in "[a-z]{0,3}",
            held in proptest::bool::ANY,
            policy in proptest::option::of(0..3usize),
        ) {
            let pods = Registry::builtin().by_plural("", "v1", "pods").unwrap();
            let mut object = json!({
                "metadata": {"name": "p", "generation": 1},
                "spec": {"nodeName": node, "terminationGracePeriodSeconds": default},
            });
            if held {
                object["metadata"]["finalizers"] = json!(["example.com/hold"]);
            }
            let policies = [Propagation::Orphan, Propagation::Background, Propagation::Foreground];
            let options = DeleteOptions {
                grace_period_seconds: grace,
                propagation: policy.map(|index| policies[index]),
                ..Default::default()
            };
            if let Plan::Mark(marked) = plan(pods, &object, &options, NOW) {
                let again = plan(pods, &marked, &options, NOW + 1000);
                proptest::prop_assert_eq!(show(again), "leave");
                let longer = DeleteOptions { grace_period_seconds: Some(1000), ..options };
                let longer = plan(pods, &marked, &longer, NOW + 1000);
                proptest::prop_assert_eq!(show(longer), "leave");
            }
        }
    }
}
