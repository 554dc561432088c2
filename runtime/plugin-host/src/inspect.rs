//! What a component says of itself, without any cluster: it is started in a
//! sandbox, asked to describe itself, and dropped.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Value, json};
use wasmtime::component::Component;

use crate::admission;
use crate::artifact::{self, Artifact, ArtifactError};
use crate::bindings::admission::AdmissionPlugin;
use crate::bindings::authorizer::AuthorizerPlugin;
use crate::bindings::cni::CniPlugin;
use crate::bindings::controller::ControllerPlugin;
use crate::bindings::scheduler::SchedulerPlugin;
use crate::bindings::scheduler_extension::SchedulerExtensionPlugin;
use crate::bindings::types::{KindRef, Manifest};
use crate::budget::Budgets;
use crate::contract;
use crate::engine::{EngineError, Wasm};
use crate::grants::Grants;
use crate::plugin::{GrantRule, ReviewRule, Role};
use crate::program::admission_interface::{Operation, Rule};
use crate::program::{GrantPolicy, Ingredients, LoadError, Program, World};

/// A setting that no plugin has.
const NO_SETTING: &str = "?";
/// Of how many levels settings are looked for.
const MOST_LEVELS: usize = 8;

/// What can be said of a component.
#[derive(Debug, Clone, PartialEq)]
pub struct Inspection {
    pub digest: String,
    pub size: usize,
    pub imports: Vec<String>,
    pub exports: Vec<String>,
    /// The one whose world it exports.
    pub role: Option<Role>,
    /// Why it could not be loaded as it is, or what it says of itself.
    pub described: Result<Described, NotDescribed>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Described {
    /// Its own name and version.
    pub name: String,
    pub version: String,
    /// The grants that it asks for.
    pub needs: Vec<GrantRule>,
    /// Admission: the requests that it wants to see.
    pub reviews: Vec<ReviewRule>,
    /// For people: kinds, with what of them.
    pub looks_at: Vec<String>,
    /// The keys of its configuration; a dot stands for a level.
    pub settings: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotDescribed {
    /// As in a Plugin object's status.
    pub reason: &'static str,
    pub message: String,
}

#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error(transparent)]
    Artifact(#[from] ArtifactError),
}

/// Compiles the component in this process, and runs no more than `describe`.
pub fn inspect(bytes: &[u8]) -> Result<Inspection, InspectError> {
    let digest = artifact::verify(bytes, None)?;
    let wasm = Wasm::new()?;
    let component = Component::new(wasm.engine(), bytes)
        .map_err(|error| ArtifactError::Compile(error.into()))?;
    let (imports, exports) = {
        let component_type = component.component_type();
        let names = |name: &str| name.to_owned();
        (
            component_type.imports(wasm.engine()).map(|(name, _)| names(name)).collect(),
            component_type.exports(wasm.engine()).map(|(name, _)| names(name)).collect::<Vec<_>>(),
        )
    };
    let role = Role::ALL
        .into_iter()
        .find(|role| exports.iter().any(|export| contract::is_export_of(export, *role)));
    let described = match role {
        None => Err(NotDescribed {
            reason: "WrongRole",
            message: "it exports the world of no role that this version of pintle knows".to_owned(),
        }),
        Some(role) => contract::check(&component, wasm.engine(), role)
            .map_err(LoadError::from)
            .and_then(|wasi| {
                let artifact = Artifact { digest: digest.clone(), role, wasi, component };
                Subject { wasm: &wasm, artifact: &artifact }.describe()
            })
            .map_err(|error| NotDescribed { reason: error.reason(), message: chain(&error) }),
    };
    Ok(Inspection {
        digest: digest.to_string(),
        size: bytes.len(),
        imports,
        exports,
        role,
        described,
    })
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    text
}

struct Subject<'a> {
    wasm: &'a Arc<Wasm>,
    artifact: &'a Artifact,
}

impl Subject<'_> {
    fn describe(&self) -> Result<Described, LoadError> {
        let (looks_at, manifest) = self.ask(&json!({}))?;
        Ok(Described {
            needs: Grants::of_manifest(&manifest).rules().to_vec(),
            name: manifest.name,
            version: manifest.version,
            looks_at,
            settings: self.settings(&[]),
            reviews: self.reviews()?,
        })
    }

