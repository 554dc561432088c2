//! Runs programs and keeps what they print.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

#[derive(Debug)]
pub struct Output {
    pub success: bool,
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .map(|dir| dir.join(program))
        .find(|file| file.is_file())
}

pub fn run(program: &str, arguments: &[&str]) -> Output {
    run_with(program, arguments, &[], None)
}

pub fn run_with(
    program: &str,
    arguments: &[&str],
    environment: &[(&str, &str)],
    input: Option<&str>,
) -> Output {
    let mut command = Command::new(find(program).unwrap_or_else(|| program.into()));
    command.args(arguments).envs(environment.iter().copied());
    command.stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() });
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{program}: {error}"));
    if let (Some(input), Some(mut stdin)) = (input, child.stdin.take()) {
        stdin.write_all(input.as_bytes()).expect("the program reads its input");
    }
    let output = child.wait_with_output().expect("the program ends");
    Output {
        success: output.status.success(),
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

pub fn run_ok(program: &str, arguments: &[&str]) -> String {
    let output = run(program, arguments);
    assert!(output.success, "{program} {arguments:?}: {}{}", output.stdout, output.stderr);
    output.stdout
}
