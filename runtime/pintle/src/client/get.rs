//! `pintle get`

use anyhow::{Result, bail};
use bytes::Bytes;
use http::Method;
use http_body_util::BodyExt;
use pintle_api::kinds::Scope;
use serde_json::Value;

use super::http::{Client, error_of};
use super::out;
use super::table::Printer;
use super::target::{Target, query_escape};
use crate::cli::{Get, Output};

const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";

pub async fn run(get: Get) -> Result<()> {
    let client = Client::connect(&get.connection)?;
    let target = Target::parse(&get.kind, get.name.as_deref())?;
    if get.all_namespaces && target.name.is_some() {
        bail!("an object cannot be named together with --all-namespaces");
    }
    let namespace = (!get.all_namespaces).then(|| {
        get.namespace.namespace.clone().unwrap_or_else(|| client.default_namespace().to_owned())
    });
    let mut path = target.path(namespace.as_deref());
    let mut query = Vec::new();
    if let Some(selector) = &get.selector {
        query.push(format!("labelSelector={}", query_escape(selector)));
    }
    let mut fields = get.field_selector.clone().unwrap_or_default();
    if get.watch
        && let Some(name) = &target.name
    {
        // A watch goes over the collection, narrowed down to the one object.
        path = Target { resource: target.resource, name: None }.path(namespace.as_deref());
        fields = format!("metadata.name={name}");
    }
    if !fields.is_empty() {
        query.push(format!("fieldSelector={}", query_escape(&fields)));
    }
    if get.watch {
        query.push("watch=true".into());
    }
    if !query.is_empty() {
        path = format!("{path}?{}", query.join("&"));
    }
    let table = matches!(get.output, Output::Table | Output::Wide);
    let accept = if table { TABLE } else { "application/json" };
    let with_namespace = get.all_namespaces && target.resource.scope == Scope::Namespaced;
    let mut printer = Printer::new(get.output == Output::Wide, with_namespace);

    if get.watch {
        let headers = [("accept", accept)];
        let response = client.open(Method::GET, &path, &headers, Bytes::new()).await?;
        let events =
            watch(response, |object| print(object, &get, &target, &mut printer).map(|()| false));
        return tokio::select! {
            result = events => result,
            () = out::reader_gone() => Ok(()),
        };
    }
    let answer = client.json(Method::GET, &path, &[("accept", accept)], Bytes::new()).await?;
    if table && answer["rows"].as_array().is_some_and(Vec::is_empty) {
        match &namespace {
            Some(ns) if target.resource.scope == Scope::Namespaced => {
                eprintln!("No resources found in {ns} namespace.");
            }
            _ => eprintln!("No resources found"),
        }
        return Ok(());
    }
    print(&answer, &get, &target, &mut printer)
}

fn print(object: &Value, get: &Get, target: &Target, printer: &mut Printer) -> Result<()> {
    match get.output {
        Output::Table | Output::Wide => out::print(&printer.render(object))?,
        Output::Json => out::print(&format!("{}\n", serde_json::to_string_pretty(object)?))?,
        Output::Yaml => out::print(&serde_yaml_ng::to_string(object)?)?,
        Output::Name => {
            let one = [object.clone()];
            let items = object["items"].as_array().map_or(&one[..], Vec::as_slice);
            for item in items {
                let name = item["metadata"]["name"].as_str().unwrap_or("");
                out::print(&format!("{}\n", target.display(name)))?;
            }
        }
    }
    Ok(())
}

/// Watches `path` until `done` says so of an object, or the server ends it.
pub async fn watch_objects(
    client: &Client,
    path: &str,
    mut done: impl FnMut(&Value) -> bool,
) -> Result<()> {
    let headers = [("accept", "application/json")];
    let response = client.open(Method::GET, path, &headers, Bytes::new()).await?;
    watch(response, |object| Ok(done(object))).await
}

/// Calls back with the object of every event until it answers true.
async fn watch(
    response: http::Response<hyper::body::Incoming>,
    mut each: impl FnMut(&Value) -> Result<bool>,
) -> Result<()> {
    let status = response.status();
    let mut body = response.into_body();
    if !status.is_success() {
        return Err(error_of(status, &body.collect().await?.to_bytes()));
    }
    let mut pending: Vec<u8> = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        pending.extend_from_slice(&data);
        while let Some(end) = pending.iter().position(|b| *b == b'\n') {
            let line: Vec<u8> = pending.drain(..=end).collect();
            let event: Value = serde_json::from_slice(&line)?;
            match event["type"].as_str() {
                Some("ERROR") => {
                    let message = event["object"]["message"].as_str().unwrap_or("unknown error");
                    bail!("the watch ended: {message}");
                }
                Some("BOOKMARK") => {}
                _ => {
                    if each(&event["object"])? {
                        return Ok(());
                    }
                }
            }
        }
    }
    Ok(())
}
