//! The roles and bindings that every cluster has, as Kubernetes names them.
//!
//! At every start what is missing comes back: a role or binding, one of its
//! rules or subjects. What people have added stays. An object with the annotation
//! `rbac.authorization.kubernetes.io/autoupdate: "false"` is left as it is.

use anyhow::{Context, Result, anyhow};
use futures_util::future;
use pintle_api::kinds::Registry;
use pintle_apiserver::verbs::{DeleteOptions, Patch, WriteOptions};
use pintle_apiserver::{ApiServer, User};
use serde_json::{Value, json};

const DEFAULTS: &str = include_str!("roles.json");
const AUTO_UPDATE: &str = "rbac.authorization.kubernetes.io/autoupdate";

/// Somebody else wrote between reading and writing; once more, then.
const ATTEMPTS: usize = 3;

/// Creates and completes the default roles and bindings.
pub async fn reconcile(api: &ApiServer) -> Result<()> {
    let defaults: Vec<Value> = serde_json::from_str(DEFAULTS).context("the default roles")?;
    // All at once: they share a few commits.
    future::try_join_all(defaults.into_iter().map(|object| keep(api, object))).await?;
    Ok(())
}

async fn keep(api: &ApiServer, default: Value) -> Result<()> {
    let kind = default["kind"].as_str().unwrap_or_default().to_owned();
    let name = default["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    let row = Registry::builtin()
        .by_kind("rbac.authorization.k8s.io", "v1", &kind)
        .with_context(|| format!("the table of kinds has no {kind}"))?;
    let user = User::system("system:pintle:bootstrap");
    let options = WriteOptions::default();
    let mut refused = None;
    for _ in 0..ATTEMPTS {
        let written = match api.verbs().get(row, "", &name) {
            Err(error) if error.code() == 404 => {
                api.verbs().create(&user, row, "", default.clone(), &options).await
            }
            Err(error) => Err(error),
            // A binding never changes its role; it has to be made anew.
            Ok(present) if names_another_role(&present.parse(), &default) => {
                let options = DeleteOptions::default();
                match api.verbs().delete(&user, row, "", &name, &options).await {
                    Ok(_) => {
                        api.verbs()
                            .create(&user, row, "", default.clone(), &WriteOptions::default())
                            .await
                    }
                    Err(error) => Err(error),
                }
            }
            Ok(present) => {
                let Some(patch) = completion(&present.parse(), &default) else { return Ok(()) };
                let patch = Patch::Merge(patch);
                api.verbs().patch(&user, row, None, "", &name, &patch, &options).await
            }
        };
        match written {
            Ok(_) => return Ok(()),
            Err(error) => refused = Some(error),
        }
    }
    let why = refused.map(|error| error.message().to_owned()).unwrap_or_default();
    Err(anyhow!("{kind} {name} cannot be written: {why}"))
}

/// Somebody wants it to stay as it is.
fn is_left_alone(present: &Value) -> bool {
    present["metadata"]["annotations"][AUTO_UPDATE] == "false"
}

fn names_another_role(present: &Value, default: &Value) -> bool {
    !default["roleRef"].is_null()
        && default["roleRef"] != present["roleRef"]
        && !is_left_alone(present)
}

/// What `present` lacks, as a merge patch; None if nothing.
fn completion(present: &Value, default: &Value) -> Option<Value> {
    if is_left_alone(present) {
        return None;
    }
    let mut patch = json!({});
    for field in ["rules", "subjects"] {
        // The rules of an aggregated role are somebody else's business.
        if field == "rules" && !default["aggregationRule"].is_null() {
            continue;
        }
        if let Some(completed) = with_missing(&present[field], &default[field]) {
            patch[field] = completed;
        }
    }
    let selectors = "clusterRoleSelectors";
    let (now, wanted) = (&present["aggregationRule"], &default["aggregationRule"]);
    if let Some(completed) = with_missing(&now[selectors], &wanted[selectors]) {
        patch["aggregationRule"] = json!({selectors: completed});
    }
    let labels = default["metadata"]["labels"].as_object().into_iter().flatten();
    for (key, value) in labels {
        if present["metadata"]["labels"][key] != *value {
            patch["metadata"]["labels"][key] = value.clone();
        }
    }
    (patch != json!({})).then_some(patch)
}

/// The list with the items of `wanted` that it lacks; None if it lacks none.
fn with_missing(present: &Value, wanted: &Value) -> Option<Value> {
    let mut items = present.as_array().cloned().unwrap_or_default();
    let before = items.len();
    for item in wanted.as_array().into_iter().flatten() {
        if !items.contains(item) {
            items.push(item.clone());
        }
    }
    (items.len() > before).then(|| items.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_comes_back_and_what_was_added_stays() {
        let check = |present: Value, default: Value, expect: Option<Value>| {
            assert_eq!(completion(&present, &default), expect);
        };
        let role = |verbs: &[&str]| json!({"rules": verbs});
        check(role(&["a", "b"]), role(&["a", "b"]), None);
        check(role(&["a", "x"]), role(&["a", "b"]), Some(role(&["a", "x", "b"])));
        check(json!({}), json!({"subjects": [1]}), Some(json!({"subjects": [1]})));
        let kept = json!({"metadata": {"annotations": {AUTO_UPDATE: "false"}}});
        check(kept, role(&["a"]), None);
        let aggregated = json!({"aggregationRule": {"clusterRoleSelectors": [1]}, "rules": []});
        check(
            json!({"rules": [5]}),
            aggregated.clone(),
            Some(json!({"aggregationRule": {"clusterRoleSelectors": [1]}})),
        );
        check(aggregated.clone(), aggregated, None);
        let bound = |role: &str| json!({"roleRef": {"name": role}});
        assert!(names_another_role(&bound("a"), &bound("b")));
        assert!(!names_another_role(&bound("a"), &bound("a")));
        assert!(!names_another_role(&role(&["a"]), &role(&["b"])));
        let labelled = |value: &str| json!({"metadata": {"labels": {"l": value}}});
        check(labelled("other"), labelled("true"), Some(labelled("true")));
    }

    #[test]
    fn the_defaults_are_what_the_api_would_take() {
        let defaults: Vec<Value> = serde_json::from_str(DEFAULTS).unwrap();
        let named = |name: &str, kind: &str| {
            let found = defaults
                .iter()
                .find(|object| object["metadata"]["name"] == name && object["kind"] == kind);
            found.unwrap_or_else(|| panic!("no {kind} {name}")).clone()
        };
        for name in ["cluster-admin", "admin", "edit", "view", "system:node", "system:discovery"] {
            named(name, "ClusterRole");
        }
        let administrators = named("cluster-admin", "ClusterRoleBinding");
        assert_eq!(administrators["subjects"][0]["name"], "system:masters");
        for object in &defaults {
            let row = Registry::builtin()
                .by_kind("rbac.authorization.k8s.io", "v1", object["kind"].as_str().unwrap())
                .unwrap();
            let errors = row.validate(object, None);
            assert!(errors.is_empty(), "{}: {errors:?}", object["metadata"]["name"]);
        }
    }
}
