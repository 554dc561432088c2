//! What an object counts for in a `ResourceQuota`, and which quotas it counts
//! in. Shared by what refuses requests and by what writes `status.used`, so that
//! both mean the same.
//!
//! Does not know: requests that are under way. Read first: [`Tracked`], then [`used`].

pub mod custom;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use pintle_api::meta::ObjectMeta;
use pintle_api::quantity::Quantity;
use pintle_api::time;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::Error;
use crate::ledger::Ledger;
use crate::lister::{Lister, Query};
use crate::object::{KindRef, Object};
use crate::types::{Container, PodStatus, ResourceList, null_default};

/// The kind of quotas.
pub const RESOURCE_QUOTA: KindRef = KindRef::new("", "v1", "ResourceQuota");

/// A limit on what a namespace uses in all.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ResourceQuota {
    /// Where it is.
    pub metadata: ObjectMeta,
    /// What is allowed.
    pub spec: QuotaSpec,
    /// What is used.
    pub status: QuotaStatus,
}
crate::resource!(ResourceQuota, RESOURCE_QUOTA);

/// What a quota allows, and to which objects it applies.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct QuotaSpec {
    /// By resource name: `pods`, `requests.cpu`, `count/deployments.apps`.
    #[serde(deserialize_with = "null_default")]
    pub hard: ResourceList,
    /// All must hold.
    #[serde(deserialize_with = "null_default")]
    pub scopes: Vec<String>,
    /// All of its expressions must hold too.
    pub scope_selector: Option<ScopeSelector>,
}

/// As the controller last saw it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct QuotaStatus {
    /// `spec.hard` at that time.
    #[serde(deserialize_with = "null_default")]
    pub hard: ResourceList,
    /// What was used of it.
    #[serde(deserialize_with = "null_default")]
    pub used: ResourceList,
}

/// Expressions over scopes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ScopeSelector {
    /// All must hold.
    #[serde(deserialize_with = "null_default")]
    pub match_expressions: Vec<ScopeExpression>,
}

/// One scope, and for some which values.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ScopeExpression {
    /// `PriorityClass`, `BestEffort`, ...
    pub scope_name: String,
    /// `In`, `NotIn`, `Exists` or `DoesNotExist`.
    pub operator: String,
    /// For `In` and `NotIn`.
    #[serde(deserialize_with = "null_default")]
    pub values: Vec<String>,
}

/// The kinds that quotas count, with the names that quotas use for them. Events
/// and Leases come and go by themselves and are not counted.
pub const TRACKED: &[(KindRef, &str)] = &[
    (KindRef::new("", "v1", "Pod"), "pods"),
    (KindRef::new("", "v1", "Service"), "services"),
    (KindRef::new("", "v1", "PersistentVolumeClaim"), "persistentvolumeclaims"),
    (KindRef::new("", "v1", "ConfigMap"), "configmaps"),
    (KindRef::new("", "v1", "Secret"), "secrets"),
    (KindRef::new("", "v1", "ReplicationController"), "replicationcontrollers"),
    (KindRef::new("", "v1", "ResourceQuota"), "resourcequotas"),
    (KindRef::new("", "v1", "ServiceAccount"), "serviceaccounts"),
    (KindRef::new("", "v1", "Endpoints"), "endpoints"),
    (KindRef::new("", "v1", "LimitRange"), "limitranges"),
    (KindRef::new("", "v1", "PodTemplate"), "podtemplates"),
    (KindRef::new("apps", "v1", "Deployment"), "deployments.apps"),
    (KindRef::new("apps", "v1", "ReplicaSet"), "replicasets.apps"),
    (KindRef::new("apps", "v1", "StatefulSet"), "statefulsets.apps"),
    (KindRef::new("apps", "v1", "DaemonSet"), "daemonsets.apps"),
    (KindRef::new("apps", "v1", "ControllerRevision"), "controllerrevisions.apps"),
    (KindRef::new("batch", "v1", "Job"), "jobs.batch"),
    (KindRef::new("batch", "v1", "CronJob"), "cronjobs.batch"),
    (
        KindRef::new("autoscaling", "v2", "HorizontalPodAutoscaler"),
        "horizontalpodautoscalers.autoscaling",
    ),
    (KindRef::new("policy", "v1", "PodDisruptionBudget"), "poddisruptionbudgets.policy"),
    (KindRef::new("networking.k8s.io", "v1", "Ingress"), "ingresses.networking.k8s.io"),
    (KindRef::new("networking.k8s.io", "v1", "NetworkPolicy"), "networkpolicies.networking.k8s.io"),
    (KindRef::new("discovery.k8s.io", "v1", "EndpointSlice"), "endpointslices.discovery.k8s.io"),
    (KindRef::new("rbac.authorization.k8s.io", "v1", "Role"), "roles.rbac.authorization.k8s.io"),
    (
        KindRef::new("rbac.authorization.k8s.io", "v1", "RoleBinding"),
        "rolebindings.rbac.authorization.k8s.io",
    ),
];

