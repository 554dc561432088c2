//! Performs the decisions of [`step`](super::step) for one pod: one task, one
//! step at a time, everything that takes long on a task beside it.

mod adopt;
mod handle;
mod news;
mod report;
mod sandbox;
mod start;
mod stop;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use pintle_containers::{Events, LogLimits, Sandbox};
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;
use tracing::{debug, info, warn};

use super::files::Dns;
use super::images::Images;
use super::model::Pod;
use super::record::Record;
use super::runtime::PodRuntime;
use super::step::{Decision, Desired, Step, step};
use crate::client::{Api, chain};
use crate::clock::Clock;
use crate::events::{Kind, Recorder};
use crate::net::PodNetwork;
use crate::node::facts::Facts;

pub use handle::{HookKind, Message, PodHandle, View, Wanted};

/// What all pods of a node share.
pub struct Shared {
    pub node_name: String,
    pub node_ip: String,
    pub data_dir: PathBuf,
    pub shim_binary: PathBuf,
    pub runtime_binary: PathBuf,
    pub log_limits: LogLimits,
    /// Processes and threads that one pod may have.
    pub pids_limit: Option<i64>,
    pub facts: Facts,
    pub dns: Dns,
    pub api: Api,
    pub recorder: Recorder,
    pub clock: Arc<dyn Clock>,
    pub images: Images,
    pub network: Option<Arc<PodNetwork>>,
}

struct Driver {
    shared: Arc<Shared>,
    record: Record,
    runtime: PodRuntime,
    wanted: Wanted,
    desired: watch::Receiver<Wanted>,
    messages: mpsc::Receiver<Message>,
    inbox: mpsc::Sender<Message>,
    view: Arc<View>,
    sandbox: Option<Sandbox>,
    events: Option<Events>,
    /// The shim could not be asked how things are; when to try again.
    ask_again_at: Option<i64>,
    /// Of running containers; dropped with them.
    probes: HashMap<String, AbortHandle>,
    reporter: report::Reporter,
}

enum Next {
    GoOn,
    Over,
}

impl Driver {
    async fn run(mut self, known: Option<PodRuntime>) {
        self.adopt(known).await;
        loop {
            if let Some(at) = self.ask_again_at {
                // Without knowing what runs, nothing is decided.
                let now = self.now();
                self.publish();
                self.report(now);
                if now >= at {
                    self.reconnect().await;
                    self.save();
                } else if !self.wait(Some(at)).await {
                    return;
                }
                continue;
            }
            let now = self.now();
            let decision = self.decide(now);
            self.publish();
            self.report(now);
            if decision.steps.is_empty() {
                if !self.wait(decision.wake_at).await {
                    return;
                }
                continue;
            }
            for step in decision.steps {
                match self.perform(step).await {
                    Next::GoOn => {}
                    Next::Over => return,
                }
            }
            self.take_news();
        }
    }

    fn now(&self) -> i64 {
        self.shared.clock.now_unix_ms()
    }

    fn pod(&self) -> &Arc<Pod> {
        &self.wanted.pod
    }

    fn decide(&self, now: i64) -> Decision {
        let desired = Desired { pod: &self.wanted.pod, gone: self.wanted.gone };
        step(desired, &self.runtime, now)
    }

    async fn perform(&mut self, step: Step) -> Next {
        let pod = self.pod().metadata.name.clone();
        debug!(pod, ?step, "performing");
        let now = self.now();
        match step {
            Step::PrepareVolumes => self.prepare_volumes().await,
            Step::CreateSandbox => self.create_sandbox().await,
            Step::Start { container, attempt } => self.start_container(&container, attempt).await,
            Step::BeginStop => {
                self.runtime.stop_since = Some(now);
                self.save();
            }
            Step::Stop { container } => {
                self.runtime.stop_container(&container, now);
                self.event(
                    Some(&container),
                    Kind::Normal,
                    "Killing",
                    format!("Stopping container {container}"),
                );
                self.save();
            }
            Step::PreStop { container } => self.pre_stop(&container),
            Step::Terminate { container } => self.terminate(&container).await,
            Step::Kill { container } => self.kill(&container).await,
            Step::Fail(outcome) => {
                self.event(None, Kind::Normal, &outcome.reason, outcome.message.clone());
                self.runtime.outcome = Some(outcome);
                self.save();
            }
            Step::TearDownSandbox => self.tear_down().await,
            Step::DeleteObject => self.delete_object().await,
            Step::Forget => return self.forget().await,
        }
        Next::GoOn
    }

    /// Writes the runtime down. A failing disk stops nothing that runs: it is
    /// said, and the next write tries again.
    fn save(&self) {
        if let Err(error) = self.record.save_runtime(&self.runtime) {
            warn!(
                pod = self.pod().metadata.name,
                error = chain(&error),
                "cannot write the pod's state down"
            );
        }
    }

    fn publish(&self) {
        *self.view.sandbox.write() = self.sandbox.clone();
        self.view.runtime.send_if_modified(|shown| {
            let changed = *shown != self.runtime;
            if changed {
                shown.clone_from(&self.runtime);
            }
            changed
        });
    }

    fn event(&self, container: Option<&str>, kind: Kind, reason: &str, message: impl Into<String>) {
        self.shared.recorder.pod(&self.wanted.pod, container, kind, reason, message);
    }

    async fn forget(&mut self) -> Next {
        let record = self.record.clone();
        let removed = super::images::blocking(move || {
            super::volumes::unmount(&record)
                .and_then(|()| record.remove())
                .map_err(|error| chain(&error))
        })
        .await;
        let meta = &self.pod().metadata;
        match removed {
            Ok(()) => {
                info!(namespace = meta.namespace, pod = meta.name, uid = meta.uid, "pod removed")
            }
            // The next start of the agent finds the rest and removes it.
            Err(error) => warn!(
                namespace = meta.namespace,
                pod = meta.name,
                uid = meta.uid,
                error,
                "pod not removed entirely"
            ),
        }
        Next::Over
    }
}
