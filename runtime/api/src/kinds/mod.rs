//! The table of kinds.
//!
//! [`Resource`] is one row: everything the server must know about a kind that
//! differs from other kinds. [`Registry`] is the table. A new kind is a new
//! file here and one line in `ROWS`; nothing else in the project names it.

mod attachment;
mod certificate_signing_request;
mod certificate_status;
mod claim;
mod column;
mod config_map;
mod controller_revision;
mod cron_job;
mod daemon_set;
mod deployment;
mod endpoint_slice;
mod endpoints;
mod event;
mod horizontal_pod_autoscaler;
mod job;
mod json;
mod lease;
mod limit_range;
mod metadata;
mod metrics;
mod namespace;
mod networking;
mod node;
mod persistent_volume;
mod persistent_volume_claim;
mod plugin;
mod pod;
mod pod_disruption_budget;
mod pod_template;
mod prepare;
mod priority_class;
mod rbac;
mod registry;
mod replica_set;
mod replication_controller;
mod resource;
mod resource_quota;
mod runtime_class;
mod scale;
mod secret;
mod selectable;
mod service;
mod service_account;
mod service_cidr;
mod stateful_set;
mod storage_class;
mod subresource;
mod validation;

pub use claim::{Claim, ClaimsOf};
pub use column::Column;
pub use json::{object_at, str_at, value_at};
pub use metadata::{
    CreateMeta, fill_create_meta, validate_immutable_meta, validate_meta, validate_meta_update,
};
pub use prepare::mark_deleted;
pub use registry::Registry;
pub use resource::{Alias, CertificateFields, Requester, Resource, ResourceId, SIGNATURE, Scope};
pub use scale::{apply_scale, to_scale};
pub use selectable::SelectableField;
pub use subresource::{Connect, Subresource};

use resource::Hooks;

const ROWS: &[Resource] = &[
    namespace::ROW,
    node::ROW,
    pod::ROW,
    config_map::ROW,
    secret::ROW,
    service_account::ROW,
    service::ROW,
    event::CORE_ROW,
    deployment::ROW,
    replica_set::ROW,
    controller_revision::ROW,
    lease::ROW,
    endpoint_slice::ROW,
    event::EVENTS_ROW,
    stateful_set::ROW,
    daemon_set::ROW,
    replication_controller::ROW,
    job::ROW,
    cron_job::ROW,
    horizontal_pod_autoscaler::ROW,
    horizontal_pod_autoscaler::V1_ROW,
    endpoints::ROW,
    limit_range::ROW,
    resource_quota::ROW,
    pod_template::ROW,
    rbac::ROLE_ROW,
    rbac::ROLE_BINDING_ROW,
    rbac::CLUSTER_ROLE_ROW,
    rbac::CLUSTER_ROLE_BINDING_ROW,
    networking::INGRESS_ROW,
    networking::INGRESS_CLASS_ROW,
    networking::NETWORK_POLICY_ROW,
    service_cidr::CIDR_ROW,
    service_cidr::ADDRESS_ROW,
    runtime_class::ROW,
    priority_class::ROW,
    pod_disruption_budget::ROW,
    persistent_volume::ROW,
    persistent_volume_claim::ROW,
    storage_class::CLASS_ROW,
    storage_class::NODE_ROW,
    attachment::ATTACHMENT_ROW,
    attachment::DRIVER_ROW,
    certificate_signing_request::ROW,
    metrics::POD_ROW,
    metrics::NODE_ROW,
    metrics::CUSTOM_ROW,
    metrics::EXTERNAL_ROW,
    plugin::ROW,
];

#[cfg(test)]
mod properties;
