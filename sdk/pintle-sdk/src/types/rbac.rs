//! The `rbac.authorization.k8s.io` group.

use pintle_api::meta::ObjectMeta;

use super::partial;
use crate::object::KindRef;
use crate::selector::LabelSelector;

pub const ROLE: KindRef = KindRef::new("rbac.authorization.k8s.io", "v1", "Role");
pub const ROLE_BINDING: KindRef = KindRef::new("rbac.authorization.k8s.io", "v1", "RoleBinding");
pub const CLUSTER_ROLE: KindRef = KindRef::new("rbac.authorization.k8s.io", "v1", "ClusterRole");
pub const CLUSTER_ROLE_BINDING: KindRef =
    KindRef::new("rbac.authorization.k8s.io", "v1", "ClusterRoleBinding");

partial! {
    pub struct Role = ROLE {
        pub metadata: ObjectMeta,
        pub rules: Vec<PolicyRule>,
    }

    pub struct ClusterRole = CLUSTER_ROLE {
        pub metadata: ObjectMeta,
        pub rules: Vec<PolicyRule>,
        pub aggregation_rule: Option<AggregationRule>,
    }

    pub struct AggregationRule {
        pub cluster_role_selectors: Vec<LabelSelector>,
    }

    pub struct PolicyRule {
        pub api_groups: Vec<String>,
        pub resources: Vec<String>,
        pub resource_names: Vec<String>,
        #[serde(rename = "nonResourceURLs")]
        pub non_resource_urls: Vec<String>,
        pub verbs: Vec<String>,
    }

    pub struct RoleBinding = ROLE_BINDING {
        pub metadata: ObjectMeta,
        pub subjects: Vec<RbacSubject>,
        pub role_ref: RoleRef,
    }

    pub struct ClusterRoleBinding = CLUSTER_ROLE_BINDING {
        pub metadata: ObjectMeta,
        pub subjects: Vec<RbacSubject>,
        pub role_ref: RoleRef,
    }

    /// `Subject` of the API: a user, a group or a service account.
    pub struct RbacSubject {
        pub kind: String,
        pub api_group: String,
        pub name: String,
        pub namespace: String,
    }

    pub struct RoleRef {
        pub api_group: String,
        pub kind: String,
        pub name: String,
    }
}
