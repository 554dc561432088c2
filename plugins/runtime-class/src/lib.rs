//! What a pod's runtime class costs and where it can run (Kubernetes'
//! `RuntimeClass`).
//!
//! Mutating, on the creation of Pods with `spec.runtimeClassName`: the class's
//! `overhead.podFixed` becomes `spec.overhead`, its `scheduling.nodeSelector`
//! and `scheduling.tolerations` are merged into the pod's. Validating: a pod's
//! overhead is its class's.
//!
//! No configuration.
//!
//! Does not know: runtimes. Read first: [`apply`].

use std::collections::BTreeMap;

use pintle_sdk::admission::{Admission, Description, Operations, Phase, Request, Response, Rule};
use pintle_sdk::prelude::{KindRef, Lister, Manifest, NoConfig, POD, Quantity, Toleration};
use pintle_sdk::serde_json::{Value, json};
use pintle_sdk::{Context, log};
use serde::Deserialize;

const RUNTIME_CLASS: KindRef = KindRef::new("node.k8s.io", "v1", "RuntimeClass");

pub struct Plugin;

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct RuntimeClass {
    pub overhead: Option<Overhead>,
    pub scheduling: Option<Scheduling>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Overhead {
    pub pod_fixed: Option<BTreeMap<String, Quantity>>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Scheduling {
    pub node_selector: Option<BTreeMap<String, String>>,
    pub tolerations: Option<Vec<Toleration>>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct PodFields {
    pub spec: Spec,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Spec {
    pub runtime_class_name: Option<String>,
    pub overhead: Option<BTreeMap<String, Quantity>>,
    pub node_selector: Option<BTreeMap<String, String>>,
    pub tolerations: Option<Vec<Toleration>>,
}

const OTHER_OVERHEAD: &str =
    "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead";
const NO_OVERHEAD: &str =
    "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead";

impl RuntimeClass {
    fn pod_fixed(&self) -> Option<&BTreeMap<String, Quantity>> {
        self.overhead.as_ref().map(|overhead| {
            static NOTHING: BTreeMap<String, Quantity> = BTreeMap::new();
            overhead.pod_fixed.as_ref().unwrap_or(&NOTHING)
        })
    }
}

/// The patch that a pod of this class gets.
pub fn apply(spec: &Spec, class: &RuntimeClass) -> Result<Vec<Value>, String> {
    let mut operations = Vec::new();
    let mut set = |field: &str, value: Value| {
        operations.push(json!({"op": "add", "path": format!("/spec/{field}"), "value": value}));
    };
    let own = spec.overhead.as_ref().filter(|overhead| !overhead.is_empty());
    match (class.pod_fixed(), own) {
        (Some(fixed), Some(own)) if fixed != own => return Err(OTHER_OVERHEAD.to_owned()),
        (Some(fixed), None) if !fixed.is_empty() => set("overhead", json!(fixed)),
        _ => {}
    }
    let Some(scheduling) = &class.scheduling else { return Ok(operations) };
    let mut selector = spec.node_selector.clone().unwrap_or_default();
    let before = selector.len();
    for (key, value) in scheduling.node_selector.iter().flatten() {
        if let Some(own) = selector.insert(key.clone(), value.clone())
            && own != *value
        {
            return Err(format!(
                "conflict: runtimeClass.scheduling.nodeSelector[{key}] = {value}; pod.spec.nodeSelector[{key}] = {own}"
            ));
        }
    }
    if selector.len() > before {
        set("nodeSelector", json!(selector));
    }
    let mut tolerations = spec.tolerations.clone().unwrap_or_default();
    let before = tolerations.len();
    for wanted in scheduling.tolerations.iter().flatten() {
        if !tolerations.contains(wanted) {
            tolerations.push(wanted.clone());
        }
    }
    if tolerations.len() > before {
        set("tolerations", json!(tolerations));
    }
    Ok(operations)
}

/// Is the overhead the class's?
pub fn check(spec: &Spec, class: Option<&RuntimeClass>) -> Result<(), String> {
    let own = spec.overhead.as_ref().filter(|overhead| !overhead.is_empty());
    match (class.and_then(RuntimeClass::pod_fixed), own) {
        (None, Some(_)) => Err(NO_OVERHEAD.to_owned()),
        (Some(fixed), Some(own)) if fixed != own => Err(OTHER_OVERHEAD.to_owned()),
        (Some(fixed), None) if !fixed.is_empty() => Err(OTHER_OVERHEAD.to_owned()),
        _ => Ok(()),
    }
}

impl Admission for Plugin {
    type Config = NoConfig;

    fn new(_: NoConfig) -> Result<Self, String> {
        Ok(Plugin)
    }

    fn describe(&self) -> Description {
        let rule = || Rule::on(POD, Operations::CREATE);
        Description::new(Manifest::new("runtime-class", env!("CARGO_PKG_VERSION")).needs(
            RUNTIME_CLASS,
            &["get"],
            "overhead and scheduling of spec.runtimeClassName",
        ))
        .mutating(rule())
        .validating(rule())
    }

    fn review(&self, _: &Context, lister: &dyn Lister, request: &Request) -> Response {
        let pod: PodFields = match request.object() {
            Ok(pod) => pod,
            Err(error) => {
                // The server has parsed it before; its shape is the server's to refuse.
                log::warn!("{error}");
                return Response::allow();
            }
        };
        let class = match pod.spec.runtime_class_name.as_deref().unwrap_or_default() {
            "" => None,
            name => {
                let found = lister.get(&RUNTIME_CLASS.named("", name));
                match found.map(|class| class.parse::<RuntimeClass>()) {
                    Some(Ok(class)) => Some(class),
                    Some(Err(error)) => return Response::forbid(error.to_string()),
                    None => {
                        return Response::forbid(format!(
                            "pod rejected: RuntimeClass {name:?} not found"
                        ));
                    }
                }
            }
        };
        match (request.phase, class) {
            (Phase::Mutating, None) => Response::allow(),
            (Phase::Mutating, Some(class)) => match apply(&pod.spec, &class) {
                Ok(operations) if operations.is_empty() => Response::allow(),
                Ok(operations) => Response::patch_with(&operations),
                Err(message) => Response::forbid(message),
            },
            (Phase::Validating, class) => match check(&pod.spec, class.as_ref()) {
                Ok(()) => Response::allow(),
                Err(message) => Response::forbid(message),
            },
        }
    }
}

pintle_sdk::export_admission!(Plugin);
