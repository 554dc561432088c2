//! Writing the pod's status: at most one write under way, always the latest
//! state, nothing when nothing changed.

use std::sync::Arc;

use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tracing::{debug, warn};

use super::Driver;
use crate::client::{Api, ApiError, MERGE_PATCH, chain};
use crate::pod::model::Pod;
use crate::pod::runtime::Failure;
use crate::pod::status::{StatusContext, status};

#[derive(Default)]
pub(super) struct Reporter {
    /// The latest, written or not: conditions keep their times from it.
    latest: Value,
    /// What the API has, as far as is known.
    written: Value,
    /// The object's revision after the last write.
    revision: u64,
    under_way: Option<(Value, JoinHandle<Outcome>)>,
    failure: Option<Failure>,
    /// The object is gone or another one: nothing to write any more.
    pointless: bool,
}

/// The object's revision after the write.
pub(super) type Outcome = Result<u64, ApiError>;

impl Reporter {
    /// When a failed write is due again.
    pub(super) fn due(&self) -> Option<i64> {
        let failure = self.failure.as_ref().filter(|_| self.under_way.is_none())?;
        Some(failure.retry_at)
    }

    /// Waits for the write that is under way; for ever when there is none.
    pub(super) async fn finished(&mut self) -> Outcome {
        match &mut self.under_way {
            Some((_, task)) => match task.await {
                Ok(result) => result,
                Err(error) => Err(ApiError::Transport(Box::new(error))),
            },
            None => std::future::pending().await,
        }
    }

    pub(super) fn on_result(&mut self, result: Outcome, now: i64) {
        let Some((status, _)) = self.under_way.take() else {
            return;
        };
        match result {
            Ok(revision) => {
                self.written = status;
                self.revision = revision;
                self.failure = None;
            }
            Err(error) if matches!(error.code(), Some(404 | 409)) => {
                debug!(
                    error = chain(&error),
                    "the pod's object is gone, its status is not written"
                );
                self.pointless = true;
            }
            Err(error) => {
                warn!(error = chain(&error), "the pod's status could not be written");
                let previous = self.failure.as_ref();
                self.failure = Some(Failure::soon(previous, "FailedStatus", chain(&error), now));
            }
        }
    }

    /// The object is now so. Somebody else may have changed its status, for
    /// example while this node was thought to be lost: then it is written again.
    pub(super) fn object_changed(&mut self, pod: &Pod) {
        self.pointless = false;
        let revision = pod.metadata.resource_version.parse::<u64>().unwrap_or(0);
        // An older event must not pass for a change of what was written since.
        if self.under_way.is_none() && revision >= self.revision && !self.written.is_null() {
            self.revision = revision;
            self.written = pod.status.clone();
        }
    }
}

impl Driver {
    /// Starts a write if there is something to write.
    pub(super) fn report(&mut self, now: i64) {
        let pod = self.wanted.pod.clone();
        if self.reporter.latest.is_null() {
            self.reporter.latest = pod.status.clone();
            self.reporter.written = pod.status.clone();
        }
        let context =
            StatusContext { host_ip: &self.shared.node_ip, previous: &self.reporter.latest, now };
        let fresh = status(&pod, &self.runtime, context);
        self.reporter.latest = fresh;
        let written = covers(&self.reporter.written, &self.reporter.latest);
        if written || self.reporter.pointless || self.wanted.gone {
            self.reporter.failure = None;
            return;
        }
        let waiting = self.reporter.failure.as_ref().is_some_and(|failure| failure.retry_at > now);
        if self.reporter.under_way.is_none() && !waiting {
            let (api, latest) = (self.shared.api.clone(), self.reporter.latest.clone());
            let task = tokio::spawn(write(api, pod, latest.clone()));
            self.reporter.under_way = Some((latest, task));
        }
    }

    /// The last status before the object goes.
    pub(super) async fn flush(&mut self) {
        while self.reporter.under_way.is_some() {
            let result = self.reporter.finished().await;
            let now = self.now();
            self.reporter.on_result(result, now);
            if self.reporter.failure.is_some() {
                // The deletion that follows will meet the same trouble, and retry.
                return;
            }
            self.report(now);
        }
    }
}

async fn write(api: Api, pod: Arc<Pod>, status: Value) -> Outcome {
    let meta = &pod.metadata;
    let path = format!("/api/v1/namespaces/{}/pods/{}/status", meta.namespace, meta.name);
    // The uid keeps the status off another pod of the same name.
    let patch = json!({"metadata": {"uid": meta.uid}, "status": status});
    let object = api.patch(&path, MERGE_PATCH, &patch).await?;
    let revision = object["metadata"]["resourceVersion"].as_str();
    Ok(revision.and_then(|revision| revision.parse().ok()).unwrap_or(0))
}

/// Whether `written` already says everything that `fresh` says; null is absent.
fn covers(written: &Value, fresh: &Value) -> bool {
    match (written, fresh) {
        (Value::Object(old), Value::Object(new)) => new.iter().all(|(key, value)| {
            let old = old.get(key).unwrap_or(&Value::Null);
            covers(old, value)
        }),
        (Value::Array(old), Value::Array(new)) => {
            old.len() == new.len() && old.iter().zip(new).all(|(old, new)| covers(old, new))
        }
        (Value::Null, Value::Object(new)) => new.is_empty(),
        (Value::Null, Value::Array(new)) => new.is_empty(),
        (old, new) => old == new,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_difference_is_written() {
        let check = |written: Value, fresh: Value, expect: bool| {
            assert_eq!(covers(&written, &fresh), expect, "{written} {fresh}");
        };
        check(json!({"a": 1, "more": 2}), json!({"a": 1, "none": null}), true);
        check(json!({"a": 1}), json!({"a": 2}), false);
        check(json!({"a": [1]}), json!({"a": [1, 2]}), false);
        check(json!({}), json!({"lastState": {}}), true);
        check(json!({"state": {"waiting": {}}}), json!({"state": {"running": {"at": 1}}}), false);
        check(json!({"state": {"waiting": {}, "x": 1}}), json!({"state": {"waiting": {}}}), true);
    }
}
