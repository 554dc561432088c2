//! The command line: what a person can say, and nothing of how it is done.

use std::path::PathBuf;

use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use pintle_api::names;

mod examples;
mod plugin;

pub use plugin::kebab as role_name;
pub use plugin::{
    About, PluginAction, PluginCommand, RecordArgs, ReplayArgs, Version as PluginVersion,
};

use crate::config::Settings;

/// An orchestrator with the Kubernetes API whose decisions are WebAssembly plugins.
///
/// Start a one-machine cluster with `pintle up`, then use kubectl with the
/// kubeconfig it names, or `pintle get pods` where there is no kubectl.
#[derive(Debug, Parser)]
#[command(name = "pintle", version, propagate_version = true, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

/// The command line as people see it: every command takes the settings of both
/// halves, so that one environment or file serves all, but shows only its own;
/// and shows how it is used.
pub fn command() -> clap::Command {
    let hide = |heading: &'static str| {
        move |arg: clap::Arg| {
            let other = arg.get_help_heading() == Some(heading);
            if other { arg.hide(true) } else { arg }
        }
    };
    examples::add(Cli::command())
        .mut_subcommand("server", |server| server.mut_args(hide("Node")))
        .mut_subcommand("agent", |agent| agent.mut_args(hide("Server")))
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run server and node in one process, in the foreground
    Up(Run),
    /// Run the server: API, storage, controllers, scheduler
    Server(Run),
    /// Run a node: joins a server and runs pods
    ///
    /// The first start needs --server and --join; later ones find both in the
    /// data directory.
    Agent(Run),
    /// Stop all containers of this node and remove what it holds; its agent must not run
    Reset(Reset),
    /// Create, list and revoke tokens with which nodes join
    Token(TokenCommand),
    /// Import, list and remove container images of this node
    Image(ImageCommand),
    /// See, load, swap and roll back plugins
    Plugin(PluginCommand),
    /// Print objects as a table, or as YAML or JSON
    Get(Get),
    /// Create objects from a file, or change them to what the file says
    Apply(Apply),
    /// Delete an object, or everything that a file names
    Delete(Delete),
    /// Print the log of a container
    Logs(Logs),
    /// Run a command in a container
    Exec(Exec),
    /// Compile the plugin on standard input; what the server starts to do it
    #[command(hide = true)]
    CompileComponent,
    /// Print the versions of this program and of the server
    Version(Connection),
    /// Print a completion script, e.g. `pintle completions bash > /etc/bash_completion.d/pintle`
    #[command(alias = "completion")]
    Completions {
        /// For this shell
        shell: Shell,
    },
}

#[derive(Debug, Args)]
pub struct Run {
    /// Configuration file (TOML); its keys are the names of these flags
    #[arg(long, env = "PINTLE_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    #[command(flatten)]
    pub settings: Settings,
}

#[derive(Debug, Args)]
pub struct Reset {
    /// Data directory of the node [default: /var/lib/pintle]
    #[arg(long, env = "PINTLE_DATA_DIR", value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
}

/// How to reach the server.
#[derive(Debug, Clone, Default, Args)]
pub struct Connection {
    /// Kubeconfig to use [default: $KUBECONFIG, the data directory's, ~/.kube/config]
    #[arg(long, env = "PINTLE_KUBECONFIG", value_name = "FILE", global = true)]
    pub kubeconfig: Option<PathBuf>,
    /// Data directory whose admin.kubeconfig is used when no other is given
    #[arg(long, env = "PINTLE_DATA_DIR", value_name = "DIR", global = true)]
    pub data_dir: Option<PathBuf>,
}

