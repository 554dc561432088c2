//! `ReplicaSet`: a number of equal pods.

use super::{Resource, SelectableField, Subresource};

pub(super) const ROW: Resource = Resource {
    group: "apps",
    kind: "ReplicaSet",
    plural: "replicasets",
    singular: "replicaset",
    short_names: &["rs"],
    categories: &["all"],
    subresources: &[Subresource::Status, Subresource::Scale],
    selectable: &[SelectableField::new("status.replicas", "/status/replicas").or("0")],
    schema: "apps.v1.ReplicaSet",
    spec_generation: true,
    ..Resource::BASE
};
