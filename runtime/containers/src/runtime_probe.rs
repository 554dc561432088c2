//! Choosing the OCI runtime.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Tried in this order. crun is faster but refuses some hybrid cgroup setups at run time, which a
/// probe cannot see without starting a container, so runc comes first.
const KNOWN: [&str; 3] = ["runc", "crun", "youki"];

#[derive(Debug, thiserror::Error)]
pub enum RuntimeProbeError {
    #[error(
        "no OCI runtime found in PATH (tried runc, crun, youki): install runc, or set its path"
    )]
    None,
    #[error("cannot run the OCI runtime {}", path.display())]
    Run {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("{} does not answer --version as an OCI runtime does: {output}", path.display())]
    NotARuntime { path: PathBuf, output: String },
}

/// The absolute path of a runtime that answers: the configured one or none other, else the first
/// known one in PATH. Blocks.
pub fn probe_runtime(configured: Option<&Path>) -> Result<PathBuf, RuntimeProbeError> {
    if let Some(path) = configured {
        let found = locate(path).unwrap_or_else(|| path.to_owned());
        return answers(&found).map(|()| found);
    }
    KNOWN
        .iter()
        .filter_map(|name| locate(Path::new(name)))
        .find(|path| answers(path).is_ok())
        .ok_or(RuntimeProbeError::None)
}

fn locate(name: &Path) -> Option<PathBuf> {
    if name.is_absolute() {
        return Some(name.to_owned());
    }
    let path = std::env::var_os("PATH")?;
    // System directories are often missing from a service's PATH.
    std::env::split_paths(&path)
        .chain(["/usr/local/sbin".into(), "/usr/sbin".into(), "/sbin".into()])
        .map(|dir| dir.join(name))
        .find(|candidate| candidate.is_file())
}

fn answers(path: &Path) -> Result<(), RuntimeProbeError> {
    let output = Command::new(path)
        .arg("--version")
        .output()
        .map_err(|source| RuntimeProbeError::Run { path: path.to_owned(), source })?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() && text.contains("version") {
        return Ok(());
    }
    Err(RuntimeProbeError::NotARuntime {
        path: path.to_owned(),
        output: text.lines().next().unwrap_or_default().to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_is_no_runtime_is_refused() {
        let check = |path: &str| probe_runtime(Some(Path::new(path))).unwrap_err();
        assert!(matches!(check("/bin/false"), RuntimeProbeError::NotARuntime { .. }));
        assert!(matches!(check("/nonexistent/runc"), RuntimeProbeError::Run { .. }));
    }
}
