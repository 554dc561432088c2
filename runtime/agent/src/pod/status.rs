//! The pod's status as the API shall show it: a pure function of what is wanted
//! and what is there.

use pintle_api::time::format_seconds;
use serde_json::{Map, Value, json};

use super::model::{Container, Pod, RestartPolicy};
use super::resources::qos_class;
use super::runtime::{ContainerRuntime, Phase, PodRuntime, Sandbox, Termination};
use super::step::{finished, init_done};

/// What else a status tells that is not the pod's own.
#[derive(Debug, Clone, Copy)]
pub struct StatusContext<'a> {
    pub host_ip: &'a str,
    /// The status before, for the times of the conditions.
    pub previous: &'a Value,
    pub now: i64,
}

/// The document for `PATCH .../status` (a merge patch: what is absent is null).
pub fn status(pod: &Pod, observed: &PodRuntime, context: StatusContext<'_>) -> Value {
    let phase = phase(pod, observed);
    let init: Vec<Value> = statuses(pod, &pod.spec.init_containers, observed);
    let main: Vec<Value> = statuses(pod, &pod.spec.containers, observed);
    let ips: Vec<String> = match pod.spec.host_network {
        true if observed.sandbox == Sandbox::Ready => vec![context.host_ip.to_owned()],
        true => Vec::new(),
        false => observed.ips.iter().map(ToString::to_string).collect(),
    };
    let mut status = Map::new();
    status.insert(
        "observedGeneration".into(),
        match pod.metadata.generation {
            0 => Value::Null,
            generation => generation.into(),
        },
    );
    status.insert("phase".into(), phase.into());
    status.insert("conditions".into(), conditions(pod, observed, phase, context));
    status.insert("hostIP".into(), context.host_ip.into());
    status.insert("hostIPs".into(), json!([{"ip": context.host_ip}]));
    status.insert("podIP".into(), ips.first().map_or(Value::Null, |ip| json!(ip)));
    status.insert(
        "podIPs".into(),
        match ips.is_empty() {
            true => Value::Null,
            false => ips.iter().map(|ip| json!({"ip": ip})).collect(),
        },
    );
    status.insert("startTime".into(), time(observed.accepted_at));
    status.insert("qosClass".into(), qos_class(pod).name().into());
    let (reason, message) = match &observed.outcome {
        Some(outcome) => (json!(outcome.reason), json!(outcome.message)),
        None => (Value::Null, Value::Null),
    };
    status.insert("reason".into(), reason);
    status.insert("message".into(), message);
    status.insert(
        "initContainerStatuses".into(),
        match init.is_empty() {
            true => Value::Null,
            false => init.into(),
        },
    );
    status.insert("containerStatuses".into(), main.into());
    Value::Object(status)
}

fn time(unix_ms: Option<i64>) -> Value {
    unix_ms.map_or(Value::Null, |at| format_seconds(at).into())
}

pub fn phase(pod: &Pod, observed: &PodRuntime) -> &'static str {
    if let Some(good) = finished(pod, observed) {
        return if good { "Succeeded" } else { "Failed" };
    }
    let runtimes = |containers: &[Container]| -> Vec<ContainerRuntime> {
        let of = |container: &Container| observed.container(&container.name).cloned();
        containers.iter().map(|container| of(container).unwrap_or_default()).collect()
    };
    let main = runtimes(&pod.spec.containers);
    let ended = main.iter().all(|container| container.exited().is_some());
    if ended && pod.is_being_deleted() {
        // The pod is over, whatever its policy would have done next.
        let good = main.iter().filter_map(ContainerRuntime::exited).all(|end| end.exit_code == 0);
        return if good { "Succeeded" } else { "Failed" };
    }
    let initialised = pod.spec.init_containers.iter().all(|container| init_ok(container, observed));
    let begun = |container: &ContainerRuntime| {
        container.is_running() || container.exited().is_some() || container.last.is_some()
    };
    if initialised && main.iter().all(begun) { "Running" } else { "Pending" }
}

fn init_ok(container: &Container, observed: &PodRuntime) -> bool {
    match container.is_sidecar() {
        true => observed.container(&container.name).is_some_and(|c| c.started),
        false => init_done(container, observed),
    }
}

