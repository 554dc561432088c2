//! `EndpointSlice`: the addresses behind a Service.

use super::Resource;

pub(super) const ROW: Resource = Resource {
    group: "discovery.k8s.io",
    kind: "EndpointSlice",
    plural: "endpointslices",
    singular: "endpointslice",
    schema: "discovery.v1.EndpointSlice",
    spec_generation: true,
    ..Resource::BASE
};
