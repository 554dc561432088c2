//! The number behind a pod's priority class (Kubernetes' `Priority`).
//!
//! Mutating, on the creation of Pods: `spec.priorityClassName` becomes
//! `spec.priority` and `spec.preemptionPolicy`; a pod that names no class gets
//! the one with `globalDefault`, the one of the lowest value if there are
//! several, or 0. A pod that brings another number than its class has, or
//! names a class that does not exist, is refused.
//! Validating, on PriorityClasses: only one may be the global default, and those
//! of the system stay.
//!
//! No configuration.
//!
//! Does not know: what the number is used for. Read first: [`resolve`].

use pintle_sdk::admission::{Admission, Description, Operations, Phase, Request, Response, Rule};
use pintle_sdk::prelude::{
    AnyObject, Lister, Manifest, NoConfig, POD, PRIORITY_CLASS, PriorityClass, Query,
};
use pintle_sdk::serde_json::{Value, json};
use pintle_sdk::{Context, log};
use serde::Deserialize;

const PREEMPT_LOWER: &str = "PreemptLowerPriority";
/// What the parts of a cluster itself run under.
const SYSTEM: [&str; 2] = ["system-cluster-critical", "system-node-critical"];

pub struct Plugin;

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct PodFields {
    pub spec: Spec,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Spec {
    pub priority_class_name: Option<String>,
    pub priority: Option<i32>,
    pub preemption_policy: Option<String>,
}

/// What a pod's class stands for.
#[derive(Debug, Clone, PartialEq)]
pub struct Resolved {
    /// Empty: the pod names none and gets none.
    pub class: String,
    pub value: i32,
    pub preemption_policy: String,
}

/// The patch that makes a pod say what its class says, or why it is refused.
pub fn resolve(spec: &Spec, class: &Resolved) -> Result<Vec<Value>, String> {
    if let Some(own) = spec.priority.filter(|own| *own != class.value) {
        return Err(format!(
            "the integer value of priority ({own}) must not be provided in pod spec; priority admission controller computed {} from the given PriorityClass name",
            class.value
        ));
    }
    if let Some(own) = spec.preemption_policy.as_deref().filter(|own| !own.is_empty())
        && own != class.preemption_policy
    {
        return Err(format!(
            "the string value of PreemptionPolicy ({own}) must not be provided in pod spec; priority admission controller computed {} from the given PriorityClass name",
            class.preemption_policy
        ));
    }
    let mut operations = Vec::new();
    let mut add = |field: &str, value: Value| {
        operations.push(json!({"op": "add", "path": format!("/spec/{field}"), "value": value}));
    };
    if spec.priority_class_name.as_deref().unwrap_or_default() != class.class {
        add("priorityClassName", json!(class.class));
    }
    if spec.priority.is_none() {
        add("priority", json!(class.value));
    }
    if spec.preemption_policy.as_deref().unwrap_or_default().is_empty() {
        add("preemptionPolicy", json!(class.preemption_policy));
    }
    Ok(operations)
}

impl Resolved {
    fn of(name: &str, class: &PriorityClass) -> Self {
        let policy = class.preemption_policy.as_deref().unwrap_or_default();
        let policy = if policy.is_empty() { PREEMPT_LOWER } else { policy };
        Resolved {
            class: name.to_owned(),
            value: class.value,
            preemption_policy: policy.to_owned(),
        }
    }

    fn none() -> Self {
        Resolved { class: String::new(), value: 0, preemption_policy: PREEMPT_LOWER.to_owned() }
    }
}

/// All classes that are the global default, the lowest value first.
fn defaults(lister: &dyn Lister) -> Vec<(String, PriorityClass)> {
    // There are few classes in a cluster.
    let all = lister.read_all::<PriorityClass>(Query::any_kind()).unwrap_or_default();
    let mut defaults: Vec<_> = all
        .into_iter()
        .filter(|class| class.global_default)
        .map(|class| (class.reference.name.clone(), (*class.object).clone()))
        .collect();
    defaults.sort_by(|(a, x), (b, y)| (x.value, a).cmp(&(y.value, b)));
    defaults
}

impl Admission for Plugin {
    type Config = NoConfig;

    fn new(_: NoConfig) -> Result<Self, String> {
        Ok(Plugin)
    }

    fn describe(&self) -> Description {
        Description::new(Manifest::new("priority", env!("CARGO_PKG_VERSION")).needs(
            PRIORITY_CLASS,
            &["get", "list"],
            "the number behind spec.priorityClassName",
        ))
        .mutating(Rule::on(POD, Operations::CREATE))
        .validating(Rule::on(
            PRIORITY_CLASS,
            Operations::CREATE.or(Operations::UPDATE).or(Operations::DELETE),
        ))
    }

    fn review(&self, _: &Context, lister: &dyn Lister, request: &Request) -> Response {
        match request.phase {
            Phase::Mutating => pod(lister, request),
            Phase::Validating if request.operation == Operations::DELETE => removal(request),
            Phase::Validating => class(lister, request),
        }
    }
}

fn pod(lister: &dyn Lister, request: &Request) -> Response {
    let pod: PodFields = match request.object() {
        Ok(pod) => pod,
        Err(error) => {
            // The server has parsed it before; its shape is the server's to refuse.
            log::warn!("{error}");
            return Response::allow();
        }
    };
    let resolved = match pod.spec.priority_class_name.as_deref().unwrap_or_default() {
        "" => match defaults(lister).first() {
            Some((name, class)) => Resolved::of(name, class),
            None => Resolved::none(),
        },
        name => match lister.read::<PriorityClass>("", name) {
            Ok(Some(class)) => Resolved::of(name, &class),
            Ok(None) => {
                return Response::forbid(format!("no PriorityClass with name {name} was found"));
            }
            Err(error) => return Response::forbid(error.to_string()),
        },
    };
    match resolve(&pod.spec, &resolved) {
        Err(message) => Response::forbid(message),
        Ok(operations) if operations.is_empty() => Response::allow(),
        Ok(operations) => Response::patch_with(&operations),
    }
}

fn class(lister: &dyn Lister, request: &Request) -> Response {
    let Ok(class) = request.object::<PriorityClass>() else { return Response::allow() };
    if !class.global_default {
        return Response::allow();
    }
    let own = match request.object::<AnyObject>() {
        Ok(object) if !object.metadata.name.is_empty() => object.metadata.name,
        _ => request.reference.name.clone(),
    };
    match defaults(lister).first() {
        Some((name, _)) if *name != own => Response::forbid(format!(
            "PriorityClass {name} is already marked as globalDefault. Only one globalDefault can exist"
        )),
        _ => Response::allow(),
    }
}

fn removal(request: &Request) -> Response {
    if SYSTEM.contains(&request.reference.name.as_str()) {
        return Response::forbid("this is a system priority class and cannot be deleted");
    }
    Response::allow()
}

pintle_sdk::export_admission!(Plugin);
