//! Namespaces and service accounts.

use pintle_api::meta::ObjectMeta;

use super::partial;
use crate::conditions::Condition;
use crate::object::KindRef;

pub const NAMESPACE: KindRef = KindRef::new("", "v1", "Namespace");
pub const SERVICE_ACCOUNT: KindRef = KindRef::new("", "v1", "ServiceAccount");

partial! {
    pub struct Namespace = NAMESPACE {
        pub metadata: ObjectMeta,
        pub spec: NamespaceSpec,
        pub status: NamespaceStatus,
    }

    pub struct NamespaceSpec {
        pub finalizers: Vec<String>,
    }

    pub struct NamespaceStatus {
        pub phase: String,
        pub conditions: Vec<Condition>,
    }

    pub struct ServiceAccount = SERVICE_ACCOUNT {
        pub metadata: ObjectMeta,
        pub secrets: Vec<LocalObjectReference>,
        pub image_pull_secrets: Vec<LocalObjectReference>,
        pub automount_service_account_token: Option<bool>,
    }

    /// The name of an object in the same namespace.
    pub struct LocalObjectReference {
        pub name: String,
    }
}
