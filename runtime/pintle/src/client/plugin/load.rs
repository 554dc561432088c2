//! Loading, swapping and rolling back: the changes of a Plugin object, and the
//! wait for what the server makes of them.

use anyhow::{Context, Result, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::Method;
use pintle_artifacts::Reference;
use pintle_plugin_host::inspect::inspect;
use pintle_plugin_host::plugin::Role;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::PLUGINS;
use super::change::{PREVIOUS, Version, change};
use super::component::{Component, Named, pull};
use super::{keys, remembered};
use crate::cli::PluginVersion as Asked;
use crate::client::http::{Client, is_conflict};

/// What goes into the object itself; larger components stay in a file on the server.
pub(super) const MAX_INLINE_BYTES: usize = 1 << 20;

/// A component as a Plugin object names it.
struct Sourced {
    source: Value,
    digest: Value,
    /// What its world says, where the bytes could be looked at.
    role: Option<Role>,
    /// The grants that it asks for without a configuration, where it could say so.
    needs: Option<Value>,
}

/// The role that a component exports, and what it asks for.
fn said(bytes: &[u8]) -> (Option<Role>, Option<Value>) {
    let Ok(inspection) = inspect(bytes) else { return (None, None) };
    (inspection.role, inspection.described.ok().map(|said| json!(said.needs)))
}

/// `look`: pull it also where the object could be written without.
async fn sourced(named: &str, asked: &Asked, look: bool) -> Result<Sourced> {
    match Named::parse(named)? {
        Named::Path(path) => {
            let component = Component::at(&path)?;
            let digest = format!("sha256:{}", hex::encode(Sha256::digest(&component.bytes)));
            let source = match &component.file {
                // The server reads it from its own disk, so the path must hold there.
                Some(file) if component.bytes.len() > MAX_INLINE_BYTES => {
                    json!({"file": {"path": file.canonicalize()?}})
                }
                _ => json!({"inline": {"data": STANDARD.encode(&component.bytes)}}),
            };
            let (role, needs) = said(&component.bytes);
            Ok(Sourced { source, digest: json!(digest), role, needs })
        }
        Named::Registry(reference) => in_registry(reference, asked, look).await,
    }
}

/// The object names the artifact by its digest, whatever was asked for: what a
/// tag means may change.
async fn in_registry(reference: Reference, asked: &Asked, look: bool) -> Result<Sourced> {
    let (reference, digest, (role, needs)) = if reference.digest.is_some() && !look {
        (reference, Value::Null, (None, None))
    } else {
        let pulled = pull(&reference, asked.insecure).await?;
        let pinned = Reference { digest: Some(pulled.manifest_digest), ..reference };
        (pinned, json!(pulled.layer_digest.as_str()), said(&pulled.bytes))
    };
    let mut oci = json!({"reference": reference.to_string()});
    if asked.insecure {
        oci["insecure"] = json!(true);
    }
    if let Some(secret) = &asked.pull_secret {
        let (namespace, name) = secret
            .split_once('/')
            .with_context(|| format!("--pull-secret {secret:?} must look like namespace/name"))?;
        oci["pullSecret"] = json!({"namespace": namespace, "name": name});
    }
    Ok(Sourced { source: json!({"oci": oci}), digest, role, needs })
}

/// What else was asked for, as fields of the spec; null where nothing was said.
fn extras(asked: &Asked) -> Result<Value> {
    let config = asked
        .config
        .as_deref()
        .map(serde_json::from_str::<Value>)
        .transpose()
        .context("--config is not valid JSON")?;
    let keys = keys::read_public(&asked.public_key)?;
    let signature = asked.signature.as_deref().map(keys::signature).transpose()?;
    let verification = if keys.is_empty() { Value::Null } else { json!({"publicKeys": keys}) };
    Ok(json!({
        "config": config,
        "weight": asked.weight,
        "signature": signature,
        "verification": verification,
    }))
}

pub async fn load(
    client: &Client,
    name: &str,
    named: &str,
    role: Option<Role>,
    grant: bool,
    asked: &Asked,
) -> Result<()> {
    let look = role.is_none();
    let Sourced { source, digest, role: exported, needs } = sourced(named, asked, look).await?;
    let role = role
        .or(exported)
        .with_context(|| format!("{named} exports the world of no role; name one with --role"))?;
    let mut spec = json!({"role": role, "source": source, "digest": digest});
    for (field, value) in extras(asked)?.as_object().into_iter().flatten() {
        spec[field] = value.clone();
    }
    // Granted from the start, it never shows as one that lacks something.
    if let Some(needs) = needs.filter(|needs| grant && *needs != json!([])) {
        println!("The plugin asks for:\n{}", pintle_api::yaml::to_string(&needs));
        spec["grants"] = needs;
    }
    if let Some(fields) = spec.as_object_mut() {
        fields.retain(|_, value| !value.is_null());
    }
    let plugin = json!({
        "apiVersion": "plugins.pintle.dev/v1alpha1",
        "kind": "Plugin",
        "metadata": {"name": name},
        "spec": spec,
    });
    let headers = [("content-type", "application/json")];
    let body = Bytes::from(serde_json::to_vec(&plugin)?);
    client.json(Method::POST, PLUGINS, &headers, body).await?;
    let mut plugin = settled(client, name).await?;
    let needs = plugin["status"]["needs"].clone();
    if plugin["status"]["reason"] == "NeedsNotGranted" {
        // Its configuration makes it ask for more, or only the server has seen it.
        println!("The plugin asks for:\n{}", pintle_api::yaml::to_string(&needs));
        if !grant {
            bail!(
                "nothing is granted yet: repeat with --grant after `pintle plugin rm {name}`, \
                 or set spec.grants with kubectl"
            );
        }
        patch(client, name, &json!({"spec": {"grants": needs}})).await?;
        plugin = settled(client, name).await?;
    }
    report(name, &plugin)
}

/// Without a component: the one that is built into the server.
pub async fn swap(client: &Client, name: &str, named: Option<&str>, asked: &Asked) -> Result<()> {
    let sourced = match named {
        Some(named) => sourced(named, asked, false).await?,
        None => {
            let source = json!({"embedded": {"name": name}});
            Sourced { source, digest: Value::Null, role: None, needs: None }
        }
    };
    let extras = extras(asked)?;
    let next = |before: &Value| {
        // An embedded plugin has what it asks for without being granted it by name.
        // The one that takes over gets the same and no more.
        let grants = match (&before["spec"]["grants"], named.is_none()) {
            (_, true) => Value::Null,
            (Value::Null, false) if before["spec"]["source"]["embedded"].is_object() => {
                before["status"]["needs"].clone()
            }
            (granted, false) => granted.clone(),
        };
        // A signature belongs to its component; the rest stays as it is unless
        // something was said about it.
        let kept = |field: &str| match &extras[field] {
            Value::Null => before["spec"][field].clone(),
            said => said.clone(),
        };
        Ok(Version {
            source: sourced.source.clone(),
            digest: sourced.digest.clone(),
            grants,
            signature: extras["signature"].clone(),
            config: kept("config"),
            weight: kept("weight"),
            verification: kept("verification"),
        })
    };
    replace(client, name, next).await?;
    report(name, &settled(client, name).await?)
}

pub async fn rollback(client: &Client, name: &str) -> Result<()> {
    let next = |before: &Value| {
        let remembered = before["metadata"]["annotations"][PREVIOUS].as_str();
        let previous = before["status"]["previousDigest"].as_str();
        match (remembered, previous.filter(|digest| !digest.is_empty())) {
            (Some(remembered), _) => remembered::recall(remembered)
                .with_context(|| format!("the annotation {PREVIOUS} was changed by hand")),
            (None, Some(digest)) => bail!(
                "plugin {name} does not hold the component it had before, {digest}: it was swapped \
                 by other means or is too large for an annotation; swap it in again from its file"
            ),
            (None, None) => bail!("plugin {name} was not swapped, there is nothing to go back to"),
        }
    };
    replace(client, name, next).await?;
    report(name, &settled(client, name).await?)
}

/// Puts another component into the object, remembering the one that was there.
async fn replace(
    client: &Client,
    name: &str,
    next: impl Fn(&Value) -> Result<Version>,
) -> Result<()> {
    let path = format!("{PLUGINS}/{name}");
    let mut before = client.get(&path).await?;
    loop {
        let refused = match patch(client, name, &change(&before, &next(&before)?)?).await {
            Err(error) if is_conflict(&error) => error,
            result => return result,
        };
        // The status counts calls, so the object changes all the time. A spec
        // that somebody else has changed is another matter.
        let now = client.get(&path).await?;
        let spec = |plugin: &Value| {
            (plugin["metadata"]["uid"].clone(), plugin["metadata"]["generation"].clone())
        };
        if spec(&now) != spec(&before) {
            return Err(refused);
        }
        before = now;
    }
}

async fn patch(client: &Client, name: &str, change: &Value) -> Result<()> {
    let headers = [("content-type", "application/merge-patch+json")];
    let body = Bytes::from(serde_json::to_vec(change)?);
    client.json(Method::PATCH, &format!("{PLUGINS}/{name}"), &headers, body).await.map(drop)
}

/// Waits, by a watch, until the host has decided about the present generation.
pub(super) async fn settled(client: &Client, name: &str) -> Result<Value> {
    let path =
        format!("{PLUGINS}?watch=true&fieldSelector=metadata.name%3D{name}&timeoutSeconds=60");
    let mut last = Value::Null;
    crate::client::get::watch_objects(client, &path, |plugin| {
        let generation = plugin["metadata"]["generation"].as_i64();
        let observed = plugin["status"]["observedGeneration"].as_i64();
        let phase = plugin["status"]["phase"].as_str().unwrap_or("Pending");
        last = plugin.clone();
        generation == observed && !matches!(phase, "Pending" | "Loading")
    })
    .await?;
    Ok(last)
}

pub(super) fn report(name: &str, plugin: &Value) -> Result<()> {
    let status = &plugin["status"];
    let text = |field: &str| status[field].as_str().unwrap_or("").to_owned();
    match text("phase").as_str() {
        "Active" => {
            println!(
                "plugin.plugins.pintle.dev/{name} active, {} (pause {} µs)",
                text("activeDigest"),
                status["lastSwapPauseMicroseconds"].as_i64().unwrap_or(0)
            );
            Ok(())
        }
        "Shadowing" => {
            println!("plugin.plugins.pintle.dev/{name} shadowing, {}", text("message"));
            Ok(())
        }
        phase => bail!("plugin {name} is {phase}: {} ({})", text("message"), text("reason")),
    }
}
