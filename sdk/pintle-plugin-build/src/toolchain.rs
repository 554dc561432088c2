//! Which Rust builds the guests: rustup's with the target added, or Debian's.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{Error, LINKER, TARGET};

/// Where Debian's packages put what rustup would have put elsewhere.
const DEBIAN_LLVM: &str = "/usr/lib/llvm-22/bin";
const DEBIAN_LINKER: &str = "/usr/lib/rustlib/x86_64-unknown-linux-gnu/bin/wasm-component-ld";
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
const DEBIAN_CARGO: &str = "/usr/bin/cargo";

/// A Rust that can build for the plugins' target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Toolchain {
    /// The target's standard library is installed beside the compiler.
    Installed { cargo: OsString },
    /// Debian's `rustc-web`, `cargo-web`, `rust-web-src` and `lld-22`: the
    /// standard library is compiled from source along with the guests.
    Debian,
}

impl Toolchain {
    /// The first way that works on this machine, adding the target if that is
    /// all that is missing.
    pub fn find() -> Result<Self, Error> {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        if has_target()? {
            return Ok(Self::Installed { cargo });
        }
        let rustup = match add_target() {
            Ok(()) if has_target()? => return Ok(Self::Installed { cargo }),
            Ok(()) => "it reported success, but the compiler in use is another one".to_owned(),
            Err(reason) => reason,
        };
        match debian_missing() {
            None => Ok(Self::Debian),
            Some(missing) => {
                Err(Error::NoToolchain { rustup, debian: format!("{missing} is missing") })
            }
        }
    }

    pub(crate) fn cargo(&self) -> Command {
        match self {
            Self::Installed { cargo } => Command::new(cargo),
            Self::Debian => {
                let mut command = Command::new(DEBIAN_CARGO);
                command
                    .env("RUSTC", DEBIAN_RUSTC)
                    // Building the standard library is a nightly option of a compiler that has all it takes.
                    .env("RUSTC_BOOTSTRAP", "1")
                    .env("PATH", format!("{DEBIAN_LLVM}:/usr/bin:/bin"))
                    .env_remove("RUSTUP_TOOLCHAIN")
                    .env_remove("CARGO");
                command
            }
        }
    }

    pub(crate) fn arguments(&self, command: &mut Command) {
        if *self == Self::Debian {
            command.arg("-Zbuild-std=std,panic_abort");
        }
    }

    pub(crate) fn linker(&self) -> &'static str {
        match self {
            Self::Installed { .. } => LINKER,
            Self::Debian => DEBIAN_LINKER,
        }
    }
}

/// Whether the compiler that cargo will use has the target's standard library.
fn has_target() -> Result<bool, Error> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(&rustc)
        .args(["--print", "target-libdir", "--target", TARGET])
        .output()
        .map_err(|source| Error::Spawn { program: rustc.to_string_lossy().into_owned(), source })?;
    let directory = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
    Ok(output.status.success() && holds_core(&directory))
}

fn holds_core(directory: &Path) -> bool {
    let Ok(entries) = std::fs::read_dir(directory) else { return false };
    entries.flatten().any(|entry| entry.file_name().to_string_lossy().starts_with("libcore-"))
}

fn add_target() -> Result<(), String> {
    let output = Command::new("rustup")
        .args(["target", "add", TARGET])
        .output()
        .map_err(|error| format!("rustup: {error}"))?;
    if output.status.success() {
        Ok(())
    } else {
        let text = String::from_utf8_lossy(&output.stderr);
        Err(text
            .lines()
            .rev()
            .find(|line| !line.trim().is_empty())
            .unwrap_or("no message")
            .trim()
            .to_owned())
    }
}

fn debian_missing() -> Option<&'static str> {
    [DEBIAN_CARGO, DEBIAN_RUSTC, DEBIAN_LINKER, DEBIAN_LLVM]
        .into_iter()
        .find(|path| !Path::new(path).exists())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_without_the_core_library_does_not_count() {
        let directory = tempfile::tempdir().unwrap();
        assert!(!holds_core(&directory.path().join("absent")));
        assert!(!holds_core(directory.path()));
        std::fs::write(directory.path().join("libcore-1.rlib"), "").unwrap();
        assert!(holds_core(directory.path()));
    }
}
