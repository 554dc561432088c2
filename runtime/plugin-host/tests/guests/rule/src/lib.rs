//! A rule as people write them with the SDK: 100 for nodes whose label `zone` is
//! the pod's. Each pod is asked about, with all of its fields.

use pintle_sdk::prelude::*;
use serde::Deserialize;

struct SameZone;

#[derive(Deserialize)]
struct Zoned {
    metadata: Metadata,
}

#[derive(Deserialize)]
struct Metadata {
    #[serde(default)]
    labels: Labels,
}

#[derive(Default, Deserialize)]
struct Labels {
    #[serde(default)]
    zone: String,
}

impl NodeRule for SameZone {
    type Config = NoConfig;
    type Pod = Zoned;
    type Node = Zoned;
    const ABILITIES: Abilities = Abilities::SCORE;

    fn new(_: NoConfig) -> Result<Self, String> {
        Ok(SameZone)
    }

    fn manifest(&self) -> Manifest {
        pintle_sdk::manifest!()
    }

    fn score(&self, pod: &Zoned, node: &Zoned) -> u8 {
        if pod.metadata.labels.zone == node.metadata.labels.zone { 100 } else { 0 }
    }
}

pintle_sdk::export_node_rule!(SameZone);
