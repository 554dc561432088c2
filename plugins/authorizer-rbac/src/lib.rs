//! Role based access control: a user may do what the rules of a Role or
//! ClusterRole allow that a binding gives to the user, to one of its groups, or
//! to the service account it is.
//!
//! Watches Roles, ClusterRoles and their bindings. Allows, or has no opinion;
//! never denies.
//!
//! No configuration.
//!
//! Does not know: how aggregated ClusterRoles get their rules, or who may write
//! roles. Read first: [`View`].

use pintle_sdk::Context;
use pintle_sdk::authorizer::{
    Attributes, Authorizer, Decision, Description, NonResourceRule, ResourceRule, RuleSet, User,
};
use pintle_sdk::prelude::*;
use pintle_sdk::rbac::View;
use pintle_sdk::scheduler::Delta;

#[derive(Default)]
pub struct Plugin {
    view: View,
}

impl Authorizer for Plugin {
    type Config = NoConfig;

    fn new(_: NoConfig) -> Result<Self, String> {
        Ok(Plugin::default())
    }

    fn describe(&self) -> Description {
        let why = "the rules of a user follow from roles and bindings";
        let read = &["get", "list", "watch"];
        let manifest = Manifest::new("authorizer-rbac", env!("CARGO_PKG_VERSION"))
            .needs(ROLE, read, why)
            .needs(ROLE_BINDING, read, why)
            .needs(CLUSTER_ROLE, read, why)
            .needs(CLUSTER_ROLE_BINDING, read, why);
        Description::new(manifest)
            .watch(CLUSTER_ROLE)
            .watch(ROLE)
            .watch(CLUSTER_ROLE_BINDING)
            .watch(ROLE_BINDING)
    }

    fn sync(&mut self, deltas: Vec<Delta>) {
        deltas.into_iter().for_each(|delta| self.view.take(delta));
    }

    fn authorize(&mut self, _: &Context, attributes: &Attributes) -> Decision {
        self.view.authorize(attributes)
    }

    fn rules(&mut self, _: &Context, user: &User, namespace: &str) -> RuleSet {
        let (rules, missing) = self.view.rules(user, namespace);
        let mut set = RuleSet::default();
        for rule in rules {
            if !rule.non_resource_urls.is_empty() {
                set.non_resource_rules.push(NonResourceRule {
                    verbs: rule.verbs.clone(),
                    non_resource_urls: rule.non_resource_urls,
                });
            }
            if !rule.resources.is_empty() {
                set.resource_rules.push(ResourceRule {
                    verbs: rule.verbs,
                    api_groups: rule.api_groups,
                    resources: rule.resources,
                    resource_names: rule.resource_names,
                });
            }
        }
        set.incomplete = (!missing.is_empty()).then(|| missing.join(", "));
        set
    }
}

pintle_sdk::export_authorizer!(Plugin);
