//! The printed row of a pod: one word that sums up all its containers.

use serde_json::Value;

use super::super::json::{age_cell, bool_at, int_at, items, name_cell, or_none, str_at, value_at};
use super::spec::is_sidecar;
use crate::time;

pub(super) fn cells(pod: &Value, now_ms: i64) -> Vec<Value> {
    let summary = Summary::of(pod);
    vec![
        name_cell(pod),
        format!("{}/{}", summary.ready, summary.total).into(),
        summary.reason.into(),
        restarts(&summary.restarts, now_ms),
        age_cell(pod, now_ms),
        or_none(
            items(pod, &["status", "podIPs"])
                .first()
                .map_or_else(|| str_at(pod, &["status", "podIP"]), |ip| str_at(ip, &["ip"])),
        ),
        or_none(str_at(pod, &["spec", "nodeName"])),
        or_none(str_at(pod, &["status", "nominatedNodeName"])),
        readiness_gates(pod),
    ]
}

/// The names of a pod spec's containers, for the wide columns of workloads.
pub(in super::super) fn container_names(spec: &Value) -> Value {
    join(spec, "name")
}

pub(in super::super) fn images(spec: &Value) -> Value {
    join(spec, "image")
}

fn join(spec: &Value, field: &str) -> Value {
    let values: Vec<&str> =
        items(spec, &["containers"]).iter().map(|container| str_at(container, &[field])).collect();
    values.join(",").into()
}

/// A count of restarts and the end of the last run.
#[derive(Default)]
struct Restarts {
    count: i64,
    last: Option<i64>,
}

impl Restarts {
    fn add(&mut self, status: &Value) {
        self.count += int_at(status, &["restartCount"]);
        let finished = str_at(status, &["lastState", "terminated", "finishedAt"]);
        self.last = self.last.max(time::parse(finished));
    }
}

fn restarts(restarts: &Restarts, now_ms: i64) -> Value {
    match restarts.last {
        Some(last) if restarts.count != 0 => {
            format!("{} ({} ago)", restarts.count, time::human_duration(now_ms - last)).into()
        }
        _ => restarts.count.to_string().into(),
    }
}

struct Summary {
    ready: usize,
    total: usize,
    reason: String,
    restarts: Restarts,
}

impl Summary {
    fn of(pod: &Value) -> Self {
        let spec = value_at(pod, &["spec"]);
        let status = value_at(pod, &["status"]);
        let init = items(spec, &["initContainers"]);
        let mut summary = Self {
            ready: 0,
            total: items(spec, &["containers"]).len()
                + init.iter().filter(|container| is_sidecar(container)).count(),
            reason: str_at(status, &["phase"]).to_owned(),
            restarts: Restarts::default(),
        };
        if !str_at(status, &["reason"]).is_empty() {
            summary.reason = str_at(status, &["reason"]).to_owned();
        }
        if condition(status, "PodScheduled")
            .is_some_and(|found| str_at(found, &["reason"]) == "SchedulingGated")
        {
            summary.reason = "SchedulingGated".to_owned();
        }
        let (initializing, sidecars) = summary.init_containers(init, status);
        if !initializing || is_true(status, "Initialized") {
            summary.restarts = sidecars;
            summary.containers(status);
        }
        summary.deletion(pod, status);
        summary
    }

    /// Returns whether initialization goes on, and the restarts of sidecars alone.
    fn init_containers(&mut self, init: &[Value], status: &Value) -> (bool, Restarts) {
        let mut sidecars = Restarts::default();
        for (index, container) in items(status, &["initContainerStatuses"]).iter().enumerate() {
            self.restarts.add(container);
            let name = str_at(container, &["name"]);
            let sidecar =
                init.iter().any(|spec| str_at(spec, &["name"]) == name && is_sidecar(spec));
            if sidecar {
                sidecars.add(container);
            }
            let terminated = value_at(container, &["state", "terminated"]);
            let waiting = str_at(container, &["state", "waiting", "reason"]);
            if terminated.is_object() && int_at(terminated, &["exitCode"]) == 0 {
                continue;
            }
            if sidecar && bool_at(container, &["started"]) {
                self.ready += usize::from(bool_at(container, &["ready"]));
                continue;
            }
            self.reason = if terminated.is_object() {
                format!("Init:{}", ended(terminated))
            } else if !waiting.is_empty() && waiting != "PodInitializing" {
                format!("Init:{waiting}")
            } else {
                format!("Init:{index}/{}", init.len())
            };
            return (true, sidecars);
        }
        (false, sidecars)
    }