/// Kinds that are counted under their plain name too, besides `count/NAME`.
const PLAIN: [&str; 7] = [
    "pods",
    "services",
    "persistentvolumeclaims",
    "configmaps",
    "secrets",
    "replicationcontrollers",
    "resourcequotas",
];
const CLASS_SUFFIX: &str = ".storageclass.storage.k8s.io/";

/// The name that quotas use for a kind.
pub fn counted_as(kind: &KindRef) -> Option<&'static str> {
    TRACKED
        .iter()
        .find(|(known, _)| known.group == kind.group && known.kind == kind.kind)
        .map(|(_, name)| *name)
}

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

    /// Does the quota look at objects like this one?
    pub fn is_in(&self, quota: &QuotaSpec) -> bool {
        let scopes = quota.scopes.iter().map(|scope| self.has_scope(scope));
        let expressions = quota.scope_selector.iter().flat_map(|all| &all.match_expressions);
        scopes.chain(expressions.map(|expression| self.matches(expression))).all(|holds| holds)
    }

    fn has_scope(&self, scope: &str) -> bool {
        match self {
            Tracked::Pod(pod) => pod.has_scope(scope),
            Tracked::Claim(claim) => {
                scope == "VolumeAttributesClass"
                    && claim.spec.volume_attributes_class_name.is_some()
            }
            _ => false,
        }
    }

    fn matches(&self, expression: &ScopeExpression) -> bool {
        let value = match (self, expression.scope_name.as_str()) {
            (Tracked::Pod(pod), "PriorityClass") => {
                let name = pod.spec.priority_class_name.as_str();
                (!name.is_empty()).then_some(name)
            }
            (Tracked::Claim(claim), "VolumeAttributesClass") => {
                claim.spec.volume_attributes_class_name.as_deref()
            }
            // The others know `Exists` alone.
            (_, scope) => return self.has_scope(scope),
        };
        let listed = || expression.values.iter().any(|wanted| Some(wanted.as_str()) == value);
        match expression.operator.as_str() {
            "In" => listed(),
            "NotIn" => !listed(),
            "Exists" => value.is_some(),
            "DoesNotExist" => value.is_none(),
            _ => false,
        }
    }
}

/// Which of a container's two lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Amount {
    /// `resources.requests`.
    Requests,
    /// `resources.limits`.
    Limits,
}

impl Amount {
    fn of(self, container: &Container) -> &ResourceList {
        match self {
            Amount::Requests => &container.resources.requests,
            Amount::Limits => &container.resources.limits,
        }
    }
}

fn add(total: &mut ResourceList, more: &ResourceList) {
    for (name, amount) in more {
        let sum = total.entry(name.clone()).or_insert(Quantity::ZERO);
        *sum = *sum + *amount;
    }
}