fn conditions(pod: &Pod, observed: &PodRuntime, phase: &str, context: StatusContext<'_>) -> Value {
    let names = |bad: Vec<&str>| format!("[{}]", bad.join(" "));
    let incomplete: Vec<&str> = pod
        .spec
        .init_containers
        .iter()
        .filter(|container| !init_ok(container, observed))
        .map(|container| container.name.as_str())
        .collect();
    let unready: Vec<&str> = pod
        .spec
        .containers
        .iter()
        .filter(|container| {
            !observed.container(&container.name).is_some_and(|c| c.is_running() && c.ready)
        })
        .map(|container| container.name.as_str())
        .collect();
    let completed = phase == "Succeeded";
    let failed = phase == "Failed";
    let initialized = match incomplete.is_empty() || completed {
        true if completed => condition("Initialized", true, "PodCompleted", ""),
        true => condition("Initialized", true, "", ""),
        false => condition(
            "Initialized",
            false,
            "ContainersNotInitialized",
            &format!("containers with incomplete status: {}", names(incomplete)),
        ),
    };
    let ready = |kind: &str| match unready.is_empty() {
        _ if completed => condition(kind, false, "PodCompleted", ""),
        _ if failed => condition(kind, false, "PodFailed", ""),
        true => condition(kind, true, "", ""),
        false => condition(
            kind,
            false,
            "ContainersNotReady",
            &format!("containers with unready status: {}", names(unready.clone())),
        ),
    };
    let sandboxed = observed.sandbox == Sandbox::Ready;
    let mine = [
        condition("PodReadyToStartContainers", sandboxed, "", ""),
        initialized,
        ready("Ready"),
        ready("ContainersReady"),
    ];
    let no_conditions = Vec::new();
    let listed = |status: &Value| status["conditions"].as_array().cloned().unwrap_or_default();
    let before = context.previous["conditions"].as_array().unwrap_or(&no_conditions);
    let mut all: Vec<Value> = mine
        .into_iter()
        .map(|mut condition| {
            let same = |old: &&Value| {
                old["type"] == condition["type"] && old["status"] == condition["status"]
            };
            let since = before.iter().find(same).map(|old| old["lastTransitionTime"].clone());
            condition["lastTransitionTime"] =
                since.unwrap_or_else(|| format_seconds(context.now).into());
            if pod.metadata.generation != 0 {
                condition["observedGeneration"] = pod.metadata.generation.into();
            }
            condition
        })
        .collect();
    // Conditions of others (PodScheduled, readiness gates) stay as they are.
    for other in listed(&pod.status) {
        if !all.iter().any(|mine| mine["type"] == other["type"]) {
            all.push(other);
        }
    }
    if !all.iter().any(|condition| condition["type"] == "PodScheduled") {
        // Bound by whoever created it.
        let mut scheduled = condition("PodScheduled", true, "", "");
        let of_before = before.iter().find(|old| old["type"] == "PodScheduled");
        let since = of_before.map(|old| old["lastTransitionTime"].clone());
        scheduled["lastTransitionTime"] =
            since.unwrap_or_else(|| format_seconds(context.now).into());
        all.push(scheduled);
    }
    all.into()
}

fn condition(kind: &str, holds: bool, reason: &str, message: &str) -> Value {
    let mut condition = json!({
        "type": kind,
        "status": if holds { "True" } else { "False" },
        "lastProbeTime": null,
    });
    if !reason.is_empty() {
        condition["reason"] = reason.into();
    }
    if !message.is_empty() {
        condition["message"] = message.into();
    }
    condition
}

