//! The real server, on the loopback, with a data directory of its own.

use std::path::{Path, PathBuf};
use std::process::Command;

use pintle_e2e::{Process, bin_dir, hermetic};
use tempfile::TempDir;

use crate::api::{Access, Api};

/// Ends, and takes its files along, when dropped.
pub struct Server {
    // Dropped first: it writes into the directory.
    _process: Process,
    pub access: Access,
    directory: TempDir,
}

impl Server {
    /// Blocks until it is ready, which is when all plugins are loaded.
    pub fn start() -> Self {
        let directory = tempfile::Builder::new().prefix("pintle-swap-").tempdir();
        let directory = directory.expect("a temp dir");
        let data = directory.path().join("data");
        pintle_e2e::compiled::provide(&data);
        let mut command = Command::new(bin_dir().join("pintle"));
        hermetic(&mut command, directory.path());
        command.args(["server", "--listen", "127.0.0.1:0", "--node-listen", "127.0.0.1:0"]);
        command.arg("--data-dir").arg(&data);
        let (process, line) = Process::ready(command, &directory.path().join("log"));
        let kubeconfig = line.split_whitespace().find_map(|word| word.strip_prefix("kubeconfig="));
        let access = Access::from_kubeconfig(Path::new(kubeconfig.expect("a kubeconfig")));
        Self { _process: process, access, directory }
    }

    pub fn connect(&self) -> Api {
        self.access.connect()
    }

    /// For files that the server is to read.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The end of its log.
    pub fn log(&self) -> String {
        log_of(self.directory.path())
    }

    /// What it has compiled serves the next test too.
    pub fn keep_compiled(&self) {
        pintle_e2e::compiled::keep(&self.directory.path().join("data"));
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.log());
        }
    }
}

fn log_of(directory: &Path) -> String {
    let log = std::fs::read_to_string(directory.join("log")).unwrap_or_default();
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(60)..].join("\n")
}
