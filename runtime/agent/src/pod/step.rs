//! What to do next for one pod: a pure function of what is wanted, what is there
//! and the time.
//!
//! The driver performs the steps in order, records what came of each, and asks
//! again. Nothing here waits: a decision names the time at which it would
//! differ without anything else having happened.

use super::model::{Container, Pod, RestartPolicy};
use super::runtime::{ContainerRuntime, Hook, Outcome, Phase, PodRuntime, Sandbox, Stopping};

/// What the API wants: the pod, or that it be gone from this node.
#[derive(Debug, Clone, Copy)]
pub struct Desired<'a> {
    pub pod: &'a Pod,
    /// The object no longer exists in the API.
    pub gone: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    PrepareVolumes,
    CreateSandbox,
    /// Start this attempt unless it already runs.
    Start {
        container: String,
        attempt: u32,
    },
    /// The pod as a whole is to end.
    BeginStop,
    /// Record that this container is to end, and say so.
    Stop {
        container: String,
    },
    PreStop {
        container: String,
    },
    /// The container's stop signal.
    Terminate {
        container: String,
    },
    Kill {
        container: String,
    },
    /// Give the pod up for good.
    Fail(Outcome),
    /// Everything but volumes and logs.
    TearDownSandbox,
    /// From the API, after the last status was written.
    DeleteObject,
    /// Volumes, logs and the record itself.
    Forget,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Decision {
    pub steps: Vec<Step>,
    /// Unix milliseconds.
    pub wake_at: Option<i64>,
}

impl Decision {
    fn one(step: Step) -> Decision {
        Decision { steps: vec![step], wake_at: None }
    }

    fn wake(&mut self, at: i64) {
        self.wake_at = Some(self.wake_at.map_or(at, |earlier| earlier.min(at)));
    }

    fn later(at: i64) -> Decision {
        Decision { steps: Vec::new(), wake_at: Some(at) }
    }
}

/// Grace for a pod whose object is already gone: nobody waits for it any more,
/// but its processes may still say goodbye.
const ORPHAN_GRACE_SECONDS: i64 = 2;
/// A container that survives SIGKILL sits in the kernel; try again now and then.
const KILL_AGAIN_MS: i64 = 10_000;

