//! What a cluster has from its first start on: the default plugins, and the
//! storage class of the one that makes volumes.

use std::sync::Arc;

use anyhow::{Context, Result, anyhow};
use pintle_api::kinds::{Registry, Resource};
use pintle_api::status::StatusError;
use pintle_apiserver::verbs::{Patch, WriteOptions};
use pintle_apiserver::{ApiServer, BusFacts, StaticAuthorizer, User};
use pintle_watch::Bus;
use serde_json::{Value, json};

use super::authorizer::HostAuthorizer;
use crate::embedded;

/// Remembers which default plugins this cluster was given, so that one that a
/// person has deleted does not come back at the next start.
const MARKER: &str = "pintle-default-plugins";

pub fn authorizer(bus: &Bus) -> Arc<HostAuthorizer> {
    let facts = BusFacts::new(bus.clone(), Registry::builtin());
    Arc::new(HostAuthorizer::new(StaticAuthorizer::new(Arc::new(facts))))
}

/// The default plugin that makes volumes; with it comes [`storage_class`].
const PROVISIONER: &str = "hostpath-provisioner";

/// For claims that name no class: a folder on the node of their first pod.
fn storage_class() -> Value {
    json!({
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {
            "name": "standard",
            "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
        },
        "provisioner": "pintle.dev/host-path",
        "reclaimPolicy": "Delete",
        "volumeBindingMode": "WaitForFirstConsumer",
    })
}

fn user() -> User {
    User::system("system:pintle:bootstrap")
}

pub fn row(kind: &str) -> Result<&'static Resource> {
    let registry = Registry::builtin();
    registry
        .by_kind("", "v1", kind)
        .or_else(|| registry.by_kind("plugins.pintle.dev", "v1alpha1", kind))
        .or_else(|| registry.by_kind("scheduling.k8s.io", "v1", kind))
        .or_else(|| registry.by_kind("storage.k8s.io", "v1", kind))
        .or_else(|| registry.by_kind("networking.k8s.io", "v1", kind))
        .with_context(|| format!("the table of kinds has no {kind}"))
}

fn failed(what: impl std::fmt::Display) -> impl FnOnce(StatusError) -> anyhow::Error {
    move |error| anyhow!("{what} cannot be created: {}", error.message())
}

pub async fn create(api: &ApiServer, kind: &str, namespace: &str, object: Value) -> Result<()> {
    let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    let row = row(kind)?;
    match api.verbs().create(&user(), row, namespace, object, &WriteOptions::default()).await {
        Ok(_) => Ok(()),
        Err(error) if error.is_already_exists() => Ok(()),
        Err(error) => Err(failed(format!("{kind} {name}"))(error)),
    }
}

pub async fn create_secret(api: &ApiServer, secret: Value) -> Result<()> {
    create(api, "Secret", "kube-system", secret).await
}

/// The two classes of pods that a cluster cannot do without; their names are
/// reserved, so nobody else could make them.
async fn priority_classes(api: &ApiServer) -> Result<()> {
    for (name, value, description) in [
        (
            "system-cluster-critical",
            2_000_000_000,
            "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.",
        ),
        (
            "system-node-critical",
            2_000_001_000,
            "Used for system critical pods that must not be moved from their current node.",
        ),
    ] {
        let class = json!({
            "apiVersion": "scheduling.k8s.io/v1",
            "kind": "PriorityClass",
            "metadata": {"name": name},
            "value": value,
            "description": description,
        });
        create(api, "PriorityClass", "", class).await?;
    }
    Ok(())
}

/// A Plugin object for each embedded plugin that this cluster has not seen yet.
pub async fn plugins(api: &ApiServer) -> Result<()> {
    priority_classes(api).await?;
    let marker = row("ConfigMap")?;
    let known: Vec<String> = api
        .verbs()
        .get(marker, "kube-system", MARKER)
        .ok()
        .and_then(|map| serde_json::from_str(map.parse()["data"]["names"].as_str()?).ok())
        .unwrap_or_default();
    let missing: Vec<_> =
        embedded::PLUGINS.iter().filter(|p| !known.iter().any(|name| name == p.name)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    for plugin in missing {
        let object = json!({
            "apiVersion": "plugins.pintle.dev/v1alpha1",
            "kind": "Plugin",
            "metadata": {"name": plugin.name},
            "spec": embedded::spec(plugin),
        });
        create(api, "Plugin", "", object).await?;
        if plugin.name == PROVISIONER {
            create(api, "StorageClass", "", storage_class()).await?;
        }
    }
    let names: Vec<&str> = embedded::PLUGINS.iter().map(|plugin| plugin.name).collect();
    let data = json!({"names": serde_json::to_string(&names)?});
    create(
        api,
        "ConfigMap",
        "kube-system",
        json!({"apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": MARKER, "namespace": "kube-system"}, "data": data.clone()}),
    )
    .await?;
    let patch = Patch::Merge(json!({"data": data}));
    let options = WriteOptions::default();
    api.verbs()
        .patch(&user(), marker, None, "kube-system", MARKER, &patch, &options)
        .await
        .map_err(failed(MARKER))?;
    Ok(())
}
