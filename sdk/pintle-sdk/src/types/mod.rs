//! Partial objects with the fields' own names: `metadata.labels` of a [`Pod`]
//! is `pod.metadata.labels`, `spec.nodeName` is `pod.spec.node_name`.
//!
//! Every kind's constant ([`POD`], [`CONFIG_MAP`]) stands beside its type. A
//! field that is absent or `null` reads as its default; a field that has no
//! place here is skipped. So these types serve two things:
//!
//! - reading, with [`Object::parse`](crate::Object::parse) or
//!   [`Lister::read`](crate::Lister#method.read);
//! - creating new objects, with [`Create::of`](crate::action::Create::of).
//!
//! To change an object that exists use [`Patch`](crate::action::Patch): an
//! update from a partial object would drop what the type does not know.
//!
//! A plugin that reads many objects and needs few fields declares a smaller
//! type of its own with serde: what is not named is skipped and costs little.
#![allow(missing_docs)] // The fields are the Kubernetes API's; their names say what they mean there.

mod apps;
mod autoscaling;
mod batch;
mod certificates;
mod config;
mod discovery;
mod lease;
mod namespace;
mod networking;
mod node;
mod pod;
mod policy;
mod rbac;
mod scheduling;
mod service;
mod storage;

pub use apps::*;
pub use autoscaling::*;
pub use batch::*;
pub use certificates::*;
pub use config::*;
pub use discovery::*;
pub use lease::*;
pub use namespace::*;
pub use networking::*;
pub use node::*;
pub use pod::*;
pub use policy::*;
pub use rbac::*;
pub use scheduling::*;
pub use service::*;
pub use storage::*;

use std::collections::BTreeMap;

use pintle_api::meta::ObjectMeta;
use pintle_api::quantity::Quantity;
use serde::{Deserialize, Deserializer, Serialize};

/// `requests`, `limits`, `capacity`, `allocatable`: quantities by resource name.
pub type ResourceList = BTreeMap<String, Quantity>;

/// Only the metadata, of any kind.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AnyObject {
    pub metadata: ObjectMeta,
}

/// Objects may carry `null` where they mean "absent": for
/// `#[serde(deserialize_with = "null_default")]`.
pub fn null_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

/// For `#[serde(skip_serializing_if = "is_default")]`.
pub fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// `IntOrString`: a port, a count or a percentage.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(untagged)]
pub enum IntOrString {
    Int(i64),
    String(String),
}

impl IntOrString {
    /// The count itself, or the percentage of `total`, rounded as asked.
    pub fn scaled(&self, total: i64, round_up: bool) -> Option<i64> {
        match self {
            IntOrString::Int(count) => Some(*count),
            IntOrString::String(text) => {
                let percent: i64 = text.strip_suffix('%')?.parse().ok()?;
                let product = percent.checked_mul(total)?;
                Some(if round_up {
                    product.div_euclid(100) + i64::from(product.rem_euclid(100) != 0)
                } else {
                    product.div_euclid(100)
                })
            }
        }
    }
}

/// Declares structs whose fields have Kubernetes' names in camelCase, read
/// `null` as absent and are left out when they hold their default. With
/// `= KIND` behind its name a struct is the type of that kind.
macro_rules! partial {
    ($(
        $(#[$meta:meta])*
        pub struct $name:ident $(= $kind:ident)? {
            $($(#[$field_meta:meta])* pub $field:ident: $type:ty,)*
        }
    )*) => {$(
        $(#[$meta])*
        #[derive(Debug, Clone, Default, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(rename_all = "camelCase", default)]
        pub struct $name {
            $(
                $(#[$field_meta])*
                #[serde(
                    deserialize_with = "crate::types::null_default",
                    skip_serializing_if = "crate::types::is_default"
                )]
                pub $field: $type,
            )*
        }
        $(crate::resource!($name, $kind);)?
    )*};
}
use partial;

partial! {
    /// A reference that names its kind itself.
    pub struct ObjectReference {
        pub api_version: String,
        pub kind: String,
        pub namespace: String,
        pub name: String,
        pub uid: String,
        pub resource_version: String,
        pub field_path: String,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages_round_as_asked() {
        fn check(value: IntOrString, total: i64, up: Option<i64>, down: Option<i64>) {
            assert_eq!(
                (value.scaled(total, true), value.scaled(total, false)),
                (up, down),
                "{value:?}"
            );
        }
        check(IntOrString::Int(3), 10, Some(3), Some(3));
        check(IntOrString::String("25%".into()), 10, Some(3), Some(2));
        check(IntOrString::String("100%".into()), 7, Some(7), Some(7));
        check(IntOrString::String("abc".into()), 7, None, None);
    }

    #[test]
    fn absent_null_and_unknown_fields_read_alike() {
        fn check(json: &str) {
            let pod: Pod = serde_json::from_str(json).unwrap();
            assert_eq!(pod, Pod::default(), "{json}");
        }
        check("{}");
        check(r#"{"spec":null,"status":null}"#);
        check(r#"{"spec":{"nodeName":null,"containers":null,"tolerations":null}}"#);
        check(r#"{"apiVersion":"v1","kind":"Pod","spec":{"fieldOfTomorrow":{"a":[1]}}}"#);
    }

    #[test]
    fn what_is_written_reads_back_and_says_nothing_more() {
        fn check<T>(json: serde_json::Value)
        where
            T: Serialize + serde::de::DeserializeOwned,
        {
            let object: T = serde_json::from_value(json.clone()).unwrap();
            assert_eq!(serde_json::to_value(object).unwrap(), json);
        }
        use serde_json::json;
        let name = json!({"name": "x", "namespace": "default"});
        check::<ConfigMap>(json!({"metadata": name, "data": {"a": "b"}}));
        check::<Secret>(json!({"metadata": name, "type": "Opaque", "stringData": {"a": "b"}}));
        check::<Service>(json!({"metadata": name,
            "spec": {"clusterIP": "None", "ports": [{"port": 80, "targetPort": "web"}]}}));
        check::<Pod>(json!({"metadata": name, "spec": {"containers": [
            {"name": "c", "image": "i", "resources": {"requests": {"cpu": "100m"}}}]}}));
        check::<StatefulSet>(json!({"metadata": name, "spec": {"replicas": 2, "serviceName": "s",
            "selector": {"matchLabels": {"a": "b"}}, "podManagementPolicy": "Parallel"}}));
        check::<Job>(json!({"metadata": name, "spec": {"completions": 3, "suspend": true}}));
        check::<CronJob>(json!({"metadata": name, "spec": {"schedule": "* * * * *"}}));
        check::<PodDisruptionBudget>(json!({"metadata": name, "spec": {"maxUnavailable": "25%"}}));
        check::<HorizontalPodAutoscaler>(json!({"metadata": name, "spec": {"maxReplicas": 3,
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}}}));
        check::<ClusterRole>(json!({"metadata": {"name": "x"},
            "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]}));
        check::<PersistentVolumeClaim>(json!({"metadata": name,
            "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}));
        check::<PriorityClass>(json!({"metadata": {"name": "x"}, "value": 7}));
    }
}
