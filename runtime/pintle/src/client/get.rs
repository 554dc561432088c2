//! `pintle get`

use anyhow::{Result, bail};
use bytes::Bytes;
use http::Method;
use http_body_util::BodyExt;
use pintle_api::kinds::Scope;
use pintle_api::yaml;
use serde_json::{Value, json};

use super::http::{Client, error_of};
use super::out;
use super::table::Printer;
use super::target::{Target, query_escape};
use crate::cli::{Get, Output};

const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";

pub async fn run(get: Get) -> Result<()> {
    let client = Client::connect(&get.connection)?;
    let targets = Target::parse_list(&get.kind, get.name.as_deref())?;
    if get.all_namespaces && targets.iter().any(|target| target.name.is_some()) {
        bail!("an object cannot be named together with --all-namespaces");
    }
    let namespace = (!get.all_namespaces).then(|| {
        get.namespace.namespace.clone().unwrap_or_else(|| client.default_namespace().to_owned())
    });
    let namespace = namespace.as_deref();
    match &targets[..] {
        [target] if get.watch => watch_one(&client, &get, target, namespace).await,
        _ if get.watch => bail!("a watch follows one kind"),
        [target] => {
            let answer = fetch(&client, &get, target, namespace).await?;
            if is_empty_table(&answer) {
                say_nothing_found(Some(target), namespace);
                return Ok(());
            }
            print(&answer, &get, target, &mut printer(&get, target, false))
        }
        several => get_several(&client, &get, several, namespace).await,
    }
}

/// Tables one below the other, or one list of all objects.
async fn get_several(
    client: &Client,
    get: &Get,
    targets: &[Target],
    namespace: Option<&str>,
) -> Result<()> {
    let mut items: Vec<Value> = Vec::new();
    let mut printed = false;
    for target in targets {
        let mut answer = fetch(client, get, target, namespace).await?;
        match get.output {
            Output::Table | Output::Wide if is_empty_table(&answer) => {}
            Output::Table | Output::Wide => {
                if std::mem::replace(&mut printed, true) {
                    out::print("\n")?;
                }
                print(&answer, get, target, &mut printer(get, target, true))?;
            }
            Output::Name => print(&answer, get, target, &mut printer(get, target, true))?,
            Output::Yaml | Output::Json => match answer["items"].as_array_mut() {
                Some(found) => items.append(found),
                None => items.push(answer),
            },
        }
    }
    match get.output {
        Output::Table | Output::Wide if !printed => say_nothing_found(None, namespace),
        Output::Yaml | Output::Json => {
            let list = json!({"apiVersion": "v1", "kind": "List", "items": items});
            print(&list, get, &targets[0], &mut Printer::default())?;
        }
        _ => {}
    }
    Ok(())
}

async fn watch_one(
    client: &Client,
    get: &Get,
    target: &Target,
    namespace: Option<&str>,
) -> Result<()> {
    let path = request(get, target, namespace);
    let headers = [("accept", accept(get))];
    let response = client.open(Method::GET, &path, &headers, Bytes::new()).await?;
    let mut printer = printer(get, target, false);
    let events = watch(response, |object| print(object, get, target, &mut printer).map(|()| false));
    tokio::select! {
        result = events => result,
        () = out::reader_gone() => Ok(()),
    }
}

async fn fetch(
    client: &Client,
    get: &Get,
    target: &Target,
    namespace: Option<&str>,
) -> Result<Value> {
    let path = request(get, target, namespace);
    client.json(Method::GET, &path, &[("accept", accept(get))], Bytes::new()).await
}

fn accept(get: &Get) -> &'static str {
    match get.output {
        Output::Table | Output::Wide => TABLE,
        Output::Name | Output::Yaml | Output::Json => "application/json",
    }
}

/// Path and query.
fn request(get: &Get, target: &Target, namespace: Option<&str>) -> String {
    let mut path = target.path(namespace);
    let mut query = Vec::new();
    if let Some(selector) = &get.selector {
        query.push(format!("labelSelector={}", query_escape(selector)));
    }
    let mut fields = get.field_selector.clone().unwrap_or_default();
    if get.watch
        && let Some(name) = &target.name
    {
        // A watch goes over the collection, narrowed down to the one object.
        path = Target { resource: target.resource, name: None }.path(namespace);
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
    path
}

fn printer(get: &Get, target: &Target, with_kind: bool) -> Printer {
    let with_namespace = get.all_namespaces && target.resource.scope == Scope::Namespaced;
    let mut printer = Printer::new(get.output == Output::Wide, with_namespace);
    printer.kind = with_kind.then(|| target.qualified_kind());
    printer
}

fn is_empty_table(answer: &Value) -> bool {
    answer["rows"].as_array().is_some_and(Vec::is_empty)
}

fn say_nothing_found(target: Option<&Target>, namespace: Option<&str>) {
    match namespace {
        Some(namespace) if target.is_none_or(|t| t.resource.scope == Scope::Namespaced) => {
            eprintln!("No resources found in {namespace} namespace.");
        }
        _ => eprintln!("No resources found"),
    }
}

fn print(object: &Value, get: &Get, target: &Target, printer: &mut Printer) -> Result<()> {
    match get.output {
        Output::Table | Output::Wide => out::print(&printer.render(object))?,
        Output::Json => out::print(&format!("{}\n", serde_json::to_string_pretty(object)?))?,
        Output::Yaml => out::print(&yaml::to_string(object))?,
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
