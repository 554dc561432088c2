//! Builds plugin crates into WebAssembly components, from build scripts and tests.
//!
//! For: one call, [`build`], that turns cargo packages into component files no
//! matter how the Rust on this machine was installed. With rustup it adds the
//! `wasm32-unknown-unknown` target when it is missing; where rustup cannot
//! fetch it, Debian's own packages build the target's standard library from
//! source. Cargo's incremental state makes a call without changes cheap.
//!
//! Does not know: what a plugin is, which worlds exist, or any package by name.
//!
//! Read first: [`build`], then [`Toolchain`], which is the choice between the
//! two ways.

mod toolchain;

use std::path::{Path, PathBuf};
use std::process::Command;

pub use toolchain::Toolchain;

/// The one target plugins are built for: it has no system interface at all, so
/// a component imports exactly what its world names.
pub const TARGET: &str = "wasm32-unknown-unknown";

/// Vector instructions of the fixed kind: the same results on every machine,
/// and passes over columns cost about what they cost natively. Four vectors per
/// turn: at each turn of a loop the sandbox counts fuel and looks whether time is
/// up, which would cost more than the turn itself.
const RUSTFLAGS: &str = "-Ctarget-feature=+simd128 -Cllvm-args=-force-vector-interleave=4";

/// Joins the core module with its interface description while linking, so that
/// what cargo leaves behind is a component already.
const LINKER: &str = "wasm-component-ld";

/// One component that was built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Built {
    /// The package's name, as asked for.
    pub name: String,
    /// The component file.
    pub path: PathBuf,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot run {program}; is it installed and on PATH")]
    Spawn {
        program: String,
        #[source]
        source: std::io::Error,
    },
    #[error("building {packages} for {TARGET} failed ({status}):\n{output}")]
    Cargo { packages: String, status: String, output: String },
    #[error(
        "no way to build for {TARGET}: `rustup target add {TARGET}` did not succeed ({rustup}), and Debian's \
         toolchain is incomplete ({debian}); install either one: `rustup target add {TARGET}`, or \
         `apt-get install rustc-web cargo-web rust-web-src lld-22`"
    )]
    NoToolchain { rustup: String, debian: String },
    #[error(
        "package {package} was built but left no {path}; does its Cargo.toml say crate-type = [\"cdylib\"]"
    )]
    NoArtefact { package: String, path: PathBuf },
}

/// Builds `packages` of the workspace at `workspace_root` and returns their
/// component files, in the same order.
///
/// `target_dir` must not be the one of an outer cargo that is running, whose
/// lock it would wait for; `<workspace>/target/guests` is the usual place.
pub fn build(
    workspace_root: &Path,
    packages: &[&str],
    target_dir: &Path,
) -> Result<Vec<Built>, Error> {
    build_with(workspace_root, packages, &[], target_dir)
}

/// [`build`] with cargo features of the packages switched on. Another set of
/// features overwrites the component files, so copy what is to be kept.
pub fn build_with(
    workspace_root: &Path,
    packages: &[&str],
    features: &[&str],
    target_dir: &Path,
) -> Result<Vec<Built>, Error> {
    let toolchain = Toolchain::find()?;
    let mut command = toolchain.cargo();
    isolate(&mut command);
    command.current_dir(workspace_root);
    command.args(["build", "--release", "--target", TARGET, "--target-dir"]).arg(target_dir);
    toolchain.arguments(&mut command);
    for package in packages {
        command.args(["--package", package]);
    }
    if !features.is_empty() {
        command.args(["--features", &features.join(",")]);
    }
    for (key, value) in profile() {
        command.env(key, value);
    }
    command.env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", toolchain.linker());
    command.env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUSTFLAGS", RUSTFLAGS);
    let output = command.output().map_err(|source| Error::Spawn {
        program: command.get_program().to_string_lossy().into_owned(),
        source,
    })?;
    if !output.status.success() {
        return Err(Error::Cargo {
            packages: packages.join(", "),
            status: output.status.to_string(),
            output: String::from_utf8_lossy(&output.stderr).into_owned(),
        });
    }
    packages.iter().map(|package| artefact(target_dir, package)).collect()
}

/// Where the component of `package` lies below `target_dir` once it is built.
pub fn artefact_path(target_dir: &Path, package: &str) -> PathBuf {
    target_dir.join(TARGET).join("release").join(format!("{}.wasm", package.replace('-', "_")))
}

fn artefact(target_dir: &Path, package: &str) -> Result<Built, Error> {
    let path = artefact_path(target_dir, package);
    if path.is_file() {
        Ok(Built { name: package.to_owned(), path })
    } else {
        Err(Error::NoArtefact { package: package.to_owned(), path })
    }
}

/// Small and fast: plugins are loaded often and stay resident, and a panic in
/// one ends its call anyway.
fn profile() -> [(&'static str, &'static str); 6] {
    [
        ("CARGO_PROFILE_RELEASE_OPT_LEVEL", "3"),
        ("CARGO_PROFILE_RELEASE_PANIC", "abort"),
        ("CARGO_PROFILE_RELEASE_LTO", "true"),
        ("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "1"),
        ("CARGO_PROFILE_RELEASE_STRIP", "symbols"),
        ("CARGO_PROFILE_RELEASE_DEBUG", "0"),
    ]
}

/// A build script or test runs under an outer cargo whose settings are for the
/// host; none of them may reach the guests.
fn isolate(command: &mut Command) {
    const OF_OUTER_CARGO: [&str; 12] = [
        "CARGO_ENCODED_RUSTFLAGS",
        "RUSTFLAGS",
        "RUSTDOCFLAGS",
        "CARGO_BUILD_RUSTFLAGS",
        "CARGO_BUILD_TARGET",
        "CARGO_TARGET_DIR",
        "CARGO_BUILD_TARGET_DIR",
        "RUSTC_WRAPPER",
        "RUSTC_WORKSPACE_WRAPPER",
        "TARGET",
        "CARGO_PRIMARY_PACKAGE",
        "CARGO_INCREMENTAL",
    ];
    for key in OF_OUTER_CARGO {
        command.env_remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn artefacts_have_cargos_names() {
        fn check(package: &str, expect: &str) {
            assert_eq!(artefact_path(Path::new("/t"), package), Path::new(expect));
        }
        check(
            "pintle-plugin-scheduler",
            "/t/wasm32-unknown-unknown/release/pintle_plugin_scheduler.wasm",
        );
        check("x", "/t/wasm32-unknown-unknown/release/x.wasm");
    }

    #[test]
    fn a_package_that_does_not_exist_is_named_in_the_error() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("src")).unwrap();
        std::fs::write(directory.path().join("src/lib.rs"), "").unwrap();
        std::fs::write(
            directory.path().join("Cargo.toml"),
            "[package]\nname = \"lonely\"\nversion = \"0.1.0\"\nedition = \"2024\"\n[workspace]\n",
        )
        .unwrap();
        let error =
            build(directory.path(), &["absent"], &directory.path().join("target")).unwrap_err();
        assert!(error.to_string().contains("absent"), "{error}");
    }
}
