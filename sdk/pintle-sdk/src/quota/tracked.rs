//! The objects that quotas count, and what each counts for.

use std::borrow::Cow;

use pintle_api::meta::ObjectMeta;
use pintle_api::quantity::Quantity;
use pintle_api::time;
use serde::Deserialize;
use serde_json::Value;

use super::amounts::{Amount, compute};
use super::{CLASS_SUFFIX, PLAIN, counted_as};
use crate::error::Error;
use crate::object::{KindRef, Object};
use crate::types::{Container, PodStatus, ResourceList, null_default};

/// What of an object a quota looks at.
#[derive(Debug, Clone, PartialEq)]
pub enum Tracked {
    /// Its resources and its scopes.
    Pod(Box<TrackedPod>),
    /// Its type and its ports.
    Service(TrackedService),
    /// Its size and its class.
    Claim(Box<TrackedClaim>),
    /// That it exists; the kind's name in quotas.
    Object(Cow<'static, str>),
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
#[allow(missing_docs)]
pub struct TrackedPod {
    pub metadata: ObjectMeta,
    pub spec: TrackedPodSpec,
    pub status: PodStatus,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs)]
pub struct TrackedPodSpec {
    #[serde(deserialize_with = "null_default")]
    pub containers: Vec<Container>,
    #[serde(deserialize_with = "null_default")]
    pub init_containers: Vec<Container>,
    #[serde(deserialize_with = "null_default")]
    pub overhead: ResourceList,
    pub active_deadline_seconds: Option<i64>,
    #[serde(deserialize_with = "null_default")]
    pub priority_class_name: String,
    pub affinity: Option<Value>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
#[allow(missing_docs)]
pub struct TrackedService {
    pub spec: TrackedServiceSpec,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs)]
pub struct TrackedServiceSpec {
    #[serde(deserialize_with = "null_default")]
    pub r#type: String,
    #[serde(deserialize_with = "null_default")]
    pub ports: Vec<Value>,
    pub allocate_load_balancer_node_ports: Option<bool>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
#[allow(missing_docs)]
pub struct TrackedClaim {
    pub metadata: ObjectMeta,
    pub spec: TrackedClaimSpec,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs)]
pub struct TrackedClaimSpec {
    pub resources: crate::types::ResourceRequirements,
    pub storage_class_name: Option<String>,
    pub volume_attributes_class_name: Option<String>,
}

impl Tracked {
    /// From the object's JSON; none for kinds that quotas do not count.
    pub fn read(kind: &KindRef, json: &[u8]) -> Result<Option<Self>, serde_json::Error> {
        Ok(match counted_as(kind) {
            None => None,
            Some("pods") => Some(Tracked::Pod(crate::reading::parse(json)?)),
            Some("services") => Some(Tracked::Service(crate::reading::parse(json)?)),
            Some("persistentvolumeclaims") => Some(Tracked::Claim(crate::reading::parse(json)?)),
            Some(name) => Some(Tracked::Object(Cow::Borrowed(name))),
        })
    }

    fn name(&self) -> &str {
        match self {
            Tracked::Pod(_) => "pods",
            Tracked::Service(_) => "services",
            Tracked::Claim(_) => "persistentvolumeclaims",
            Tracked::Object(name) => name,
        }
    }

    /// What it counts for, by resource name.
    pub fn usage(&self, now_unix_ms: i64) -> ResourceList {
        let one = Quantity::from_value(1);
        let mut usage = ResourceList::from([(format!("count/{}", self.name()), one)]);
        match self {
            Tracked::Pod(pod) => {
                // What has ended is there, but uses nothing.
                if pod.is_live(now_unix_ms) {
                    usage.extend(compute(
                        &pod.total(Amount::Requests, true),
                        &pod.total(Amount::Limits, true),
                    ));
                    usage.insert("pods".to_owned(), one);
                }
            }
            Tracked::Service(service) => {
                let spec = &service.spec;
                usage.insert("services".to_owned(), one);
                let ports = i64::try_from(spec.ports.len()).unwrap_or(i64::MAX);
                let mut node_ports = 0;
                match spec.r#type.as_str() {
                    "NodePort" => node_ports = ports,
                    "LoadBalancer" => {
                        usage.insert("services.loadbalancers".to_owned(), one);
                        if spec.allocate_load_balancer_node_ports != Some(false) {
                            node_ports = ports;
                        } else {
                            let has_one = |port: &&Value| port["nodePort"].as_i64() > Some(0);
                            let count = spec.ports.iter().filter(has_one).count();
                            node_ports = i64::try_from(count).unwrap_or(i64::MAX);
                        }
                    }
                    _ => {}
                }
                usage.insert("services.nodeports".to_owned(), Quantity::from_value(node_ports));
            }
            Tracked::Claim(claim) => {
                usage.insert("persistentvolumeclaims".to_owned(), one);
                let storage = claim.spec.resources.requests.get("storage").copied();
                let class = claim.class();
                if !class.is_empty() {
                    usage.insert(format!("{class}{CLASS_SUFFIX}persistentvolumeclaims"), one);
                }
                if let Some(storage) = storage {
                    usage.insert("requests.storage".to_owned(), storage);
                    if !class.is_empty() {
                        usage.insert(format!("{class}{CLASS_SUFFIX}requests.storage"), storage);
                    }
                }
            }
            Tracked::Object(name) => {
                if PLAIN.contains(&&**name) {
                    usage.insert(name.clone().into_owned(), one);
                }
            }
        }
        usage
    }

    /// Will it count for less by and by, although nothing happens to it?
    pub(crate) fn depends_on_time(&self) -> bool {
        let Tracked::Pod(pod) = self else { return false };
        pod.metadata.deletion_timestamp.is_some()
    }
}

impl TrackedPod {
    /// Neither ended, nor past the time that its end was given.
    fn is_live(&self, now_unix_ms: i64) -> bool {
        if matches!(self.status.phase.as_str(), "Succeeded" | "Failed") {
            return false;
        }
        let deleted = self.metadata.deletion_timestamp.as_deref().and_then(time::parse);
        match (deleted, self.metadata.deletion_grace_period_seconds) {
            (Some(deleted), Some(grace)) => {
                now_unix_ms <= deleted.saturating_add(grace.saturating_mul(1000))
            }
            _ => true,
        }
    }
}

impl TrackedClaim {
    fn class(&self) -> &str {
        let annotation = "volume.beta.kubernetes.io/storage-class";
        match self.metadata.annotations.get(annotation) {
            Some(class) => class,
            None => self.spec.storage_class_name.as_deref().unwrap_or_default(),
        }
    }
}

pub(crate) fn read(object: &Object) -> Result<Option<Tracked>, Error> {
    Tracked::read(&object.reference.kind, &object.json)
        .map_err(|source| Error::Parse { reference: Box::new(object.reference.clone()), source })
}
