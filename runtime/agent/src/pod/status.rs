//! The pod's status as the API shall show it: a pure function of what is wanted
//! and what is there.

mod container;

use pintle_api::time::format_seconds;
use serde_json::{Map, Value, json};

use super::model::{Container, Pod};
use super::resources::qos_class;
use super::runtime::{ContainerRuntime, PodRuntime, Sandbox};
use super::step::{finished, init_done};

pub use container::duration;
use container::statuses;

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

#[cfg(test)]
mod tests {
    use super::super::runtime::Termination;
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
}
