//! The OCI runtime's command line.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::protocol::{Fault, FaultCode};
use crate::sys::Status;

/// Bytes of a runtime's log that are looked at for its last error.
const LOG_TAIL: u64 = 8 << 10;

#[derive(Debug, Clone)]
pub struct Runtime {
    pub binary: PathBuf,
    /// The runtime's own state, the pod's alone.
    pub root: PathBuf,
}

impl Runtime {
    fn command(&self, log: &Path) -> Command {
        let mut command = Command::new(&self.binary);
        command.arg("--root").arg(&self.root);
        command.arg("--log").arg(log).args(["--log-format", "json"]);
        command
    }

    /// Creates and starts in one go: no use is made of the gap between the two, and one process
    /// is a quarter faster than two.
    pub fn run(
        &self,
        id: &str,
        bundle: &Path,
        pid_file: &Path,
        log: &Path,
        console: Option<&str>,
    ) -> Command {
        let mut command = self.command(log);
        command.args(["run", "--detach", "--bundle"]).arg(bundle);
        command.arg("--pid-file").arg(pid_file);
        if let Some(console) = console {
            command.args(["--console-socket", console]);
        }
        command.arg(id);
        command
    }

    pub fn exec(
        &self,
        id: &str,
        process: &Path,
        pid_file: &Path,
        log: &Path,
        console: Option<&str>,
    ) -> Command {
        let mut command = self.command(log);
        command.args(["exec", "--detach", "--process"]).arg(process);
        command.arg("--pid-file").arg(pid_file);
        if let Some(console) = console {
            command.args(["--console-socket", console]);
        }
        command.arg(id);
        command
    }

    /// Only for containers without processes: with them it takes ten times as long.
    pub fn delete(&self, id: &str, log: &Path) -> Command {
        let mut command = self.command(log);
        command.args(["delete", "--force", id]);
        command
    }
}

/// What a failed runtime command says, from its log.
pub fn fault(action: &str, status: Status, log: &Path) -> Fault {
    if let Some(signal) = status.signal {
        return Fault::new(
            FaultCode::RuntimeKilled,
            format!(
                "the OCI runtime was killed by signal {signal} at: {action}; what it left was removed"
            ),
        );
    }
    let message =
        last_error(log).unwrap_or_else(|| format!("no message, exit code {}", status.code));
    Fault::new(FaultCode::Runtime, format!("{action}: {message}"))
}

fn last_error(log: &Path) -> Option<String> {
    let text = tail(log).ok()?;
    text.lines().rev().find_map(|line| {
        let entry: serde_json::Value = serde_json::from_str(line).ok()?;
        let level = entry.get("level")?.as_str()?;
        matches!(level, "error" | "fatal").then(|| Some(entry.get("msg")?.as_str()?.to_owned()))?
    })
}

fn tail(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(LOG_TAIL)))?;
    let mut bytes = Vec::new();
    file.take(LOG_TAIL).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_error_is_the_message() {
        let check = |log: &str, expect: &str| {
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), log).unwrap();
            let status = Status { code: 1, signal: None };
            assert_eq!(fault("start", status, file.path()).message, expect);
        };
        check(
            "{\"level\":\"error\",\"msg\":\"old\"}\n{\"level\":\"error\",\"msg\":\"exec: \\\"x\\\": not found\"}\n{\"level\":\"debug\",\"msg\":\"d\"}\n",
            "start: exec: \"x\": not found",
        );
        check("garbage\n{\"level\":3}\n", "start: no message, exit code 1");
    }
}
