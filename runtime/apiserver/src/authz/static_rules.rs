//! The rules that need no role: administrators may do everything, nodes what
//! [`super::node_scope`] says, everybody may ask who they are.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value;

use super::node_scope::{self, NodeFacts};
use super::{Attributes, Authorizer, Decision, NonResourceRule, ResourceRule, RuleSet};
use crate::user::{GROUP_AUTHENTICATED, GROUP_MASTERS, User};

/// What any authenticated user may read (`system:discovery`).
const DISCOVERY: &[&str] =
    &["/api", "/apis", "/openapi", "/version", "/healthz", "/livez", "/readyz"];

/// What any authenticated user may create (`system:basic-user`).
const SELF_REVIEWS: &[(&str, &str)] = &[
    ("authentication.k8s.io", "selfsubjectreviews"),
    ("authorization.k8s.io", "selfsubjectaccessreviews"),
    ("authorization.k8s.io", "selfsubjectrulesreviews"),
];

pub struct StaticAuthorizer {
    facts: Arc<dyn NodeFacts>,
}

impl StaticAuthorizer {
    pub fn new(facts: Arc<dyn NodeFacts>) -> StaticAuthorizer {
        StaticAuthorizer { facts }
    }

    /// Whether the user may do everything.
    pub fn is_administrator(&self, user: &User) -> bool {
        user.in_group(GROUP_MASTERS)
    }

    /// Whether the user is a node, which may do nothing beyond its scope.
    pub fn is_scoped(&self, user: &User) -> bool {
        user.node_name().is_some() && !self.is_administrator(user)
    }

    /// Whether a node is allowed more by this than its own pods need.
    pub fn is_coarse(&self, attributes: &Attributes<'_>) -> bool {
        node_scope::is_coarse(attributes)
    }
}

#[async_trait]
impl Authorizer for StaticAuthorizer {
    async fn authorize(&self, attributes: &Attributes<'_>) -> Decision {
        let user = attributes.user;
        if user.in_group(GROUP_MASTERS) {
            return Decision::Allow(String::new());
        }
        if user.in_group(GROUP_AUTHENTICATED) && everybody_may(attributes) {
            return Decision::Allow(String::new());
        }
        match user.node_name() {
            Some(node) => node_scope::authorize(node, attributes, &*self.facts),
            None => Decision::NoOpinion(String::new()),
        }
    }

    async fn rules(&self, user: &User, _: &str) -> RuleSet {
        let mut rules = RuleSet::default();
        if self.is_administrator(user) {
            rules.resource_rules.push(resources(&["*"], "*", &["*"]));
            rules.non_resource_rules.push(paths(&["*"], &["*"]));
            return rules;
        }
        if user.in_group(GROUP_AUTHENTICATED) {
            // In the words of the role that says the same.
            let group = "authorization.k8s.io";
            let reviews = ["selfsubjectaccessreviews", "selfsubjectrulesreviews"];
            rules.resource_rules.push(resources(&["create"], group, &reviews));
            let group = "authentication.k8s.io";
            rules.resource_rules.push(resources(&["create"], group, &["selfsubjectreviews"]));
            for root in DISCOVERY {
                rules.non_resource_rules.push(paths(&["get"], &[root, &format!("{root}/*")]));
            }
        }
        if self.is_scoped(user) {
            rules.incomplete.push("what a node may do depends on its pods".to_owned());
        }
        rules
    }

    fn narrow(&self, attributes: &Attributes<'_>, object: &Value) -> Result<(), String> {
        match attributes.user.node_name() {
            Some(node) if !attributes.user.in_group(GROUP_MASTERS) => {
                node_scope::narrow(node, attributes, object)
            }
            _ => Ok(()),
        }
    }

    fn narrows(&self, user: &User) -> bool {
        user.node_name().is_some()
    }
}

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|&text| text.to_owned()).collect()
}

fn resources(verbs: &[&str], group: &str, resources: &[&str]) -> ResourceRule {
    ResourceRule {
        verbs: texts(verbs),
        api_groups: texts(&[group]),
        resources: texts(resources),
        resource_names: Vec::new(),
    }
}

fn paths(verbs: &[&str], urls: &[&str]) -> NonResourceRule {
    NonResourceRule { verbs: texts(verbs), non_resource_urls: texts(urls) }
}

fn everybody_may(attributes: &Attributes<'_>) -> bool {
    if attributes.resource.is_empty() {
        return attributes.verb == "get"
            && DISCOVERY.iter().any(|root| {
                attributes
                    .path
                    .strip_prefix(root)
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            });
    }
    attributes.verb == "create" && SELF_REVIEWS.contains(&(attributes.group, attributes.resource))
}
