//! All roles and bindings, and what follows from them for one user.

use std::collections::BTreeMap;

use crate::authorizer::{Attributes, Decision, User};
use crate::object::ObjectRef;
use crate::rbac;
use crate::scheduler::Delta;
use crate::types::{PolicyRule, RbacSubject, RoleRef, null_default};

/// Roles and bindings by namespace and name; the namespace of those for the
/// whole cluster is empty.
#[derive(Debug, Default)]
pub struct View {
    roles: BTreeMap<(String, String), Vec<PolicyRule>>,
    bindings: BTreeMap<String, BTreeMap<String, Binding>>,
}

#[derive(Debug, Clone, PartialEq)]
struct Binding {
    subjects: Vec<RbacSubject>,
    role: RoleRef,
}

/// A rule that holds for a user, and why.
struct Held<'a> {
    rule: &'a PolicyRule,
    namespace: &'a str,
    name: &'a str,
    binding: &'a Binding,
    subject: &'a RbacSubject,
}

#[derive(Default, serde::Deserialize)]
#[serde(default)]
struct RoleFields {
    #[serde(deserialize_with = "null_default")]
    rules: Vec<PolicyRule>,
}

#[derive(Default, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct BindingFields {
    #[serde(deserialize_with = "null_default")]
    subjects: Vec<RbacSubject>,
    #[serde(deserialize_with = "null_default")]
    role_ref: RoleRef,
}

impl View {
    /// An object that cannot be read gives nobody anything.
    pub fn take(&mut self, delta: Delta) {
        let (object, gone) = match delta {
            Delta::Upsert(object) => (object, false),
            Delta::Remove(object) => (object, true),
        };
        let ObjectRef { kind, namespace, name } = object.reference.clone();
        match &*kind.kind {
            "Role" | "ClusterRole" => {
                let rules = object.parse::<RoleFields>().map(|role| role.rules);
                match (gone, rules) {
                    (false, Ok(rules)) => self.roles.insert((namespace, name), rules),
                    _ => self.roles.remove(&(namespace, name)),
                };
            }
            "RoleBinding" | "ClusterRoleBinding" => {
                let bindings = self.bindings.entry(namespace).or_default();
                match (gone, object.parse::<BindingFields>()) {
                    (false, Ok(found)) => {
                        let binding = Binding { subjects: found.subjects, role: found.role_ref };
                        bindings.insert(name, binding)
                    }
                    _ => bindings.remove(&name),
                };
            }
            _ => {}
        }
    }

    /// Whether a rule allows the request: of a ClusterRoleBinding, or of a
    /// RoleBinding in the namespace of the request.
    pub fn authorize(&self, asked: &Attributes) -> Decision {
        let mut missing = Vec::new();
        let held = self.held(&asked.user, &asked.namespace, &mut missing);
        match held.iter().find(|held| rbac::allows(held.rule, asked)) {
            Some(held) => Decision::allow(format!("RBAC: allowed by {}", held.because())),
            None if missing.is_empty() => Decision::no_opinion(""),
            None => Decision::no_opinion(format!("RBAC: {}", missing.join(", "))),
        }
    }

    /// Every rule that holds for the user in the namespace.
    pub fn rules(&self, user: &User, namespace: &str) -> (Vec<PolicyRule>, Vec<String>) {
        let mut missing = Vec::new();
        let held = self.held(user, namespace, &mut missing);
        (held.into_iter().map(|held| held.rule.clone()).collect(), missing)
    }

    /// The rules of a role that a binding in `namespace` names; none if there is
    /// no such role.
    pub fn role(&self, kind: &str, namespace: &str, name: &str) -> Option<&[PolicyRule]> {
        // A Role has no meaning for the whole cluster.
        if kind == "Role" && namespace.is_empty() {
            return None;
        }
        let within = if kind == "Role" { namespace } else { "" };
        self.roles.get(&(within.to_owned(), name.to_owned())).map(Vec::as_slice)
    }

    /// In `missing` goes what bindings of the user name and nobody has.
    fn held(&self, user: &User, namespace: &str, missing: &mut Vec<String>) -> Vec<Held<'_>> {
        let mut held = Vec::new();
        // Rules for the whole cluster first: they hold whatever the namespace is.
        let mut scopes = vec![""];
        scopes.extend((!namespace.is_empty()).then_some(namespace));
        for scope in scopes {
            let Some((scope, bindings)) = self.bindings.get_key_value(scope) else { continue };
            for (name, binding) in bindings {
                let means =
                    |subject: &&RbacSubject| rbac::means(subject, scope, &user.name, &user.groups);
                let Some(subject) = binding.subjects.iter().find(means) else { continue };
                let role = &binding.role;
                match self.role(&role.kind, scope, &role.name) {
                    Some(rules) => {
                        let hold = |rule| Held { rule, namespace: scope, name, binding, subject };
                        held.extend(rules.iter().map(hold));
                    }
                    None => missing.push(format!(
                        "{}.rbac.authorization.k8s.io {:?} not found",
                        role.kind.to_lowercase(),
                        role.name
                    )),
                }
            }
        }
        held
    }
}

impl Held<'_> {
    /// In Kubernetes' words.
    fn because(&self) -> String {
        let RoleRef { kind, name: role, .. } = &self.binding.role;
        let subject = match self.subject.kind.as_str() {
            "ServiceAccount" => {
                let namespace = match self.subject.namespace.as_str() {
                    "" => self.namespace,
                    namespace => namespace,
                };
                format!("ServiceAccount \"{}/{namespace}\"", self.subject.name)
            }
            kind => format!("{kind} {:?}", self.subject.name),
        };
        match self.namespace {
            "" => format!("ClusterRoleBinding {:?} of {kind} {role:?} to {subject}", self.name),
            namespace => {
                format!("RoleBinding \"{}/{namespace}\" of {kind} {role:?} to {subject}", self.name)
            }
        }
    }
}
