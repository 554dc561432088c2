//! `Node`: a machine that runs pods.

use super::{Resource, Scope, SelectableField, Subresource};

pub(super) const ROW: Resource = Resource {
    kind: "Node",
    plural: "nodes",
    singular: "node",
    short_names: &["no"],
    scope: Scope::Cluster,
    subresources: &[Subresource::Status],
    selectable: &[SelectableField::new("spec.unschedulable", "/spec/unschedulable").or("false")],
    schema: "core.v1.Node",
    status_writes_labels: true,
    ..Resource::BASE
};
