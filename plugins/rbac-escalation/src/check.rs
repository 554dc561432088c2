//! What is compared with what.

use pintle_sdk::admission::{Request, User};
use pintle_sdk::authorizer;
use pintle_sdk::prelude::*;
use pintle_sdk::rbac::{self, View};

const GROUP: &str = "rbac.authorization.k8s.io";

/// So many of the missing rules are named.
const MOST_NAMED: usize = 10;

/// Administrators may do everything; what plugins do was granted to them.
pub fn is_trusted(user: &User) -> bool {
    let trusted = ["system:masters", "system:pintle:plugins"];
    user.groups.iter().any(|group| trusted.contains(&group.as_str()))
}

/// Of a Role and of a ClusterRole.
#[derive(Debug, Default, PartialEq, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RoleFields {
    #[serde(deserialize_with = "null_default")]
    rules: Vec<PolicyRule>,
    aggregation_rule: Option<AggregationRule>,
}

/// Of both kinds of bindings.
#[derive(Debug, Default, PartialEq, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct BindingFields {
    #[serde(deserialize_with = "null_default")]
    subjects: Vec<RbacSubject>,
    #[serde(deserialize_with = "null_default")]
    role_ref: RoleRef,
}

/// May this role be written? The error says why not.
pub fn role(request: &Request, view: impl FnOnce() -> View) -> Result<(), String> {
    let wanted: RoleFields = request.object().map_err(|error| error.to_string())?;
    if request.operation.update && request.old_object().is_ok_and(|old: RoleFields| old == wanted) {
        return Ok(());
    }
    let view = view();
    let kind = &*request.reference.kind.kind;
    if may(&view, request, "escalate", kind, &request.reference.name) {
        return Ok(());
    }
    let owned = owned(&view, request);
    if wanted.aggregation_rule.is_some() {
        let all = || vec!["*".to_owned()];
        let resources = PolicyRule {
            verbs: all(),
            api_groups: all(),
            resources: all(),
            ..PolicyRule::default()
        };
        let paths = PolicyRule { verbs: all(), non_resource_urls: all(), ..PolicyRule::default() };
        if !rbac::uncovered(&owned, &[resources, paths]).is_empty() {
            return Err("must have cluster-admin privileges to use the aggregationRule".to_owned());
        }
    }
    covered(request, &owned, &wanted.rules)
}

/// May this binding be written?
pub fn binding(request: &Request, view: impl FnOnce() -> View) -> Result<(), String> {
    let wanted: BindingFields = request.object().map_err(|error| error.to_string())?;
    if request.operation.update
        && request.old_object().is_ok_and(|old: BindingFields| old == wanted)
    {
        return Ok(());
    }
    let view = view();
    let RoleRef { kind, name, .. } = &wanted.role_ref;
    if may(&view, request, "bind", kind, name) {
        return Ok(());
    }
    let namespace = &request.reference.namespace;
    let Some(rules) = view.role(kind, namespace, name) else {
        return Err(format!("{}.{GROUP} {name:?} not found", kind.to_lowercase()));
    };
    covered(request, &owned(&view, request), rules)
}

fn may(view: &View, request: &Request, verb: &str, kind: &str, name: &str) -> bool {
    let resource = if kind == "ClusterRole" { "clusterroles" } else { "roles" };
    let asked = authorizer::Attributes::resource(user(request), verb, GROUP, resource)
        .within(&request.reference.namespace)
        .named(name);
    view.authorize(&asked).is_allowed()
}

fn user(request: &Request) -> authorizer::User {
    let User { name, groups, .. } = &request.user;
    authorizer::User { name: name.clone(), groups: groups.clone(), ..authorizer::User::default() }
}

fn owned(view: &View, request: &Request) -> Vec<PolicyRule> {
    view.rules(&user(request), &request.reference.namespace).0
}

fn covered(request: &Request, owned: &[PolicyRule], wanted: &[PolicyRule]) -> Result<(), String> {
    let missing = rbac::uncovered(owned, wanted);
    if missing.is_empty() {
        return Ok(());
    }
    let mut lines: Vec<String> = missing.iter().take(MOST_NAMED).map(show).collect();
    if missing.len() > MOST_NAMED {
        lines.push(format!("and {} more", missing.len() - MOST_NAMED));
    }
    Err(format!(
        "user {:?} (groups={}) is attempting to grant RBAC permissions not currently held:\n{}",
        request.user.name,
        quoted(&request.user.groups),
        lines.join("\n")
    ))
}

/// `["a" "b"]`
fn quoted(texts: &[String]) -> String {
    let texts: Vec<String> = texts.iter().map(|text| format!("{text:?}")).collect();
    format!("[{}]", texts.join(" "))
}

/// `{APIGroups:[""], Resources:["pods"], Verbs:["get"]}`
fn show(rule: &PolicyRule) -> String {
    let parts = [
        ("APIGroups", &rule.api_groups),
        ("Resources", &rule.resources),
        ("ResourceNames", &rule.resource_names),
        ("NonResourceURLs", &rule.non_resource_urls),
        ("Verbs", &rule.verbs),
    ];
    let given = parts.iter().filter(|(_, texts)| !texts.is_empty());
    let parts: Vec<String> =
        given.map(|(name, texts)| format!("{name}:{}", quoted(texts))).collect();
    format!("{{{}}}", parts.join(", "))
}
