//! Role based access control as Kubernetes defines it: what one rule allows,
//! whom a subject means, which rules cover others, and what follows from all
//! roles and bindings together ([`View`]). Pure; for authorizers and
//! for admission plugins that keep people from giving away what they lack.

mod view;

use crate::authorizer::Attributes;
use crate::types::{PolicyRule, RbacSubject};
pub use view::View;

const ALL: &str = "*";

/// A rule has so many parts at most when it is taken apart to see whether
/// several others cover it together.
const MOST_PARTS: usize = 10_000;

/// Whether the rule allows the request.
pub fn allows(rule: &PolicyRule, asked: &Attributes) -> bool {
    if !has(&rule.verbs, &asked.verb) {
        return false;
    }
    if asked.resource.is_empty() {
        return rule.non_resource_urls.iter().any(|url| covers_path(url, &asked.path));
    }
    has(&rule.api_groups, &asked.group)
        && rule.resources.iter().any(|resource| covers_resource(resource, asked))
        && (rule.resource_names.is_empty() || rule.resource_names.contains(&asked.name))
}

fn has(allowed: &[String], wanted: &str) -> bool {
    allowed.iter().any(|allowed| allowed == ALL || allowed == wanted)
}

fn covers_resource(resource: &str, asked: &Attributes) -> bool {
    if resource == ALL {
        return true;
    }
    match resource.split_once('/') {
        None => asked.subresource.is_empty() && resource == asked.resource,
        Some((name, subresource)) => {
            subresource == asked.subresource && (name == ALL || name == asked.resource)
        }
    }
}

/// `*`, the path itself, or `/a/*` for what begins like that.
fn covers_path(url: &str, path: &str) -> bool {
    url == ALL || url == path || url.strip_suffix(ALL).is_some_and(|start| path.starts_with(start))
}

/// Whether the subject of a binding means this user. `binding_namespace` is
/// where a service account without one lies; empty in a ClusterRoleBinding.
pub fn means(
    subject: &RbacSubject,
    binding_namespace: &str,
    name: &str,
    groups: &[String],
) -> bool {
    match subject.kind.as_str() {
        "User" => subject.name == name,
        "Group" => groups.contains(&subject.name),
        "ServiceAccount" => {
            let namespace =
                if subject.namespace.is_empty() { binding_namespace } else { &subject.namespace };
            let account = name
                .strip_prefix("system:serviceaccount:")
                .and_then(|account| account.split_once(':'));
            !namespace.is_empty() && account == Some((namespace, subject.name.as_str()))
        }
        _ => false,
    }
}

/// Those of `wanted` that `owned` does not cover: what somebody who has `owned`
/// would gain by them. A rule that is neither covered as it is nor small enough
/// to be taken apart counts as not covered.
pub fn uncovered(owned: &[PolicyRule], wanted: &[PolicyRule]) -> Vec<PolicyRule> {
    let mut missing: Vec<PolicyRule> = Vec::new();
    for rule in wanted {
        if owned.iter().any(|owner| covers(owner, rule)) {
            continue;
        }
        match parts(rule) {
            None => missing.push(rule.clone()),
            Some(parts) => {
                let open = |part: &PolicyRule| !owned.iter().any(|owner| covers(owner, part));
                missing.extend(parts.into_iter().filter(open));
            }
        }
    }
    missing
}

fn has_all(owned: &[String], wanted: &[String]) -> bool {
    owned.iter().any(|owned| owned == ALL) || wanted.iter().all(|wanted| owned.contains(wanted))
}

fn covers(owner: &PolicyRule, rule: &PolicyRule) -> bool {
    let resources = |wanted: &String| {
        owner.resources.iter().any(|owned| {
            owned == ALL
                || owned == wanted
                || wanted.split_once('/').is_some_and(|(_, subresource)| {
                    owned.split_once('/') == Some((ALL, subresource))
                })
        })
    };
    let path = |wanted: &String| {
        owner.non_resource_urls.iter().any(|owned| owned == wanted || covers_path(owned, wanted))
    };
    let names = match (owner.resource_names.as_slice(), rule.resource_names.as_slice()) {
        ([], _) => true,
        (_, []) => false,
        (owned, wanted) => wanted.iter().all(|wanted| owned.contains(wanted)),
    };
    has_all(&owner.verbs, &rule.verbs)
        && has_all(&owner.api_groups, &rule.api_groups)
        && rule.resources.iter().all(resources)
        && rule.non_resource_urls.iter().all(path)
        && names
}