pub fn step(desired: Desired<'_>, observed: &PodRuntime, now: i64) -> Decision {
    let pod = desired.pod;
    if let Some(reason) = stop_reason(desired, observed, now) {
        return stop(desired, observed, reason, now);
    }
    if let Some(at) = deadline(pod, observed) {
        let mut decision = keep_running(pod, observed, now);
        decision.wake(at);
        return decision;
    }
    keep_running(pod, observed, now)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum StopReason {
    /// Deleted, or gone from the API.
    Deleted,
    Deadline,
    /// All work is done, or can no longer be done.
    Finished,
}

fn stop_reason(desired: Desired<'_>, observed: &PodRuntime, now: i64) -> Option<StopReason> {
    if desired.gone || desired.pod.is_being_deleted() {
        Some(StopReason::Deleted)
    } else if finished(desired.pod, observed).is_some() {
        Some(StopReason::Finished)
    } else if deadline(desired.pod, observed).is_some_and(|at| now >= at) {
        Some(StopReason::Deadline)
    } else {
        None
    }
}

/// Whether the pod is on its way out, for whatever reason.
pub fn ends(desired: Desired<'_>, observed: &PodRuntime, now: i64) -> bool {
    stop_reason(desired, observed, now).is_some()
}

fn deadline(pod: &Pod, observed: &PodRuntime) -> Option<i64> {
    Some(observed.accepted_at? + pod.spec.active_deadline_seconds?.saturating_mul(1000))
}

/// Whether the pod has come to its end by itself: `Some(true)` when all went well.
pub fn finished(pod: &Pod, observed: &PodRuntime) -> Option<bool> {
    if observed.outcome.is_some() {
        return Some(false);
    }
    if observed.ended_before.is_some() {
        return observed.ended_before;
    }
    if pod.spec.restart_policy == RestartPolicy::Always {
        return None;
    }
    let ended = |container: &Container| observed.container(&container.name)?.exited();
    let never = pod.spec.restart_policy == RestartPolicy::Never;
    let init_failed = |container: &Container| {
        never && !container.is_sidecar() && ended(container).is_some_and(|end| end.exit_code != 0)
    };
    if pod.spec.init_containers.iter().any(init_failed) {
        return Some(false);
    }
    let mut good = true;
    for container in &pod.spec.containers {
        let end = ended(container)?;
        if end.exit_code != 0 {
            if !never {
                return None;
            }
            good = false;
        }
    }
    Some(good)
}

fn keep_running(pod: &Pod, observed: &PodRuntime, now: i64) -> Decision {
    let waiting = observed.sandbox_failure.as_ref().filter(|failure| failure.retry_at > now);
    match observed.sandbox {
        Sandbox::Lost => {
            return match waiting {
                Some(failure) => Decision::later(failure.retry_at),
                None => Decision::one(Step::TearDownSandbox),
            };
        }
        Sandbox::Absent | Sandbox::Creating => {
            if let Some(failure) = waiting {
                return Decision::later(failure.retry_at);
            }
            return Decision::one(match observed.volumes_ready {
                false => Step::PrepareVolumes,
                true => Step::CreateSandbox,
            });
        }
        Sandbox::Ready if !observed.volumes_ready => {
            if let Some(failure) = waiting {
                return Decision::later(failure.retry_at);
            }
            return Decision::one(Step::PrepareVolumes);
        }
        Sandbox::Ready => {}
    }
    let mut decision = Decision::default();
    for container in &pod.spec.init_containers {
        let done = match container.is_sidecar() {
            true => {
                keep_container(pod, container, RestartPolicy::Always, observed, now, &mut decision);
                observed.container(&container.name).is_some_and(|c| c.started)
            }
            false => {
                // `Always` means for an init container: until it succeeds.
                let policy = match pod.spec.restart_policy {
                    RestartPolicy::Never => RestartPolicy::Never,
                    _ => RestartPolicy::OnFailure,
                };
                keep_container(pod, container, policy, observed, now, &mut decision);
                init_done(container, observed)
            }
        };
        // A sidecar that restarts later does not hold the others back.
        let go_on = done || container.is_sidecar() && observed.mains_begun;
        if !go_on {
            return decision;
        }
    }
    for container in &pod.spec.containers {
        keep_container(pod, container, pod.spec.restart_policy, observed, now, &mut decision);
    }
    decision
}

pub fn init_done(container: &Container, observed: &PodRuntime) -> bool {
    let ended = observed.container(&container.name).and_then(ContainerRuntime::exited);
    ended.is_some_and(|end| end.exit_code == 0)
}

fn keep_container(
    pod: &Pod,
    container: &Container,
    policy: RestartPolicy,
    observed: &PodRuntime,
    now: i64,
    decision: &mut Decision,
) {
    let fresh = ContainerRuntime::default();
    let runtime = observed.container(&container.name).unwrap_or(&fresh);
    let name = &container.name;
    let start = |attempt| Step::Start { container: name.clone(), attempt };
    let retry_at = runtime.failure.as_ref().map_or(now, |failure| failure.retry_at);
    let (at, attempt) = match &runtime.phase {
        Phase::Running { .. } => {
            if let Some(stopping) = &runtime.stopping {
                let deadline =
                    stopping.since + pod.spec.termination_grace_period_seconds.max(0) * 1000;
                end_container(container, stopping, deadline, now, decision);
            }
            return;
        }
        Phase::NotCreated | Phase::Beginning => (retry_at, runtime.attempt),
        Phase::Exited(end) => {
            let again = match policy {
                RestartPolicy::Always => true,
                RestartPolicy::OnFailure => end.exit_code != 0,
                RestartPolicy::Never => false,
            };
            if !again {
                return;
            }
            let at = runtime.crash.ready_at(end.finished_at).max(retry_at);
            (at, runtime.attempt + 1)
        }
    };
    if at <= now {
        decision.steps.push(start(attempt));
    } else {
        decision.wake(at);
    }
}

fn stop(desired: Desired<'_>, observed: &PodRuntime, reason: StopReason, now: i64) -> Decision {
    let pod = desired.pod;
    if reason == StopReason::Deadline && observed.outcome.is_none() {
        return Decision::one(Step::Fail(Outcome {
            reason: "DeadlineExceeded".into(),
            message: "Pod was active on the node longer than the specified deadline".into(),
        }));
    }
    let running = |container: &&Container| {
        observed.container(&container.name).is_some_and(ContainerRuntime::is_running)
    };
    let mains: Vec<&Container> = pod.spec.containers.iter().filter(running).collect();
    let inits: Vec<&Container> = pod.spec.init_containers.iter().filter(running).collect();
    if !mains.is_empty() || !inits.is_empty() {
        let Some(since) = observed.stop_since else {
            return Decision::one(Step::BeginStop);
        };
        let deadline = since.saturating_add(grace_ms(desired, reason));
        // Sidecars serve the others to the last: they go when those are gone, the
        // last started first. A late pod stops them all at once.
        let batch = match mains.is_empty() {
            false if now < deadline => mains,
            false => mains.into_iter().chain(inits).collect(),
            true if now < deadline => inits.into_iter().next_back().into_iter().collect(),
            true => inits,
        };
        let mut decision = Decision::default();
        for container in batch {
            match observed.container(&container.name).and_then(|c| c.stopping.as_ref()) {
                None => decision.steps.push(Step::Stop { container: container.name.clone() }),
                Some(stopping) => end_container(container, stopping, deadline, now, &mut decision),
            }
        }
        return decision;
    }
    if observed.sandbox != Sandbox::Absent {
        return match observed.sandbox_failure.as_ref().filter(|failure| failure.retry_at > now) {
            Some(failure) => Decision::later(failure.retry_at),
            None => Decision::one(Step::TearDownSandbox),
        };
    }
    if desired.gone || observed.object_deleted {
        return Decision::one(Step::Forget);
    }
    if reason == StopReason::Deleted || pod.is_being_deleted() {
        return match observed.delete_failure.as_ref().filter(|failure| failure.retry_at > now) {
            Some(failure) => Decision::later(failure.retry_at),
            None => Decision::one(Step::DeleteObject),
        };
    }
    Decision::default()
}

fn grace_ms(desired: Desired<'_>, reason: StopReason) -> i64 {
    let seconds = match (desired.gone, reason) {
        (true, _) => desired.pod.deletion_grace_seconds().min(ORPHAN_GRACE_SECONDS),
        (_, StopReason::Deleted) => desired.pod.deletion_grace_seconds(),
        _ => desired.pod.spec.termination_grace_period_seconds.max(0),
    };
    seconds.saturating_mul(1000)
}

/// preStop, then the stop signal, then at the deadline SIGKILL.
fn end_container(
    container: &Container,
    stopping: &Stopping,
    deadline: i64,
    now: i64,
    decision: &mut Decision,
) {
    let name = || container.name.clone();
    if now >= deadline {
        match stopping.kill_sent_at {
            Some(at) if now < at + KILL_AGAIN_MS => decision.wake(at + KILL_AGAIN_MS),
            _ => decision.steps.push(Step::Kill { container: name() }),
        }
        return;
    }
    decision.wake(deadline);
    let hooked = container.lifecycle.pre_stop.is_some();
    match stopping.hook {
        Hook::NotRun if hooked => decision.steps.push(Step::PreStop { container: name() }),
        Hook::Running => {}
        _ if !stopping.term_sent => decision.steps.push(Step::Terminate { container: name() }),
        _ => {}
    }
}