    fn containers(&mut self, status: &Value) {
        let mut running = false;
        // Last to first, so that the first container has the last word.
        for container in items(status, &["containerStatuses"]).iter().rev() {
            self.restarts.add(container);
            let waiting = str_at(container, &["state", "waiting", "reason"]);
            let terminated = value_at(container, &["state", "terminated"]);
            if !waiting.is_empty() {
                self.reason = waiting.to_owned();
            } else if terminated.is_object() {
                self.reason = ended(terminated);
            } else if bool_at(container, &["ready"])
                && value_at(container, &["state", "running"]).is_object()
            {
                running = true;
                self.ready += 1;
            }
        }
        // One container is done, another still works.
        if self.reason == "Completed" && running {
            let ready = is_true(status, "Ready");
            self.reason = if ready { "Running" } else { "NotReady" }.to_owned();
        }
    }

    fn deletion(&mut self, pod: &Value, status: &Value) {
        if str_at(pod, &["metadata", "deletionTimestamp"]).is_empty() {
            return;
        }
        if str_at(status, &["reason"]) == "NodeLost" {
            self.reason = "Unknown".to_owned();
        } else if !matches!(str_at(status, &["phase"]), "Succeeded" | "Failed") {
            self.reason = "Terminating".to_owned();
        }
    }
}

/// Why a container ended: its reason, else the signal, else the exit code.
fn ended(terminated: &Value) -> String {
    let reason = str_at(terminated, &["reason"]);
    if !reason.is_empty() {
        return reason.to_owned();
    }
    match int_at(terminated, &["signal"]) {
        0 => format!("ExitCode:{}", int_at(terminated, &["exitCode"])),
        signal => format!("Signal:{signal}"),
    }
}

fn condition<'a>(status: &'a Value, kind: &str) -> Option<&'a Value> {
    items(status, &["conditions"]).iter().find(|condition| str_at(condition, &["type"]) == kind)
}

fn is_true(status: &Value, kind: &str) -> bool {
    condition(status, kind).is_some_and(|condition| str_at(condition, &["status"]) == "True")
}

