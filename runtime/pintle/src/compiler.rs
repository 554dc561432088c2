//! Plugins are compiled by another process of this very program, so that the
//! memory which that takes is gone afterwards.

use std::process::ExitCode;

use pintle_plugin_host::Compiler;

/// As the command line knows it.
const SUBCOMMAND: &str = "compile-component";

/// This program under the name that stays right when its file is replaced:
/// what compiles must have the engine of what runs.
pub fn own() -> Compiler {
    Compiler::Program { program: "/proc/self/exe".into(), arguments: vec![SUBCOMMAND.into()] }
}

/// The part of the child.
pub fn run() -> ExitCode {
    match pintle_plugin_host::compile_stdin() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Shown on the Plugin object, where this program's name says nothing.
            eprintln!("{:#}", anyhow::Error::from(error));
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};

    #[test]
    fn the_child_understands_what_it_is_told() {
        let cli = Cli::try_parse_from(["pintle", SUBCOMMAND]).unwrap();
        assert!(matches!(cli.command, Command::CompileComponent));
    }
}
