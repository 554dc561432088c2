//! What a plugin may touch: kinds × verbs × namespaces.
//!
//! A plugin starts with nothing. Its manifest says what it needs; the Plugin
//! object says what it gets; activation requires that the first is covered by
//! the second, and every single action is checked against the second again.

use std::fmt;

use pintle_api::meta::GroupVersionKind;

use crate::bindings::types;
use crate::plugin::GrantRule;

const ANY: &str = "*";

/// The grants of one plugin.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Grants {
    rules: Vec<GrantRule>,
}

/// Something a plugin wants to do, in the words of grants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ask<'a> {
    pub kind: &'a GroupVersionKind,
    pub verb: &'a str,
    /// Empty for the object itself.
    pub subresource: &'a str,
    /// Empty for cluster-scoped objects.
    pub namespace: &'a str,
}

impl fmt::Display for Ask<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.verb)?;
        if !self.subresource.is_empty() {
            write!(f, "/{}", self.subresource)?;
        }
        write!(f, " {}", self.kind.kind)?;
        if !self.kind.group.is_empty() {
            write!(f, ".{}", self.kind.group)?;
        }
        if !self.namespace.is_empty() {
            write!(f, " in namespace {}", self.namespace)?;
        }
        Ok(())
    }
}

impl Grants {
    pub fn new(rules: Vec<GrantRule>) -> Self {
        Self { rules }
    }

    /// What a manifest asks for, as grants.
    pub(crate) fn of_manifest(manifest: &types::Manifest) -> Self {
        Self { rules: manifest.needs.iter().map(rule_of_need).collect() }
    }

    pub fn rules(&self) -> &[GrantRule] {
        &self.rules
    }

    pub fn allows(&self, ask: &Ask<'_>) -> bool {
        self.rules.iter().any(|rule| {
            covers_name(&rule.api_groups, &ask.kind.group)
                && covers_name(&rule.kinds, &ask.kind.kind)
                && covers_namespace(&rule.namespaces, ask.namespace)
                && rule.verbs.iter().any(|granted| covers_verb(granted, ask.verb, ask.subresource))
        })
    }

    /// Whether the kind may be read at all, in some namespace.
    pub fn may_read(&self, kind: &GroupVersionKind) -> bool {
        self.rules.iter().any(|rule| {
            covers_name(&rule.api_groups, &kind.group)
                && covers_name(&rule.kinds, &kind.kind)
                && ["get", "list", "watch"]
                    .iter()
                    .any(|verb| rule.verbs.iter().any(|granted| covers_verb(granted, verb, "")))
        })
    }

    /// Whether an object may be read.
    pub fn may_read_in(&self, kind: &GroupVersionKind, namespace: &str) -> bool {
        ["get", "list", "watch"]
            .iter()
            .any(|verb| self.allows(&Ask { kind, verb, subresource: "", namespace }))
    }

    /// Whether events of the kind (None: of every kind) may be delivered.
    pub fn may_watch(&self, kind: Option<&GroupVersionKind>) -> bool {
        let any = GroupVersionKind::new(ANY, ANY, ANY);
        let kind = kind.unwrap_or(&any);
        self.rules.iter().any(|rule| {
            covers_name(&rule.api_groups, &kind.group)
                && covers_name(&rule.kinds, &kind.kind)
                && rule.verbs.iter().any(|granted| covers_verb(granted, "watch", ""))
        })
    }

    /// Whether events of the kind (None: of every kind) may be delivered from every
    /// namespace: then none of them has to be asked about.
    pub(crate) fn may_watch_everywhere(&self, kind: Option<&GroupVersionKind>) -> bool {
        let any = GroupVersionKind::new(ANY, ANY, ANY);
        let kind = kind.unwrap_or(&any);
        self.allows(&Ask { kind, verb: "watch", subresource: "", namespace: "" })
    }

    /// The first need of the manifest that these grants do not cover, in words.
    pub(crate) fn missing(&self, manifest: &types::Manifest) -> Option<String> {
        for need in &manifest.needs {
            for verb in &need.verbs {
                if !self.covers_need(need, verb) {
                    let group = if need.kind.group.is_empty() {
                        String::new()
                    } else {
                        format!(".{}", need.kind.group)
                    };
                    let why = if need.reason.is_empty() {
                        String::new()
                    } else {
                        format!(" ({})", need.reason)
                    };
                    return Some(format!("{verb} {}{group}{why}", need.kind.kind));
                }
            }
        }
        None
    }

    /// A need is covered when one rule with its kind and verb exists; which
    /// namespaces that rule is limited to is the operator's choice.
    fn covers_need(&self, need: &types::Grant, verb: &str) -> bool {
        let (verb, subresource) = verb.split_once('/').unwrap_or((verb, ""));
        self.rules.iter().any(|rule| {
            covers_name(&rule.api_groups, &need.kind.group)
                && covers_name(&rule.kinds, &need.kind.kind)
                && rule.verbs.iter().any(|granted| covers_verb(granted, verb, subresource))
        })
    }
}

