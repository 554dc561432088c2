//! `Service`: one name and address for a set of pods.

use super::{Resource, Subresource};

pub(super) const ROW: Resource = Resource {
    kind: "Service",
    plural: "services",
    singular: "service",
    short_names: &["svc"],
    categories: &["all"],
    subresources: &[Subresource::Status],
    schema: "core.v1.Service",
    ..Resource::BASE
};