/// What containers take at the same time: all of them together, or an init
/// container beside the sidecars before it, whichever is more.
pub fn total_of(containers: &[Container], init: &[Container], amount: Amount) -> ResourceList {
    let mut running = ResourceList::new();
    for container in containers {
        add(&mut running, amount.of(container));
    }
    let mut sidecars = ResourceList::new();
    let mut largest = ResourceList::new();
    for container in init {
        let mut beside = sidecars.clone();
        add(&mut beside, amount.of(container));
        if container.restart_policy.as_deref() == Some("Always") {
            sidecars = beside.clone();
        }
        for (name, quantity) in beside {
            let most = largest.entry(name).or_insert(Quantity::ZERO);
            *most = quantity.max(*most);
        }
    }
    add(&mut running, &sidecars);
    for (name, quantity) in largest {
        let most = running.entry(name).or_insert(quantity);
        *most = quantity.max(*most);
    }
    running
}

impl TrackedPod {
    /// What it takes in all.
    pub fn total(&self, amount: Amount, with_overhead: bool) -> ResourceList {
        let mut total = total_of(&self.spec.containers, &self.spec.init_containers, amount);
        if with_overhead {
            for (name, overhead) in &self.spec.overhead {
                match (amount, total.get_mut(name)) {
                    (_, Some(sum)) => *sum = *sum + *overhead,
                    (Amount::Requests, None) => {
                        total.insert(name.clone(), *overhead);
                    }
                    // Without a limit there is none, overhead or not.
                    (Amount::Limits, None) => {}
                }
            }
        }
        total
    }

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

    fn has_scope(&self, scope: &str) -> bool {
        let ends = self.spec.active_deadline_seconds.is_some_and(|seconds| seconds >= 0);
        match scope {
            "Terminating" => ends,
            "NotTerminating" => !ends,
            "BestEffort" => self.is_best_effort(),
            "NotBestEffort" => !self.is_best_effort(),
            "PriorityClass" => !self.spec.priority_class_name.is_empty(),
            "CrossNamespacePodAffinity" => self.spec.affinity.as_ref().is_some_and(looks_elsewhere),
            _ => false,
        }
    }

