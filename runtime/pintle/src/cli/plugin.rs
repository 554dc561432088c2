//! `pintle plugin`: what can be said to and of plugins.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use pintle_plugin_host::plugin::Role;

use super::{Connection, object_name};

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
        #[arg(value_parser = object_name)]
        name: String,
    },
    /// Load a component as a new plugin
    Load {
        /// Name of the new plugin
        #[arg(value_parser = object_name)]
        name: String,
        /// The component: a file (.wasm), a built project, or oci://REGISTRY/REPOSITORY:TAG
        component: String,
        /// What it decides [default: what it exports]
        #[arg(long, value_parser = role, value_name = "ROLE")]
        role: Option<Role>,
        /// Grant what its manifest asks for, after printing it
        #[arg(long)]
        grant: bool,
        #[command(flatten)]
        version: Version,
    },
    /// Replace a plugin's component while it works
    Swap {
        /// Name of the plugin
        #[arg(value_parser = object_name)]
        name: String,
        /// The component, as for `load`; leave out with --embedded
        #[arg(required_unless_present = "embedded")]
        component: Option<String>,
        /// Go back to the one that is built into pintle
        #[arg(long, conflicts_with = "component")]
        embedded: bool,
        #[command(flatten)]
        version: Version,
    },
    /// Go back to the component that was active before the last swap
    Rollback {
        /// Name of the plugin
        #[arg(value_parser = object_name)]
        name: String,
    },
    /// Let the version decide that is compared, or was and waits
    Promote {
        /// Name of the plugin
        #[arg(value_parser = object_name)]
        name: String,
    },
    /// Record what a plugin is given and what it answers, into a file
    ///
    /// A recorder runs beside the plugin with the same component and configuration. The values of
    /// Secrets are replaced in what it is given, so that the file can be handed on. It records
    /// until --for is over or you press Ctrl-C. Nodes run CNI plugins, so these cannot be recorded.
    Record(RecordArgs),
    /// Make the calls of a recording again, without a cluster, and compare the answers
    ///
    /// Exits with 0 if all answers are identical, 1 if one differs, 2 if the file or the component
    /// cannot be used.
    Replay(ReplayArgs),
    /// Print what a candidate decided otherwise than the version that decides, side by side
    Diff {
        /// Name of the plugin
        #[arg(value_parser = object_name)]
        name: String,
        /// How to print
        #[arg(short, long, value_parser = ["json"], value_name = "json")]
        output: Option<String>,
    },
    /// Unload and delete a plugin
    Rm {
        /// Name of the plugin
        #[arg(value_parser = object_name)]
        name: String,
    },
    /// Make a project for a new plugin
    New {
        /// Name of the plugin, and of the folder that is made
        name: String,
        /// What it decides: controller, scheduler, scheduler-extension, admission, authorizer, cni
        #[arg(long, value_parser = role, value_name = "ROLE")]
        role: Role,
        /// A checkout of pintle whose SDK is used [default: the SDK inside this program]
        #[arg(long, value_name = "DIR")]
        sdk: Option<PathBuf>,
    },
    /// Build a plugin project into a component
    Build {
        /// The project
        #[arg(default_value = ".", value_name = "DIR")]
        project: PathBuf,
    },
    /// Run the tests of a plugin project
    Test {
        /// The project
        #[arg(default_value = ".", value_name = "DIR")]
        project: PathBuf,
        /// What `cargo test` gets besides, after `--`
        #[arg(last = true, value_name = "ARGUMENT")]
        arguments: Vec<String>,
    },
    /// Pack a component into an OCI artifact, as a tar or a folder
    Pack {
        /// A component (.wasm) or a built project
        #[arg(default_value = ".", value_name = "FILE|DIR")]
        component: PathBuf,
        /// Where to: a tar if it ends so, else a folder [default: beside the component]
        #[arg(short, long, value_name = "PATH")]
        output: Option<PathBuf>,
        #[command(flatten)]
        about: About,
    },
    /// Push a component to a registry
    Push {
        /// Where to: REGISTRY/REPOSITORY:TAG
        reference: String,
        /// A component (.wasm), a built project, or what `pack` made
        #[arg(default_value = ".", value_name = "FILE|DIR")]
        component: PathBuf,
        /// Sign it with this private key
        #[arg(long, value_name = "KEY")]
        sign: Option<PathBuf>,
        /// The registry speaks plain HTTP
        #[arg(long)]
        insecure: bool,
        #[command(flatten)]
        about: About,
    },
    /// Print what a component is, asks for and imports
    Inspect {
        /// A file (.wasm), a built project, what `pack` made, or oci://REGISTRY/REPOSITORY:TAG
        component: String,
        /// The registry speaks plain HTTP
        #[arg(long)]
        insecure: bool,
        /// Check its signatures with this public key
        #[arg(long, value_name = "FILE")]
        public_key: Vec<PathBuf>,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Sign a component; prints what goes into spec.signature
    Sign {
        /// The component (.wasm)
        file: PathBuf,
        /// The private key
        #[arg(long, value_name = "KEY")]
        key: PathBuf,
    },
    /// Make a key to sign components with: NAME.key and NAME.pub
    Keygen {
        /// Path of the files, without their endings
        #[arg(default_value = "pintle-plugins", value_name = "NAME")]
        name: PathBuf,
    },
}

