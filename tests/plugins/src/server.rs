//! The real server, on the loopback, with a data directory of its own.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::api::{Access, Api};

/// Ends, and takes its files along, when dropped.
pub struct Server {
    child: Child,
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
        let log = std::fs::File::create(directory.path().join("log")).expect("a log");
        let mut child = Command::new(pintle_e2e::bin_dir().join("pintle"))
            .args(["server", "--listen", "127.0.0.1:0", "--node-listen", "127.0.0.1:0"])
            .arg("--data-dir")
            .arg(&data)
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .expect("the binary starts");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("stdout is piped");
        let read = BufReader::new(stdout).read_line(&mut line);
        if read.is_err() || !line.starts_with("ready") {
            let _ = child.kill();
            let _ = child.wait();
            panic!("the server did not get ready: {line}{}", log_of(directory.path()));
        }
        let kubeconfig = line.split_whitespace().find_map(|word| word.strip_prefix("kubeconfig="));
        let access = Access::from_kubeconfig(Path::new(kubeconfig.expect("a kubeconfig")));
        Self { child, access, directory }
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
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn log_of(directory: &Path) -> String {
    let log = std::fs::read_to_string(directory.join("log")).unwrap_or_default();
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(60)..].join("\n")
}
