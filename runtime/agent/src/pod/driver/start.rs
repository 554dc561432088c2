//! One attempt of one container: from its image to its first process, and what
//! becomes of it.

use std::time::Duration;

use pintle_containers::{Exit, FaultCode, Phase as ShimPhase, Sandbox as Shim};
use tracing::debug;

use super::{Driver, HookKind, Message};
use crate::client::chain;
use crate::events::Kind;
use crate::pod::hooks::{self, Target};
use crate::pod::images::{Refusal, blocking};
use crate::pod::model::Container;
use crate::pod::record::Record;
use crate::pod::runtime::{Phase, Termination};
use crate::pod::spec::{Inputs, container_spec};
use crate::pod::{env, volumes};

/// Kubernetes bounds a hook by the grace period only; a postStart hook has none.
const POST_START_TIMEOUT: Duration = Duration::from_secs(600);

/// What Kubernetes reports of a container that could not be started.
const START_ERROR_CODE: i32 = 128;

impl Driver {
    pub(super) async fn start_container(&mut self, name: &str, attempt: u32) {
        let Some(container) = self.pod().container(name).cloned() else { return };
        let Some(sandbox) = self.sandbox.clone() else {
            self.ask_again_at = Some(self.now());
            return;
        };
        if let Err(refusal) = self.try_start(&sandbox, &container, attempt).await {
            let now = self.now();
            self.event(
                Some(name),
                Kind::Warning,
                event_reason(refusal.reason),
                format!("Error: {}", refusal.message),
            );
            self.runtime.start_failed(name, refusal.reason, refusal.message, now);
            self.save();
        }
    }

    async fn try_start(
        &mut self,
        sandbox: &Shim,
        container: &Container,
        attempt: u32,
    ) -> Result<(), Refusal> {
        let name = container.name.as_str();
        let before = self.runtime.container(name).and_then(|c| c.failure.clone());
        let image = self.shared.images.resolve(container, before.as_ref()).await?;
        let (config_maps, secrets) = env::referenced(container);
        let config_error =
            |message: String| Refusal { reason: "CreateContainerConfigError", message };
        let context = self
            .env_context(config_maps, secrets)
            .await
            .map_err(|error| config_error(chain(&error)))?;
        let variables = env::environment(self.pod(), container, &image.config.env, &context)
            .map_err(|error| config_error(chain(&error)))?;

        // The announcement is on disk before the first trace of the attempt.
        let now = self.now();
        let pod = self.pod().clone();
        self.runtime.begin(&pod, name, attempt, now);
        if let Some(runtime) = self.runtime.containers.get_mut(name) {
            runtime.image_id.clone_from(&image.id);
            runtime.stop_signal = image.config.signal();
            runtime.container_id = format!("pintle://{}-{name}-{attempt}", self.wanted.pod.uid());
        }
        self.save();
        let create_error = |message: String| Refusal { reason: "CreateContainerError", message };
        if self.clear_earlier(sandbox, name, attempt).await.map_err(create_error)? {
            return Ok(());
        }
        let message = format!("Container image \"{}\" already present on machine", container.image);
        self.event(Some(name), Kind::Normal, "Pulled", message);
        let rootfs =
            self.shared.images.prepare(image.clone(), self.snapshot_key(name, attempt)).await;
        let rootfs = rootfs.map_err(create_error)?;
        let spec = {
            let (pod, record, container) =
                (self.pod().clone(), self.record.clone(), container.clone());
            let node_memory_bytes = self.shared.facts.memory_bytes;
            let log_limits = self.shared.log_limits;
            let lowest_oom_score = self.shared.facts.lowest_oom_score;
            blocking(move || {
                make_files(&record, &container.name, attempt)
                    .map_err(|error| format!("cannot make the container's files: {error}"))?;
                let inputs = Inputs {
                    pod: &pod,
                    container: &container,
                    attempt,
                    image: &image.config,
                    rootfs: &rootfs,
                    env: variables,
                    volumes: &volumes::sources(&record, &pod),
                    record: &record,
                    node_memory_bytes,
                };
                let mut spec = container_spec(inputs).map_err(|error| chain(&error))?;
                spec.log_limits = log_limits;
                spec.oom_score_adj = spec.oom_score_adj.max(lowest_oom_score);
                Ok(spec)
            })
            .await
            .map_err(config_error)?
        };
        sandbox.create_container(spec).await.map_err(|error| create_error(chain(&error)))?;
        self.event(Some(name), Kind::Normal, "Created", format!("Created container: {name}"));
        if let Err(error) = sandbox.start(name).await {
            let message = chain(&error);
            if error.code() == Some(FaultCode::Runtime) {
                // The runtime's word is final for this attempt: it counts as one
                // that ended.
                self.refused(name, attempt, message);
                return Ok(());
            }
            return Err(Refusal { reason: "RunContainerError", message });
        }
        let started_at = sandbox.state(name).and_then(|state| state.started_at);
        let now = self.now();
        self.container_running(name, started_at.unwrap_or(now));
        self.event(Some(name), Kind::Normal, "Started", format!("Started container {name}"));
        self.post_start(container, attempt);
        Ok(())
    }