#[derive(Debug, Clone, Args)]
pub struct Namespace {
    /// Namespace [default: default]
    #[arg(short, long, value_name = "NAME", value_parser = object_name)]
    pub namespace: Option<String>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Output {
    #[default]
    Table,
    Wide,
    Name,
    Yaml,
    Json,
}

#[derive(Debug, Args)]
pub struct Get {
    /// Kind in any form that kubectl takes: pods, po, deployment, deploy/web, several with commas
    /// between them, or all
    #[arg(value_name = "KIND[/NAME]")]
    pub kind: String,
    /// Name of one object; all without it
    #[arg(value_parser = object_name)]
    pub name: Option<String>,
    #[command(flatten)]
    pub namespace: Namespace,
    /// All namespaces
    #[arg(short = 'A', long)]
    pub all_namespaces: bool,
    /// Label selector, `app=web,tier in (a,b)`
    #[arg(short = 'l', long, value_name = "SELECTOR")]
    pub selector: Option<String>,
    /// Field selector, `spec.nodeName=a,status.phase!=Running`
    #[arg(long, value_name = "SELECTOR")]
    pub field_selector: Option<String>,
    /// How to print
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
    /// Go on printing changes
    #[arg(short, long)]
    pub watch: bool,
    #[command(flatten)]
    pub connection: Connection,
}

#[derive(Debug, Args)]
pub struct Apply {
    /// YAML or JSON, several documents allowed; a folder of such files; `-` reads standard input
    #[arg(short, long, value_name = "FILE", required = true)]
    pub filename: Vec<PathBuf>,
    #[command(flatten)]
    pub namespace: Namespace,
    #[command(flatten)]
    pub connection: Connection,
}

#[derive(Debug, Args)]
pub struct Delete {
    /// Kind in any form that kubectl takes: pod, deployment, deploy/web
    #[arg(value_name = "KIND[/NAME]", required_unless_present = "filename")]
    pub kind: Option<String>,
    /// Name of the object
    #[arg(value_parser = object_name)]
    pub name: Option<String>,
    /// Deletes everything that this file or folder names; `-` reads standard input
    #[arg(short, long, value_name = "FILE", conflicts_with = "kind")]
    pub filename: Option<PathBuf>,
    #[command(flatten)]
    pub namespace: Namespace,
    /// Seconds that containers get to stop
    #[arg(long, value_name = "SECONDS")]
    pub grace_period: Option<i64>,
    #[command(flatten)]
    pub connection: Connection,
}

#[derive(Debug, Args)]
pub struct Logs {
    /// Name of a pod, or `deploy/web` for one of its pods
    #[arg(value_name = "POD")]
    pub pod: String,
    /// Container [default: the first]
    #[arg(short, long, value_name = "NAME")]
    pub container: Option<String>,
    /// Go on printing new lines
    #[arg(short, long)]
    pub follow: bool,
    /// Of the container before the last restart
    #[arg(short, long)]
    pub previous: bool,
    /// Only the last lines
    #[arg(long, value_name = "LINES")]
    pub tail: Option<u64>,
    /// Put the time before each line
    #[arg(long)]
    pub timestamps: bool,
    #[command(flatten)]
    pub namespace: Namespace,
    #[command(flatten)]
    pub connection: Connection,
}

#[derive(Debug, Args)]
pub struct Exec {
    /// Name of a pod, or `deploy/web` for one of its pods
    #[arg(value_name = "POD")]
    pub pod: String,
    /// Container [default: the first]
    #[arg(short, long, value_name = "NAME")]
    pub container: Option<String>,
    /// Pass standard input on
    #[arg(short = 'i', long)]
    pub stdin: bool,
    /// With a terminal
    #[arg(short = 't', long)]
    pub tty: bool,
    #[command(flatten)]
    pub namespace: Namespace,
    #[command(flatten)]
    pub connection: Connection,
    /// What to run, after `--`
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub command: Vec<String>,
}

#[derive(Debug, Args)]
pub struct TokenCommand {
    #[command(subcommand)]
    pub action: TokenAction,
}

#[derive(Debug, Subcommand)]
pub enum TokenAction {
    /// Make a token that one node can join with, and print it
    Create {
        /// Valid for so long: 30m, 24h
        #[arg(long, default_value = "24h", value_parser = duration, value_name = "DURATION")]
        ttl: u64,
        #[command(flatten)]
        connection: Connection,
    },
    /// Print the tokens that are still valid, without their secrets
    List {
        #[command(flatten)]
        connection: Connection,
    },
    /// Make a token useless
    Revoke {
        /// Its id from `pintle token list`, or the whole token
        id: String,
        #[command(flatten)]
        connection: Connection,
    },
}

/// What stands for one object in a path: without it the path would be that of
/// all objects of the kind.
pub fn object_name(text: &str) -> Result<String, String> {
    match names::path_segment(text) {
        _ if text.is_empty() => Err("a name cannot be empty".to_owned()),
        Some(problem) => Err(format!("a name {problem}")),
        None => Ok(text.to_owned()),
    }
}

/// Ten years; what lives longer is better made anew.
const MAX_SECONDS: u64 = 3650 * 86_400;

/// `90`, `90s`, `30m`, `24h`, `7d` in seconds.
fn duration(text: &str) -> Result<u64, String> {
    let (digits, unit) = match text.find(|c: char| !c.is_ascii_digit()) {
        Some(at) => text.split_at(at),
        None => (text, "s"),
    };
    let scale = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return Err(format!("{unit:?} is no unit; use s, m, h or d")),
    };
    let number: u64 = digits.parse().map_err(|_| "a number and a unit, like 24h".to_owned())?;
    number
        .checked_mul(scale)
        .filter(|s| (1..=MAX_SECONDS).contains(s))
        .ok_or_else(|| "must lie between 1s and 3650d".to_owned())
}

