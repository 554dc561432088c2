//! What a server offers, told from the registry in both of Kubernetes' forms:
//! the old one document per group and version, and the aggregated one.

use serde_json::{Value, json};

use crate::kinds::{Registry, Resource, Scope};
use crate::meta::join_api_version;

/// `GET /api`.
pub fn api_versions(server_address: &str) -> Value {
    json!({
        "kind": "APIVersions",
        "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": server_address}],
    })
}

/// `GET /apis`.
pub fn api_group_list(registry: &Registry) -> Value {
    let groups: Vec<Value> =
        groups(registry).into_iter().map(|group| group_document(registry, group)).collect();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
}

/// `GET /apis/<group>`.
pub fn api_group(registry: &Registry, group: &str) -> Option<Value> {
    if group.is_empty() || !registry.iter().any(|row| row.group == group) {
        return None;
    }
    let mut document = group_document(registry, group);
    document["kind"] = "APIGroup".into();
    document["apiVersion"] = "v1".into();
    Some(document)
}

/// `GET /api/v1` (empty group) and `GET /apis/<group>/<version>`.
pub fn api_resource_list(registry: &Registry, group: &str, version: &str) -> Option<Value> {
    let mut resources = Vec::new();
    for row in rows(registry, group, version) {
        resources.push(resource_document(row));
        for subresource in row.subresources {
            let mut document = json!({
                "name": format!("{}/{}", row.plural, subresource.name()),
                "singularName": "",
                "namespaced": row.is_namespaced(),
                "kind": row.kind,
                "verbs": subresource.verbs(),
            });
            if let Some((group, version, kind)) = subresource.body() {
                document["kind"] = kind.into();
                if !group.is_empty() {
                    document["group"] = group.into();
                    document["version"] = version.into();
                }
            }
            resources.push(document);
        }
    }
    if resources.is_empty() {
        return None;
    }
    resources.sort_by(|a, b| a["name"].as_str().cmp(&b["name"].as_str()));
    Some(json!({
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": join_api_version(group, version),
        "resources": resources,
    }))
}

/// The aggregated document (`apidiscovery.k8s.io/v2`) of `GET /api` when `core`,
/// of `GET /apis` otherwise.
pub fn aggregated(registry: &Registry, core: bool) -> Value {
    let names = if core { vec![""] } else { groups(registry) };
    let items: Vec<Value> = names
        .into_iter()
        .map(|group| {
            let versions: Vec<Value> = versions(registry, group)
                .into_iter()
                .map(|version| {
                    let resources: Vec<Value> =
                        rows(registry, group, version).map(aggregated_resource).collect();
                    json!({"version": version, "resources": resources, "freshness": "Current"})
                })
                .collect();
            let mut metadata = json!({"creationTimestamp": null});
            if !group.is_empty() {
                metadata["name"] = group.into();
            }
            json!({"metadata": metadata, "versions": versions})
        })
        .collect();
    json!({
        "kind": "APIGroupDiscoveryList",
        "apiVersion": "apidiscovery.k8s.io/v2",
        "metadata": {},
        "items": items,
    })
}

/// All groups but the core group, in the registry's order.
fn groups(registry: &Registry) -> Vec<&str> {
    let mut groups: Vec<&str> = Vec::new();
    for row in registry.iter() {
        if !row.group.is_empty() && !groups.contains(&row.group) {
            groups.push(row.group);
        }
    }
    groups
}

/// The versions of a group, the preferred one first.
fn versions<'r>(registry: &'r Registry, group: &str) -> Vec<&'r str> {
    let mut versions: Vec<&str> = Vec::new();
    for row in registry.iter().filter(|row| row.group == group) {
        if !versions.contains(&row.version) {
            versions.push(row.version);
        }
    }
    versions
}

fn rows<'r>(
    registry: &'r Registry,
    group: &str,
    version: &str,
) -> impl Iterator<Item = &'r Resource> {
    registry.iter().filter(move |row| row.group == group && row.version == version)
}

fn group_document(registry: &Registry, group: &str) -> Value {
    let versions: Vec<Value> = versions(registry, group)
        .into_iter()
        .map(
            |version| json!({"groupVersion": join_api_version(group, version), "version": version}),
        )
        .collect();
    let preferred = versions.first().cloned();
    json!({"name": group, "versions": versions, "preferredVersion": preferred})
}

