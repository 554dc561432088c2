//! Gives every pod a team and refuses those without one.
//!
//! While a pod may still be changed, it gets the label of its namespace unless it
//! has one. When it is as it will be stored, a pod without the label is refused.
//!
//! Config (all optional): `label` (`team`), `exemptNamespaces` (`kube-system`).

use pintle_sdk::admission::{Admission, Description, Operations, Phase, Request, Response, Rule};
use pintle_sdk::prelude::{NAMESPACE, Namespace, POD, Pod};
use pintle_sdk::{Context, Lister};
use serde_json::json;

#[derive(Debug, Clone, serde::Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Config {
    /// The label that every pod must have.
    pub label: String,
    /// Where nothing is asked for.
    pub exempt_namespaces: Vec<String>,
}

impl Default for Config {
    fn default() -> Self {
        Config { label: "team".to_owned(), exempt_namespaces: vec!["kube-system".to_owned()] }
    }
}

pub struct Plugin {
    config: Config,
}

impl Admission for Plugin {
    type Config = Config;

    fn new(config: Config) -> Result<Self, String> {
        if config.label.is_empty() {
            return Err("spec.config.label: must not be empty".to_owned());
        }
        Ok(Plugin { config })
    }

    fn describe(&self) -> Description {
        Description::new(
            pintle_sdk::manifest!().needs(NAMESPACE, &["get"], "takes the team from the namespace"),
        )
        .mutating(Rule::on(POD, Operations::CREATE))
        .validating(Rule::on(POD, Operations::CREATE.or(Operations::UPDATE)))
    }

    fn review(&self, _: &Context, lister: &dyn Lister, request: &Request) -> Response {
        let namespace = &request.reference.namespace;
        if self.config.exempt_namespaces.contains(namespace) {
            return Response::allow();
        }
        let pod: Pod = match request.object() {
            Ok(pod) => pod,
            Err(error) => return Response::deny(error.to_string()),
        };
        let label = &self.config.label;
        if pod.metadata.labels.contains_key(label) {
            return Response::allow();
        }
        match request.phase {
            Phase::Mutating => match self.team_of(lister, namespace) {
                Some(team) => self.add(&pod, &team),
                None => Response::allow(), // refused below
            },
            Phase::Validating => Response::deny(format!(
                "metadata.labels: a pod needs the label `{label}`; set it, or label the namespace: \
                 kubectl label namespace {namespace} {label}=NAME"
            )),
        }
    }
}

impl Plugin {
    fn team_of(&self, lister: &dyn Lister, namespace: &str) -> Option<String> {
        let namespace = lister.read::<Namespace>("", namespace).ok()??;
        namespace.metadata.labels.get(&self.config.label).cloned()
    }

    fn add(&self, pod: &Pod, team: &str) -> Response {
        let label = &self.config.label;
        // In a JSON pointer `~` and `/` are written otherwise.
        let key = label.replace('~', "~0").replace('/', "~1");
        let operation = if pod.metadata.labels.is_empty() {
            json!({"op": "add", "path": "/metadata/labels", "value": {label: team}})
        } else {
            json!({"op": "add", "path": format!("/metadata/labels/{key}"), "value": team})
        };
        Response::patch_with(&[operation]).warn(format!("{label}={team} was taken from the namespace"))
    }
}

pintle_sdk::export_admission!(Plugin);
