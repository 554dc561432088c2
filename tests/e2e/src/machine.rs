//! What the machine has to offer: programs, rights, the binaries under test.

use std::path::{Path, PathBuf};

use crate::command::{find, run};

/// Older ones do not know the aggregated discovery, nor `auth whoami`.
const KUBECTL_MINOR: u32 = 27;

/// Why the machine cannot run these tests; `None` when it can.
pub fn cannot_run() -> Option<String> {
    if !nix::unistd::geteuid().is_root() {
        return Some("root is needed for namespaces and containers".into());
    }
    for program in ["ip", "nsenter", "runc", "busybox", "tar"] {
        if find(program).is_none() {
            return Some(format!("{program} is not installed; run `make deps`"));
        }
    }
    None
}

/// Why there is no kubectl to test with; `None` when there is one.
pub fn cannot_run_kubectl() -> Option<String> {
    let needed = format!("kubectl 1.{KUBECTL_MINOR} or newer is not on PATH");
    if find("kubectl").is_none() {
        return Some(needed);
    }
    let output = run("kubectl", &["version", "--client", "-o", "json"]);
    let version: serde_json::Value = serde_json::from_str(&output.stdout).unwrap_or_default();
    let minor = version["clientVersion"]["minor"].as_str().unwrap_or_default();
    let minor = minor.trim_end_matches('+').parse().unwrap_or(0);
    (minor < KUBECTL_MINOR).then_some(needed)
}

/// Returns from the test with a line that says why, on machines that cannot run
/// it. Programs that it needs besides may be named.
#[macro_export]
macro_rules! require_machine {
    ($($program:literal),*) => {
        if let Some(why) = $crate::cannot_run() {
            eprintln!("skipped: {why}");
            return;
        }
        $(if $crate::find($program).is_none() {
            eprintln!("skipped: {} is not installed", $program);
            return;
        })*
    };
}

/// The same for tests that use kubectl.
#[macro_export]
macro_rules! require_kubectl {
    ($($program:literal),*) => {
        $crate::require_machine!($($program),*);
        if let Some(why) = $crate::cannot_run_kubectl() {
            eprintln!("skipped: {why}");
            return;
        }
    };
}

/// Folder of the binaries under test.
pub fn bin_dir() -> PathBuf {
    if let Some(dir) = std::env::var_os("PINTLE_BIN_DIR") {
        return dir.into();
    }
    // target/debug/deps/<this test> -> target/debug
    let own = std::env::current_exe().expect("a test has a path");
    let dir = own.ancestors().nth(2).expect("target/debug").to_owned();
    assert!(
        dir.join("pintle").is_file() && dir.join("pintle-shim").is_file(),
        "{} has no pintle and pintle-shim: run `cargo build` first (`make test` does)",
        dir.display()
    );
    dir
}

pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}
