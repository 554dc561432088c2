//! `Pod`: containers that live and die together.

mod cells;
mod container;
mod defaults;
mod placement;
mod qos;
mod spec;
mod update;
mod volume;

use serde_json::{Value, json};

use super::json::{items, set, value_at};
use super::{Column, Hooks, Resource, SelectableField, Subresource};
use crate::status::FieldError;

pub(super) use cells::{container_names, images};
pub(super) use defaults::pod_spec as default_pod_spec;
pub(super) use spec::{template as validate_template, template_of as validate_template_of};

pub(super) const ROW: Resource = Resource {
    kind: "Pod",
    plural: "pods",
    singular: "pod",
    short_names: &["po"],
    categories: &["all"],
    subresources: &[
        Subresource::Status,
        Subresource::Binding,
        Subresource::Eviction,
        Subresource::Log,
        Subresource::Exec,
        Subresource::Attach,
        Subresource::PortForward,
    ],
    columns: &[
        Column::NAME,
        Column::string("Ready")
            .help("The aggregate readiness state of this pod for accepting traffic."),
        Column::string("Status").help("The aggregate status of the containers in this pod."),
        Column::string("Restarts").help(
            "The number of times the containers in this pod have been restarted and when the last container in this pod has restarted.",
        ),
        Column::AGE,
        Column::string("IP").wide().help("The first IP address of the pod."),
        Column::string("Node").wide().help("The node the pod is scheduled to."),
        Column::string("Nominated Node")
            .wide()
            .help("The node a preempting pod waits for."),
        Column::string("Readiness Gates")
            .wide()
            .help("How many of the pod's readiness gates are true."),
    ],
    selectable: &[
        SelectableField::new("spec.nodeName", "/spec/nodeName").indexed(),
        SelectableField::new("spec.restartPolicy", "/spec/restartPolicy"),
        SelectableField::new("spec.schedulerName", "/spec/schedulerName"),
        SelectableField::new("spec.serviceAccountName", "/spec/serviceAccountName"),
        SelectableField::new("spec.hostNetwork", "/spec/hostNetwork").or("false"),
        SelectableField::new("status.phase", "/status/phase"),
        SelectableField::new("status.podIP", "/status/podIP"),
        SelectableField::new("status.nominatedNodeName", "/status/nominatedNodeName"),
    ],
    schema: "core.v1.Pod",
    spec_generation: true,
    status_writes_labels: true,
    graceful: Some(grace_seconds),
    hooks: Hooks { cells: cells::cells, default, validate, create, ..Hooks::PLAIN },
    ..Resource::BASE
};

/// What `terminationGracePeriodSeconds` defaults to.
const GRACE_SECONDS: i64 = 30;

/// Kubernetes accepts a negative period and ends such a pod after one second.
fn grace_seconds(pod: &Value) -> i64 {
    match value_at(pod, &["spec", "terminationGracePeriodSeconds"]).as_i64() {
        None => GRACE_SECONDS,
        Some(seconds) if seconds < 0 => 1,
        Some(seconds) => seconds,
    }
}

/// A pod without a spec gets one: what is missing in it is said by validation,
/// and plugins that add to it find a place.
fn default(object: &mut Value) {
    if value_at(object, &["spec"]).is_null() {
        set(object, "spec", json!({}));
    }
    if let Some(spec) = object.get_mut("spec") {
        defaults::pod(spec);
    }
}

fn create(object: &mut Value) {
    let spec = value_at(object, &["spec"]);
    let mut status = json!({"phase": "Pending", "qosClass": qos::class(spec)});
    if !items(spec, &["schedulingGates"]).is_empty() {
        status["conditions"] = json!([{
            "type": "PodScheduled",
            "status": "False",
            "reason": "SchedulingGated",
            "message": "Scheduling is blocked due to non-empty scheduling gates",
        }]);
    }
    set(object, "status", status);
}

fn validate(object: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    match old {
        None => spec::pod_spec(value_at(object, &["spec"]), "spec", &mut errors),
        Some(old) => update::validate(object, old, &mut errors),
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gated_pod_says_so_from_the_start() {
        let mut pod = json!({"spec": {"schedulingGates": [{"name": "wait"}]}});
        create(&mut pod);
        assert_eq!(pod["status"]["conditions"][0]["reason"], "SchedulingGated");
        assert_eq!(cells::cells(&pod, 0)[2], "SchedulingGated");
    }

    #[test]
    fn a_pod_without_a_spec_lacks_containers_only() {
        for mut pod in [json!({}), json!({"spec": null})] {
            default(&mut pod);
            assert_eq!(pod["spec"]["restartPolicy"], "Always");
            let found: Vec<String> = validate(&pod, None).iter().map(|e| e.to_string()).collect();
            assert_eq!(found, ["spec.containers: Required value"]);
        }
    }

    #[test]
    fn grace() {
        let pod = |seconds: Value| json!({"spec": {"terminationGracePeriodSeconds": seconds}});
        assert_eq!(grace_seconds(&json!({})), 30);
        assert_eq!(grace_seconds(&pod(json!(0))), 0);
        assert_eq!(grace_seconds(&pod(json!(-5))), 1);
    }
}
