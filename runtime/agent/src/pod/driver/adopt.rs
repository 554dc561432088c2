//! Taking up a pod: a new one, or one of an earlier life of the agent.

use pintle_containers::{ContainerState, Phase as ShimPhase, Sandbox as Shim, SandboxError};
use tracing::{info, warn};

use super::Driver;
use crate::client::chain;
use crate::pod::runtime::{Phase, PodRuntime, Sandbox, Termination};

/// A shim of another version, or a disk that fails, sends no event.
const ASK_AGAIN_MS: i64 = 2_000;

impl Driver {
    pub(super) async fn adopt(&mut self, known: Option<PodRuntime>) {
        let now = self.now();
        let pod = self.pod().clone();
        match known {
            Some(runtime) if runtime.accepted_at.is_some() => {
                self.runtime = runtime;
                self.runtime.retry_all();
                self.reconnect().await;
            }
            known => {
                self.runtime = from_status(PodRuntime::new(&pod, now), &pod);
                if known.is_some() {
                    // The record cannot be read: there may be anything.
                    self.runtime.sandbox = Sandbox::Creating;
                }
            }
        }
        if let Err(error) = self.record.create().and_then(|()| self.record.save_pod(&pod)) {
            warn!(pod = pod.metadata.name, error = chain(&error), "cannot write the pod down");
        }
        self.save();
    }

    /// Asks the shim how things are. Only a shim that is known to be gone counts
    /// as lost: when it cannot be asked, for whatever reason, nothing is
    /// concluded, and it is asked again.
    pub(super) async fn reconnect(&mut self) {
        self.ask_again_at = None;
        if self.runtime.sandbox == Sandbox::Absent {
            return;
        }
        let pod = self.pod().clone();
        let (namespace, name) = (&pod.metadata.namespace, &pod.metadata.name);
        let networked = match (&self.shared.network, pod.spec.host_network) {
            (Some(network), false) => network.is_up(pod.uid()),
            _ => true,
        };
        let found = match Shim::reconnect(&self.record.sandbox()).await {
            Ok(found) => {
                self.learn(&found.records);
                found.live
            }
            Err(SandboxError::NoIntent(_)) => None,
            Err(error) => {
                warn!(
                    namespace,
                    pod = name,
                    error = chain(&error),
                    "the pod's shim cannot be asked"
                );
                self.ask_again_at = Some(self.now() + ASK_AGAIN_MS);
                return;
            }
        };
        match found {
            Some(sandbox) if networked && self.runtime.sandbox == Sandbox::Ready => {
                info!(namespace, pod = name, "pod found running");
                self.connected(sandbox);
                self.resume_probes();
                self.check_network();
            }
            // Half made, cut off from its network, or gone: what is left of it
            // is taken down.
            _ => {
                info!(namespace, pod = name, "pod's sandbox is lost");
                self.lost();
                self.stop_probes();
            }
        }
    }

    fn lost(&mut self) {
        let now = self.now();
        self.runtime.sandbox_lost(now);
        // An attempt that was announced and is not known to have run did not.
        for container in self.runtime.containers.values_mut() {
            if container.phase == Phase::Beginning {
                container.phase = Phase::NotCreated;
            }
        }
    }

    pub(super) fn connected(&mut self, sandbox: Shim) {
        self.events = Some(sandbox.events());
        self.sandbox = Some(sandbox);
    }

    /// Brings the record up to what the shim says.
    fn learn(&mut self, records: &[ContainerState]) {
        for state in records {
            let Some(known) = self.runtime.container(&state.name) else {
                continue;
            };
            if known.attempt != state.attempt {
                continue;
            }
            match (state.phase, &state.exit, &known.phase) {
                (_, Some(exit), Phase::Beginning | Phase::Running { .. }) => {
                    self.container_exited(&state.name.clone(), state.attempt, exit.clone());
                }
                (ShimPhase::Running, None, Phase::Beginning) => {
                    let at = state.started_at.unwrap_or(state.created_at);
                    self.mark_running(&state.name.clone(), at);
                }
                _ => {}
            }
        }
        let now = self.now();
        let missing: Vec<String> = self
            .runtime
            .containers
            .iter()
            .filter(|(name, known)| {
                let there = |state: &&ContainerState| {
                    state.name == **name && state.attempt == known.attempt
                };
                known.is_running() && !records.iter().any(|state| there(&state))
            })
            .map(|(name, _)| name.clone())
            .collect();
        for name in missing {
            let Some(known) = self.runtime.container(&name) else { continue };
            let end = Termination {
                exit_code: 137,
                signal: None,
                reason: "ContainerStatusUnknown".into(),
                message: "the container is not known to the process that supervised it".into(),
                started_at: now,
                finished_at: now,
                container_id: known.container_id.clone(),
            };
            self.runtime.exited(&name, end);
        }
    }

    pub(super) async fn on_shim_lost(&mut self) {
        self.events = None;
        if self.sandbox.take().is_none() {
            return;
        }
        warn!(pod = self.pod().metadata.name, "the pod's shim is gone");
        self.reconnect().await;
        self.save();
    }

    fn check_network(&self) {
        let (Some(network), false) = (self.shared.network.clone(), self.pod().spec.host_network)
        else {
            return;
        };
        let pod = self.pod().clone();
        tokio::spawn(async move {
            let meta = &pod.metadata;
            if let Err(error) = network.check(&meta.uid, &meta.namespace, &meta.name).await {
                warn!(
                    namespace = meta.namespace,
                    pod = meta.name,
                    error = chain(&error),
                    "the pod's network could not be checked"
                );
            }
        });
    }
}

/// A pod that the API knows to have run, while this node has no record: what
/// had ended stays ended, and counts go on where they were.
fn from_status(mut runtime: PodRuntime, pod: &crate::pod::model::Pod) -> PodRuntime {
    runtime.ended_before = match pod.status["phase"].as_str() {
        Some("Succeeded") => Some(true),
        Some("Failed") => Some(false),
        _ => None,
    };
    for list in ["initContainerStatuses", "containerStatuses"] {
        for status in pod.status[list].as_array().into_iter().flatten() {
            let Some(container) =
                status["name"].as_str().and_then(|name| runtime.containers.get_mut(name))
            else {
                continue;
            };
            let begun = status["containerID"].as_str().is_some_and(|id| !id.is_empty());
            let attempt = status["restartCount"].as_u64().unwrap_or(0) as u32;
            let ended = &status["state"]["terminated"];
            if let Some(code) = ended["exitCode"].as_i64() {
                let time = |field: &str| {
                    ended[field].as_str().and_then(pintle_api::time::parse).unwrap_or(0)
                };
                let text = |field: &str| ended[field].as_str().unwrap_or_default().to_owned();
                container.attempt = attempt;
                container.container_id = text("containerID");
                container.phase = Phase::Exited(Termination {
                    exit_code: code as i32,
                    signal: ended["signal"].as_i64().map(|signal| signal as i32),
                    reason: text("reason"),
                    message: text("message"),
                    started_at: time("startedAt"),
                    finished_at: time("finishedAt"),
                    container_id: text("containerID"),
                });
            } else if begun {
                container.attempt = attempt + 1;
            }
        }
    }
    runtime
}
