//! Services.

use std::collections::BTreeMap;

use pintle_api::meta::ObjectMeta;

use super::{IntOrString, partial};
use crate::conditions::Condition;
use crate::object::KindRef;

pub const SERVICE: KindRef = KindRef::new("", "v1", "Service");

partial! {
    pub struct Service = SERVICE {
        pub metadata: ObjectMeta,
        pub spec: ServiceSpec,
        pub status: ServiceStatus,
    }

    pub struct ServiceSpec {
        pub r#type: Option<String>,
        #[serde(rename = "clusterIP")]
        pub cluster_ip: String,
        #[serde(rename = "clusterIPs")]
        pub cluster_ips: Vec<String>,
        #[serde(rename = "externalIPs")]
        pub external_ips: Vec<String>,
        pub external_name: String,
        pub ip_families: Vec<String>,
        pub selector: BTreeMap<String, String>,
        pub ports: Vec<ServicePort>,
        pub publish_not_ready_addresses: bool,
        pub session_affinity: String,
    }

    pub struct ServicePort {
        pub name: String,
        pub port: i64,
        pub protocol: Option<String>,
        pub target_port: Option<IntOrString>,
        pub node_port: Option<i64>,
        pub app_protocol: Option<String>,
    }

    pub struct ServiceStatus {
        pub load_balancer: LoadBalancerStatus,
        pub conditions: Vec<Condition>,
    }

    pub struct LoadBalancerStatus {
        pub ingress: Vec<LoadBalancerIngress>,
    }

    pub struct LoadBalancerIngress {
        pub ip: String,
        pub hostname: String,
    }
}
