//! Runs programs and keeps what they print.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::environment::hermetic;

#[derive(Debug)]
pub struct Output {
    pub success: bool,
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// Where a program is, in the search path or where system programs are.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .chain(["/usr/local/sbin".into(), "/usr/sbin".into(), "/sbin".into()])
        .map(|dir| dir.join(program))
        .find(|file| file.is_file())
}

pub fn run(program: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(find(program).unwrap_or_else(|| program.into()));
    command.args(arguments);
    hermetic(&mut command, Path::new("/nonexistent"));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    output_of(command)
}

pub fn run_ok(program: &str, arguments: &[&str]) -> String {
    let output = run(program, arguments);
    assert!(output.success, "{program} {arguments:?}: {}{}", output.stdout, output.stderr);
    output.stdout
}

pub(crate) fn output_of(mut command: Command) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    Output {
        success: output.status.success(),
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}