    /// No container asks for or is limited in processors or memory.
    fn is_best_effort(&self) -> bool {
        let asks = |list: &ResourceList| {
            list.iter().any(|(name, amount)| {
                matches!(name.as_str(), "cpu" | "memory") && !amount.is_zero()
            })
        };
        !self
            .spec
            .containers
            .iter()
            .chain(&self.spec.init_containers)
            .any(|one| asks(&one.resources.requests) || asks(&one.resources.limits))
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

/// A term of pod affinity that names namespaces, or selects them.
fn looks_elsewhere(affinity: &Value) -> bool {
    let names = |term: &Value| {
        term["namespaces"].as_array().is_some_and(|list| !list.is_empty())
            || !term["namespaceSelector"].is_null()
    };
    ["podAffinity", "podAntiAffinity"].iter().any(|kind| {
        let required = &affinity[kind]["requiredDuringSchedulingIgnoredDuringExecution"];
        let preferred = &affinity[kind]["preferredDuringSchedulingIgnoredDuringExecution"];
        required.as_array().into_iter().flatten().any(names)
            || preferred.as_array().into_iter().flatten().any(|one| names(&one["podAffinityTerm"]))
    })
}

/// Requests and limits under the names that quotas have for them.
fn compute(requests: &ResourceList, limits: &ResourceList) -> ResourceList {
    let mut usage = ResourceList::new();
    for (name, amount) in requests {
        if matches!(name.as_str(), "cpu" | "memory" | "ephemeral-storage")
            || name.starts_with("hugepages-")
        {
            usage.insert(name.clone(), *amount);
        }
        usage.insert(format!("requests.{name}"), *amount);
    }
    for (name, amount) in limits {
        if matches!(name.as_str(), "cpu" | "memory" | "ephemeral-storage") {
            usage.insert(format!("limits.{name}"), *amount);
        }
    }
    usage
}

const MUST_BE_SAID: [&str; 6] =
    ["cpu", "memory", "requests.cpu", "requests.memory", "limits.cpu", "limits.memory"];

/// Where processors or memory are limited, every container has to say what it
/// takes; which do not: `cpu for: a,b; memory for: b`.
pub fn unsaid(pod: &TrackedPod, hard: &ResourceList) -> Option<String> {
    let mut missing: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for container in pod.spec.containers.iter().chain(&pod.spec.init_containers) {
        let said = compute(&container.resources.requests, &container.resources.limits);
        for name in hard.keys().filter(|name| MUST_BE_SAID.contains(&name.as_str())) {
            if !said.contains_key(name) {
                missing.entry(name).or_default().insert(&container.name);
            }
        }
    }
    let lines: Vec<String> = missing
        .into_iter()
        .map(|(name, of)| format!("{name} for: {}", of.into_iter().collect::<Vec<_>>().join(",")))
        .collect();
    (!lines.is_empty()).then(|| lines.join("; "))
}

/// Only the resources that `hard` names.
pub fn masked(mut usage: ResourceList, hard: &ResourceList) -> ResourceList {
    usage.retain(|name, _| hard.contains_key(name));
    usage
}

/// `cpu=1,pods=2`.
pub fn printed(list: &ResourceList) -> String {
    let lines: Vec<String> = list.iter().map(|(name, amount)| format!("{name}={amount}")).collect();
    lines.join(",")
}

/// What a namespace's objects use of a quota, as the lister shows them: every
/// resource of `hard`, 0 where there is nothing. The ledger knows what was there
/// before.
pub fn used(
    ledger: &Ledger,
    lister: &dyn Lister,
    namespace: &str,
    quota: &QuotaSpec,
    now_unix_ms: i64,
) -> Result<ResourceList, Error> {
    let mut used: ResourceList =
        quota.hard.keys().map(|name| (name.clone(), Quantity::ZERO)).collect();
    let is_scoped = !quota.scopes.is_empty()
        || quota.scope_selector.as_ref().is_some_and(|all| !all.match_expressions.is_empty());
    for (kind, name) in TRACKED {
        let count = format!("count/{name}");
        let query = Query::of(kind.clone()).namespace(namespace);
        let only_counted = !matches!(*name, "pods" | "services" | "persistentvolumeclaims");
        if only_counted {
            let is_named = |hard: &&String| **hard == count || hard.as_str() == *name;
            // The plain name of other kinds means nothing.
            let names: Vec<&String> = quota
                .hard
                .keys()
                .filter(is_named)
                .filter(|hard| **hard == count || PLAIN.contains(name))
                .collect();
            if !names.is_empty() && !is_scoped {
                let amount = Quantity::from_value(i64::from(lister.count(&query)));
                used.extend(names.into_iter().map(|hard| (hard.clone(), amount)));
            }
            continue;
        }
        let Some(fields) = fields(name, quota, is_scoped) else { continue };
        add(&mut used, &ledger.sum(lister, &query.fields(fields), quota, now_unix_ms)?);
    }
    if !is_scoped {
        for custom in custom::customs(lister, &quota.hard) {
            let count = lister.count(&Query::of(custom.kind).namespace(namespace));
            let amount = Quantity::from_value(i64::from(count));
            used.insert(format!("count/{}", custom.name), amount);
        }
    }
    Ok(used)
}

pub(crate) fn read(object: &Object) -> Result<Option<Tracked>, Error> {
    Tracked::read(&object.reference.kind, &object.json)
        .map_err(|source| Error::Parse { reference: Box::new(object.reference.clone()), source })
}

/// What has to be read of a kind's objects; none if the quota does not count them.
fn fields(name: &str, quota: &QuotaSpec, is_scoped: bool) -> Option<&'static [&'static str]> {
    const ALIVE: &[&str] =
        &["metadata.deletionTimestamp", "metadata.deletionGracePeriodSeconds", "status.phase"];
    const RESOURCES: &[&str] = &[
        "metadata.deletionTimestamp",
        "metadata.deletionGracePeriodSeconds",
        "status.phase",
        "spec.containers",
        "spec.initContainers",
        "spec.overhead",
        "spec.activeDeadlineSeconds",
        "spec.priorityClassName",
        "spec.affinity",
    ];
    let mut hard = quota.hard.keys().map(String::as_str);
    match name {
        "pods" => {
            let is_number = |hard: &str| matches!(hard, "pods" | "count/pods");
            let is_amount = |hard: &str| {
                matches!(hard, "cpu" | "memory" | "ephemeral-storage")
                    || hard.starts_with("hugepages-")
                    || hard.starts_with("limits.")
                    || (hard.starts_with("requests.") && hard != "requests.storage")
            };
            let amounts = hard.clone().any(is_amount);
            let numbers = hard.any(is_number);
            (amounts || numbers).then_some(if amounts || is_scoped { RESOURCES } else { ALIVE })
        }
        "services" => hard
            .any(|hard| hard == "count/services" || hard.starts_with("services"))
            .then_some(&["spec.type", "spec.ports", "spec.allocateLoadBalancerNodePorts"]),
        _ => hard
            .any(|hard| {
                matches!(
                    hard,
                    "persistentvolumeclaims" | "count/persistentvolumeclaims" | "requests.storage"
                ) || hard.contains(CLASS_SUFFIX)
            })
            .then_some(&[
                "metadata.annotations",
                "spec.resources",
                "spec.storageClassName",
                "spec.volumeAttributesClassName",
            ]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn tracked(kind: &str, object: Value) -> Tracked {
        let kind = KindRef::parse("v1", kind);
        Tracked::read(&kind, object.to_string().as_bytes()).unwrap().unwrap()
    }

    #[test]
    fn objects_count_under_several_names() {
        fn check(kind: &str, object: Value, expect: &str) {
            assert_eq!(printed(&tracked(kind, object).usage(0)), expect);
        }
        let container = json!({"resources": {"requests": {"cpu": "1", "example.com/gpu": "2"},
            "limits": {"cpu": "2"}}});
        check(
            "Pod",
            json!({"spec": {"containers": [container]}}),
            "count/pods=1,cpu=1,limits.cpu=2,pods=1,requests.cpu=1,requests.example.com/gpu=2",
        );
        check("Pod", json!({"status": {"phase": "Failed"}}), "count/pods=1");
        check("Secret", json!({}), "count/secrets=1,secrets=1");
        check("LimitRange", json!({}), "count/limitranges=1");
        check(
            "Service",
            json!({"spec": {"type": "LoadBalancer", "ports": [{}, {}]}}),
            "count/services=1,services=1,services.loadbalancers=1,services.nodeports=2",
        );
        check(
            "PersistentVolumeClaim",
            json!({"spec": {"storageClassName": "fast", "resources": {"requests": {"storage": "1Gi"}}}}),
            "count/persistentvolumeclaims=1,fast.storageclass.storage.k8s.io/persistentvolumeclaims=1,fast.storageclass.storage.k8s.io/requests.storage=1Gi,persistentvolumeclaims=1,requests.storage=1Gi",
        );
    }

    #[test]
    fn scopes_choose_pods() {
        fn check(scopes: Value, pod: Value, expect: bool) {
            let quota: QuotaSpec = serde_json::from_value(scopes.clone()).unwrap();
            assert_eq!(tracked("Pod", pod).is_in(&quota), expect, "{scopes}");
        }
        let high = json!({"spec": {"priorityClassName": "high"}});
        let among = |operator: &str| {
            json!({"scopeSelector": {"matchExpressions": [
                {"scopeName": "PriorityClass", "operator": operator, "values": ["high"]}]}})
        };
        check(json!({}), json!({}), true);
        check(among("In"), high.clone(), true);
        check(among("In"), json!({}), false);
        check(among("NotIn"), high.clone(), false);
        check(json!({"scopes": ["PriorityClass"]}), high, true);
        check(json!({"scopes": ["BestEffort", "NotTerminating"]}), json!({}), true);
        check(
            json!({"scopes": ["Terminating"]}),
            json!({"spec": {"activeDeadlineSeconds": 0}}),
            true,
        );
        let elsewhere = json!({"spec": {"affinity": {"podAntiAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": [{"namespaceSelector": {}}]}}}});
        check(json!({"scopes": ["CrossNamespacePodAffinity"]}), elsewhere, true);
        let quota: QuotaSpec = serde_json::from_value(json!({"scopes": ["BestEffort"]})).unwrap();
        assert!(!tracked("Secret", json!({})).is_in(&quota));
    }
}
