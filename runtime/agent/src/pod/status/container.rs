//! What the status says of each container.

use pintle_api::time::format_seconds;
use serde_json::{Value, json};

use super::super::model::{Container, Pod, RestartPolicy};
use super::super::runtime::{ContainerRuntime, Phase, PodRuntime, Termination};
use super::super::step::finished;

pub(super) fn statuses(pod: &Pod, containers: &[Container], observed: &PodRuntime) -> Vec<Value> {
    let fresh = ContainerRuntime::default();
    containers
        .iter()
        .map(|container| {
            let runtime = observed.container(&container.name).unwrap_or(&fresh);
            container_status(pod, container, runtime, observed)
        })
        .collect()
}

fn container_status(
    pod: &Pod,
    container: &Container,
    runtime: &ContainerRuntime,
    observed: &PodRuntime,
) -> Value {
    let restarts = will_restart(pod, container, runtime, observed);
    let mut last = runtime.last.as_ref();
    let state = match &runtime.phase {
        Phase::Running { started_at } => {
            json!({"running": {"startedAt": format_seconds(*started_at)}})
        }
        Phase::Exited(end) if restarts => match &runtime.failure {
            Some(failure) => {
                last = Some(end);
                waiting(&failure.reason, &failure.message)
            }
            // It starts again at once: there is no loop yet, and nothing to wait for.
            None if runtime.crash.delay_after(end.finished_at) == 0 => {
                json!({"terminated": terminated(end)})
            }
            None => {
                last = Some(end);
                waiting("CrashLoopBackOff", &crash_message(pod, container, runtime, end))
            }
        },
        Phase::Exited(end) => json!({"terminated": terminated(end)}),
        Phase::NotCreated | Phase::Beginning => match &runtime.failure {
            Some(failure) => waiting(&failure.reason, &failure.message),
            None if pod.spec.init_containers.is_empty() => waiting("ContainerCreating", ""),
            None => waiting("PodInitializing", ""),
        },
    };
    let init = pod.is_init(&container.name) && !container.is_sidecar();
    let ready = match init {
        true => runtime.exited().is_some_and(|end| end.exit_code == 0),
        false => runtime.is_running() && runtime.ready,
    };
    let container_id = match (&runtime.phase, runtime.container_id.as_str()) {
        (_, "") => last.map_or("", |end| end.container_id.as_str()),
        (_, id) => id,
    };
    json!({
        "name": container.name,
        "state": state,
        "lastState": last.map_or_else(|| json!({}), |end| json!({"terminated": terminated(end)})),
        "ready": ready,
        "restartCount": runtime.attempt,
        "image": container.image,
        "imageID": runtime.image_id,
        "containerID": container_id,
        "started": runtime.is_running() && runtime.started,
    })
}

fn will_restart(
    pod: &Pod,
    container: &Container,
    runtime: &ContainerRuntime,
    observed: &PodRuntime,
) -> bool {
    let Some(end) = runtime.exited() else {
        return false;
    };
    let over = pod.is_being_deleted()
        || observed.stop_since.is_some()
        || finished(pod, observed).is_some();
    let init = pod.is_init(&container.name) && !container.is_sidecar();
    let again = match pod.spec.restart_policy {
        _ if container.is_sidecar() => true,
        RestartPolicy::Always if init => end.exit_code != 0,
        RestartPolicy::Always => true,
        RestartPolicy::OnFailure => end.exit_code != 0,
        RestartPolicy::Never => false,
    };
    again && !over
}

fn crash_message(
    pod: &Pod,
    container: &Container,
    runtime: &ContainerRuntime,
    end: &Termination,
) -> String {
    format!(
        "back-off {} restarting failed container={} pod={}_{}({})",
        duration(runtime.crash.delay_after(end.finished_at)),
        container.name,
        pod.metadata.name,
        pod.metadata.namespace,
        pod.metadata.uid,
    )
}

/// As Go prints it: `10s`, `2m40s`, `5m0s`.
pub fn duration(milliseconds: i64) -> String {
    let seconds = milliseconds / 1000;
    match seconds / 60 {
        0 => format!("{seconds}s"),
        minutes => format!("{minutes}m{}s", seconds % 60),
    }
}

fn waiting(reason: &str, message: &str) -> Value {
    match message.is_empty() {
        true => json!({"waiting": {"reason": reason}}),
        false => json!({"waiting": {"reason": reason, "message": message}}),
    }
}

fn terminated(end: &Termination) -> Value {
    let mut terminated = json!({
        "exitCode": end.exit_code,
        "reason": end.reason,
        "startedAt": format_seconds(end.started_at),
        "finishedAt": format_seconds(end.finished_at),
        "containerID": end.container_id,
    });
    if let Some(signal) = end.signal {
        terminated["signal"] = signal.into();
    }
    if !end.message.is_empty() {
        terminated["message"] = end.message.clone().into();
    }
    terminated
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_like_go() {
        for (ms, expect) in [(10_000, "10s"), (160_000, "2m40s"), (300_000, "5m0s"), (0, "0s")] {
            assert_eq!(duration(ms), expect);
        }
    }
}
