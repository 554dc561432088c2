//! A rule as people write them with the SDK: 100 for nodes whose label `zone` is
//! the pod's, unless they are reserved for another label `app`.
//!
//! Each pod is asked about, unless it is built with the feature `pod-fields`.

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
#[serde(rename_all = "kebab-case", default)]
struct Labels {
    zone: String,
    app: String,
    reserved_for: String,
}

impl NodeRule for SameZone {
    type Config = NoConfig;
    type Pod = Zoned;
    type Node = Zoned;
    const ABILITIES: Abilities = Abilities::SCORE;
    const POD_FIELDS: &'static [&'static str] =
        if cfg!(feature = "pod-fields") { &["metadata.labels"] } else { &[] };

    fn new(_: NoConfig) -> Result<Self, String> {
        Ok(SameZone)
    }

    fn manifest(&self) -> Manifest {
        pintle_sdk::manifest!()
    }

    fn score(&self, pod: &Zoned, node: &Zoned) -> u8 {
        let (pod, node) = (&pod.metadata.labels, &node.metadata.labels);
        let is_free = node.reserved_for.is_empty() || node.reserved_for == pod.app;
        if is_free && pod.zone == node.zone { 100 } else { 0 }
    }
}

pintle_sdk::export_node_rule!(SameZone);
