//! `pintle apply` and `pintle delete`.
//!
//! Apply here is create or merge patch: fields that vanish from the file stay in
//! the object. kubectl's three-way apply works against the server as well.

use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http::Method;
use pintle_api::kinds::{Registry, Resource, Scope};
use serde::Deserialize;
use serde_json::{Value, json};

use super::http::{Client, is_conflict, is_not_found};
use super::target::{Target, path};
use crate::cli::{Apply, Delete};

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
    for file in &command.filename {
        for document in read(file, command.namespace.namespace.as_deref(), &client)? {
            let verdict = apply_one(&client, &document)
                .await
                .with_context(|| format!("{} in {}", document.display(), file.display()))?;
            println!("{} {verdict}", document.display());
        }
    }
    Ok(())
}

async fn apply_one(client: &Client, document: &Document) -> Result<&'static str> {
    let body = Bytes::from(serde_json::to_vec(&document.object)?);
    let strict = "?fieldValidation=Strict";
    let patch = async || {
        let path = format!("{}{strict}", document.path(true));
        let headers = [("content-type", "application/merge-patch+json")];
        client.json(Method::PATCH, &path, &headers, body.clone()).await
    };
    let before = match client.get(&document.path(true)).await {
        Ok(before) => before,
        Err(error) if is_not_found(&error) => {
            let path = format!("{}{strict}", document.path(false));
            let headers = [("content-type", "application/json")];
            match client.json(Method::POST, &path, &headers, body.clone()).await {
                Ok(_) => return Ok("created"),
                // Somebody else was first: then it is a change.
                Err(error) if is_conflict(&error) => return patch().await.map(|_| "configured"),
                Err(error) => return Err(error),
            }
        }
        Err(error) => return Err(error),
    };
    let after = patch().await?;
    let revision = |o: &Value| o["metadata"]["resourceVersion"].clone();
    Ok(if revision(&before) == revision(&after) { "unchanged" } else { "configured" })
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
    if let Some(file) = &command.filename {
        for document in read(file, command.namespace.namespace.as_deref(), &client)? {
            let path = document.path(true);
            match client.json(Method::DELETE, &path, &headers, options.clone()).await {
                Ok(_) => println!("{} deleted", document.display()),
                Err(error) if is_not_found(&error) => {
                    println!("{} not found", document.display());
                }
                Err(error) => return Err(error),
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

fn read(file: &Path, namespace: Option<&str>, client: &Client) -> Result<Vec<Document>> {
    let text = if file == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).context("cannot read standard input")?;
        text
    } else {
        std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?
    };
    let namespace = namespace.unwrap_or_else(|| client.default_namespace());
    let documents = documents(&text, namespace)
        .with_context(|| format!("{} cannot be used", file.display()))?;
    if documents.is_empty() {
        bail!("{} has no objects in it", file.display());
    }
    Ok(documents)
}

fn documents(text: &str, default_namespace: &str) -> Result<Vec<Document>> {
    let mut found = Vec::new();
    for (at, document) in serde_yaml_ng::Deserializer::from_str(text).enumerate() {
        let object = Value::deserialize(document)
            .with_context(|| format!("document {} is not valid YAML", at + 1))?;
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
    let namespace = (resource.scope == Scope::Namespaced).then(|| {
        text(&object["metadata"]["namespace"]).unwrap_or_else(|| default_namespace.to_owned())
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
    fn what_is_wrong_with_a_document_is_said() {
        let check = |text: &str, expect: &str| {
            let error = format!("{:#}", documents(text, "d").err().unwrap());
            assert!(error.contains(expect), "{error}");
        };
        check("kind: Pod", "document 1: it has no apiVersion");
        check("apiVersion: v1\nkind: Gadget\nmetadata: {name: a}", "no kind Gadget in v1");
        check("apiVersion: v1\nkind: Pod", "no metadata.name");
        check("a: [", "document 1 is not valid YAML");
    }
}
