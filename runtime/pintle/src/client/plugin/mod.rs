//! `pintle plugin`: the Plugin objects, with the file handling that kubectl
//! lacks, and the tools of those who write plugins.

mod change;
mod columns;
mod component;
mod diff;
mod inspect;
mod keys;
mod load;
mod project;
mod promote;
mod publish;
mod record;
mod remembered;
mod replay;
mod sdk;

use std::process::ExitCode;

use anyhow::Result;
use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};

use crate::cli::{PluginAction, PluginCommand};
use crate::client::http::Client;
use crate::client::table::Printer;

const PLUGINS: &str = "/apis/plugins.pintle.dev/v1alpha1/plugins";
const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";

pub async fn run(command: PluginCommand) -> Result<ExitCode> {
    let connect = || Client::connect(&command.connection);
    match command.action {
        PluginAction::Record(args) => return record::run(&connect()?, &args).await,
        PluginAction::Replay(args) => return replay::run(args).await,
        PluginAction::Diff { name, output } => {
            diff::run(&connect()?, &name, output.is_some()).await
        }
        PluginAction::List => list(&connect()?).await,
        PluginAction::Get { name } => get(&connect()?, &name).await,
        PluginAction::Load { name, component, role, grant, version } => {
            load::load(&connect()?, &name, &component, role, grant, &version).await
        }
        PluginAction::Swap { name, component, embedded: _, version } => {
            load::swap(&connect()?, &name, component.as_deref(), &version).await
        }
        PluginAction::Rollback { name } => load::rollback(&connect()?, &name).await,
        PluginAction::Promote { name } => promote::run(&connect()?, &name).await,
        PluginAction::Rm { name } => {
            let path = format!("{PLUGINS}/{name}");
            connect()?.json(Method::DELETE, &path, &[], Bytes::new()).await?;
            println!("plugin.plugins.pintle.dev/{name} deleted");
            Ok(())
        }
        PluginAction::New { name, role, sdk } => project::new(&name, role, sdk.as_deref()),
        PluginAction::Build { project } => project::build(&project).map(drop),
        PluginAction::Test { project, arguments } => project::test(&project, &arguments),
        PluginAction::Pack { component, output, about } => {
            publish::pack(&component, output.as_deref(), &about)
        }
        PluginAction::Push { reference, component, sign, insecure, about } => {
            publish::push(&reference, &component, sign.as_deref(), insecure, &about).await
        }
        PluginAction::Inspect { component, insecure, public_key, json } => {
            inspect::run(&component, insecure, &public_key, json).await
        }
        PluginAction::Sign { file, key } => keys::sign(&file, &key),
        PluginAction::Keygen { name } => keys::generate(&name),
    }
    .map(|()| ExitCode::SUCCESS)
}

async fn list(client: &Client) -> Result<()> {
    let table = client.json(Method::GET, PLUGINS, &[("accept", TABLE)], Bytes::new()).await?;
    print!("{}", Printer::new(false, false).render(&table));
    Ok(())
}

async fn get(client: &Client, name: &str) -> Result<()> {
    let mut plugin = client.get(&format!("{PLUGINS}/{name}")).await?;
    shorten(&mut plugin["spec"]["source"]);
    let annotations = plugin.pointer_mut("/metadata/annotations");
    if let Some(annotations) = annotations.and_then(Value::as_object_mut) {
        annotations.remove(change::PREVIOUS);
    }
    print!("{}", pintle_api::yaml::to_string(&plugin));
    Ok(())
}

fn shorten(source: &mut Value) {
    let data = source.pointer_mut("/inline/data");
    if let Some(data) = data
        && let Some(text) = data.as_str()
    {
        *data = json!(format!("<{} bytes>", text.len() / 4 * 3));
    }
}
