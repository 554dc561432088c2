//! Who may do what: first the rules that hold without any plugin, then the
//! authorizers of the plugin host.
//!
//! Administrators, and what everybody may ask, need no plugin, so that a cluster
//! whose authorizers are broken can be repaired. What a node may do ends where
//! its fixed scope ends; where that is coarser than the pods of the node, an
//! authorizer may deny more, and one that gives no answer is taken to deny.

use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use pintle_apiserver::{
    Attributes, Authorizer, Decision, NonResourceRule, ResourceRule, RuleSet, StaticAuthorizer,
    User,
};
use pintle_plugin_host::authorizer::AuthorizerChain;
use pintle_plugin_host::authorizer::{self as host, AccessRequest, AccessUser, Verdict};
use serde_json::Value;

pub struct HostAuthorizer {
    fixed: StaticAuthorizer,
    /// Comes with the host, before the first request is served.
    chain: OnceLock<Arc<AuthorizerChain>>,
}

impl HostAuthorizer {
    pub fn new(fixed: StaticAuthorizer) -> Self {
        Self { fixed, chain: OnceLock::new() }
    }

    pub fn set(&self, chain: Arc<AuthorizerChain>) {
        let _ = self.chain.set(chain);
    }

    async fn ask(&self, attributes: &Attributes<'_>) -> Verdict {
        let Some(chain) = self.chain.get() else {
            return Verdict::NoAnswer("the authorizers are not loaded yet".to_owned());
        };
        let required: Vec<(&str, &str)> = attributes
            .field_selector
            .map(|fields| fields.equalities().collect())
            .unwrap_or_default();
        let request = AccessRequest {
            user: user(attributes.user),
            verb: attributes.verb,
            group: attributes.group,
            version: attributes.version,
            resource: attributes.resource,
            subresource: attributes.subresource,
            namespace: attributes.namespace,
            name: attributes.name,
            path: attributes.path,
            required_fields: &required,
        };
        chain.authorize(&request).await
    }
}

fn user(user: &User) -> AccessUser<'_> {
    AccessUser { name: &user.name, uid: &user.uid, groups: &user.groups, extra: &user.extra }
}

#[async_trait]
impl Authorizer for HostAuthorizer {
    async fn authorize(&self, attributes: &Attributes<'_>) -> Decision {
        let fixed = self.fixed.authorize(attributes).await;
        let is_node = self.fixed.is_scoped(attributes.user);
        match fixed {
            Decision::Allow(_) if is_node && self.fixed.is_coarse(attributes) => {
                match self.ask(attributes).await {
                    Verdict::Deny(reason) | Verdict::NoAnswer(reason) => Decision::Deny(reason),
                    Verdict::Allow(_) | Verdict::NoOpinion(_) => fixed,
                }
            }
            Decision::NoOpinion(_) if !is_node => match self.ask(attributes).await {
                Verdict::Allow(reason) => Decision::Allow(reason),
                Verdict::Deny(reason) => Decision::Deny(reason),
                Verdict::NoOpinion(reason) | Verdict::NoAnswer(reason) => {
                    Decision::NoOpinion(reason)
                }
            },
            fixed => fixed,
        }
    }

    async fn rules(&self, asked: &User, namespace: &str) -> RuleSet {
        let mut rules = self.fixed.rules(asked, namespace).await;
        let Some(chain) = self.chain.get() else { return rules };
        if self.fixed.is_scoped(asked) || self.fixed.is_administrator(asked) {
            return rules;
        }
        let host::RuleSet { resource_rules, non_resource_rules, incomplete } =
            chain.rules(&user(asked), namespace).await;
        rules.resource_rules.extend(resource_rules.into_iter().map(|rule| ResourceRule {
            verbs: rule.verbs,
            api_groups: rule.api_groups,
            resources: rule.resources,
            resource_names: rule.resource_names,
        }));
        rules.non_resource_rules.extend(non_resource_rules.into_iter().map(|rule| {
            NonResourceRule { verbs: rule.verbs, non_resource_urls: rule.non_resource_urls }
        }));
        rules.incomplete.extend(incomplete);
        rules.once();
        rules
    }

    fn narrow(&self, attributes: &Attributes<'_>, object: &Value) -> Result<(), String> {
        self.fixed.narrow(attributes, object)
    }

    fn narrows(&self, user: &User) -> bool {
        self.fixed.narrows(user)
    }
}