fn resource_document(row: &Resource) -> Value {
    let mut document = json!({
        "name": row.plural,
        "singularName": row.singular,
        "namespaced": row.is_namespaced(),
        "kind": row.kind,
        "verbs": row.verbs,
    });
    if !row.short_names.is_empty() {
        document["shortNames"] = json!(row.short_names);
    }
    if !row.categories.is_empty() {
        document["categories"] = json!(row.categories);
    }
    document
}

fn aggregated_resource(row: &Resource) -> Value {
    let own = json!({"group": row.group, "version": row.version, "kind": row.kind});
    let scope = match row.scope {
        Scope::Namespaced => "Namespaced",
        Scope::Cluster => "Cluster",
    };
    let mut document = json!({
        "resource": row.plural,
        "responseKind": own,
        "scope": scope,
        "singularResource": row.singular,
        "verbs": row.verbs,
    });
    if !row.short_names.is_empty() {
        document["shortNames"] = json!(row.short_names);
    }
    if !row.categories.is_empty() {
        document["categories"] = json!(row.categories);
    }
    let subresources: Vec<Value> = row
        .subresources
        .iter()
        .map(|subresource| {
            let kind = match subresource.body() {
                Some((group, version, kind)) => {
                    json!({"group": group, "version": version, "kind": kind})
                }
                None => own.clone(),
            };
            json!({"subresource": subresource.name(), "responseKind": kind, "verbs": subresource.verbs()})
        })
        .collect();
    if !subresources.is_empty() {
        document["subresources"] = subresources.into();
    }
    document
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named<'v>(list: &'v Value, field: &str, name: &str) -> &'v Value {
        list.as_array().unwrap().iter().find(|item| item[field] == name).unwrap()
    }

    #[test]
    fn resource_lists_name_subresources_and_their_groups() {
        let registry = Registry::builtin();
        let core = api_resource_list(registry, "", "v1").unwrap();
        assert_eq!(core["groupVersion"], "v1");
        let pods = named(&core["resources"], "name", "pods");
        assert_eq!((&pods["shortNames"], &pods["categories"]), (&json!(["po"]), &json!(["all"])));
        let eviction = named(&core["resources"], "name", "pods/eviction");
        assert_eq!(
            (&eviction["kind"], &eviction["group"], &eviction["version"]),
            (&json!("Eviction"), &json!("policy"), &json!("v1"))
        );
        assert_eq!(named(&core["resources"], "name", "nodes")["namespaced"], false);
        let apps = api_resource_list(registry, "apps", "v1").unwrap();
        assert_eq!(named(&apps["resources"], "name", "deployments/scale")["kind"], "Scale");
        assert_eq!(api_resource_list(registry, "apps", "v9"), None);
    }

    #[test]
    fn groups_prefer_their_first_version() {
        let registry = Registry::builtin();
        let list = api_group_list(registry);
        let plugins = named(&list["groups"], "name", "plugins.pintle.dev");
        assert_eq!(plugins["preferredVersion"]["groupVersion"], "plugins.pintle.dev/v1alpha1");
        assert_eq!(api_group(registry, "apps").unwrap()["kind"], "APIGroup");
        assert_eq!(api_group(registry, "nothing"), None);
        assert_eq!(api_group(registry, ""), None);
    }

    #[test]
    fn the_aggregated_document_tells_the_same() {
        let registry = Registry::builtin();
        let core = aggregated(registry, true);
        assert_eq!(core["items"].as_array().unwrap().len(), 1);
        let version = &core["items"][0]["versions"][0];
        let pods = named(&version["resources"], "resource", "pods");
        assert_eq!(
            named(&pods["subresources"], "subresource", "log")["responseKind"]["kind"],
            "Pod"
        );
        let shown: usize = aggregated(registry, false)["items"]
            .as_array()
            .unwrap()
            .iter()
            .flat_map(|item| item["versions"].as_array().unwrap())
            .map(|version| version["resources"].as_array().unwrap().len())
            .sum();
        assert_eq!(shown, registry.iter().filter(|row| !row.group.is_empty()).count());
    }
}