    fn reviews(&self) -> Result<Vec<ReviewRule>, LoadError> {
        if self.artifact.role != Role::Admission {
            return Ok(Vec::new());
        }
        Ok(admission::reviews(&self.load::<AdmissionPlugin>(&json!({}))?))
    }

    /// What it looks at, and its manifest.
    fn ask(&self, config: &Value) -> Result<(Vec<String>, Manifest), LoadError> {
        Ok(match self.artifact.role {
            Role::Controller => {
                let description = self.load::<ControllerPlugin>(config)?;
                let watched = description.watches.iter().map(|watch| {
                    let having = watch.having.as_ref();
                    let having = having.map(|path| format!(" with `{path}`")).unwrap_or_default();
                    format!("{}{having}", kind(watch.kind.as_ref()))
                });
                (unique(watched), description.manifest)
            }
            Role::Scheduler => {
                let description = self.load::<SchedulerPlugin>(config)?;
                let own = ["Node".to_owned(), "Pod".to_owned()].into_iter();
                let watched = description.watches.iter().map(|watched| kind(Some(watched)));
                (unique(own.chain(watched)), description.manifest)
            }
            Role::SchedulerExtension => {
                let description = self.load::<SchedulerExtensionPlugin>(config)?;
                let watched = description.watches.iter().map(|watched| kind(Some(watched)));
                (unique(["Node".to_owned()].into_iter().chain(watched)), description.manifest)
            }
            Role::Admission => {
                let description = self.load::<AdmissionPlugin>(config)?;
                let rules = description.mutating.iter().chain(&description.validating);
                (unique(rules.map(rule)), description.manifest)
            }
            Role::Authorizer => {
                let description = self.load::<AuthorizerPlugin>(config)?;
                let watched = description.watches.iter().map(|watched| kind(Some(watched)));
                (unique(watched), description.manifest)
            }
            Role::Cni => (Vec::new(), self.load::<CniPlugin>(config)?.manifest),
        })
    }

    fn load<W: World>(&self, config: &Value) -> Result<W::Description, LoadError> {
        let ingredients = Ingredients {
            name: "inspected".into(),
            config: Bytes::from(config.to_string()),
            budgets: Budgets::of_role(W::ROLE),
            grants: GrantPolicy::AsNeeded,
            cluster: None,
            metrics: Arc::default(),
        };
        Ok(Program::<W>::load(self.wasm, self.artifact, ingredients)?.description)
    }

    /// Asks for a setting that nobody has, and reads the others in the refusal.
    fn settings(&self, path: &[String]) -> Vec<String> {
        let config =
            path.iter().rev().fold(json!({ NO_SETTING: 0 }), |inner, name| json!({ name: inner }));
        let itself = || match path {
            [] => Vec::new(),
            path => vec![path.join(".")],
        };
        if path.len() == MOST_LEVELS {
            return itself();
        }
        let Err(LoadError::Config(refusal)) = self.ask(&config) else { return itself() };
        let Some((_, known)) = refusal.split_once(&format!("unknown field `{NO_SETTING}`")) else {
            // Of another type than an object.
            return itself();
        };
        let names = known.split('`').skip(1).step_by(2);
        names
            .flat_map(|name| {
                let mut path = path.to_vec();
                path.push(name.to_owned());
                self.settings(&path)
            })
            .collect()
    }
}

fn unique(kinds: impl Iterator<Item = String>) -> Vec<String> {
    let mut seen = BTreeSet::new();
    kinds.filter(|kind| seen.insert(kind.clone())).collect()
}

fn kind(kind: Option<&KindRef>) -> String {
    match kind {
        None => "every kind".to_owned(),
        Some(kind) if kind.kind == "*" => "every kind".to_owned(),
        Some(kind) => kind.kind.clone(),
    }
}

fn rule(rule: &Rule) -> String {
    let names = [
        (Operation::CREATE, "create"),
        (Operation::UPDATE, "update"),
        (Operation::DELETE, "delete"),
        (Operation::CONNECT, "connect"),
    ];
    let operations: Vec<&str> =
        names.iter().filter(|(flag, _)| rule.operations.contains(*flag)).map(|(_, n)| *n).collect();
    let subresource = match rule.subresource.as_str() {
        "" => String::new(),
        subresource => format!("/{subresource}"),
    };
    format!("{} of {}{subresource}", operations.join(", "), kind(rule.kind.as_ref()))
}