fn rule_of_need(need: &types::Grant) -> GrantRule {
    GrantRule {
        api_groups: vec![need.kind.group.clone()],
        kinds: vec![need.kind.kind.clone()],
        verbs: need.verbs.clone(),
        namespaces: Vec::new(),
        reason: need.reason.clone(),
    }
}

/// `*` covers every name; asking for `*` is covered by `*` only.
fn covers_name(granted: &[String], asked: &str) -> bool {
    granted.iter().any(|granted| granted == ANY || granted == asked)
}

/// A rule without namespaces covers all of them and what has none.
fn covers_namespace(granted: &[String], asked: &str) -> bool {
    granted.is_empty()
        || granted.iter().any(|granted| granted == ANY || (!asked.is_empty() && granted == asked))
}

/// `*` covers everything, `update/*` every subresource of update, `update` the
/// object itself and no subresource.
fn covers_verb(granted: &str, verb: &str, subresource: &str) -> bool {
    if granted == ANY {
        return true;
    }
    let (granted_verb, granted_subresource) = granted.split_once('/').unwrap_or((granted, ""));
    if granted_verb != verb && granted_verb != ANY {
        return false;
    }
    granted_subresource == subresource || (granted_subresource == ANY && !subresource.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(groups: &str, kinds: &str, verbs: &str, namespaces: &str) -> GrantRule {
        let split = |text: &str| -> Vec<String> {
            text.split(',')
                .filter(|part| *part != "-")
                .map(|part| if part == "core" { "" } else { part }.to_owned())
                .collect()
        };
        GrantRule {
            api_groups: split(groups),
            kinds: split(kinds),
            verbs: split(verbs),
            namespaces: split(namespaces),
            reason: String::new(),
        }
    }

    #[test]
    fn an_action_needs_kind_verb_and_namespace() {
        fn check(
            grant: GrantRule,
            (group, kind): (&str, &str),
            verb: &str,
            namespace: &str,
            expect: bool,
        ) {
            let kind = GroupVersionKind::new(group, "v1", kind);
            let (verb, subresource) = verb.split_once('/').unwrap_or((verb, ""));
            let ask = Ask { kind: &kind, verb, subresource, namespace };
            assert_eq!(Grants::new(vec![grant.clone()]).allows(&ask), expect, "{grant:?} {ask}");
        }
        let pod = ("", "Pod");
        check(rule("core", "Pod", "create", "-"), pod, "create", "a", true);
        check(rule("core", "Pod", "create", "-"), pod, "delete", "a", false);
        check(rule("core", "Pod,Node", "create,delete", "a,b"), pod, "delete", "b", true);
        check(rule("core", "Pod", "create", "a"), pod, "create", "b", false);
        check(rule("core", "Pod", "create", "a"), pod, "create", "", false);
        check(rule("core", "Pod", "create", "*"), pod, "create", "", true);
        check(rule("apps", "Pod", "create", "-"), pod, "create", "a", false);
        check(rule("*", "*", "*", "-"), ("apps", "Deployment"), "update/status", "a", true);
        check(
            rule("apps", "Deployment", "update", "-"),
            ("apps", "Deployment"),
            "update/status",
            "a",
            false,
        );
        check(
            rule("apps", "Deployment", "update/status", "-"),
            ("apps", "Deployment"),
            "update",
            "a",
            false,
        );
        check(
            rule("apps", "Deployment", "update/*", "-"),
            ("apps", "Deployment"),
            "update/scale",
            "a",
            true,
        );
        check(
            rule("apps", "Deployment", "update/*", "-"),
            ("apps", "Deployment"),
            "update",
            "a",
            false,
        );
        check(
            rule("apps", "Deployment", "*/status", "-"),
            ("apps", "Deployment"),
            "patch/status",
            "a",
            true,
        );
    }

    #[test]
    fn needs_are_covered_or_the_first_gap_is_named() {
        fn check(grants: Vec<GrantRule>, expect: Option<&str>) {
            let need = |kind: &str, verbs: &[&str]| types::Grant {
                kind: types::KindRef {
                    group: String::new(),
                    version: "v1".into(),
                    kind: kind.into(),
                },
                verbs: verbs.iter().map(|verb| (*verb).to_owned()).collect(),
                reason: "to see them".into(),
            };
            let manifest = types::Manifest {
                name: "x".into(),
                version: "1".into(),
                needs: vec![need("Pod", &["list", "patch/status"]), need("*", &["watch"])],
            };
            assert_eq!(Grants::new(grants).missing(&manifest).as_deref(), expect);
        }
        check(vec![], Some("list Pod (to see them)"));
        check(vec![rule("core", "Pod", "list", "-")], Some("patch/status Pod (to see them)"));
        check(
            vec![rule("core", "Pod", "list,patch/status,watch", "-")],
            Some("watch * (to see them)"),
        );
        check(vec![rule("core", "*", "*", "-")], None);
    }

    #[test]
    fn watching_every_kind_needs_a_wildcard() {
        let pods = Grants::new(vec![rule("core", "Pod", "watch", "-")]);
        assert!(pods.may_watch(Some(&GroupVersionKind::new("", "v1", "Pod"))));
        assert!(!pods.may_watch(None));
        assert!(Grants::new(vec![rule("*", "*", "watch", "-")]).may_watch(None));
    }
}
