//! What a pod's task waits for, and what each piece of news changes in what is
//! known. Nothing is decided or performed here.

use pintle_containers::ContainerEvent;
use tracing::warn;

use super::super::hooks::ProbeKind;
use super::super::runtime::{ContainerRuntime, Hook, Phase};
use super::{Driver, HookKind, Message, report};
use crate::client::chain;
use crate::clock::until;
use crate::events::Kind;

enum News {
    Desired,
    Message(Message),
    Container(Option<ContainerEvent>),
    Reported(report::Outcome),
    Time,
}

impl Driver {
    /// Waits for anything that could change the decision. False: the agent stops.
    pub(super) async fn wait(&mut self, wake_at: Option<i64>) -> bool {
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
    pub(super) fn take_news(&mut self) {
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

    pub(super) fn on_container(&mut self, event: ContainerEvent) {
        match event {
            // The reply to the start has told it already, except after an adoption.
            ContainerEvent::Started { name, attempt, at, .. } => {
                let known = self.runtime.container(&name);
                let beginning =
                    known.is_some_and(|c| c.attempt == attempt && c.phase == Phase::Beginning);
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
        let current = |c: &&mut ContainerRuntime| c.attempt == attempt && c.is_running();
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
}
