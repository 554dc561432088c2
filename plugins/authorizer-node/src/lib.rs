//! A node reads the Secrets, ConfigMaps, claims and volumes that the pods bound
//! to it use, and nothing else of these kinds.
//!
//! Watches Pods, ServiceAccounts and PersistentVolumeClaims, and keeps who uses
//! what. Allows and denies reads of these kinds by nodes (users
//! `system:node:NAME` in the group `system:nodes`); has no opinion on anything
//! else.
//!
//! No configuration.
//!
//! Does not know: what else a node may do; that has a fixed scope. Read first:
//! [`graph::Graph`].

pub mod graph;

use pintle_sdk::Context;
use pintle_sdk::authorizer::{Attributes, Authorizer, Decision, Description, RuleSet, User};
use pintle_sdk::prelude::*;
use pintle_sdk::scheduler::Delta;

use crate::graph::Graph;

#[derive(Default)]
pub struct Plugin {
    graph: Graph,
}

impl Authorizer for Plugin {
    type Config = NoConfig;

    fn new(_: NoConfig) -> Result<Self, String> {
        Ok(Plugin::default())
    }

    fn describe(&self) -> Description {
        let read = &["get", "list", "watch"];
        let manifest = Manifest::new("authorizer-node", env!("CARGO_PKG_VERSION"))
            .needs(POD, read, "which node runs it, and what it uses")
            .needs(SERVICE_ACCOUNT, read, "the secrets its pods pull images with")
            .needs(PERSISTENT_VOLUME_CLAIM, read, "the volume it is bound to");
        Description::new(manifest).watch(SERVICE_ACCOUNT).watch(PERSISTENT_VOLUME_CLAIM).watch(POD)
    }

    fn sync(&mut self, deltas: Vec<Delta>) {
        deltas.into_iter().for_each(|delta| self.graph.take(delta));
    }

    fn authorize(&mut self, _: &Context, asked: &Attributes) -> Decision {
        let Some(node) = node(&asked.user) else { return Decision::no_opinion("") };
        if !asked.group.is_empty() || !asked.subresource.is_empty() {
            return Decision::no_opinion("");
        }
        let only_get = match asked.resource.as_str() {
            "secrets" | "configmaps" => false,
            "persistentvolumeclaims" | "persistentvolumes" | "serviceaccounts" => true,
            _ => return Decision::no_opinion(""),
        };
        let may_read = match asked.verb.as_str() {
            "get" => true,
            // Of a single one, by a field selector.
            "list" | "watch" => !only_get,
            _ => return Decision::no_opinion(""),
        };
        if !may_read {
            return Decision::deny(format!("a node may only get {}", asked.resource));
        }
        let name = match asked.name.as_str() {
            "" => asked.required_fields.get("metadata.name").map_or("", String::as_str),
            name => name,
        };
        if name.is_empty() {
            return Decision::deny("no object name found: a node may only read single objects");
        }
        if self.graph.uses(node, &asked.resource, &asked.namespace, name) {
            return Decision::allow("a pod bound to the node uses it");
        }
        Decision::deny(format!("no relationship found between node {node:?} and this object"))
    }

    fn rules(&mut self, _: &Context, user: &User, _: &str) -> RuleSet {
        let incomplete = node(user).map(|_| "what a node may read depends on its pods".to_owned());
        RuleSet { incomplete, ..RuleSet::default() }
    }
}

fn node(user: &User) -> Option<&str> {
    let node = user.name.strip_prefix("system:node:").filter(|node| !node.is_empty())?;
    user.groups.iter().any(|group| group == "system:nodes").then_some(node)
}

pintle_sdk::export_authorizer!(Plugin);
