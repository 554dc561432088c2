//! Pods go to nodes with the disk they ask for; batch pods keep off nodes that take none.
use pintle_sdk::prelude::*;

pub struct Disks;

impl NodeRule for Disks {
    type Config = NoConfig;
    type Pod = AnyObject;
    type Node = AnyObject;
    const ABILITIES: Abilities = Abilities::BOTH;
    const POD_FIELDS: &'static [&'static str] = &["metadata.labels"];

    fn new(_: NoConfig) -> Result<Self, String> {
        Ok(Disks)
    }

    fn manifest(&self) -> Manifest {
        pintle_sdk::manifest!()
    }

    fn filter(&self, pod: &AnyObject, node: &AnyObject) -> Result<(), String> {
        if is_true(pod, "batch") && is_true(node, "example.pintle.dev/no-batch") {
            return Err("node(s) take no batch pods".to_owned());
        }
        Ok(())
    }

    fn score(&self, pod: &AnyObject, node: &AnyObject) -> u8 {
        let wanted = pod.metadata.labels.get("example.pintle.dev/disktype");
        let wanted = wanted.filter(|wanted| !wanted.is_empty());
        if wanted.is_some() && wanted == node.metadata.labels.get("disktype") { 100 } else { 0 }
    }
}

fn is_true(object: &AnyObject, label: &str) -> bool {
    object.metadata.labels.get(label).is_some_and(|value| value == "true")
}

pintle_sdk::export_node_rule!(Disks);
