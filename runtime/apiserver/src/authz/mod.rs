//! The authorization call-out, and the fixed rules that are asked before it.

mod node_scope;
mod static_rules;

use async_trait::async_trait;
use pintle_api::meta::GroupResource;
use pintle_api::selector::FieldSelector;
use pintle_api::status::StatusError;
use serde::Serialize;
use serde_json::Value;

use crate::user::User;

pub use node_scope::NodeFacts;
pub use static_rules::StaticAuthorizer;

/// One request, in the words of a `SubjectAccessReview`.
#[derive(Clone, Copy)]
pub struct Attributes<'a> {
    pub user: &'a User,
    /// `get`, `list`, `create`, ...; the lower-case HTTP method outside resources.
    pub verb: &'a str,
    pub group: &'a str,
    pub version: &'a str,
    /// Plural; empty for requests outside the resources.
    pub resource: &'a str,
    pub subresource: &'a str,
    pub namespace: &'a str,
    pub name: &'a str,
    /// Of requests outside the resources.
    pub path: &'a str,
    /// Of list, watch and deletecollection.
    pub field_selector: Option<&'a FieldSelector>,
}

impl<'a> Attributes<'a> {
    /// A request for a path that is no resource.
    pub fn path(user: &'a User, verb: &'a str, path: &'a str) -> Attributes<'a> {
        Attributes {
            user,
            verb,
            group: "",
            version: "",
            resource: "",
            subresource: "",
            namespace: "",
            name: "",
            path,
            field_selector: None,
        }
    }

    /// The 403 for this request, in Kubernetes' words.
    pub fn forbidden(&self, reason: &str) -> StatusError {
        let user = &self.user.name;
        let verb = self.verb;
        let mut text = if self.resource.is_empty() {
            format!("User {user:?} cannot {verb} path {:?}", self.path)
        } else {
            let slash = if self.subresource.is_empty() { "" } else { "/" };
            let resource = format!("{}{slash}{}", self.resource, self.subresource);
            let scope = if self.namespace.is_empty() {
                "at the cluster scope".to_string()
            } else {
                format!("in the namespace {:?}", self.namespace)
            };
            format!(
                "User {user:?} cannot {verb} resource {resource:?} in API group {:?} {scope}",
                self.group
            )
        };
        if !reason.is_empty() {
            text.push_str(": ");
            text.push_str(reason);
        }
        StatusError::forbidden(GroupResource::new(self.group, self.resource), self.name, &text)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// With the reason for people who ask why; it may be empty.
    Allow(String),
    /// With the reason that the user is told.
    Deny(String),
    /// Nobody allowed it, which is a no.
    NoOpinion(String),
}

impl Decision {
    pub fn is_allowed(&self) -> bool {
        matches!(self, Decision::Allow(_))
    }
}

/// What a user may do, as far as it can be listed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RuleSet {
    pub resource_rules: Vec<ResourceRule>,
    pub non_resource_rules: Vec<NonResourceRule>,
    /// Why there may be more.
    pub incomplete: Vec<String>,
}

impl RuleSet {
    /// Each path once per list of verbs, and each rule once: two authorizers, or
    /// two roles, may say the same.
    pub fn once(&mut self) {
        let mut seen: Vec<(Vec<String>, String)> = Vec::new();
        for rule in &mut self.non_resource_rules {
            let verbs = &rule.verbs;
            rule.non_resource_urls.retain(|url| {
                let own = (verbs.clone(), url.clone());
                let first = !seen.contains(&own);
                if first {
                    seen.push(own);
                }
                first
            });
        }
        self.non_resource_rules.retain(|rule| !rule.non_resource_urls.is_empty());
        let mut kept: Vec<ResourceRule> = Vec::new();
        for rule in std::mem::take(&mut self.resource_rules) {
            // One rule may be a part of another.
            if !kept.iter().any(|other| other.covers(&rule)) {
                kept.push(rule);
            }
        }
        self.resource_rules = kept;
    }
}

impl ResourceRule {
    /// Whether it says word by word all that the other one says.
    fn covers(&self, other: &ResourceRule) -> bool {
        let all = |other: &[String], own: &[String]| other.iter().all(|text| own.contains(text));
        all(&other.verbs, &self.verbs)
            && all(&other.api_groups, &self.api_groups)
            && all(&other.resources, &self.resources)
            && self.resource_names == other.resource_names
    }
}

/// Verbs on resources; `*` is everything.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ResourceRule {
    pub verbs: Vec<String>,
    pub api_groups: Vec<String>,
    pub resources: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub resource_names: Vec<String>,
}

/// Verbs on paths; `*` is everything.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct NonResourceRule {
    pub verbs: Vec<String>,
    #[serde(rename = "nonResourceURLs")]
    pub non_resource_urls: Vec<String>,
}

#[async_trait]
pub trait Authorizer: Send + Sync + 'static {
    async fn authorize(&self, attributes: &Attributes<'_>) -> Decision;

    /// What the user may do in a namespace.
    async fn rules(&self, user: &User, namespace: &str) -> RuleSet;

    /// Asked again once the body is known, for rules that depend on it (a node
    /// creates only the Node of its own name). May only narrow: `Err` is the
    /// reason for a refusal.
    fn narrow(&self, _attributes: &Attributes<'_>, _object: &Value) -> Result<(), String> {
        Ok(())
    }

    /// False lets the server skip building what [`Authorizer::narrow`] needs.
    fn narrows(&self, _user: &User) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_twice_is_listed_once() {
        let texts =
            |texts: &[&str]| -> Vec<String> { texts.iter().map(|&text| text.to_owned()).collect() };
        let paths = |urls: &[&str]| NonResourceRule {
            verbs: texts(&["get"]),
            non_resource_urls: texts(urls),
        };
        let create = |resources: &[&str]| ResourceRule {
            verbs: texts(&["create"]),
            api_groups: texts(&["g"]),
            resources: texts(resources),
            ..ResourceRule::default()
        };
        let mut rules = RuleSet {
            resource_rules: vec![create(&["a", "b"]), create(&["b"]), create(&["c"])],
            non_resource_rules: vec![paths(&["/a", "/b"]), paths(&["/b"]), paths(&["/b", "/c"])],
            incomplete: Vec::new(),
        };
        rules.once();
        assert_eq!(rules.resource_rules, [create(&["a", "b"]), create(&["c"])]);
        assert_eq!(rules.non_resource_rules, [paths(&["/a", "/b"]), paths(&["/c"])]);
    }

    #[test]
    fn refusals_read_like_kubernetes() {
        let user = User::new("x", ["dev"]);
        let check = |attributes: Attributes<'_>, expect: &str| {
            let error = attributes.forbidden("");
            assert_eq!((error.code(), error.reason()), (403, "Forbidden"));
            assert_eq!(error.to_string(), expect);
        };
        let mut pods = Attributes::path(&user, "list", "");
        pods.resource = "pods";
        pods.namespace = "default";
        check(
            pods,
            r#"pods is forbidden: User "x" cannot list resource "pods" in API group "" in the namespace "default""#,
        );
        let mut status = Attributes::path(&user, "patch", "");
        (status.group, status.resource, status.subresource, status.name) =
            ("apps", "deployments", "status", "d");
        check(
            status,
            r#"deployments.apps "d" is forbidden: User "x" cannot patch resource "deployments/status" in API group "apps" at the cluster scope"#,
        );
        check(
            Attributes::path(&user, "get", "/metrics"),
            r#"forbidden: User "x" cannot get path "/metrics""#,
        );
    }
}
