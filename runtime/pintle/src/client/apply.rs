//! `pintle apply` and `pintle delete`.
//!
//! Apply is kubectl's: what the file said last time is kept in an annotation, and
//! the server gets a patch made of that and of what the file says now. So both
//! may be used on the same objects.

use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use bytes::Bytes;
use http::Method;
use pintle_api::kinds::{Registry, Resource, Scope};
use pintle_api::patch::three_way;
use pintle_api::schema::decode_strict;
use serde_json::{Value, json};

use super::http::{Client, is_conflict, is_not_found};
use super::target::{Target, path};
use crate::cli::{Apply, Delete, object_name};

/// Where kubectl and this program remember what was applied.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// One document of a file, with the place it belongs to.
struct Document {
    resource: &'static Resource,
    namespace: Option<String>,
    name: String,
    object: Value,
}

impl Document {
    fn path(&self, with_name: bool) -> String {
        path(self.resource, self.namespace.as_deref(), with_name.then_some(&*self.name))
    }

    fn display(&self) -> String {
        Target { resource: self.resource, name: None }.display(&self.name)
    }
}

pub async fn apply(command: Apply) -> Result<()> {
    let client = Client::connect(&command.connection)?;
    let (mut seen, mut failed) = (0, 0);
    let mut last = None;
    for file in files(&command.filename)? {
        for document in read(&file, command.namespace.namespace.as_deref(), &client)? {
            seen += 1;
            let verdict = apply_one(&client, &document)
                .await
                .with_context(|| format!("{} in {}", document.display(), shown(&file)));
            match verdict {
                Ok(verdict) => println!("{} {verdict}", document.display()),
                // The others may well be fine; the last error is told by the caller.
                Err(error) => {
                    failed += 1;
                    if let Some(before) = last.replace(error) {
                        eprintln!("pintle: {before:#}");
                    }
                }
            }
        }
    }
    match last {
        None => Ok(()),
        Some(error) if seen == 1 => Err(error),
        Some(error) => {
            eprintln!("pintle: {error:#}");
            bail!("{failed} of {seen} objects were not applied")
        }
    }
}

async fn apply_one(client: &Client, document: &Document) -> Result<&'static str> {
    let now = with_record(&document.object);
    let strict = "?fieldValidation=Strict";
    let before = match client.get(&document.path(true)).await {
        Ok(before) => before,
        Err(error) if is_not_found(&error) => {
            let path = format!("{}{strict}", document.path(false));
            let headers = [("content-type", "application/json")];
            let body = Bytes::from(serde_json::to_vec(&now)?);
            match client.json(Method::POST, &path, &headers, body).await {
                Ok(_) => return Ok("created"),
                // Somebody else was first: then it is a change.
                Err(error) if is_conflict(&error) => client.get(&document.path(true)).await?,
                Err(error) => return Err(error),
            }
        }
        Err(error) => return Err(error),
    };
    let patch = three_way(&recorded(&before), &now, document.resource.schema)?;
    let path = format!("{}{strict}", document.path(true));
    let headers = [("content-type", "application/strategic-merge-patch+json")];
    let body = Bytes::from(serde_json::to_vec(&patch)?);
    let after = client.json(Method::PATCH, &path, &headers, body).await?;
    Ok(if wanted_of(&before) == wanted_of(&after) { "unchanged" } else { "configured" })
}

/// The object with the annotation that remembers it.
fn with_record(object: &Value) -> Value {
    let mut plain = object.clone();
    if let Some(Value::Object(annotations)) = plain.pointer_mut("/metadata/annotations") {
        annotations.remove(LAST_APPLIED);
    }
    let record = format!("{plain}\n");
    if !plain["metadata"]["annotations"].is_object() {
        plain["metadata"]["annotations"] = json!({});
    }
    plain["metadata"]["annotations"][LAST_APPLIED] = record.into();
    plain
}

