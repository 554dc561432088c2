//! `pintle plugin`: the Plugin objects, with the file handling that kubectl lacks.

use std::path::Path;

use anyhow::{Context, Result, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::cli::{PluginAction, PluginCommand};
use crate::client::http::{Client, is_conflict};
use crate::client::table::Printer;

const PLUGINS: &str = "/apis/plugins.pintle.dev/v1alpha1/plugins";
const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";

/// What goes into the object itself; larger components stay in a file on the server.
const MAX_INLINE_BYTES: usize = 1 << 20;

/// Of all annotations of an object, names and values, as Kubernetes counts them.
const MAX_ANNOTATION_BYTES: usize = 256 << 10;

/// Where a swap remembers what it replaced, for `rollback`.
const PREVIOUS: &str = "plugins.pintle.dev/previous-source";

pub async fn run(command: PluginCommand) -> Result<()> {
    let client = Client::connect(&command.connection)?;
    match command.action {
        PluginAction::List => {
            let table =
                client.json(Method::GET, PLUGINS, &[("accept", TABLE)], Bytes::new()).await?;
            print!("{}", Printer::new(false, false).render(&table));
        }
        PluginAction::Get { name } => {
            let mut plugin = client.get(&format!("{PLUGINS}/{name}")).await?;
            shorten(&mut plugin["spec"]["source"]);
            let annotations = plugin.pointer_mut("/metadata/annotations");
            if let Some(annotations) = annotations.and_then(Value::as_object_mut) {
                annotations.remove(PREVIOUS);
            }
            print!("{}", pintle_api::yaml::to_string(&plugin));
        }
        PluginAction::Load { name, file, role, config, grant } => {
            load(&client, &name, &file, &role, config.as_deref(), grant).await?;
        }
        PluginAction::Swap { name, file, embedded } => {
            let source = match file {
                Some(file) => source(&file)?,
                None if embedded => (json!({"embedded": {"name": name}}), Value::Null),
                None => bail!("name the component to swap in, or --embedded"),
            };
            swap(&client, &name, source).await?;
        }
        PluginAction::Rollback { name } => rollback(&client, &name).await?,
        PluginAction::Rm { name } => {
            let path = format!("{PLUGINS}/{name}");
            client.json(Method::DELETE, &path, &[], Bytes::new()).await?;
            println!("plugin.plugins.pintle.dev/{name} deleted");
        }
    }
    Ok(())
}

/// Source and digest of a component file.
fn source(file: &Path) -> Result<(Value, Value)> {
    let wasm = std::fs::read(file)
        .with_context(|| format!("cannot read the component {}", file.display()))?;
    let digest = format!("sha256:{}", hex::encode(Sha256::digest(&wasm)));
    let source = if wasm.len() <= MAX_INLINE_BYTES {
        json!({"inline": {"data": STANDARD.encode(&wasm)}})
    } else {
        // The server reads it from its own disk, so the path must hold there.
        json!({"file": {"path": file.canonicalize()?}})
    };
    Ok((source, json!(digest)))
}

async fn load(
    client: &Client,
    name: &str,
    file: &Path,
    role: &str,
    config: Option<&str>,
    grant: bool,
) -> Result<()> {
    let (source, digest) = source(file)?;
    let config = config
        .map(serde_json::from_str::<Value>)
        .transpose()
        .context("--config is not valid JSON")?;
    let mut plugin = json!({
        "apiVersion": "plugins.pintle.dev/v1alpha1",
        "kind": "Plugin",
        "metadata": {"name": name},
        "spec": {"role": role, "source": source, "digest": digest},
    });
    if let Some(config) = config {
        plugin["spec"]["config"] = config;
    }
    let headers = [("content-type", "application/json")];
    let body = Bytes::from(serde_json::to_vec(&plugin)?);
    client.json(Method::POST, PLUGINS, &headers, body).await?;
    let mut plugin = settled(client, name).await?;
    let needs = plugin["status"]["needs"].clone();
    if plugin["status"]["reason"] == "NeedsNotGranted" {
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

async fn swap(client: &Client, name: &str, (source, digest): (Value, Value)) -> Result<()> {
    let next = |before: &Value| {
        // An embedded plugin has what it asks for without being granted it by name.
        // The one that takes over gets the same and no more.
        let grants = match (&before["spec"]["grants"], source["embedded"].is_object()) {
            (_, true) => Value::Null,
            (Value::Null, false) if before["spec"]["source"]["embedded"].is_object() => {
                before["status"]["needs"].clone()
            }
            (granted, false) => granted.clone(),
        };
        Ok(Version { source: source.clone(), digest: digest.clone(), grants })
    };
    replace(client, name, next).await?;
    report(name, &settled(client, name).await?)
}

/// What a swap changes of a Plugin's spec.
#[derive(Serialize, Deserialize)]
struct Version {
    source: Value,
    #[serde(default)]
    digest: Value,
    #[serde(default)]
    grants: Value,
}

impl Version {
    fn of(plugin: &Value) -> Self {
        let spec = &plugin["spec"];
        Self {
            source: spec["source"].clone(),
            digest: spec["digest"].clone(),
            grants: spec["grants"].clone(),
        }
    }
}

async fn rollback(client: &Client, name: &str) -> Result<()> {
    let next = |before: &Value| {
        let remembered =
            before["metadata"]["annotations"][PREVIOUS].as_str().with_context(|| {
                format!("plugin {name} was not swapped, there is nothing to go back to")
            })?;
        serde_json::from_str(remembered)
            .with_context(|| format!("the annotation {PREVIOUS} was changed by hand"))
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

/// The patch that brings in `next` if the object is still as it was `before`.
fn change(before: &Value, next: &Version) -> Result<Value> {
    // Exactly one kind of source may stay, so the others are taken out.
    let mut source = json!({"embedded": null, "file": null, "inline": null});
    for (kind, value) in next.source.as_object().into_iter().flatten() {
        source[kind] = value.clone();
    }
    // What is larger than the annotations have room for is not remembered.
    let others = before["metadata"]["annotations"].as_object().into_iter().flatten();
    let used: usize = others
        .filter(|(name, _)| *name != PREVIOUS)
        .map(|(name, value)| name.len() + value.as_str().map_or(0, str::len))
        .sum();
    let remembered = serde_json::to_string(&Version::of(before))?;
    let fits = used + PREVIOUS.len() + remembered.len() <= MAX_ANNOTATION_BYTES;
    let remembered = if fits { json!(remembered) } else { Value::Null };
    Ok(json!({
        "metadata": {
            "resourceVersion": before["metadata"]["resourceVersion"],
            "annotations": {PREVIOUS: remembered},
        },
        "spec": {"source": source, "digest": next.digest, "grants": next.grants},
    }))
}

async fn patch(client: &Client, name: &str, change: &Value) -> Result<()> {
    let headers = [("content-type", "application/merge-patch+json")];
    let body = Bytes::from(serde_json::to_vec(change)?);
    client.json(Method::PATCH, &format!("{PLUGINS}/{name}"), &headers, body).await.map(drop)
}

/// Waits, by a watch, until the host has decided about the present generation.
async fn settled(client: &Client, name: &str) -> Result<Value> {
    let path =
        format!("{PLUGINS}?watch=true&fieldSelector=metadata.name%3D{name}&timeoutSeconds=60");
    let mut last = Value::Null;
    super::get::watch_objects(client, &path, |plugin| {
        let generation = plugin["metadata"]["generation"].as_i64();
        let observed = plugin["status"]["observedGeneration"].as_i64();
        let phase = plugin["status"]["phase"].as_str().unwrap_or("Pending");
        last = plugin.clone();
        generation == observed && !matches!(phase, "Pending" | "Loading")
    })
    .await?;
    Ok(last)
}

fn report(name: &str, plugin: &Value) -> Result<()> {
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
        phase => bail!("plugin {name} is {phase}: {} ({})", text("message"), text("reason")),
    }
}

fn shorten(source: &mut Value) {
    let data = source.pointer_mut("/inline/data");
    if let Some(data) = data
        && let Some(text) = data.as_str()
    {
        *data = json!(format!("<{} bytes>", text.len() / 4 * 3));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_leaves_one_source_and_remembers_the_version_before() {
        let before = json!({
            "metadata": {"resourceVersion": "7", "annotations": {"a": "b"}},
            "spec": {"source": {"embedded": {"name": "scheduler"}}, "grants": null},
        });
        let next = Version {
            source: json!({"inline": {"data": "AA=="}}),
            digest: json!("sha256:1"),
            grants: json!([]),
        };
        let change = change(&before, &next).unwrap();
        assert_eq!(change["metadata"]["resourceVersion"], "7", "refused if it changes meanwhile");
        let source = json!({"embedded": null, "file": null, "inline": {"data": "AA=="}});
        assert_eq!(change["spec"], json!({"source": source, "digest": "sha256:1", "grants": []}));
        let remembered = change["metadata"]["annotations"][PREVIOUS].as_str().unwrap();
        let remembered: Version = serde_json::from_str(remembered).unwrap();
        assert_eq!(remembered.source, before["spec"]["source"]);
    }
}
