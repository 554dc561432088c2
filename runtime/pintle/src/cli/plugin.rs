//! `pintle plugin`: what can be said to and of plugins.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::Connection;

#[derive(Debug, Args)]
pub struct PluginCommand {
    #[command(flatten)]
    pub connection: Connection,
    #[command(subcommand)]
    pub action: PluginAction,
}

#[derive(Debug, Subcommand)]
pub enum PluginAction {
    /// Print all plugins
    List,
    /// Print one plugin whole, as YAML
    Get {
        /// Name of the plugin
        name: String,
    },
    /// Load a component as a new plugin
    Load {
        /// Name of the new plugin
        name: String,
        /// The component (.wasm)
        file: PathBuf,
        /// What it decides
        #[arg(long, value_parser = ["Controller", "Scheduler", "Admission", "CNI"], ignore_case = true)]
        role: String,
        /// Its configuration, as JSON
        #[arg(long, value_name = "JSON")]
        config: Option<String>,
        /// Grant what its manifest asks for, after printing it
        #[arg(long)]
        grant: bool,
    },
    /// Replace a plugin's component while it works
    Swap {
        /// Name of the plugin
        name: String,
        /// The component (.wasm); leave out with --embedded
        #[arg(required_unless_present = "embedded")]
        file: Option<PathBuf>,
        /// Go back to the one that is built into pintle
        #[arg(long, conflicts_with = "file")]
        embedded: bool,
    },
    /// Go back to the component that was active before the last swap
    Rollback {
        /// Name of the plugin
        name: String,
    },
    /// Unload and delete a plugin
    Rm {
        /// Name of the plugin
        name: String,
    },
}
