//! Performs the decisions of [`step`](super::step) for one pod: one task, one
//! step at a time, everything that takes long on a task beside it.

mod adopt;
mod report;
mod sandbox;
mod start;
mod stop;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::RwLock;
use pintle_containers::{ContainerEvent, Events, LogLimits, Sandbox};
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;
use tracing::{debug, info, warn};

use super::files::Dns;
use super::hooks::ProbeKind;
use super::images::Images;
use super::model::Pod;
use super::record::Record;
use super::runtime::{Hook, PodRuntime};
use super::step::{Decision, Desired, Step, step};
use crate::client::{Api, chain};
use crate::clock::{Clock, until};
use crate::events::{Kind, Recorder};
use crate::net::PodNetwork;
use crate::node::facts::Facts;

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

/// From the tasks beside a pod's own.
#[derive(Debug)]
pub enum Message {
    Probe {
        container: String,
        attempt: u32,
        kind: ProbeKind,
        /// Set when the thresholds were crossed.
        verdict: Option<bool>,
        failure: Option<String>,
    },
    Hook {
        container: String,
        attempt: u32,
        hook: HookKind,
        result: Result<(), String>,
    },
    /// Something that a failed step waits for may be there now.
    Retry,
    /// An image was imported or removed.
    ImagesChanged,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HookKind {
    PostStart,
    PreStop,
}

/// What the API wants of this pod, the latest only.
#[derive(Debug, Clone)]
pub struct Wanted {
    pub pod: Arc<Pod>,
    pub gone: bool,
}

/// A pod as the agent holds it.
pub struct PodHandle {
    wanted: watch::Sender<Wanted>,
    inbox: mpsc::Sender<Message>,
    pub view: Arc<View>,
}

/// What log and exec streams need to know of a pod.
pub struct View {
    pub sandbox: RwLock<Option<Sandbox>>,
    pub runtime: watch::Sender<PodRuntime>,
}

const INBOX: usize = 64;

impl PodHandle {
    /// Starts the pod's task. `known` is the record of an earlier life. The
    /// task reports the uid to `ended` when nothing of the pod is left.
    pub fn start(
        shared: Arc<Shared>,
        pod: Arc<Pod>,
        known: Option<PodRuntime>,
        ended: mpsc::UnboundedSender<String>,
    ) -> PodHandle {
        let (wanted, desired) = watch::channel(Wanted { pod: pod.clone(), gone: false });
        let (inbox, messages) = mpsc::channel(INBOX);
        let view = Arc::new(View {
            sandbox: RwLock::new(None),
            runtime: watch::Sender::new(PodRuntime::default()),
        });
        let driver = Driver {
            record: Record::new(&shared.data_dir, &pod),
            runtime: PodRuntime::default(),
            wanted: Wanted { pod, gone: false },
            desired,
            messages,
            inbox: inbox.clone(),
            view: view.clone(),
            sandbox: None,
            events: None,
            ask_again_at: None,
            probes: HashMap::new(),
            reporter: report::Reporter::default(),
            shared,
        };
        tokio::spawn(async move {
            let uid = driver.wanted.pod.metadata.uid.clone();
            driver.run(known).await;
            // The agent itself may be gone already.
            let _ = ended.send(uid);
        });
        PodHandle { wanted, inbox, view }
    }

    pub fn want(&self, pod: Arc<Pod>) {
        self.wanted.send_replace(Wanted { pod, gone: false });
    }

    pub fn gone(&self) {
        self.wanted.send_modify(|wanted| wanted.gone = true);
    }

    pub fn pod(&self) -> Arc<Pod> {
        self.wanted.borrow().pod.clone()
    }

    /// What failed for want of a network may be tried again at once.
    pub fn retry(&self) {
        // A full inbox wakes the pod anyway.
        let _ = self.inbox.try_send(Message::Retry);
    }

    pub fn images_changed(&self) {
        let _ = self.inbox.try_send(Message::ImagesChanged);
    }
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

