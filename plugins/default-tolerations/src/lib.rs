//! How long a pod stays on a node that is not ready or went silent, unless the
//! pod says so itself (Kubernetes' `DefaultTolerationSeconds`).
//!
//! Mutating, on the creation of Pods. Adds tolerations of the taints
//! `node.kubernetes.io/not-ready` and `node.kubernetes.io/unreachable` with
//! `NoExecute`; a pod that tolerates one of them already keeps what it has.
//!
//! Config (all optional): `notReadySeconds` and `unreachableSeconds` (300).
//!
//! Does not know: nodes. Read first: [`missing`].

use pintle_sdk::admission::{Admission, Description, Operations, Request, Response, Rule};
use pintle_sdk::prelude::{Lister, Manifest, POD};
use pintle_sdk::serde_json::{Value, json};
use pintle_sdk::{Context, log};
use serde::Deserialize;

const NOT_READY: &str = "node.kubernetes.io/not-ready";
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Config {
    pub not_ready_seconds: i64,
    pub unreachable_seconds: i64,
}

impl Default for Config {
    fn default() -> Self {
        Config { not_ready_seconds: 300, unreachable_seconds: 300 }
    }
}

pub struct Plugin {
    config: Config,
}

#[derive(Deserialize)]
struct Pod {
    #[serde(default)]
    spec: Spec,
}

#[derive(Deserialize, Default)]
struct Spec {
    #[serde(default)]
    tolerations: Option<Vec<Toleration>>,
}

/// What of a toleration says which taint it is about.
#[derive(Deserialize, Default)]
#[serde(default)]
pub struct Toleration {
    pub key: Option<String>,
    pub effect: Option<String>,
}

/// The taints of silent nodes that no toleration is about.
pub fn missing(tolerations: &[Toleration]) -> impl Iterator<Item = &'static str> {
    let is_about = |toleration: &Toleration, taint: &str| {
        let key = toleration.key.as_deref().unwrap_or_default();
        let effect = toleration.effect.as_deref().unwrap_or_default();
        (key.is_empty() || key == taint) && (effect.is_empty() || effect == "NoExecute")
    };
    [NOT_READY, UNREACHABLE]
        .into_iter()
        .filter(move |taint| !tolerations.iter().any(|toleration| is_about(toleration, taint)))
}

impl Admission for Plugin {
    type Config = Config;

    fn new(config: Config) -> Result<Self, String> {
        Ok(Plugin { config })
    }

    fn describe(&self) -> Description {
        Description::new(Manifest::new("default-tolerations", env!("CARGO_PKG_VERSION")))
            .mutating(Rule::on(POD, Operations::CREATE))
    }

    fn review(&self, _: &Context, _: &dyn Lister, request: &Request) -> Response {
        let pod: Pod = match request.object() {
            Ok(pod) => pod,
            Err(error) => {
                // The server has parsed it before; its shape is the server's to refuse.
                log::warn!("{error}");
                return Response::allow();
            }
        };
        let present = pod.spec.tolerations.as_deref().unwrap_or_default();
        let wanted: Vec<Value> = missing(present).map(|taint| self.toleration(taint)).collect();
        if wanted.is_empty() {
            return Response::allow();
        }
        let operations: Vec<Value> = match pod.spec.tolerations {
            Some(_) => wanted
                .into_iter()
                .map(|one| json!({"op": "add", "path": "/spec/tolerations/-", "value": one}))
                .collect(),
            None => vec![json!({"op": "add", "path": "/spec/tolerations", "value": wanted})],
        };
        Response::patch_with(&operations)
    }
}

impl Plugin {
    fn toleration(&self, taint: &str) -> Value {
        let seconds = match taint {
            NOT_READY => self.config.not_ready_seconds,
            _ => self.config.unreachable_seconds,
        };
        json!({"key": taint, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": seconds})
    }
}

pintle_sdk::export_admission!(Plugin);
