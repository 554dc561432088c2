//! What the node rules need to know, read from the bus.

use pintle_api::kinds::{Registry, ResourceId};
use pintle_watch::{Bus, Topic};

use crate::authz::NodeFacts;

const NODE_NAME: &str = "spec.nodeName";

pub struct BusFacts {
    bus: Bus,
    pods: Option<ResourceId>,
    volumes: Option<ResourceId>,
}

impl BusFacts {
    pub fn new(bus: Bus, registry: &Registry) -> BusFacts {
        let id = |plural| registry.by_plural("", "v1", plural).map(|row| row.id);
        BusFacts { bus, pods: id("pods"), volumes: id("persistentvolumes") }
    }
}

impl NodeFacts for BusFacts {
    fn pod_node(&self, namespace: &str, name: &str) -> Option<String> {
        let pod = self.bus.get(self.pods?, namespace, name)?;
        Some(pod.field(NODE_NAME).unwrap_or_default().to_string())
    }

    fn runs_in(&self, node: &str, namespace: &str) -> bool {
        let Some(pods) = self.pods else { return false };
        let bound = self.bus.list_topic(pods, &Topic::field(NODE_NAME, node));
        bound.objects.iter().any(|pod| pod.namespace() == namespace)
    }

    fn claim_namespace(&self, volume: &str) -> Option<String> {
        let volume = self.bus.get(self.volumes?, "", volume)?.parse();
        Some(volume["spec"]["claimRef"]["namespace"].as_str()?.to_string())
    }
}