#[derive(Debug, Args)]
pub struct RecordArgs {
    /// Name of the plugin
    #[arg(value_parser = object_name)]
    pub name: String,
    /// File to write, readable by you alone
    #[arg(short, long, value_name = "FILE")]
    pub output: PathBuf,
    /// Stop after so long: 30s, 5m
    #[arg(long = "for", value_parser = super::duration, value_name = "DURATION")]
    pub duration: Option<u64>,
    /// Record the values of Secrets as they are; you must be allowed to list them
    #[arg(long)]
    pub secrets: bool,
    /// Leave the component out; a replay needs --with then
    #[arg(long)]
    pub without_component: bool,
}

#[derive(Debug, Args)]
pub struct ReplayArgs {
    /// What `pintle plugin record` wrote
    pub file: PathBuf,
    /// Another component (.wasm) than the recorded one
    #[arg(long, value_name = "FILE")]
    pub with: Option<PathBuf>,
    /// Laid over the recorded configuration
    #[arg(long, value_name = "JSON")]
    pub config: Option<String>,
    /// Replay a file that is cut as far as it goes
    #[arg(long)]
    pub partial: bool,
    /// Print the whole report as JSON
    #[arg(long)]
    pub json: bool,
}

/// What can be said of the version that is loaded or swapped in.
#[derive(Debug, Default, Args)]
pub struct Version {
    /// Its configuration, as JSON
    #[arg(long, value_name = "JSON")]
    pub config: Option<String>,
    /// Scheduler extensions: how much its scores count
    #[arg(long, value_name = "NUMBER")]
    pub weight: Option<u32>,
    /// Its signature in base64, or a file that holds it
    #[arg(long, value_name = "TEXT|FILE")]
    pub signature: Option<String>,
    /// Only load what is signed with this public key (PEM); one of them if several are given
    #[arg(long, value_name = "FILE")]
    pub public_key: Vec<PathBuf>,
    /// The registry speaks plain HTTP
    #[arg(long)]
    pub insecure: bool,
    /// Secret of type kubernetes.io/dockerconfigjson with which the server pulls
    #[arg(long, value_name = "NAMESPACE/NAME")]
    pub pull_secret: Option<String>,
}

/// What an artifact says of itself to people.
#[derive(Debug, Default, Args)]
pub struct About {
    /// Title [default: the component's own name]
    #[arg(long, value_name = "TEXT")]
    pub title: Option<String>,
    /// One line on what it does
    #[arg(long, value_name = "TEXT")]
    pub description: Option<String>,
    /// A further annotation
    #[arg(long, value_name = "NAME=VALUE")]
    pub annotation: Vec<String>,
}

/// `scheduler-extension`, `SchedulerExtension`, `cni`.
fn role(text: &str) -> Result<Role, String> {
    let plain = |text: &str| text.replace(['-', '_'], "").to_lowercase();
    Role::ALL.into_iter().find(|role| plain(role.as_str()) == plain(text)).ok_or_else(|| {
        let known: Vec<String> = Role::ALL.into_iter().map(kebab).collect();
        format!("there is no role {text:?}; there are {}", known.join(", "))
    })
}

/// `SchedulerExtension` as people type it.
pub fn kebab(role: Role) -> String {
    let text = role.as_str();
    let mut kebab = String::new();
    for (at, letter) in text.char_indices() {
        let begins = letter.is_uppercase() && text[..at].ends_with(char::is_lowercase);
        kebab.extend(begins.then_some('-'));
        kebab.extend(letter.to_lowercase());
    }
    kebab
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_are_known_by_what_people_type() {
        let check = |text: &str, expect: Option<Role>| {
            assert_eq!(role(text).ok(), expect, "{text}");
        };
        check("controller", Some(Role::Controller));
        check("Controller", Some(Role::Controller));
        check("CNI", Some(Role::Cni));
        check("cni", Some(Role::Cni));
        check("authorizer", Some(Role::Authorizer));
        check("emperor", None);
        for known in Role::ALL {
            check(&kebab(known), Some(known));
        }
        assert_eq!(kebab(Role::Cni), "cni");
    }
}
