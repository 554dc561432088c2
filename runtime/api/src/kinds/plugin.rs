//! `Plugin`: a WebAssembly component that decides.

use super::{Resource, Scope, Subresource};

pub(super) const ROW: Resource = Resource {
    group: "plugins.pintle.dev",
    version: "v1alpha1",
    kind: "Plugin",
    plural: "plugins",
    singular: "plugin",
    scope: Scope::Cluster,
    subresources: &[Subresource::Status],
    schema: "plugins.v1alpha1.Plugin",
    spec_generation: true,
    ..Resource::BASE
};
