//! The data files, compiled in. `schema/README.md` describes their format.

/// One file per group and version.
pub const FILES: &[&str] = &[
    include_str!("../../schema/admission.v1.txt"),
    include_str!("../../schema/admissionregistration.v1.txt"),
    include_str!("../../schema/apidiscovery.v2.txt"),
    include_str!("../../schema/apps.v1.txt"),
    include_str!("../../schema/authentication.v1.txt"),
    include_str!("../../schema/authorization.v1.txt"),
    include_str!("../../schema/autoscaling.v1.txt"),
    include_str!("../../schema/autoscaling.v2.txt"),
    include_str!("../../schema/batch.v1.txt"),
    include_str!("../../schema/certificates.v1.txt"),
    include_str!("../../schema/coordination.v1.txt"),
    include_str!("../../schema/core.v1.txt"),
    include_str!("../../schema/custom.metrics.v1beta2.txt"),
    include_str!("../../schema/discovery.v1.txt"),
    include_str!("../../schema/events.v1.txt"),
    include_str!("../../schema/external.metrics.v1beta1.txt"),
    include_str!("../../schema/flowcontrol.v1.txt"),
    include_str!("../../schema/meta.v1.txt"),
    include_str!("../../schema/metrics.v1beta1.txt"),
    include_str!("../../schema/networking.v1.txt"),
    include_str!("../../schema/node.v1.txt"),
    include_str!("../../schema/plugins.v1alpha1.txt"),
    include_str!("../../schema/policy.v1.txt"),
    include_str!("../../schema/rbac.v1.txt"),
    include_str!("../../schema/resource.v1.txt"),
    include_str!("../../schema/scheduling.v1.txt"),
    include_str!("../../schema/storage.v1.txt"),
];

/// Descriptions of messages and fields, one per line. They are only read when
/// an OpenAPI document is made, so they are not part of the parsed schema.
pub const DESCRIPTIONS: &str = include_str!("../../schema/descriptions.txt");
