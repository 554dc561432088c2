//! Nodes.

use pintle_api::meta::ObjectMeta;
use serde::{Deserialize, Serialize};

use super::{ResourceList, null_default, partial};
use crate::conditions::{Condition, Conditions};
use crate::object::KindRef;

pub const NODE: KindRef = KindRef::new("", "v1", "Node");

partial! {
    pub struct Node = NODE {
        pub metadata: ObjectMeta,
        pub spec: NodeSpec,
        pub status: NodeStatus,
    }

    pub struct NodeSpec {
        #[serde(rename = "podCIDR")]
        pub pod_cidr: String,
        #[serde(rename = "podCIDRs")]
        pub pod_cidrs: Vec<String>,
        pub taints: Vec<Taint>,
        pub unschedulable: bool,
    }

    pub struct NodeStatus {
        pub capacity: ResourceList,
        pub allocatable: ResourceList,
        pub conditions: Vec<Condition>,
        pub addresses: Vec<NodeAddress>,
    }

    pub struct NodeAddress {
        pub r#type: String,
        pub address: String,
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Taint {
    pub key: String,
    #[serde(deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub value: String,
    pub effect: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_added: Option<String>,
}

impl Node {
    /// Is the condition `Ready` true?
    pub fn is_ready(&self) -> bool {
        self.status.conditions.is_condition_true("Ready")
    }

    /// The value of a label, for example of `topology.kubernetes.io/zone`.
    pub fn label(&self, key: &str) -> Option<&str> {
        self.metadata.labels.get(key).map(String::as_str)
    }
}
