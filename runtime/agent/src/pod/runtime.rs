//! What the node knows of one pod it runs, and how each observation changes it.
//!
//! This is the durable half of the pod's state machine: it is written to the
//! pod's directory before an effect that must not happen twice.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::backoff::Backoff;
use super::model::Pod;

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PodRuntime {
    /// When this node took the pod, unix milliseconds: `status.startTime`.
    pub accepted_at: Option<i64>,
    pub sandbox: Sandbox,
    /// The last failure to prepare volumes or sandbox, until one succeeds.
    pub sandbox_failure: Option<Failure>,
    /// Not written down: after a reboot a memory volume is gone, and preparing
    /// volumes that are there changes nothing.
    #[serde(skip)]
    pub volumes_ready: bool,
    pub ips: Vec<IpAddr>,
    pub containers: BTreeMap<String, ContainerRuntime>,
    /// In this sandbox the init containers are through: main containers were begun.
    pub mains_begun: bool,
    /// When the whole pod began to be stopped.
    pub stop_since: Option<i64>,
    /// The pod was given up for a reason of its own, for example its deadline.
    pub outcome: Option<Outcome>,
    /// The API says that the pod had ended (and whether well), while this node
    /// has no record of it: it must not run again.
    pub ended_before: Option<bool>,
    /// The object was deleted from the API by this node.
    pub object_deleted: bool,
    pub delete_failure: Option<Failure>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Sandbox {
    #[default]
    Absent,
    /// Its creation has begun: whatever is there may be half made.
    Creating,
    Ready,
    /// Its shim is gone; what is left must be taken down.
    Lost,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    pub reason: String,
    pub message: String,
}

/// Something that did not work and is tried again later.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    pub reason: String,
    pub message: String,
    pub retry_at: i64,
    pub backoff: Backoff,
}

impl Failure {
    /// Follows `previous`, if the same thing failed before.
    pub fn after(previous: Option<&Failure>, reason: &str, message: String, now: i64) -> Failure {
        let mut backoff = previous.map(|failure| failure.backoff).unwrap_or_default();
        backoff.retried(now, now);
        Failure { reason: reason.to_owned(), message, retry_at: backoff.ready_at(now), backoff }
    }

