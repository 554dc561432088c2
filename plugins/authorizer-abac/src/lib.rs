//! Attribute based access control: a request is allowed when one of the policy
//! lines in the configuration matches it. The lines are those of Kubernetes'
//! policy file.
//!
//! Watches nothing. Allows, or has no opinion; never denies.
//!
//! Config: `policy`, a text with one JSON object per line
//! (`{"apiVersion": "abac.authorization.kubernetes.io/v1beta1", "kind": "Policy",
//! "spec": {"user": "jane", "namespace": "*", "resource": "pods", "readonly": true}}`);
//! empty lines and lines that begin with `#` are skipped.
//!
//! Does not know: roles. Read first: [`policy::Policy`].

pub mod policy;

use pintle_sdk::Context;
use pintle_sdk::authorizer::{
    Attributes, Authorizer, Decision, Description, NonResourceRule, ResourceRule, RuleSet, User,
};
use pintle_sdk::prelude::Manifest;

use crate::policy::Policy;

#[derive(Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    pub policy: String,
}

pub struct Plugin {
    policies: Vec<Policy>,
}

impl Authorizer for Plugin {
    type Config = Config;

    fn new(config: Config) -> Result<Self, String> {
        Ok(Plugin { policies: policy::read(&config.policy)? })
    }

    fn describe(&self) -> Description {
        Description::new(Manifest::new("authorizer-abac", env!("CARGO_PKG_VERSION")))
    }

    fn authorize(&mut self, _: &Context, asked: &Attributes) -> Decision {
        match self.policies.iter().find(|policy| policy.matches(asked)) {
            Some(policy) => Decision::allow(format!("ABAC: allowed by line {}", policy.line)),
            None => Decision::no_opinion("No policy matched."),
        }
    }

    fn rules(&mut self, _: &Context, user: &User, namespace: &str) -> RuleSet {
        let mut rules = RuleSet::default();
        for policy in self.policies.iter().filter(|policy| policy.is_about(user)) {
            let verbs: &[&str] = if policy.readonly { &["get", "list", "watch"] } else { &["*"] };
            let verbs: Vec<String> = verbs.iter().map(|&verb| verb.to_owned()).collect();
            if !policy.resource.is_empty() && policy.covers_namespace(namespace) {
                rules.resource_rules.push(ResourceRule {
                    verbs: verbs.clone(),
                    api_groups: vec![policy.api_group.clone()],
                    resources: vec![policy.resource.clone()],
                    resource_names: Vec::new(),
                });
            }
            if !policy.non_resource_path.is_empty() {
                rules.non_resource_rules.push(NonResourceRule {
                    verbs,
                    non_resource_urls: vec![policy.non_resource_path.clone()],
                });
            }
        }
        rules
    }
}

pintle_sdk::export_authorizer!(Plugin);
