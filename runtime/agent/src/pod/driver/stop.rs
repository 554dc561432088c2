//! Ending containers, and the pod's object.

use std::time::Duration;

use pintle_containers::{FaultCode, SandboxError};
use serde_json::json;
use tracing::warn;

use super::{Driver, HookKind};
use crate::client::chain;
use crate::pod::runtime::{Failure, Hook};

const SIGKILL: i32 = 9;
const SIGTERM: i32 = 15;

impl Driver {
    pub(super) fn pre_stop(&mut self, name: &str) {
        let Some(container) = self.pod().container(name).cloned() else { return };
        let attempt = self.runtime.container(name).map_or(0, |c| c.attempt);
        let grace = self.pod().deletion_grace_seconds();
        let Some(handler) = container.lifecycle.pre_stop.clone() else { return };
        if let Some(stopping) = self.runtime.stopping_mut(name) {
            stopping.hook = Hook::Running;
        }
        self.save();
        let timeout = Duration::from_secs(grace.unsigned_abs());
        self.run_hook(&container, attempt, handler, HookKind::PreStop, timeout);
    }

    pub(super) async fn terminate(&mut self, name: &str) {
        let signal = match self.runtime.container(name).map_or(0, |c| c.stop_signal) {
            0 => SIGTERM,
            signal => signal,
        };
        self.signal(name, signal).await;
        if let Some(stopping) = self.runtime.stopping_mut(name) {
            stopping.term_sent = true;
        }
        self.save();
    }

    pub(super) async fn kill(&mut self, name: &str) {
        self.signal(name, SIGKILL).await;
        let now = self.now();
        if let Some(stopping) = self.runtime.stopping_mut(name) {
            stopping.kill_sent_at = Some(now);
        }
        self.save();
    }

    async fn signal(&mut self, name: &str, signal: i32) {
        let Some(sandbox) = self.sandbox.clone() else { return };
        match sandbox.kill(name, signal).await {
            Ok(()) => {}
            // It ended by itself; the event is on its way.
            Err(error)
                if matches!(error.code(), Some(FaultCode::WrongPhase | FaultCode::NotFound)) => {}
            Err(SandboxError::ShimLost) => {}
            Err(error) => {
                warn!(
                    pod = self.pod().metadata.name,
                    container = name,
                    signal,
                    error = chain(&error),
                    "signal not delivered"
                );
            }
        }
    }

    /// After everything has stopped: the last status, then the object.
    pub(super) async fn delete_object(&mut self) {
        self.flush().await;
        let now = self.now();
        let meta = &self.pod().metadata;
        let path = format!("/api/v1/namespaces/{}/pods/{}", meta.namespace, meta.name);
        let options = json!({
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "gracePeriodSeconds": 0,
            "preconditions": {"uid": meta.uid},
        });
        match self.shared.api.delete(&path, &options).await {
            Ok(_) => self.runtime.object_deleted = true,
            // Not there any more, or another pod of the same name.
            Err(error) if matches!(error.code(), Some(404 | 409)) => {
                self.runtime.object_deleted = true
            }
            Err(error) => {
                warn!(
                    pod = meta.name,
                    error = chain(&error),
                    "the pod's object could not be deleted"
                );
                let previous = self.runtime.delete_failure.as_ref();
                self.runtime.delete_failure =
                    Some(Failure::soon(previous, "FailedDelete", chain(&error), now));
            }
        }
        self.save();
    }
}
