//! All roles and bindings, and what follows from them for one user.

use std::collections::{BTreeMap, BTreeSet};

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
    subjects: Subjects,
}

/// The names of bindings, by the namespace in which they hold.
type Names = BTreeMap<String, BTreeSet<String>>;

/// Which bindings name a user or group, so that a question looks at no others.
#[derive(Debug, Default)]
struct Subjects {
    /// Service accounts are users by another name.
    users: BTreeMap<String, Names>,
    groups: BTreeMap<String, Names>,
}

impl Subjects {
    fn of(
        &mut self,
        subject: &RbacSubject,
        scope: &str,
    ) -> Option<(&mut BTreeMap<String, Names>, String)> {
        match subject.kind.as_str() {
            "User" => Some((&mut self.users, subject.name.clone())),
            "Group" => Some((&mut self.groups, subject.name.clone())),
            "ServiceAccount" => {
                let namespace = account_namespace(subject, scope);
                let user = format!("system:serviceaccount:{namespace}:{}", subject.name);
                Some((&mut self.users, user))
            }
            _ => None,
        }
    }

    fn add(&mut self, scope: &str, name: &str, binding: &Binding) {
        for subject in &binding.subjects {
            let Some((map, key)) = self.of(subject, scope) else { continue };
            let names = map.entry(key).or_default().entry(scope.to_owned()).or_default();
            names.insert(name.to_owned());
        }
    }

    fn remove(&mut self, scope: &str, name: &str, binding: &Binding) {
        for subject in &binding.subjects {
            let Some((map, key)) = self.of(subject, scope) else { continue };
            let Some(names) = map.get_mut(&key) else { continue };
            if let Some(within) = names.get_mut(scope) {
                within.remove(name);
                if within.is_empty() {
                    names.remove(scope);
                }
            }
            if names.is_empty() {
                map.remove(&key);
            }
        }
    }

    /// Those that name the user or one of its groups, in order.
    fn bindings(&self, user: &User, scope: &str) -> BTreeSet<&str> {
        let groups = user.groups.iter().filter_map(|group| self.groups.get(group));
        let named = self.users.get(&user.name).into_iter().chain(groups);
        named.filter_map(|names| names.get(scope)).flatten().map(String::as_str).collect()
    }
}

fn account_namespace<'a>(subject: &'a RbacSubject, scope: &'a str) -> &'a str {
    if subject.namespace.is_empty() { scope } else { &subject.namespace }
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
                let before =
                    self.bindings.get_mut(&namespace).and_then(|bindings| bindings.remove(&name));
                if let Some(before) = before {
                    self.subjects.remove(&namespace, &name, &before);
                }
                if let (false, Ok(found)) = (gone, object.parse::<BindingFields>()) {
                    let binding = Binding { subjects: found.subjects, role: found.role_ref };
                    self.subjects.add(&namespace, &name, &binding);
                    self.bindings.entry(namespace).or_default().insert(name, binding);
                } else if self.bindings.get(&namespace).is_some_and(BTreeMap::is_empty) {
                    self.bindings.remove(&namespace);
                }
            }
            _ => {}
        }
    }

    /// Whether a rule allows the request: of a ClusterRoleBinding, or of a
    /// RoleBinding in the namespace of the request.
    pub fn authorize(&self, asked: &Attributes) -> Decision {
        let mut missing = Vec::new();
        let mut held = self.held(&asked.user, &asked.namespace, &mut missing);
        let found = held.find(|held| rbac::allows(held.rule, asked));
        let found = found.map(|held| held.because());
        drop(held);
        match found {
            Some(because) => Decision::allow(format!("RBAC: allowed by {because}")),
            None if missing.is_empty() => Decision::no_opinion(""),
            None => Decision::no_opinion(format!("RBAC: {}", missing.join(", "))),
        }
    }

    /// Every rule that holds for the user in the namespace.
    pub fn rules(&self, user: &User, namespace: &str) -> (Vec<PolicyRule>, Vec<String>) {
        let mut missing = Vec::new();
        let rules =
            self.held(user, namespace, &mut missing).map(|held| held.rule.clone()).collect();
        (rules, missing)
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
    fn held<'a>(
        &'a self,
        user: &'a User,
        namespace: &'a str,
        missing: &'a mut Vec<String>,
    ) -> impl Iterator<Item = Held<'a>> + 'a {
        // Rules for the whole cluster first: they hold whatever the namespace is.
        let scopes = [Some(""), (!namespace.is_empty()).then_some(namespace)];
        let bindings = scopes.into_iter().flatten().flat_map(move |scope| {
            let named = self.subjects.bindings(user, scope).into_iter();
            named.filter_map(move |name| Some((scope, name, self.bindings.get(scope)?.get(name)?)))
        });
        bindings.flat_map(move |(namespace, name, binding)| {
            let means =
                |subject: &&RbacSubject| rbac::means(subject, namespace, &user.name, &user.groups);
            let subject = binding.subjects.iter().find(means);
            let RoleRef { kind, name: role, .. } = &binding.role;
            let rules = self.role(kind, namespace, role);
            if rules.is_none() && subject.is_some() {
                let kind = kind.to_lowercase();
                missing.push(format!("{kind}.rbac.authorization.k8s.io {role:?} not found"));
            }
            let hold = move |rule| Some(Held { rule, namespace, name, binding, subject: subject? });
            rules.unwrap_or_default().iter().filter_map(hold)
        })
    }
}

impl Held<'_> {
    /// In Kubernetes' words.
    fn because(&self) -> String {
        let RoleRef { kind, name: role, .. } = &self.binding.role;
        let subject = match self.subject.kind.as_str() {
            "ServiceAccount" => {
                let namespace = account_namespace(self.subject, self.namespace);
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
