//! Fills in what a new pod leaves open: service account, priority, and how long
//! it stays on a node that went silent.
//!
//! Mutating, on the creation of Pods. Adds `spec.serviceAccountName` (and its
//! old name `spec.serviceAccount`), `spec.priority`, `spec.preemptionPolicy`,
//! and the tolerations of `not-ready` and `unreachable`. Fields that are set are
//! left as they are; nothing is refused.
//!
//! Config (all optional): `tolerationSeconds` (300), `serviceAccountName`
//! (`default`).
//!
//! Does not know: nodes, or whether the service account exists. Read first:
//! [`defaults::patch`].

pub mod defaults;

use pintle_sdk::admission::{Admission, Description, Operations, Phase, Request, Response, Rule};
use pintle_sdk::prelude::{KindRef, Lister, Manifest, POD};
use pintle_sdk::{Context, log};

use crate::defaults::{PodFields, Priority};

const PRIORITY_CLASS: KindRef = KindRef::new("scheduling.k8s.io", "v1", "PriorityClass");

#[derive(Debug, Clone, serde::Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Config {
    pub toleration_seconds: u32,
    pub service_account_name: String,
}

impl Default for Config {
    fn default() -> Self {
        Config { toleration_seconds: 300, service_account_name: "default".to_owned() }
    }
}

pub struct Plugin {
    config: Config,
}

impl Admission for Plugin {
    type Config = Config;

    fn new(config: Config) -> Result<Self, String> {
        if config.service_account_name.is_empty() {
            return Err("spec.config.serviceAccountName: must not be empty".to_owned());
        }
        Ok(Plugin { config })
    }

    fn describe(&self) -> Description {
        Description {
            manifest: Manifest::new("admission-defaults", env!("CARGO_PKG_VERSION")).needs(
                PRIORITY_CLASS,
                &["get"],
                "the number behind spec.priorityClassName",
            ),
            mutating: vec![Rule {
                kind: Some(POD),
                subresource: String::new(),
                operations: Operations::CREATE,
            }],
            validating: Vec::new(),
        }
    }

    fn review(&self, _: &Context, lister: &dyn Lister, request: &Request) -> Response {
        if request.phase != Phase::Mutating
            || !request.operation.create
            || !request.subresource.is_empty()
        {
            return Response::allow();
        }
        let pod = match PodFields::read(&request.json) {
            Ok(pod) => pod,
            Err(error) => {
                // The server has parsed it before; its shape is the server's to refuse.
                log::warn!("{}: cannot be read: {error}", request.reference);
                return Response::allow();
            }
        };
        let mut warnings = Vec::new();
        let priority = match pod.priority_class() {
            "" => Priority::default(),
            "system-node-critical" => Priority { value: 2_000_001_000, ..Priority::default() },
            "system-cluster-critical" => Priority { value: 2_000_000_000, ..Priority::default() },
            name => match lister
                .get(&PRIORITY_CLASS.named("", name))
                .and_then(|class| class.parse().ok())
            {
                Some(class) => class,
                None => {
                    warnings.push(format!("no PriorityClass with name {name} was found"));
                    Priority::default()
                }
            },
        };
        let mut response = match defaults::patch(&self.config, &pod, &priority) {
            Some(patch) => Response::patch(patch),
            None => Response::allow(),
        };
        response.warnings = warnings;
        response
    }
}

pintle_sdk::export_admission!(Plugin);
