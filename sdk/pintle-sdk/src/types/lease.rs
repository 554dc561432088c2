//! Leases.

use pintle_api::meta::ObjectMeta;

use super::partial;
use crate::object::KindRef;

pub const LEASE: KindRef = KindRef::new("coordination.k8s.io", "v1", "Lease");

partial! {
    pub struct Lease = LEASE {
        pub metadata: ObjectMeta,
        pub spec: LeaseSpec,
    }

    pub struct LeaseSpec {
        pub holder_identity: Option<String>,
        pub lease_duration_seconds: Option<i64>,
        pub lease_transitions: Option<i64>,
        pub acquire_time: Option<String>,
        pub renew_time: Option<String>,
    }
}
