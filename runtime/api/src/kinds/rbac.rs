//! Roles and their bindings: who may do what.

use serde_json::Value;

use super::json::{age_cell, default_str, is_set, items, items_mut, name_cell, str_at, value_at};
use super::validation::Check;
use super::{Column, Hooks, Resource, Scope};
use crate::names;
use crate::status::FieldError;

const GROUP: &str = "rbac.authorization.k8s.io";

const CREATED: Column = Column { name: "Created At", type_: "date", ..Column::AGE };

const ROLE_HOOKS: Hooks = Hooks {
    cells: |object, _| {
        vec![name_cell(object), str_at(object, &["metadata", "creationTimestamp"]).into()]
    },
    validate: validate_role,
    // Names such as `system:node` are common here.
    name: names::path_segment,
    ..Hooks::PLAIN
};

const BINDING_COLUMNS: &[Column] = &[
    Column::NAME,
    Column::string("Role").help("RoleRef can only reference a Role or ClusterRole."),
    Column::AGE,
    Column::string("Users").wide().help("Users in the RoleBinding."),
    Column::string("Groups").wide().help("Groups in the RoleBinding."),
    Column::string("ServiceAccounts").wide().help("ServiceAccounts in the RoleBinding."),
];

const BINDING_HOOKS: Hooks = Hooks {
    cells: binding_cells,
    default: default_binding,
    validate: validate_binding,
    name: names::path_segment,
    ..Hooks::PLAIN
};

pub(super) const ROLE_ROW: Resource = Resource {
    group: GROUP,
    kind: "Role",
    plural: "roles",
    singular: "role",
    columns: &[Column::NAME, CREATED],
    schema: "rbac.v1.Role",
    hooks: ROLE_HOOKS,
    ..Resource::BASE
};

pub(super) const ROLE_BINDING_ROW: Resource = Resource {
    group: GROUP,
    kind: "RoleBinding",
    plural: "rolebindings",
    singular: "rolebinding",
    columns: BINDING_COLUMNS,
    schema: "rbac.v1.RoleBinding",
    hooks: BINDING_HOOKS,
    ..Resource::BASE
};

pub(super) const CLUSTER_ROLE_ROW: Resource = Resource {
    group: GROUP,
    kind: "ClusterRole",
    plural: "clusterroles",
    singular: "clusterrole",
    scope: Scope::Cluster,
    columns: &[Column::NAME, CREATED],
    schema: "rbac.v1.ClusterRole",
    hooks: ROLE_HOOKS,
    ..Resource::BASE
};

pub(super) const CLUSTER_ROLE_BINDING_ROW: Resource = Resource {
    group: GROUP,
    kind: "ClusterRoleBinding",
    plural: "clusterrolebindings",
    singular: "clusterrolebinding",
    scope: Scope::Cluster,
    columns: BINDING_COLUMNS,
    schema: "rbac.v1.ClusterRoleBinding",
    hooks: BINDING_HOOKS,
    ..Resource::BASE
};

fn binding_cells(object: &Value, now_ms: i64) -> Vec<Value> {
    let role = value_at(object, &["roleRef"]);
    let of = |kind: &str| -> Value {
        let names: Vec<String> = items(object, &["subjects"])
            .iter()
            .filter(|subject| str_at(subject, &["kind"]) == kind)
            .map(|subject| match str_at(subject, &["namespace"]) {
                "" => str_at(subject, &["name"]).to_owned(),
                namespace => format!("{namespace}/{}", str_at(subject, &["name"])),
            })
            .collect();
        names.join(", ").into()
    };
    vec![
        name_cell(object),
        format!("{}/{}", str_at(role, &["kind"]), str_at(role, &["name"])).into(),
        age_cell(object, now_ms),
        of("User"),
        of("Group"),
        of("ServiceAccount"),
    ]
}

fn default_binding(object: &mut Value) {
    if let Some(role) = object.get_mut("roleRef").filter(|role| role.is_object()) {
        default_str(role, "apiGroup", GROUP);
    }
    let namespace = str_at(object, &["metadata", "namespace"]).to_owned();
    for subject in items_mut(object, "subjects") {
        match str_at(subject, &["kind"]) {
            "User" | "Group" => default_str(subject, "apiGroup", GROUP),
            "ServiceAccount" if !namespace.is_empty() => {
                default_str(subject, "namespace", &namespace);
            }
            _ => {}
        }
    }
}

