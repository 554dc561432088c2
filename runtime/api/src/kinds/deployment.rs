//! `Deployment`: declared replicas of a pod template, rolled forward and back.

use super::{Resource, Subresource};

pub(super) const ROW: Resource = Resource {
    group: "apps",
    kind: "Deployment",
    plural: "deployments",
    singular: "deployment",
    short_names: &["deploy"],
    categories: &["all"],
    subresources: &[Subresource::Status, Subresource::Scale],
    schema: "apps.v1.Deployment",
    spec_generation: true,
    ..Resource::BASE
};
