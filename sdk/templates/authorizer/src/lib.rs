//! An authorizer: nothing changes in a frozen namespace, whatever roles say.
//!
//! A namespace is frozen while it has the label with the value `true`. There users
//! of the system go on writing (their names begin with `system:`: nodes, controllers,
//! service accounts), and so do the members of the groups that are excepted.
//!
//! Config (all optional): `label` (`frozen`), `exceptGroups` (none).

use std::collections::BTreeSet;

use pintle_sdk::authorizer::{Attributes, Authorizer, Decision, Description};
use pintle_sdk::prelude::{NAMESPACE, Namespace, log};
use pintle_sdk::scheduler::Delta;
use pintle_sdk::{Context, Object};

#[derive(Debug, Clone, serde::Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Config {
    /// The label of namespaces that is looked at.
    pub label: String,
    /// Whose members may go on writing.
    pub except_groups: Vec<String>,
}

impl Default for Config {
    fn default() -> Self {
        Config { label: "frozen".to_owned(), except_groups: Vec::new() }
    }
}

pub struct Plugin {
    config: Config,
    frozen: BTreeSet<String>,
}

impl Authorizer for Plugin {
    type Config = Config;

    fn new(config: Config) -> Result<Self, String> {
        if config.label.is_empty() {
            return Err("spec.config.label: must not be empty".to_owned());
        }
        Ok(Plugin { config, frozen: BTreeSet::new() })
    }

    fn describe(&self) -> Description {
        let why = "knows which namespaces are frozen";
        Description::new(pintle_sdk::manifest!().needs(NAMESPACE, &["watch"], why)).watch(NAMESPACE)
    }

    fn sync(&mut self, deltas: Vec<Delta>) {
        for delta in deltas {
            match delta {
                Delta::Upsert(namespace) if self.is_frozen(&namespace) => {
                    self.frozen.insert(namespace.reference.name);
                }
                Delta::Upsert(namespace) | Delta::Remove(namespace) => {
                    self.frozen.remove(&namespace.reference.name);
                }
            }
        }
    }

    fn authorize(&mut self, _: &Context, asked: &Attributes) -> Decision {
        let reads = matches!(asked.verb.as_str(), "get" | "list" | "watch");
        // The namespace itself may be changed, or nobody could unfreeze it.
        if reads || asked.resource == "namespaces" || !self.frozen.contains(&asked.namespace) {
            return Decision::no_opinion("");
        }
        let excepted = |group: &String| self.config.except_groups.contains(group);
        if asked.user.name.starts_with("system:") || asked.user.groups.iter().any(excepted) {
            return Decision::no_opinion("");
        }
        Decision::deny(format!("the namespace {} is frozen", asked.namespace))
    }
}

impl Plugin {
    fn is_frozen(&self, namespace: &Object) -> bool {
        match namespace.parse::<Namespace>() {
            Ok(namespace) => {
                let label = namespace.metadata.labels.get(&self.config.label);
                label.is_some_and(|value| value == "true")
            }
            Err(error) => {
                log::warn!("{error}");
                false
            }
        }
    }
}

pintle_sdk::export_authorizer!(Plugin);
