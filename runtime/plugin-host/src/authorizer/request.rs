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
    /// All were asked, and nobody allowed it.
    NoOpinion(String),
    /// Nobody allowed it, and one that might have had an opinion could not say so.
    NoAnswer(String),
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

/// Equal for equal attributes, and for no others.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Key(Vec<u8>);

impl Key {
    pub fn of(request: &AccessRequest<'_>) -> Self {
        let AccessRequest {
            user,
            verb,
            group,
            version,
            resource,
            subresource,
            namespace,
            name,
            path,
            required_fields,
        } = request;
        // Every text and every list after its length, so that no two requests look the same.
        let mut key = Self(Vec::with_capacity(256));
        for text in [
            verb,
            group,
            version,
            resource,
            subresource,
            namespace,
            name,
            path,
            &user.name,
            &user.uid,
        ] {
            key.text(text);
        }
        key.length(user.groups.len());
        user.groups.iter().for_each(|group| key.text(group));
        key.length(required_fields.len());
        for (field, value) in *required_fields {
            key.text(field);
            key.text(value);
        }
        for (name, values) in user.extra {
            key.text(name);
            key.length(values.len());
            values.iter().for_each(|value| key.text(value));
        }
        key
    }

    fn length(&mut self, length: usize) {
        self.0.extend_from_slice(&(length as u64).to_le_bytes());
    }

    fn text(&mut self, text: &str) {
        self.length(text.len());
        self.0.extend_from_slice(text.as_bytes());
    }
}

/// A request as authorizers are asked about it.
pub(crate) struct Question {
    pub attributes: Attributes,
    pub key: Key,
}

impl Question {
    pub fn new(request: &AccessRequest<'_>, key: Key) -> Self {
        Self { attributes: attributes(request), key }
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

/// The question of what a user may do in a namespace, as strikes name it.
pub(super) fn listing(user: &User, namespace: &str) -> Input {
    input(&Attributes {
        user: user.clone(),
        verb: "list-rules".to_owned(),
        group: String::new(),
        version: String::new(),
        resource: String::new(),
        subresource: String::new(),
        namespace: namespace.to_owned(),
        name: String::new(),
        path: String::new(),
        required_fields: Vec::new(),
    })
}

/// What is asked about, as an object that people recognize.
pub(crate) fn target(attributes: &Attributes) -> Target {
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
    Target { kind, namespace: attributes.namespace.clone(), name: what.trim_end().to_owned() }
}

/// A question as strikes and the status name it.
pub(super) fn input(attributes: &Attributes) -> Input {
    let object = target(attributes);
    Input { id: object.to_string(), object, uid: String::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: AccessRequest<'static> = AccessRequest {
        user: AccessUser { name: "jane", uid: "", groups: &[], extra: &BTreeMap::new() },
        verb: "get",
        group: "apps",
        version: "v1",
        resource: "",
        subresource: "",
        namespace: "",
        name: "",
        path: "",
        required_fields: &[],
    };

    #[test]
    fn questions_have_names_that_people_understand() {
        let check = |resource, subresource, namespace, name, path, expect: &str| {
            let request = AccessRequest { resource, subresource, namespace, name, path, ..EMPTY };
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

    #[test]
    fn different_requests_have_different_keys() {
        let (one, two) = (["a".to_owned(), "b".to_owned()], ["ab".to_owned()]);
        let extra = BTreeMap::from([("a".to_owned(), vec!["b".to_owned()])]);
        let user = |groups| AccessUser { groups, ..EMPTY.user };
        let requests = [
            EMPTY,
            AccessRequest { resource: "pods", ..EMPTY },
            AccessRequest { subresource: "pods", ..EMPTY },
            AccessRequest { namespace: "pods", ..EMPTY },
            AccessRequest { resource: "po", subresource: "ds", ..EMPTY },
            AccessRequest { user: user(&one), ..EMPTY },
            AccessRequest { user: user(&two), ..EMPTY },
            AccessRequest { user: AccessUser { extra: &extra, ..EMPTY.user }, ..EMPTY },
            AccessRequest { required_fields: &[("a", "b")], ..EMPTY },
            AccessRequest { required_fields: &[("ab", "")], ..EMPTY },
        ];
        for (index, request) in requests.iter().enumerate() {
            let same = requests.iter().filter(|other| Key::of(other) == Key::of(request)).count();
            assert_eq!(same, 1, "request {index}");
        }
    }
}
