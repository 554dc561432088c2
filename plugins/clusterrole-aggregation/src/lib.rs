//! Gathers the rules of ClusterRoles with an `aggregationRule`: those of all
//! ClusterRoles that one of its selectors selects, by name, each rule once.
//!
//! Watches ClusterRoles. What is written to `rules` by hand is replaced.
//!
//! No configuration.
//!
//! Does not know: what a rule means. Read first: [`aggregate`].

use pintle_sdk::prelude::*;
use serde_json::json;

pub struct Plugin;

impl Controller for Plugin {
    type Config = NoConfig;

    fn new(_: NoConfig) -> Result<Self, String> {
        Ok(Plugin)
    }

    fn describe(&self) -> Description {
        Description::new(Manifest::new("clusterrole-aggregation", env!("CARGO_PKG_VERSION")).needs(
            CLUSTER_ROLE,
            &["get", "list", "watch", "patch"],
            "the rules of an aggregated role are those of others",
        ))
        .watch(
            Watch::of(CLUSTER_ROLE)
                .when_changed(&["metadata.labels", "rules", "aggregationRule"])
                .enqueue(Enqueue::AllOf(CLUSTER_ROLE)),
        )
    }

    fn reconcile(
        &self,
        _: &Context,
        lister: &dyn Lister,
        request: &Request,
    ) -> Result<Outcome, Error> {
        let mut outcome = Outcome::done();
        let Some(role) = request.read::<ClusterRole>(lister)? else { return Ok(outcome) };
        let Some(rule) = &role.aggregation_rule else { return Ok(outcome) };
        if role.metadata.is_being_deleted() {
            return Ok(outcome);
        }
        let mut others = Vec::new();
        for selector in &rule.cluster_role_selectors {
            others.extend(
                lister.read_all::<ClusterRole>(Query::of(CLUSTER_ROLE).selector(selector))?,
            );
        }
        let others: Vec<&ClusterRole> = others.iter().map(|other| &*other.object).collect();
        let rules = aggregate(&role.metadata.name, others);
        if rules != role.rules {
            outcome.push(Patch::merge(&role, &json!({ "rules": rules })).at(role.revision));
        }
        Ok(outcome)
    }
}

/// The rules of all others in the order of their names, each rule once.
pub fn aggregate(name: &str, mut others: Vec<&ClusterRole>) -> Vec<PolicyRule> {
    others.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
    let mut rules: Vec<PolicyRule> = Vec::new();
    for other in others.into_iter().filter(|other| other.metadata.name != name) {
        for rule in &other.rules {
            if !rules.contains(rule) {
                rules.push(rule.clone());
            }
        }
    }
    rules
}

pintle_sdk::export_controller!(Plugin);