    /// A failure that is cheap to try again, within a few seconds.
    pub fn soon(previous: Option<&Failure>, reason: &str, message: String, now: i64) -> Failure {
        let mut failure = Failure::after(previous, reason, message, now);
        failure.retry_at = now + (failure.retry_at - now) / 10;
        failure
    }
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ContainerRuntime {
    /// Counts the starts from 0; the attempt that `phase` speaks of.
    pub attempt: u32,
    pub phase: Phase,
    /// How the attempt before this one ended.
    pub last: Option<Termination>,
    pub crash: Backoff,
    pub failure: Option<Failure>,
    pub image_id: String,
    pub container_id: String,
    /// What asks it to end; 0 before it is known.
    pub stop_signal: i32,
    /// Startup probe passed, or there is none.
    pub started: bool,
    /// Readiness probe passes, or there is none.
    pub ready: bool,
    pub stopping: Option<Stopping>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    #[default]
    NotCreated,
    /// The attempt was announced; whether it runs is not known yet.
    Beginning,
    Running {
        started_at: i64,
    },
    Exited(Termination),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Termination {
    pub exit_code: i32,
    pub signal: Option<i32>,
    pub reason: String,
    pub message: String,
    pub started_at: i64,
    pub finished_at: i64,
    pub container_id: String,
}

/// How far the ending of one running container has come.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Stopping {
    pub since: i64,
    pub hook: Hook,
    pub term_sent: bool,
    pub kill_sent_at: Option<i64>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Hook {
    #[default]
    NotRun,
    Running,
    Done,
}

impl ContainerRuntime {
    pub fn is_running(&self) -> bool {
        matches!(self.phase, Phase::Running { .. })
    }

    pub fn exited(&self) -> Option<&Termination> {
        match &self.phase {
            Phase::Exited(termination) => Some(termination),
            _ => None,
        }
    }
}

impl PodRuntime {
    pub fn new(pod: &Pod, now: i64) -> PodRuntime {
        let mut runtime = PodRuntime { accepted_at: Some(now), ..PodRuntime::default() };
        for container in pod.all_containers() {
            runtime.containers.entry(container.name.clone()).or_default();
        }
        runtime
    }

    pub fn container(&self, name: &str) -> Option<&ContainerRuntime> {
        self.containers.get(name)
    }

    fn entry(&mut self, name: &str) -> &mut ContainerRuntime {
        self.containers.entry(name.to_owned()).or_default()
    }

    /// Announces an attempt. Written down before anything of it exists.
    pub fn begin(&mut self, pod: &Pod, name: &str, attempt: u32, now: i64) {
        self.mains_begun |= !pod.is_init(name);
        let container = self.entry(name);
        if let Phase::Exited(ended) = &container.phase {
            container.crash.retried(ended.finished_at, now);
            container.last = Some(ended.clone());
        }
        container.attempt = attempt;
        container.phase = Phase::Beginning;
        container.container_id.clear();
        container.started = false;
        container.ready = false;
        container.stopping = None;
    }

    pub fn running(&mut self, name: &str, started_at: i64, started: bool, ready: bool) {
        let container = self.entry(name);
        container.phase = Phase::Running { started_at };
        container.failure = None;
        container.started = started;
        container.ready = started && ready;
    }

    pub fn exited(&mut self, name: &str, termination: Termination) {
        let container = self.entry(name);
        container.phase = Phase::Exited(termination);
        container.failure = None;
        container.started = false;
        container.ready = false;
        container.stopping = None;
    }

    /// The container could not be begun; nothing of it exists.
    pub fn start_failed(&mut self, name: &str, reason: &str, message: String, now: i64) {
        let container = self.entry(name);
        let failure = Failure::after(container.failure.as_ref(), reason, message, now);
        container.failure = Some(failure);
    }

    /// A new life of the agent tries at once what the last one put off: it may
    /// have failed because the agent was ending.
    pub fn retry_all(&mut self) {
        let containers = self.containers.values_mut().filter_map(|c| c.failure.as_mut());
        let own = [&mut self.sandbox_failure, &mut self.delete_failure];
        for failure in containers.chain(own.into_iter().flatten()) {
            failure.retry_at = 0;
        }
        // Who waited for a hook's end is gone: Kubernetes promises that a hook
        // runs at least once.
        for stopping in self.containers.values_mut().filter_map(|c| c.stopping.as_mut()) {
            if stopping.hook == Hook::Running {
                stopping.hook = Hook::NotRun;
            }
        }
    }

    pub fn sandbox_failed(&mut self, reason: &str, message: String, now: i64) {
        let previous = self.sandbox_failure.as_ref();
        self.sandbox_failure = Some(Failure::soon(previous, reason, message, now));
    }

    pub fn sandbox_ready(&mut self, ips: Vec<IpAddr>) {
        self.sandbox = Sandbox::Ready;
        self.sandbox_failure = None;
        self.ips = ips;
    }

    /// The shim is gone. Whatever it did not report as ended ended with it.
    pub fn sandbox_lost(&mut self, now: i64) {
        self.sandbox = Sandbox::Lost;
        let lost: Vec<String> = self
            .containers
            .iter()
            .filter(|(_, container)| container.is_running())
            .map(|(name, _)| name.clone())
            .collect();
        for name in lost {
            let container = self.entry(&name);
            let started_at = match container.phase {
                Phase::Running { started_at } => started_at,
                _ => now,
            };
            let termination = Termination {
                exit_code: 137,
                signal: None,
                reason: "ContainerStatusUnknown".into(),
                message:
                    "the process that supervised the container is gone, and the container with it"
                        .into(),
                started_at,
                finished_at: now,
                container_id: container.container_id.clone(),
            };
            self.exited(&name, termination);
        }
    }

    /// The sandbox was taken down. In a pod that goes on, init containers have
    /// prepared a sandbox that no longer exists and run again.
    pub fn sandbox_gone(&mut self, pod: &Pod, goes_on: bool) {
        self.sandbox = Sandbox::Absent;
        self.mains_begun = false;
        if !goes_on {
            return;
        }
        self.ips.clear();
        for container in &pod.spec.init_containers {
            if let Some(runtime) = self.containers.get_mut(&container.name)
                && let Phase::Exited(ended) = &runtime.phase
            {
                runtime.last = Some(ended.clone());
                runtime.phase = Phase::NotCreated;
                runtime.attempt += 1;
            }
        }
    }

    pub fn stop_container(&mut self, name: &str, now: i64) {
        self.entry(name)
            .stopping
            .get_or_insert_with(|| Stopping { since: now, ..Stopping::default() });
    }

    pub fn stopping_mut(&mut self, name: &str) -> Option<&mut Stopping> {
        self.containers.get_mut(name)?.stopping.as_mut()
    }
}
