//! What the API server asks authorizers, and what it gets back.

use std::collections::BTreeMap;

use pintle_api::meta::GroupVersionKind;

use crate::action::Target;
use crate::program::authorizer_interface::{self as wit, Attributes, User};
use crate::supervise::Input;

#[derive(Debug, Clone, Copy)]
pub struct AccessUser<'a> {
    pub name: &'a str,
    pub uid: &'a str,
    pub groups: &'a [String],
    pub extra: &'a BTreeMap<String, Vec<String>>,
}

/// One request, in the words of a `SubjectAccessReview`.
#[derive(Debug, Clone, Copy)]
pub struct AccessRequest<'a> {
    pub user: AccessUser<'a>,
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
    /// What a field selector requires.
    pub required_fields: &'a [(&'a str, &'a str)],
}

/// With reasons for people; they may be empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    Allow(String),
    Deny(String),
    /// Nobody had anything to say.
    NoOpinion(String),
}

/// What a user may do, as far as the authorizers can list it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RuleSet {
    pub resource_rules: Vec<ResourceRule>,
    pub non_resource_rules: Vec<NonResourceRule>,
    /// Why there may be more.
    pub incomplete: Vec<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ResourceRule {
    pub verbs: Vec<String>,
    pub api_groups: Vec<String>,
    pub resources: Vec<String>,
    pub resource_names: Vec<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NonResourceRule {
    pub verbs: Vec<String>,
    pub non_resource_urls: Vec<String>,
}

pub(super) fn user(user: &AccessUser<'_>) -> User {
    User {
        name: user.name.to_owned(),
        uid: user.uid.to_owned(),
        groups: user.groups.to_vec(),
        extra: user.extra.iter().map(|(key, values)| (key.clone(), values.clone())).collect(),
    }
}

/// A request as authorizers are asked about it.
pub(super) struct Question {
    pub attributes: Attributes,
    /// Equal for equal attributes, and for no others.
    pub key: String,
}

impl Question {
    pub fn new(request: &AccessRequest<'_>) -> Self {
        let attributes = attributes(request);
        let key = format!("{attributes:?}");
        Self { attributes, key }
    }
}

fn attributes(request: &AccessRequest<'_>) -> Attributes {
    Attributes {
        user: user(&request.user),
        verb: request.verb.to_owned(),
        group: request.group.to_owned(),
        version: request.version.to_owned(),
        resource: request.resource.to_owned(),
        subresource: request.subresource.to_owned(),
        namespace: request.namespace.to_owned(),
        name: request.name.to_owned(),
        path: request.path.to_owned(),
        required_fields: request
            .required_fields
            .iter()
            .map(|(path, value)| ((*path).to_owned(), (*value).to_owned()))
            .collect(),
    }
}

impl RuleSet {
    pub(super) fn add(&mut self, rules: wit::RuleSet) {
        self.resource_rules.extend(rules.resource_rules.into_iter().map(|rule| ResourceRule {
            verbs: rule.verbs,
            api_groups: rule.api_groups,
            resources: rule.resources,
            resource_names: rule.resource_names,
        }));
        self.non_resource_rules.extend(rules.non_resource_rules.into_iter().map(|rule| {
            NonResourceRule { verbs: rule.verbs, non_resource_urls: rule.non_resource_urls }
        }));
        self.incomplete.extend(rules.incomplete);
    }
}

/// A question as strikes and the status name it.
pub(super) fn input(attributes: &Attributes) -> Input {
    let Attributes { user, verb, group, resource, subresource, path, name, .. } = attributes;
    let mut what = format!("{} {verb} ", user.name);
    if resource.is_empty() {
        what.push_str(path);
    } else {
        what.push_str(resource);
        for (separator, part) in [(".", group), ("/", subresource), (" ", name)] {
            if !part.is_empty() {
                what.push_str(separator);
                what.push_str(part);
            }
        }
    }
    let kind = GroupVersionKind::new("authorization.k8s.io", "v1", "SubjectAccessReview");
    let object = Target { kind, namespace: attributes.namespace.clone(), name: what };
    Input { id: object.to_string(), object, uid: String::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_have_names_that_people_understand() {
        let (extra, groups) = (BTreeMap::new(), ["dev".to_owned()]);
        let user = AccessUser { name: "jane", uid: "", groups: &groups, extra: &extra };
        let check = |resource, subresource, namespace, name, path, expect: &str| {
            let request = AccessRequest {
                user,
                verb: "get",
                group: "apps",
                version: "v1",
                resource,
                subresource,
                namespace,
                name,
                path,
                required_fields: &[],
            };
            assert_eq!(input(&attributes(&request)).id, expect);
        };
        check(
            "deployments",
            "scale",
            "a",
            "web",
            "",
            "SubjectAccessReview a/jane get deployments.apps/scale web",
        );
        check("", "", "", "", "/metrics", "SubjectAccessReview jane get /metrics");
    }
}
