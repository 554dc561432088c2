//! A rule for the scheduler: pods go where the disk is that they ask for.
use pintle_sdk::prelude::*;

pub struct Disk {
    label: String,
}

#[derive(Default, serde::Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Config {
    /// The label of nodes that is looked at; `disk` unless said otherwise.
    node_label: Option<String>,
}

impl NodeRule for Disk {
    type Config = Config;
    type Pod = AnyObject;
    type Node = AnyObject;
    const ABILITIES: Abilities = Abilities::SCORE;
    const POD_FIELDS: &'static [&'static str] = &["metadata.labels"];

    fn new(config: Config) -> Result<Self, String> {
        Ok(Disk { label: config.node_label.unwrap_or_else(|| "disk".to_owned()) })
    }

    fn manifest(&self) -> Manifest {
        pintle_sdk::manifest!()
    }

    fn score(&self, pod: &AnyObject, node: &AnyObject) -> u8 {
        let wanted = pod.metadata.labels.get("wants-disk");
        if wanted.is_some() && wanted == node.metadata.labels.get(&self.label) { 100 } else { 0 }
    }
}

pintle_sdk::export_node_rule!(Disk);