fn statuses(pod: &Pod, containers: &[Container], observed: &PodRuntime) -> Vec<Value> {
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

    fn pod(spec: Value) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": "a", "namespace": "n", "uid": "u", "generation": 2},
            "spec": spec,
            "status": {"conditions": [{"type": "PodScheduled", "status": "True"}]},
        }))
        .unwrap()
    }

    fn show(pod: &Pod, observed: &PodRuntime) -> Value {
        let previous = Value::Null;
        status(
            pod,
            observed,
            StatusContext { host_ip: "192.0.2.1", previous: &previous, now: 5_000 },
        )
    }

    fn end(exit_code: i32) -> Termination {
        Termination {
            exit_code,
            signal: None,
            reason: if exit_code == 0 { "Completed" } else { "Error" }.into(),
            message: String::new(),
            started_at: 1_000,
            finished_at: 2_000,
            container_id: "pintle://x".into(),
        }
    }

    #[test]
    fn a_pod_goes_from_creating_to_running_to_backing_off() {
        let pod = pod(json!({"containers": [{"name": "c", "image": "i"}]}));
        let mut observed = PodRuntime::new(&pod, 0);
        let got = show(&pod, &observed);
        assert_eq!(got["phase"], "Pending");
        assert_eq!(got["containerStatuses"][0]["state"]["waiting"]["reason"], "ContainerCreating");
        assert!(got["conditions"].as_array().unwrap().iter().any(|c| c["type"] == "PodScheduled"));

        observed.sandbox_ready(vec!["10.0.0.2".parse().unwrap()]);
        observed.begin(&pod, "c", 0, 1_000);
        observed.running("c", 1_000, true, true);
        let got = show(&pod, &observed);
        assert_eq!((&got["phase"], &got["podIP"]), (&json!("Running"), &json!("10.0.0.2")));
        assert!(got["conditions"].as_array().unwrap().iter().all(|c| c["status"] == "True"));

        observed.exited("c", end(1));
        let state = &show(&pod, &observed)["containerStatuses"][0]["state"];
        assert_eq!(state["terminated"]["reason"], "Error", "the first restart waits for nothing");
        observed.begin(&pod, "c", 1, 2_000);
        observed.running("c", 2_000, true, true);
        observed.exited("c", end(1));
        let got = show(&pod, &observed);
        assert_eq!(got["phase"], "Running");
        let waiting = &got["containerStatuses"][0]["state"]["waiting"];
        assert_eq!(waiting["reason"], "CrashLoopBackOff");
        assert_eq!(waiting["message"], "back-off 10s restarting failed container=c pod=a_n(u)");
        assert_eq!(got["containerStatuses"][0]["restartCount"], 1);
        assert_eq!(got["containerStatuses"][0]["lastState"]["terminated"]["exitCode"], 1);
    }

    #[test]
    fn a_job_like_pod_ends_as_its_containers_did() {
        let check = |policy: &str, codes: [i32; 2], expect: &str| {
            let pod = pod(json!({
                "restartPolicy": policy,
                "containers": [{"name": "c0", "image": "i"}, {"name": "c1", "image": "i"}],
            }));
            let mut observed = PodRuntime::new(&pod, 0);
            for (index, code) in codes.into_iter().enumerate() {
                observed.exited(&format!("c{index}"), end(code));
            }
            assert_eq!(show(&pod, &observed)["phase"], expect, "{policy} {codes:?}");
        };
        check("Never", [0, 0], "Succeeded");
        check("Never", [0, 3], "Failed");
        check("OnFailure", [0, 0], "Succeeded");
        check("OnFailure", [0, 3], "Running");
        check("Always", [0, 0], "Running");
    }

    #[test]
    fn init_containers_hold_a_pod_back() {
        let pod = pod(json!({
            "initContainers": [{"name": "i0", "image": "i"}],
            "containers": [{"name": "c", "image": "i"}],
        }));
        let mut observed = PodRuntime::new(&pod, 0);
        observed.sandbox_ready(Vec::new());
        let got = show(&pod, &observed);
        assert_eq!(got["containerStatuses"][0]["state"]["waiting"]["reason"], "PodInitializing");
        let initialized = got["conditions"]
            .as_array()
            .unwrap()
            .iter()
            .find(|c| c["type"] == "Initialized")
            .unwrap();
        assert_eq!(initialized["message"], "containers with incomplete status: [i0]");
        observed.exited("i0", end(0));
        assert_eq!(show(&pod, &observed)["initContainerStatuses"][0]["ready"], true);
    }

    #[test]
    fn durations_read_like_go() {
        for (ms, expect) in [(10_000, "10s"), (160_000, "2m40s"), (300_000, "5m0s"), (0, "0s")] {
            assert_eq!(duration(ms), expect);
        }
    }
}
