//! The service account of a new pod, and what comes with it (Kubernetes'
//! `ServiceAccount`).
//!
//! Mutating, on the creation of Pods. A pod that names no account gets
//! `default`; one that names an account which does not exist is refused. The
//! account's `imagePullSecrets` go into a pod that has none. With
//! `mountTokens` the account's token, the cluster's certificate and the
//! namespace are mounted into every container, unless pod or account say
//! `automountServiceAccountToken: false`.
//!
//! Config (all optional): `serviceAccountName` (`default`), `mountTokens`
//! (false: nodes do not serve projected tokens yet, so that a pod with such a
//! volume would never start).
//!
//! The account `default` of a namespace that was just made may not be there
//! yet: a pod that gets it unasked is admitted all the same.
//!
//! Does not know: how tokens are made. Read first: [`patch`].

mod token;

use pintle_sdk::admission::{Admission, Description, Operations, Request, Response, Rule};
use pintle_sdk::prelude::{
    Lister, LocalObjectReference, Manifest, ObjectMeta, POD, SERVICE_ACCOUNT, ServiceAccount,
};
use pintle_sdk::serde_json::{Value, json};
use pintle_sdk::{Context, log};
use serde::Deserialize;

const MIRROR: &str = "kubernetes.io/config.mirror";

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Config {
    pub service_account_name: String,
    pub mount_tokens: bool,
}

impl Default for Config {
    fn default() -> Self {
        Config { service_account_name: "default".to_owned(), mount_tokens: false }
    }
}

pub struct Plugin {
    config: Config,
}

/// The fields of a pod that matter here.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct PodFields {
    pub metadata: ObjectMeta,
    pub spec: Spec,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Spec {
    pub service_account_name: Option<String>,
    pub service_account: Option<String>,
    pub automount_service_account_token: Option<bool>,
    pub image_pull_secrets: Option<Vec<LocalObjectReference>>,
    pub volumes: Option<Vec<Volume>>,
    pub containers: Option<Vec<Container>>,
    pub init_containers: Option<Vec<Container>>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Volume {
    pub name: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Container {
    pub volume_mounts: Option<Vec<VolumeMount>>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct VolumeMount {
    pub name: String,
    pub mount_path: String,
}

impl Spec {
    /// The account that the pod names itself, by the new or the old field.
    fn named(&self) -> Option<&str> {
        let set = |field: &'_ Option<String>| field.as_deref().is_some_and(|name| !name.is_empty());
        [&self.service_account_name, &self.service_account]
            .into_iter()
            .find(|field| set(field))
            .and_then(|field| field.as_deref())
    }
}

/// What the pod gets; `account` is absent when it does not exist (yet).
pub fn patch(
    config: &Config,
    pod: &PodFields,
    account: Option<&ServiceAccount>,
    seed: u64,
) -> Vec<Value> {
    let spec = &pod.spec;
    let name = spec.named().unwrap_or(&config.service_account_name);
    let mut operations = Vec::new();
    let mut add = |path: String, value: Value| {
        operations.push(json!({"op": "add", "path": path, "value": value}));
    };
    for (field, present) in [
        ("serviceAccountName", &spec.service_account_name),
        ("serviceAccount", &spec.service_account),
    ] {
        if present.as_deref() != Some(name) {
            add(format!("/spec/{field}"), json!(name));
        }
    }
    let Some(account) = account else { return operations };
    let has_secrets = spec.image_pull_secrets.as_ref().is_some_and(|list| !list.is_empty());
    if !has_secrets && !account.image_pull_secrets.is_empty() {
        add("/spec/imagePullSecrets".to_owned(), json!(account.image_pull_secrets));
    }
    let wanted = spec
        .automount_service_account_token
        .or(account.automount_service_account_token)
        .unwrap_or(true);
    if config.mount_tokens && wanted {
        operations.extend(token::mounts(spec, seed));
    }
    operations
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
        Description::new(Manifest::new("service-account", env!("CARGO_PKG_VERSION")).needs(
            SERVICE_ACCOUNT,
            &["get"],
            "the account that a pod names",
        ))
        .mutating(Rule::on(POD, Operations::CREATE))
    }

    fn review(&self, context: &Context, lister: &dyn Lister, request: &Request) -> Response {
        let pod: PodFields = match request.object() {
            Ok(pod) => pod,
            Err(error) => {
                // The server has parsed it before; its shape is the server's to refuse.
                log::warn!("{error}");
                return Response::allow();
            }
        };
        if pod.metadata.annotations.contains_key(MIRROR) {
            return match pod.spec.named() {
                Some(_) => Response::forbid("a mirror pod may not reference service accounts"),
                None => Response::allow(),
            };
        }
        let name = pod.spec.named().unwrap_or(&self.config.service_account_name);
        let namespace = &request.reference.namespace;
        let account = match lister.read::<ServiceAccount>(namespace, name) {
            Ok(account) => account,
            Err(error) => return Response::forbid(error.to_string()),
        };
        if account.is_none() && name != self.config.service_account_name {
            return Response::forbid(format!(
                "error looking up service account {namespace}/{name}: serviceaccount {name:?} not found"
            ));
        }
        let account = account.as_ref().map(|account| &*account.object);
        let operations = patch(&self.config, &pod, account, context.seed);
        if operations.is_empty() { Response::allow() } else { Response::patch_with(&operations) }
    }
}

pintle_sdk::export_admission!(Plugin);