fn validate_role(object: &Value, _old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut check = Check::new(&mut errors, "");
    let namespaced = !str_at(object, &["metadata", "namespace"]).is_empty();
    for (index, rule) in items(object, &["rules"]).iter().enumerate() {
        let mut check = check.item("rules", index);
        let given = |field: &str| !items(rule, &[field]).is_empty();
        if !given("verbs") {
            check.required("verbs", "verbs must contain at least one value");
        }
        if given("nonResourceURLs") {
            if namespaced {
                check.invalid(
                    "nonResourceURLs",
                    rule["nonResourceURLs"].clone(),
                    "namespaced rules cannot apply to non-resource URLs",
                );
            }
            if given("apiGroups") || given("resources") || given("resourceNames") {
                check.invalid(
                    "nonResourceURLs",
                    rule["nonResourceURLs"].clone(),
                    "rules cannot apply to both regular resources and non-resource URLs",
                );
            }
            continue;
        }
        if !given("apiGroups") {
            check.required("apiGroups", "resource rules must supply at least one api group");
        }
        if !given("resources") {
            check.required("resources", "resource rules must supply at least one resource");
        }
    }
    for (index, selector) in
        items(object, &["aggregationRule", "clusterRoleSelectors"]).iter().enumerate()
    {
        check.field("aggregationRule").item("clusterRoleSelectors", index).label_selector(selector);
    }
    if is_set(object, "aggregationRule")
        && items(object, &["aggregationRule", "clusterRoleSelectors"]).is_empty()
    {
        check.field("aggregationRule").required(
            "clusterRoleSelectors",
            "at least one clusterRoleSelector required if aggregationRule is non-nil",
        );
    }
    errors
}

fn validate_binding(object: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let namespaced = !str_at(object, &["metadata", "namespace"]).is_empty();
    let role = value_at(object, &["roleRef"]);
    let mut check = Check::new(&mut errors, "");
    {
        let mut check = check.field("roleRef");
        if str_at(role, &["apiGroup"]) != GROUP {
            check.not_supported("apiGroup", str_at(role, &["apiGroup"]), &[GROUP]);
        }
        let kinds: &[&str] = if namespaced { &["ClusterRole", "Role"] } else { &["ClusterRole"] };
        let kind = str_at(role, &["kind"]);
        if !kinds.contains(&kind) {
            check.not_supported("kind", kind, kinds);
        }
        match str_at(role, &["name"]) {
            "" => check.required("name", ""),
            _ => check.syntax(role, "name", names::path_segment),
        }
    }
    for (index, subject) in items(object, &["subjects"]).iter().enumerate() {
        let mut check = check.item("subjects", index);
        if str_at(subject, &["name"]).is_empty() {
            check.required("name", "");
        }
        let group = str_at(subject, &["apiGroup"]);
        match str_at(subject, &["kind"]) {
            "ServiceAccount" => {
                if !group.is_empty() {
                    check.not_supported("apiGroup", group, &[""]);
                }
                check.syntax(subject, "name", names::dns_subdomain);
                if !namespaced && str_at(subject, &["namespace"]).is_empty() {
                    check.required("namespace", "");
                }
            }
            "User" | "Group" => {
                if group != GROUP {
                    check.not_supported("apiGroup", group, &[GROUP]);
                }
            }
            other => check.not_supported("kind", other, &["Group", "ServiceAccount", "User"]),
        }
    }
    if let Some(old) = old
        && value_at(old, &["roleRef"]) != role
    {
        check.invalid("roleRef", role.clone(), "cannot change roleRef");
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::expect_errors;
    use serde_json::json;

    #[test]
    fn bindings() {
        let mut object = json!({"metadata": {"name": "b", "namespace": "ns"},
            "roleRef": {"kind": "Role", "name": "r"},
            "subjects": [{"kind": "User", "name": "ann"}, {"kind": "ServiceAccount", "name": "sa"}]});
        default_binding(&mut object);
        assert_eq!(object["subjects"][1]["namespace"], "ns");
        assert!(
            validate_binding(&object, None).is_empty(),
            "{:?}",
            validate_binding(&object, None)
        );
        assert_eq!(
            binding_cells(&object, 0)[1..],
            [json!("Role/r"), json!("<unknown>"), json!("ann"), json!(""), json!("ns/sa")]
        );
        let mut other = object.clone();
        other["roleRef"]["name"] = "s".into();
        assert!(
            validate_binding(&other, Some(&object))[0]
                .to_string()
                .ends_with("cannot change roleRef")
        );
    }

    #[test]
    fn roles() {
        fn check(rule: Value, expect: &[&str]) {
            let object = json!({"metadata": {"name": "r"}, "rules": [rule]});
            expect_errors(&validate_role(&object, None), expect);
        }
        check(json!({"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}), &[]);
        check(json!({"nonResourceURLs": ["/healthz"], "verbs": ["get"]}), &[]);
        check(
            json!({"verbs": ["get"]}),
            &["rules[0].apiGroups: Required", "rules[0].resources: Required"],
        );
        check(
            json!({"apiGroups": [""], "resources": ["pods"]}),
            &["rules[0].verbs: Required value"],
        );
    }
}