/// One verb on one resource of one group, or one path, each.
fn parts(rule: &PolicyRule) -> Option<Vec<PolicyRule>> {
    let names = rule.resource_names.len().max(1);
    let resources = rule.api_groups.len().checked_mul(rule.resources.len())?.checked_mul(names)?;
    let count = rule.verbs.len().checked_mul(resources + rule.non_resource_urls.len())?;
    if count > MOST_PARTS {
        return None;
    }
    let mut parts = Vec::with_capacity(count);
    for verb in &rule.verbs {
        let part = PolicyRule { verbs: vec![verb.clone()], ..PolicyRule::default() };
        for group in &rule.api_groups {
            for resource in &rule.resources {
                let part = PolicyRule {
                    api_groups: vec![group.clone()],
                    resources: vec![resource.clone()],
                    ..part.clone()
                };
                if rule.resource_names.is_empty() {
                    parts.push(part);
                    continue;
                }
                parts.extend(
                    rule.resource_names.iter().map(|name| PolicyRule {
                        resource_names: vec![name.clone()],
                        ..part.clone()
                    }),
                );
            }
        }
        parts.extend(
            rule.non_resource_urls
                .iter()
                .map(|url| PolicyRule { non_resource_urls: vec![url.clone()], ..part.clone() }),
        );
    }
    Some(parts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authorizer::User;

    fn list(text: &str) -> Vec<String> {
        let words = text.split(',').filter(|word| !word.is_empty());
        words.map(|word| if word == "core" { "" } else { word }.to_owned()).collect()
    }

    fn rule(verbs: &str, groups: &str, resources: &str, names: &str) -> PolicyRule {
        PolicyRule {
            verbs: list(verbs),
            api_groups: list(groups),
            resources: list(resources),
            resource_names: list(names),
            non_resource_urls: Vec::new(),
        }
    }

    fn urls(verbs: &str, urls: &str) -> PolicyRule {
        PolicyRule { verbs: list(verbs), non_resource_urls: list(urls), ..PolicyRule::default() }
    }

    #[test]
    fn a_rule_allows_what_it_names() {
        let check = |rule: PolicyRule, verb: &str, resource: &str, name: &str, expect: bool| {
            let asked = Attributes::resource(User::default(), verb, "", resource).named(name);
            assert_eq!(allows(&rule, &asked), expect, "{verb} {resource} {name}");
        };
        check(rule("get,list", "core", "pods", ""), "get", "pods", "a", true);
        check(rule("get,list", "core", "pods", ""), "delete", "pods", "a", false);
        check(rule("get", "apps", "pods", ""), "get", "pods", "a", false);
        check(rule("*", "*", "*", ""), "delete", "pods/status", "a", true);
        check(rule("get", "core", "pods", ""), "get", "pods/log", "a", false);
        check(rule("get", "core", "pods/log", ""), "get", "pods/log", "a", true);
        check(rule("get", "core", "*/log", ""), "get", "pods/log", "a", true);
        check(rule("get", "core", "*/log", ""), "get", "pods", "a", false);
        check(rule("get", "core", "pods", "a,b"), "get", "pods", "b", true);
        check(rule("get", "core", "pods", "a,b"), "get", "pods", "c", false);
        check(rule("list", "core", "pods", "a"), "list", "pods", "", false);
        check(urls("get", "/metrics"), "get", "pods", "a", false);
    }

    #[test]
    fn paths_are_covered_by_themselves_and_by_their_beginnings() {
        let check = |allowed: &str, path: &str, expect: bool| {
            let asked = Attributes::path(User::default(), "get", path);
            assert_eq!(allows(&urls("get", allowed), &asked), expect, "{allowed} {path}");
        };
        check("/metrics", "/metrics", true);
        check("/metrics", "/metrics/a", false);
        check("/healthz/*", "/healthz/etcd", true);
        check("/healthz/*", "/healthz", false);
        check("*", "/anything", true);
    }

    #[test]
    fn subjects_mean_users_groups_and_service_accounts() {
        let check = |kind: &str, namespace: &str, name: &str, within: &str, expect: bool| {
            let subject = RbacSubject {
                kind: kind.to_owned(),
                namespace: namespace.to_owned(),
                name: name.to_owned(),
                ..RbacSubject::default()
            };
            let groups = ["dev".to_owned()];
            let user = "system:serviceaccount:ns:robot";
            assert_eq!(means(&subject, within, user, &groups), expect, "{kind} {namespace}/{name}");
        };
        check("User", "", "system:serviceaccount:ns:robot", "", true);
        check("User", "", "jane", "", false);
        check("Group", "", "dev", "", true);
        check("Group", "", "ops", "", false);
        check("ServiceAccount", "ns", "robot", "", true);
        check("ServiceAccount", "", "robot", "ns", true);
        check("ServiceAccount", "", "robot", "", false);
        check("ServiceAccount", "other", "robot", "ns", false);
        check("Robot", "", "robot", "ns", false);
    }

    #[test]
    fn rules_are_covered_one_by_one_or_together() {
        let check = |owned: &[PolicyRule], wanted: PolicyRule, expect: usize| {
            assert_eq!(uncovered(owned, std::slice::from_ref(&wanted)).len(), expect, "{wanted:?}");
        };
        let reader = rule("get,list", "core", "pods", "");
        let writer = rule("delete", "core", "pods", "");
        check(std::slice::from_ref(&reader), rule("get", "core", "pods", ""), 0);
        check(std::slice::from_ref(&reader), rule("get", "core", "pods", "a"), 0);
        check(std::slice::from_ref(&reader), rule("get,delete", "core", "pods", ""), 1);
        check(&[reader.clone(), writer], rule("get,delete", "core", "pods", ""), 0);
        check(&[reader], rule("*", "core", "pods", ""), 1);
        check(&[rule("get", "core", "pods", "a")], rule("get", "core", "pods", ""), 1);
        check(&[rule("get", "core", "pods", "a")], rule("get", "core", "pods", "a,b"), 1);
        check(&[rule("*", "*", "*", "")], rule("*", "apps", "deployments/scale", ""), 0);
        check(&[rule("get", "core", "*/log", "")], rule("get", "core", "pods/log", ""), 0);
        check(&[rule("*", "*", "*", "")], urls("get", "/metrics"), 1);
        check(&[urls("get", "/a/*")], urls("get", "/a/b"), 0);
        check(&[urls("*", "*")], urls("get", "/a/*"), 0);
        check(&[], PolicyRule::default(), 0);
    }
}
