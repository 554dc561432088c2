//! `Pod`: containers that live and die together.

use super::{Resource, SelectableField, Subresource};

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
    graceful: Some(|pod| {
        super::value_at(pod, &["spec", "terminationGracePeriodSeconds"]).as_i64().unwrap_or(30)
    }),
    ..Resource::BASE
};