fn readiness_gates(pod: &Value) -> Value {
    let gates = items(pod, &["spec", "readinessGates"]);
    if gates.is_empty() {
        return "<none>".into();
    }
    let status = value_at(pod, &["status"]);
    let open =
        gates.iter().filter(|gate| is_true(status, str_at(gate, &["conditionType"]))).count();
    format!("{open}/{}", gates.len()).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const NOW: i64 = 1_767_323_045_000; // 2026-01-02T03:04:05Z

    /// Ready, status and restarts of a pod.
    fn check(pod: Value, expect: [&str; 3]) {
        let cells = cells(&pod, NOW);
        assert_eq!([&cells[1], &cells[2], &cells[3]], expect, "{pod}");
    }

    fn running(ready: bool) -> Value {
        json!({"name": "c", "ready": ready, "restartCount": 0, "state": {"running": {}}})
    }

    #[test]
    fn one_word_sums_up_the_containers() {
        let spec = json!({"containers": [{"name": "c"}]});
        check(json!({"spec": spec, "status": {"phase": "Pending"}}), ["0/1", "Pending", "0"]);
        check(
            json!({"spec": spec, "status": {"phase": "Running", "containerStatuses": [running(true)]}}),
            ["1/1", "Running", "0"],
        );
        check(
            json!({"spec": spec, "status": {"phase": "Pending", "containerStatuses": [
                {"name": "c", "ready": false, "restartCount": 0, "state": {"waiting": {"reason": "ContainerCreating"}}}]}}),
            ["0/1", "ContainerCreating", "0"],
        );
        check(
            json!({"spec": spec, "status": {"phase": "Running", "containerStatuses": [
                {"name": "c", "ready": false, "restartCount": 3, "state": {"waiting": {"reason": "CrashLoopBackOff"}},
                 "lastState": {"terminated": {"exitCode": 1, "finishedAt": "2026-01-02T02:59:05Z"}}}]}}),
            ["0/1", "CrashLoopBackOff", "3 (5m ago)"],
        );
        check(
            json!({"spec": spec, "status": {"phase": "Succeeded", "containerStatuses": [
                {"name": "c", "restartCount": 0, "state": {"terminated": {"exitCode": 0, "reason": "Completed"}}}]}}),
            ["0/1", "Completed", "0"],
        );
        check(
            json!({"spec": spec, "status": {"phase": "Failed", "containerStatuses": [
                {"name": "c", "restartCount": 0, "state": {"terminated": {"exitCode": 137, "signal": 9}}}]}}),
            ["0/1", "Signal:9", "0"],
        );
        check(
            json!({"spec": spec, "status": {"phase": "Failed", "reason": "Evicted"}}),
            ["0/1", "Evicted", "0"],
        );
    }

    #[test]
    fn one_done_and_one_running() {
        let spec = json!({"containers": [{"name": "a"}, {"name": "c"}]});
        let done = json!({"name": "a", "restartCount": 0, "state": {"terminated": {"exitCode": 0, "reason": "Completed"}}});
        let pod = |conditions: Value| {
            json!({"spec": spec, "status": {"phase": "Running", "conditions": conditions,
                "containerStatuses": [done, running(true)]}})
        };
        check(pod(json!([])), ["1/2", "NotReady", "0"]);
        check(pod(json!([{"type": "Ready", "status": "True"}])), ["1/2", "Running", "0"]);
    }

    #[test]
    fn initialization_comes_first() {
        let spec = json!({"initContainers": [{"name": "i"}, {"name": "j"}], "containers": [{"name": "c"}]});
        let pod = |states: Value| json!({"spec": spec, "status": {"phase": "Pending", "initContainerStatuses": states}});
        let state = |state: Value| json!({"name": "i", "restartCount": 1, "state": state});
        check(pod(json!([state(json!({"running": {}}))])), ["0/1", "Init:0/2", "1"]);
        check(
            pod(
                json!([state(json!({"terminated": {"exitCode": 0}})), {"name": "j", "state": {"waiting": {"reason": "PodInitializing"}}}]),
            ),
            ["0/1", "Init:1/2", "1"],
        );
        check(
            pod(json!([state(json!({"terminated": {"exitCode": 1, "reason": "Error"}}))])),
            ["0/1", "Init:Error", "1"],
        );
        check(
            pod(json!([state(json!({"terminated": {"exitCode": 2}}))])),
            ["0/1", "Init:ExitCode:2", "1"],
        );
        check(
            pod(json!([state(json!({"waiting": {"reason": "CrashLoopBackOff"}}))])),
            ["0/1", "Init:CrashLoopBackOff", "1"],
        );
    }

    #[test]
    fn sidecars_count_as_containers() {
        check(
            json!({"spec": {"initContainers": [{"name": "i", "restartPolicy": "Always"}], "containers": [{"name": "c"}]},
                "status": {"phase": "Running",
                    "initContainerStatuses": [{"name": "i", "ready": true, "started": true, "restartCount": 2, "state": {"running": {}}}],
                    "containerStatuses": [running(true)]}}),
            ["2/2", "Running", "2"],
        );
    }

    #[test]
    fn deletion_shows() {
        let meta = json!({"name": "p", "deletionTimestamp": "2026-01-02T03:04:00Z"});
        let spec = json!({"containers": [{"name": "c"}]});
        check(
            json!({"metadata": meta, "spec": spec, "status": {"phase": "Running", "containerStatuses": [running(true)]}}),
            ["1/1", "Terminating", "0"],
        );
        check(
            json!({"metadata": meta, "spec": spec, "status": {"phase": "Running", "reason": "NodeLost"}}),
            ["0/1", "Unknown", "0"],
        );
    }

    #[test]
    fn wide_cells() {
        let pod = json!({"metadata": {"name": "p", "creationTimestamp": "2026-01-02T03:03:00Z"},
            "spec": {"nodeName": "n", "readinessGates": [{"conditionType": "x/y"}, {"conditionType": "z"}]},
            "status": {"podIPs": [{"ip": "10.0.0.1"}], "conditions": [{"type": "z", "status": "True"}]}});
        assert_eq!(cells(&pod, NOW)[4..], ["65s", "10.0.0.1", "n", "<none>", "1/2"]);
        assert_eq!(
            cells(&json!({}), NOW)[4..],
            ["<unknown>", "<none>", "<none>", "<none>", "<none>"]
        );
    }
}