    /// Waits for anything that could change the decision. False: the agent stops.
    async fn wait(&mut self, wake_at: Option<i64>) -> bool {
        let clock = self.shared.clock.clone();
        let status_due = self.reporter.due();
        let wake_at = [wake_at, status_due].into_iter().flatten().min();
        let news = {
            let events = &mut self.events;
            let container_event = async {
                match events {
                    Some(events) => events.next().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                changed = self.desired.changed() => match changed {
                    Ok(()) => News::Desired,
                    Err(_) => return false,
                },
                message = self.messages.recv() => match message {
                    Some(message) => News::Message(message),
                    None => return false,
                },
                event = container_event => News::Container(event),
                result = self.reporter.finished() => News::Reported(result),
                () = until(clock.as_ref(), wake_at) => News::Time,
            }
        };
        self.hear(news).await;
        true
    }

    /// What came in while steps were performed, without waiting.
    fn take_news(&mut self) {
        if self.desired.has_changed().unwrap_or(false) {
            self.take_desired();
        }
        while let Ok(message) = self.messages.try_recv() {
            self.on_message(message);
        }
    }

    async fn hear(&mut self, news: News) {
        match news {
            News::Desired => self.take_desired(),
            News::Message(message) => self.on_message(message),
            News::Container(Some(event)) => self.on_container(event),
            News::Container(None) => self.on_shim_lost().await,
            News::Reported(result) => {
                let now = self.now();
                self.reporter.on_result(result, now);
            }
            News::Time => {}
        }
    }

    fn take_desired(&mut self) {
        let wanted = self.desired.borrow_and_update().clone();
        let changed = *wanted.pod != *self.wanted.pod;
        self.wanted = wanted;
        if changed {
            self.reporter.object_changed(&self.wanted.pod);
            if let Err(error) = self.record.save_pod(&self.wanted.pod) {
                warn!(
                    pod = self.pod().metadata.name,
                    error = chain(&error),
                    "cannot write the pod down"
                );
            }
        }
    }

    fn on_container(&mut self, event: ContainerEvent) {
        match event {
            // The reply to the start has told it already, except after an adoption.
            ContainerEvent::Started { name, attempt, at, .. } => {
                let known = self.runtime.container(&name);
                let beginning = known.is_some_and(|c| {
                    c.attempt == attempt && c.phase == super::runtime::Phase::Beginning
                });
                if beginning {
                    self.container_running(&name, at);
                }
            }
            ContainerEvent::Exited { name, attempt, exit } => {
                self.container_exited(&name, attempt, exit)
            }
        }
    }

    fn on_message(&mut self, message: Message) {
        match message {
            Message::Retry => {
                if let Some(failure) = &mut self.runtime.sandbox_failure {
                    failure.retry_at = 0;
                }
            }
            Message::ImagesChanged => {
                for container in self.runtime.containers.values_mut() {
                    if let Some(failure) = &mut container.failure
                        && failure.reason.contains("Image")
                    {
                        failure.retry_at = 0;
                    }
                }
            }
            Message::Probe { container, attempt, kind, verdict, failure } => {
                self.on_probe(&container, attempt, kind, verdict, failure);
            }
            Message::Hook { container, attempt, hook, result } => {
                self.on_hook(&container, attempt, hook, result)
            }
        }
    }

    fn on_probe(
        &mut self,
        name: &str,
        attempt: u32,
        kind: ProbeKind,
        verdict: Option<bool>,
        failure: Option<String>,
    ) {
        let now = self.now();
        let current =
            |c: &&mut super::runtime::ContainerRuntime| c.attempt == attempt && c.is_running();
        let Some(container) = self.runtime.containers.get_mut(name).filter(current) else {
            return;
        };
        let has_readiness =
            self.wanted.pod.container(name).is_some_and(|c| c.readiness_probe.is_some());
        match (kind, verdict) {
            (ProbeKind::Startup, Some(true)) => {
                container.started = true;
                container.ready = !has_readiness;
            }
            (ProbeKind::Readiness, Some(ready)) => container.ready = ready,
            _ => {}
        }
        if let Some(failure) = failure {
            let text = format!("{} probe failed: {failure}", kind.name());
            self.event(Some(name), Kind::Warning, "Unhealthy", text);
        }
        let condemned = verdict == Some(false) && kind != ProbeKind::Readiness;
        if condemned && self.runtime.container(name).is_some_and(|c| c.stopping.is_none()) {
            let text = format!(
                "Container {name} failed {} probe, will be restarted",
                kind.name().to_lowercase()
            );
            self.event(Some(name), Kind::Normal, "Killing", text);
            self.runtime.stop_container(name, now);
        }
        self.save();
    }

    fn on_hook(&mut self, name: &str, attempt: u32, hook: HookKind, result: Result<(), String>) {
        let now = self.now();
        if self.runtime.container(name).is_none_or(|c| c.attempt != attempt) {
            return;
        }
        match (hook, result) {
            (HookKind::PreStop, result) => {
                if let Err(message) = result {
                    self.event(
                        Some(name),
                        Kind::Warning,
                        "FailedPreStopHook",
                        format!("PreStopHook failed: {message}"),
                    );
                }
                if let Some(stopping) = self.runtime.stopping_mut(name) {
                    stopping.hook = Hook::Done;
                }
            }
            (HookKind::PostStart, Ok(())) => {}
            (HookKind::PostStart, Err(message)) => {
                self.event(
                    Some(name),
                    Kind::Warning,
                    "FailedPostStartHook",
                    format!("PostStartHook failed: {message}"),
                );
                self.runtime.stop_container(name, now);
            }
        }
        self.save();
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

enum News {
    Desired,
    Message(Message),
    Container(Option<ContainerEvent>),
    Reported(report::Outcome),
    Time,
}