/// What was applied last time; nothing for an object that was made otherwise.
fn recorded(object: &Value) -> Value {
    object["metadata"]["annotations"][LAST_APPLIED]
        .as_str()
        .and_then(|text| serde_json::from_str(text).ok())
        .filter(Value::is_object)
        .unwrap_or_else(|| json!({}))
}

/// The part of an object that people decide: controllers write the status at any time.
fn wanted_of(object: &Value) -> Value {
    let mut wanted = object.clone();
    if let Some(fields) = wanted.as_object_mut() {
        fields.remove("status");
    }
    if let Some(meta) = wanted["metadata"].as_object_mut() {
        meta.remove("resourceVersion");
    }
    wanted
}

pub async fn delete(command: Delete) -> Result<()> {
    let client = Client::connect(&command.connection)?;
    let options = match command.grace_period {
        Some(seconds) => json!({"kind": "DeleteOptions", "apiVersion": "v1",
            "gracePeriodSeconds": seconds, "propagationPolicy": "Background"}),
        None => json!({"kind": "DeleteOptions", "apiVersion": "v1",
            "propagationPolicy": "Background"}),
    };
    let options = Bytes::from(serde_json::to_vec(&options)?);
    let headers = [("content-type", "application/json")];
    if let Some(file) = command.filename {
        for file in files(&[file])? {
            for document in read(&file, command.namespace.namespace.as_deref(), &client)? {
                let path = document.path(true);
                match client.json(Method::DELETE, &path, &headers, options.clone()).await {
                    Ok(_) => println!("{} deleted", document.display()),
                    Err(error) if is_not_found(&error) => {
                        println!("{} not found", document.display());
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        return Ok(());
    }
    let kind = command.kind.as_deref().unwrap_or_default();
    let target = Target::parse(kind, command.name.as_deref())?;
    let Some(name) = &target.name else {
        bail!("which {kind}? Name one: pintle delete {kind} NAME");
    };
    let namespace =
        command.namespace.namespace.as_deref().unwrap_or_else(|| client.default_namespace());
    client.json(Method::DELETE, &target.path(Some(namespace)), &headers, options).await?;
    println!("{} deleted", target.display(name));
    Ok(())
}

/// The files themselves, and what lies in folders, by name.
fn files(named: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for path in named {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let context = || format!("cannot read {}", path.display());
        let mut inside = Vec::new();
        for entry in std::fs::read_dir(path).with_context(context)? {
            let file = entry.with_context(context)?.path();
            let extension = file.extension().and_then(|extension| extension.to_str());
            if matches!(extension, Some("yaml" | "yml" | "json")) && file.is_file() {
                inside.push(file);
            }
        }
        if inside.is_empty() {
            bail!("{} has no .yaml, .yml or .json files in it", path.display());
        }
        inside.sort();
        files.append(&mut inside);
    }
    Ok(files)
}

fn shown(file: &Path) -> String {
    match file == Path::new("-") {
        true => "standard input".to_owned(),
        false => file.display().to_string(),
    }
}

fn read(file: &Path, namespace: Option<&str>, client: &Client) -> Result<Vec<Document>> {
    let text = if file == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).context("cannot read standard input")?;
        text
    } else {
        std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?
    };
    let namespace = namespace.unwrap_or_else(|| client.default_namespace());
    let documents =
        documents(&text, namespace).with_context(|| format!("{} cannot be used", shown(file)))?;
    if documents.is_empty() {
        bail!("{} has no objects in it", shown(file));
    }
    Ok(documents)
}

fn documents(text: &str, default_namespace: &str) -> Result<Vec<Document>> {
    let mut found = Vec::new();
    // The parser takes nothing at all for a document without a value.
    if text.lines().all(|line| matches!(line.trim_start().chars().next(), None | Some('#'))) {
        return Ok(found);
    }
    for (at, document) in serde_yaml_ng::Deserializer::from_str(text).enumerate() {
        let (object, duplicates) = decode_strict(document)
            .with_context(|| format!("document {} is not valid YAML", at + 1))?;
        if !duplicates.is_empty() {
            bail!("document {} has keys twice: {}", at + 1, duplicates.join(", "));
        }
        if object.is_null() {
            continue;
        }
        let items = match object["items"].as_array() {
            Some(items) if object["kind"].as_str().is_some_and(|k| k.ends_with("List")) => {
                items.clone()
            }
            _ => vec![object],
        };
        for object in items {
            found.push(
                place(object, default_namespace).with_context(|| format!("document {}", at + 1))?,
            );
        }
    }
    Ok(found)
}

fn place(object: Value, default_namespace: &str) -> Result<Document> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let api_version = text(&object["apiVersion"]).context("it has no apiVersion")?;
    let kind = text(&object["kind"]).context("it has no kind")?;
    let (group, version) = api_version.split_once('/').unwrap_or(("", &api_version));
    let resource = Registry::builtin()
        .by_kind(group, version, &kind)
        .with_context(|| format!("there is no kind {kind} in {api_version}"))?;
    let name = text(&object["metadata"]["name"]).context("it has no metadata.name")?;
    object_name(&name).map_err(|problem| anyhow!("metadata.name {name:?}: {problem}"))?;
    let namespace = (resource.scope == Scope::Namespaced).then(|| {
        text(&object["metadata"]["namespace"])
            .filter(|namespace| !namespace.is_empty())
            .unwrap_or_else(|| default_namespace.to_owned())
    });
    Ok(Document { resource, namespace, name, object })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_hold_several_documents_and_lists() {
        let text = "apiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n---\n---\n\
            apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Secret, metadata: {name: s}}\n";
        let found = documents(text, "dev").unwrap();
        let paths: Vec<String> = found.iter().map(|d| d.path(true)).collect();
        assert_eq!(paths, ["/api/v1/namespaces/a", "/api/v1/namespaces/dev/secrets/s"]);
        assert_eq!(found[0].display(), "namespace/a");
    }

    #[test]
    fn what_was_applied_is_remembered_and_does_not_nest() {
        let object = json!({"metadata": {"name": "a"}, "data": {"x": "1"}});
        let mut made = with_record(&object);
        assert_eq!(recorded(&made), object);
        assert_eq!(recorded(&with_record(&made))["data"], object["data"]);
        assert_eq!(recorded(&object), json!({}));
        made["status"] = json!({"replicas": 1});
        made["metadata"]["resourceVersion"] = json!("7");
        assert_eq!(wanted_of(&made), with_record(&object));
    }

    #[test]
    fn folders_give_their_manifests_in_order() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["b.yaml", "a.json", "notes.txt"] {
            std::fs::write(dir.path().join(name), "").unwrap();
        }
        let found = files(&[dir.path().to_owned(), "-".into()]).unwrap();
        let expect = [dir.path().join("a.json"), dir.path().join("b.yaml"), "-".into()];
        assert_eq!(found, expect);
    }

    #[test]
    fn what_is_wrong_with_a_document_is_said() {
        let check = |text: &str, expect: &str| {
            let error = format!("{:#}", documents(text, "d").err().unwrap());
            assert!(error.contains(expect), "{error}");
        };
        check("kind: Pod", "document 1: it has no apiVersion");
        check("apiVersion: v1\nkind: Gadget\nmetadata: {name: a}", "no kind Gadget in v1");
        check("apiVersion: v1\nkind: Pod", "no metadata.name");
        check("apiVersion: v1\nkind: Pod\nmetadata: {name: ''}", "a name cannot be empty");
        check("apiVersion: v1\nkind: Pod\nmetadata: {name: a/b}", "a name may not contain '/'");
        check("a: [", "document 1 is not valid YAML");
        check("kind: Pod\nmetadata: {name: a, name: b}", "has keys twice: metadata.name");
        for nothing in ["", "\n", "# a comment\n\n"] {
            assert!(documents(nothing, "d").unwrap().is_empty(), "{nothing:?}");
        }
    }
}
