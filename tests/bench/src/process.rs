//! Starts the real binary and looks at it from outside.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::client::Access;

pub struct Pintle {
    child: Child,
    pub started_in: Duration,
    pub access: Option<Access>,
    pub node_address: Option<String>,
}

/// `target/release/pintle` beside this program, or $PINTLE_BIN.
pub fn binary() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("PINTLE_BIN") {
        return Ok(path.into());
    }
    let path = std::env::current_exe()?.with_file_name("pintle");
    if !path.is_file() {
        bail!("{} is missing: run `cargo build --release` first", path.display());
    }
    Ok(path)
}

impl Pintle {
    /// Starts `pintle COMMAND` and waits for its `ready` line.
    pub fn start(command: &str, data_dir: &Path, more: &[&str]) -> Result<Self> {
        let began = Instant::now();
        let log = std::fs::File::create(data_dir.with_extension("log"))?;
        let mut child = Command::new(binary()?)
            .arg(command)
            .arg("--data-dir")
            .arg(data_dir)
            .args(more)
            .env("PINTLE_LOG", "warn")
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()?;
        let mut line = String::new();
        let stdout = child.stdout.take().context("stdout is piped")?;
        BufReader::new(stdout).read_line(&mut line)?;
        if !line.starts_with("ready") {
            let _ = child.kill();
            let log = std::fs::read_to_string(data_dir.with_extension("log"))?;
            bail!("pintle {command} did not start: {log}");
        }
        let started_in = began.elapsed();
        let word = |key: &str| {
            line.split_whitespace().find_map(|w| w.strip_prefix(key)).map(str::to_owned)
        };
        let access = match word("kubeconfig=") {
            Some(path) => Some(Access::from_kubeconfig(Path::new(&path))?),
            None => None,
        };
        Ok(Self { child, started_in, access, node_address: word("nodes=") })
    }

    pub fn server(data_dir: &Path) -> Result<Self> {
        Self::start(
            "server",
            data_dir,
            &["--listen", "127.0.0.1:0", "--node-listen", "127.0.0.1:0"],
        )
    }

    pub fn access(&self) -> &Access {
        self.access.as_ref().expect("a server has a kubeconfig")
    }

    pub fn resident_mb(&self) -> f64 {
        resident_kb(self.child.id()) as f64 / 1024.0
    }

    /// Processor time used so far.
    pub fn cpu(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()));
        let stat = stat.unwrap_or_default();
        // Fields 14 and 15, counted behind the name in parentheses (proc(5)); 100 ticks a second.
        let rest = stat.rsplit(')').next().unwrap_or_default();
        let fields: Vec<u64> =
            rest.split_whitespace().map(|field| field.parse().unwrap_or(0)).collect();
        let ticks = fields.get(11).unwrap_or(&0) + fields.get(12).unwrap_or(&0);
        Duration::from_millis(ticks * 10)
    }

    pub fn stop(mut self) {
        let pid = nix::unistd::Pid::from_raw(self.child.id() as i32);
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
        let _ = self.child.wait();
    }

    /// At once, without a chance to tidy up: what dropping does anyway.
    pub fn kill(self) {}
}

impl Drop for Pintle {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `VmRSS` of a process.
pub fn resident_kb(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .and_then(|rest| rest.split_whitespace().next()?.parse().ok())
        .unwrap_or(0)
}