    fn refused(&mut self, name: &str, attempt: u32, message: String) {
        let now = self.now();
        self.event(Some(name), Kind::Warning, "Failed", format!("Error: {message}"));
        let container_id = self.runtime.container(name).map(|c| c.container_id.clone());
        let end = Termination {
            exit_code: START_ERROR_CODE,
            signal: None,
            reason: "StartError".into(),
            message,
            started_at: now,
            finished_at: now,
            container_id: container_id.unwrap_or_default(),
        };
        debug!(container = name, attempt, "the runtime refused to start the container");
        self.runtime.exited(name, end);
        self.save();
    }

    /// Removes what is left of other attempts, and of this one if it never ran.
    /// True: this very attempt runs, or has run.
    async fn clear_earlier(
        &mut self,
        sandbox: &Shim,
        name: &str,
        attempt: u32,
    ) -> Result<bool, String> {
        if let Some(state) = sandbox.state(name) {
            if state.attempt == attempt && state.phase == ShimPhase::Starting {
                // The runtime is at work since before this agent began: its end
                // is an event.
                let event = match &mut self.events {
                    Some(events) => events.next().await,
                    None => None,
                };
                match event {
                    Some(event) => self.on_container(event),
                    None => self.on_shim_lost().await,
                }
                return Ok(true);
            }
            if state.attempt == attempt
                && let Some(exit) = state.exit
            {
                self.container_exited(name, attempt, exit);
                return Ok(true);
            }
            if state.attempt == attempt && state.phase == ShimPhase::Running {
                self.container_running(name, state.started_at.unwrap_or(state.created_at));
                return Ok(true);
            }
            match sandbox.stop(name, Duration::ZERO).await {
                Ok(_) | Err(pintle_containers::SandboxError::NotStarted(_)) => {}
                Err(error) => return Err(chain(&error)),
            }
            sandbox.delete(name).await.map_err(|error| chain(&error))?;
        }
        for earlier in attempt.saturating_sub(1)..=attempt {
            self.shared.images.remove(self.snapshot_key(name, earlier)).await?;
        }
        self.trim_logs(name, attempt).await
    }

    /// Kubernetes keeps the log of the attempt before.
    async fn trim_logs(&self, name: &str, attempt: u32) -> Result<bool, String> {
        let dir = self.record.log_dir(name);
        blocking(move || {
            let Ok(entries) = std::fs::read_dir(&dir) else {
                return Ok(false);
            };
            for entry in entries.flatten() {
                let file = entry.file_name();
                let number =
                    file.to_string_lossy().split('.').next().and_then(|n| n.parse::<u32>().ok());
                if number.is_some_and(|number| number + 1 < attempt) {
                    let _ = std::fs::remove_file(entry.path());
                }
            }
            Ok(false)
        })
        .await
    }

    pub(super) fn mark_running(&mut self, name: &str, started_at: i64) {
        let container = self.wanted.pod.container(name);
        let started = container.is_none_or(|c| c.startup_probe.is_none());
        let ready = container.is_none_or(|c| c.readiness_probe.is_none());
        self.runtime.running(name, started_at, started, ready);
    }

    pub(super) fn container_running(&mut self, name: &str, started_at: i64) {
        self.mark_running(name, started_at);
        self.save();
        self.start_probe(name);
    }

    pub(super) fn resume_probes(&mut self) {
        let running = self.runtime.containers.iter().filter(|(_, c)| c.is_running());
        let names: Vec<String> = running.map(|(name, _)| name.clone()).collect();
        for name in names {
            self.start_probe(&name);
        }
    }

    fn target(&self, container: &Container, attempt: u32) -> Option<Target> {
        let host = self.pod_ips().first().cloned().unwrap_or_else(|| "127.0.0.1".into());
        Some(Target { sandbox: self.sandbox.clone()?, container: container.clone(), attempt, host })
    }

    fn start_probe(&mut self, name: &str) {
        let Some(container) = self.wanted.pod.container(name).cloned() else { return };
        let probed = container.readiness_probe.is_some()
            || container.liveness_probe.is_some()
            || container.startup_probe.is_some();
        let attempt = self.runtime.container(name).map_or(0, |c| c.attempt);
        if let (true, Some(target)) = (probed, self.target(&container, attempt)) {
            let task = tokio::spawn(hooks::probe(target, self.inbox.clone()));
            if let Some(old) = self.probes.insert(name.to_owned(), task.abort_handle()) {
                old.abort();
            }
        }
    }

