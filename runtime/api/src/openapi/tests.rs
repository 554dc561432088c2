use super::*;
use crate::kinds::Registry;

fn document(group: &str, version: &str) -> Value {
    openapi_v3(group, version, Registry::builtin()).unwrap()
}

#[test]
fn the_index_lists_every_group_and_version() {
    let index = openapi_v3_index(Registry::builtin());
    for name in [
        "api/v1",
        "apis/apps/v1",
        "apis/plugins.pintle.dev/v1alpha1",
        "apis/coordination.k8s.io/v1",
    ] {
        let url = index["paths"][name]["serverRelativeURL"].as_str().unwrap();
        assert!(url.starts_with(&format!("/openapi/v3/{name}?hash=")), "{url}");
    }
    let hashes = |registry| openapi_hash("apps", "v1", registry);
    assert_eq!(hashes(Registry::builtin()), hashes(Registry::builtin()));
    assert_ne!(hashes(Registry::builtin()), openapi_hash("", "v1", Registry::builtin()));
    assert_eq!(openapi_v3("apps", "v2", Registry::builtin()), None);
}

#[test]
fn every_reference_leads_somewhere() {
    fn references<'v>(value: &'v Value, into: &mut Vec<&'v str>) {
        match value {
            Value::Object(entries) => {
                into.extend(entries.get("$ref").and_then(Value::as_str));
                entries.values().for_each(|value| references(value, into));
            }
            Value::Array(items) => items.iter().for_each(|value| references(value, into)),
            _ => {}
        }
    }
    for row in Registry::builtin().iter() {
        let document = document(row.group, row.version);
        let mut found = Vec::new();
        references(&document, &mut found);
        assert!(!found.is_empty());
        for reference in found {
            let name = reference.strip_prefix("#/components/schemas/").unwrap();
            assert!(document["components"]["schemas"][name].is_object(), "{reference}");
        }
    }
}

#[test]
fn schemas_carry_what_clients_merge_by() {
    let document = document("apps", "v1");
    let schemas = &document["components"]["schemas"];
    assert_eq!(
        schemas["io.k8s.api.apps.v1.Deployment"]["x-kubernetes-group-version-kind"],
        json!([{"group": "apps", "version": "v1", "kind": "Deployment"}])
    );
    assert_eq!(
        schemas["io.k8s.api.apps.v1.DeploymentSpec"]["properties"]["template"]["allOf"],
        json!([{"$ref": "#/components/schemas/io.k8s.api.core.v1.PodTemplateSpec"}])
    );
    let volumes = &schemas["io.k8s.api.core.v1.PodSpec"]["properties"]["volumes"];
    assert_eq!(volumes["x-kubernetes-patch-strategy"], "merge,retainKeys");
    assert_eq!(volumes["x-kubernetes-patch-merge-key"], "name");
    assert_eq!(
        volumes["items"],
        json!({"allOf": [{"$ref": "#/components/schemas/io.k8s.api.core.v1.Volume"}]})
    );
    let ports = &schemas["io.k8s.api.core.v1.Container"]["properties"]["ports"];
    assert_eq!(ports["x-kubernetes-list-type"], "map");
    assert_eq!(ports["x-kubernetes-list-map-keys"], json!(["containerPort", "protocol"]));
    assert_eq!(schemas["io.k8s.api.core.v1.Container"]["required"], json!(["name"]));
    assert!(schemas["io.k8s.api.core.v1.Volume"]["properties"]["hostPath"].is_object(), "inlined");
}

#[test]
fn operations_say_what_they_are_and_what_they_check() {
    let document = document("apps", "v1");
    let path = &document["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"];
    let patch = &path["patch"];
    assert_eq!(patch["x-kubernetes-action"], "patch");
    assert_eq!(
        patch["x-kubernetes-group-version-kind"],
        json!({"group": "apps", "version": "v1", "kind": "Deployment"})
    );
    assert_eq!(patch["operationId"], "patchAppsV1NamespacedDeployment");
    let create = &document["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments"]["post"];
    for operation in [patch, create, &path["put"]] {
        let names: Vec<_> =
            operation["parameters"].as_array().unwrap().iter().map(|p| &p["name"]).collect();
        for name in ["dryRun", "fieldManager", "fieldValidation"] {
            assert!(names.contains(&&json!(name)), "{name}");
        }
    }
    let types = patch["requestBody"]["content"].as_object().unwrap();
    assert!(types.contains_key("application/strategic-merge-patch+json"));
    assert!(!types.contains_key("application/apply-patch+yaml"));
    assert!(
        document["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}/scale"]["get"]
            .is_object()
    );
    assert_eq!(
        document["paths"]["/apis/apps/v1/deployments"]["get"]["operationId"],
        "listAppsV1DeploymentForAllNamespaces"
    );
}

/// A client cannot compute a strategic merge patch through a free-form field.
#[test]
fn free_form_kinds_are_patched_by_merge() {
    let document = document("plugins.pintle.dev", "v1alpha1");
    let patch = &document["paths"]["/apis/plugins.pintle.dev/v1alpha1/plugins/{name}"]["patch"];
    let types: Vec<_> = patch["requestBody"]["content"].as_object().unwrap().keys().collect();
    assert_eq!(types, ["application/json-patch+json", "application/merge-patch+json"]);
    let config = &document["components"]["schemas"]["dev.pintle.plugins.v1alpha1.PluginSpec"]["properties"]
        ["config"];
    assert_eq!(config["x-kubernetes-preserve-unknown-fields"], true);
}
