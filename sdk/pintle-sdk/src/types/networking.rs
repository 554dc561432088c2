//! The `networking.k8s.io` group: where addresses of Services come from.

use pintle_api::meta::ObjectMeta;

use super::partial;
use crate::conditions::Condition;
use crate::object::KindRef;

pub const SERVICE_CIDR: KindRef = KindRef::new("networking.k8s.io", "v1", "ServiceCIDR");
pub const IP_ADDRESS: KindRef = KindRef::new("networking.k8s.io", "v1", "IPAddress");

partial! {
    pub struct ServiceCidr = SERVICE_CIDR {
        pub metadata: ObjectMeta,
        pub spec: ServiceCidrSpec,
        pub status: ServiceCidrStatus,
    }

    pub struct ServiceCidrSpec {
        pub cidrs: Vec<String>,
    }

    pub struct ServiceCidrStatus {
        pub conditions: Vec<Condition>,
    }

    /// Its name is the address.
    pub struct IpAddress = IP_ADDRESS {
        pub metadata: ObjectMeta,
        pub spec: IpAddressSpec,
    }

    pub struct IpAddressSpec {
        pub parent_ref: ParentReference,
    }

    /// The object that has the address.
    pub struct ParentReference {
        pub group: String,
        pub resource: String,
        pub namespace: String,
        pub name: String,
    }
}