    pub(super) fn stop_probes(&mut self) {
        for (_, probe) in self.probes.drain() {
            probe.abort();
        }
    }

    fn post_start(&self, container: &Container, attempt: u32) {
        if let Some(handler) = container.lifecycle.post_start.clone() {
            self.run_hook(container, attempt, handler, HookKind::PostStart, POST_START_TIMEOUT);
        }
    }

    pub(super) fn run_hook(
        &self,
        container: &Container,
        attempt: u32,
        handler: crate::pod::model::Handler,
        hook: HookKind,
        timeout: Duration,
    ) {
        let Some(target) = self.target(container, attempt) else { return };
        let (inbox, name) = (self.inbox.clone(), container.name.clone());
        tokio::spawn(async move {
            let result = hooks::run(&target, &handler, timeout).await;
            let message = Message::Hook { container: name, attempt, hook, result };
            // The pod may be over by now.
            let _ = inbox.send(message).await;
        });
    }

    pub(super) fn container_exited(&mut self, name: &str, attempt: u32, exit: Exit) {
        let current = |c: &&crate::pod::runtime::ContainerRuntime| {
            c.attempt == attempt && matches!(c.phase, Phase::Beginning | Phase::Running { .. })
        };
        let Some(known) = self.runtime.container(name).filter(current) else {
            return;
        };
        let container_id = known.container_id.clone();
        if let Some(probe) = self.probes.remove(name) {
            probe.abort();
        }
        let reason = match (&exit.reason, exit.oom_killed, exit.code) {
            (_, true, _) => "OOMKilled",
            (Some(_), _, _) => "ContainerStatusUnknown",
            (_, _, 0) => "Completed",
            _ => "Error",
        };
        let message = exit
            .reason
            .clone()
            .unwrap_or_else(|| self.termination_message(name, attempt, exit.code));
        debug!(
            pod = self.pod().metadata.name,
            container = name,
            attempt,
            code = exit.code,
            "container exited"
        );
        let end = Termination {
            exit_code: exit.code,
            // Kubernetes shows the code only; the signal is in it.
            signal: None,
            reason: reason.into(),
            message,
            started_at: exit.started_at,
            finished_at: exit.finished_at,
            container_id,
        };
        self.runtime.exited(name, end);
        self.save();
        let restarts = self.wanted.pod.container(name).is_some();
        if restarts && exit.code != 0 && self.runtime.stop_since.is_none() {
            let known = self.runtime.container(name);
            let delay = known.map_or(0, |c| c.crash.delay_after(exit.finished_at));
            if delay > 0
                && self.wanted.pod.spec.restart_policy != crate::pod::model::RestartPolicy::Never
            {
                let meta = &self.wanted.pod.metadata;
                let text = format!(
                    "Back-off restarting failed container {name} in pod {}_{}({})",
                    meta.name, meta.namespace, meta.uid
                );
                self.event(Some(name), Kind::Warning, "BackOff", text);
            }
        }
    }

    fn termination_message(&self, name: &str, attempt: u32, code: i32) -> String {
        /// Kubernetes' limits: of the file, and of the log that stands in for it.
        const FILE_BYTES: usize = 4096;
        const LOG_BYTES: u64 = 2048;
        const LOG_LINES: usize = 80;
        let written = std::fs::read(self.record.termination(name, attempt)).unwrap_or_default();
        let fall_back = self
            .pod()
            .container(name)
            .is_some_and(|c| c.termination_message_policy == "FallbackToLogsOnError");
        if written.is_empty() && fall_back && code != 0 {
            return crate::stream::logs::tail(
                &self.record.log(name, attempt),
                LOG_LINES,
                LOG_BYTES,
            );
        }
        let cut = &written[..written.len().min(FILE_BYTES)];
        String::from_utf8_lossy(cut).into_owned()
    }
}

/// The place of the logs, and the file of the termination message.
fn make_files(record: &Record, container: &str, attempt: u32) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::create_dir_all(record.log_dir(container))?;
    let termination = record.termination(container, attempt);
    if let Some(dir) = termination.parent() {
        std::fs::create_dir_all(dir)?;
    }
    std::fs::write(&termination, b"")?;
    // The container's user, whoever that is, writes its last words there.
    std::fs::set_permissions(&termination, std::fs::Permissions::from_mode(0o666))
}

fn event_reason(reason: &str) -> &str {
    match reason {
        "ErrImageNeverPull" => "ErrImageNeverPull",
        "ImagePullBackOff" => "BackOff",
        _ => "Failed",
    }
}
