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
mod node;
mod run;
mod server;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use crate::cli::{Cli, Command};

// The default allocator keeps what peaks leave behind; this one gives it back.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match cli.command {
        Command::Up(run) => run::start(run, run::Parts::Both),
        Command::Server(run) => run::start(run, run::Parts::Server),
        Command::Agent(run) => run::start(run, run::Parts::Node),
        Command::Reset(reset) => node::reset(reset),
        Command::Image(command) => image::run(command),
        Command::CompileComponent => compiler::run(),
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "pintle", &mut std::io::stdout());
            return ExitCode::SUCCESS;
        }
        other => client::run(other),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            // One line with all causes: what failed, and why.
            eprintln!("pintle: {error:#}");
            ExitCode::FAILURE
        }
    }
}
