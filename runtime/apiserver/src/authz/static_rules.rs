//! The rules of a cluster without roles: administrators may do everything,
//! nodes what [`super::node_scope`] says, everybody may ask who they are.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value;

use super::node_scope::{self, NodeFacts};
use super::{Attributes, Authorizer, Decision};
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
}

#[async_trait]
impl Authorizer for StaticAuthorizer {
    async fn authorize(&self, attributes: &Attributes<'_>) -> Decision {
        let user = attributes.user;
        if user.in_group(GROUP_MASTERS) {
            return Decision::Allow;
        }
        if user.in_group(GROUP_AUTHENTICATED) && everybody_may(attributes) {
            return Decision::Allow;
        }
        match user.node_name() {
            Some(node) => node_scope::authorize(node, attributes, &*self.facts),
            None => Decision::NoOpinion(String::new()),
        }
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
