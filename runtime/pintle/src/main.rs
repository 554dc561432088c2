//! The pintle binary: reads the command line and the environment, wires the
//! crates of `runtime/` together, and runs.
//!
//! `server/` is the server's wiring, `node/` the node's, `client/` the thin
//! command-line client. Nothing here decides anything: decisions are plugins',
//! mechanisms are the other crates'.

mod cli;
mod client;
mod compiler;
mod config;
mod embedded;
mod image;
mod memory;
mod node;
mod run;
mod server;
mod sources;

use std::process::ExitCode;

use clap::FromArgMatches;

use crate::cli::{Cli, Command};

// The default allocator keeps what peaks leave behind; this one gives it back.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let matches = cli::command().get_matches();
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let result = match cli.command {
        Command::Up(run) => run::start(run, run::Parts::Both),
        Command::Server(run) => run::start(run, run::Parts::Server),
        Command::Agent(run) => run::start(run, run::Parts::Node),
        Command::Reset(reset) => node::reset(reset),
        Command::Image(command) => image::run(command),
        Command::CompileComponent => return compiler::run(),
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut cli::command(), "pintle", &mut std::io::stdout());
            return ExitCode::SUCCESS;
        }
        other => client::run(other),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            // One line with all causes: what failed, and why.
            eprintln!("pintle: {}", printable(&format!("{error:#}")));
            ExitCode::FAILURE
        }
    }
}

/// Errors may quote what files and servers sent; a terminal must not obey it.
fn printable(text: &str) -> String {
    let shown = |c: char| match c {
        '\n' | '\t' => c.to_string(),
        c if c.is_control() => c.escape_default().to_string(),
        c => c.to_string(),
    };
    text.chars().map(shown).collect()
}

#[cfg(test)]
mod tests {
    use super::printable;

    #[test]
    fn errors_cannot_drive_the_terminal() {
        assert_eq!(printable("no \u{1b}[2J in\n  µ"), "no \\u{1b}[2J in\n  µ");
    }
}
