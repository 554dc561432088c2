//! `pintle reset`: the end of a node. Containers outlive their agent by design,
//! so somebody has to be able to end them without one.

use std::process::ExitCode;

use anyhow::{Context, Result};
use pintle_agent::Agent;
use pintle_plugin_host::source::Sources;

use super::{agent_config, cni, node_dir};
use crate::cli::Reset;
use crate::compiler;
use crate::config::Settings;

pub fn reset(reset: Reset) -> Result<ExitCode> {
    let data_dir = crate::config::data_dir(reset.data_dir.as_deref());
    let dir = node_dir(&data_dir);
    let there =
        dir.try_exists().with_context(|| format!("cannot look for a node in {}", dir.display()))?;
    if !there {
        println!("there is no node in {}", data_dir.display());
        return Ok(ExitCode::SUCCESS);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    // The name only labels what is recorded; a node that ends needs no other.
    let settings = Settings {
        data_dir: Some(data_dir.clone()),
        node_name: Some("reset".into()),
        ..Settings::default()
    };
    let network = cni::load(&data_dir, compiler::own(), Sources::default())?;
    let config = agent_config(&settings, "127.0.0.1", network)?;
    let pods = runtime.block_on(async { anyhow::Ok(Agent::open(config)?.reset().await) })?;
    std::fs::remove_dir_all(&dir)
        .with_context(|| format!("{} cannot be removed", dir.display()))?;
    println!("removed {pods} pods and the node's state; its images stay in {}", data_dir.display());
    Ok(ExitCode::SUCCESS)
}