#[derive(Debug, Args)]
pub struct ImageCommand {
    /// Data directory of the node [default: /var/lib/pintle]
    #[arg(long, env = "PINTLE_DATA_DIR", value_name = "DIR", global = true)]
    pub data_dir: Option<PathBuf>,
    #[command(subcommand)]
    pub action: ImageAction,
}

#[derive(Debug, Subcommand)]
pub enum ImageAction {
    /// Import an OCI layout (folder or tar) or a docker archive
    Import {
        /// File or folder; `-` reads standard input
        path: PathBuf,
        /// Name to give the image, when the archive names none or another
        #[arg(long, value_name = "NAME[:TAG]")]
        name: Option<String>,
    },
    /// Print the images of this node
    List,
    /// Remove an image; its layers go when nothing else uses them
    Rm {
        /// Name as `pintle image list` prints it
        name: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        command().debug_assert();
    }

    #[test]
    fn everything_that_can_be_said_is_explained() {
        fn check(command: &clap::Command) {
            for arg in command.get_arguments().filter(|arg| !arg.is_hide_set()) {
                let name = format!("{} {}", command.get_name(), arg.get_id());
                assert!(arg.get_help().is_some(), "{name} has no help");
            }
            for below in command.get_subcommands().filter(|below| !below.is_hide_set()) {
                assert!(below.get_about().is_some(), "{} has no help", below.get_name());
                check(below);
            }
        }
        check(&command());
    }

    #[test]
    fn names_name_one_object() {
        for name in ["web-0", "system:node:n1", "Ä b?"] {
            assert_eq!(object_name(name).unwrap(), name);
        }
        for nameless in ["", ".", "..", "a/b", "a%2Fb"] {
            assert!(object_name(nameless).is_err(), "{nameless}");
            let rm = ["pintle", "plugin", "rm", nameless];
            assert!(command().try_get_matches_from(rm).is_err(), "{nameless}");
        }
    }

    #[test]
    fn durations_have_units() {
        let check = |text: &str, expect: Result<u64, &str>| {
            assert_eq!(duration(text), expect.map_err(str::to_owned), "{text}");
        };
        check("90", Ok(90));
        check("30m", Ok(1800));
        check("24h", Ok(86_400));
        check("1w", Err("\"w\" is no unit; use s, m, h or d"));
        check("h", Err("a number and a unit, like 24h"));
        check("0s", Err("must lie between 1s and 3650d"));
        check("9999999999999d", Err("must lie between 1s and 3650d"));
        check("99999d", Err("must lie between 1s and 3650d"));
    }
}
