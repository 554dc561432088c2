//! Builds one plugin package into a component file:
//! `pintle-plugin-build PACKAGE OUTPUT [FEATURE...]`, in the workspace around.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [package, output, features @ ..] = arguments.as_slice() else {
        eprintln!("usage: pintle-plugin-build PACKAGE OUTPUT.wasm [FEATURE...]");
        return ExitCode::from(2);
    };
    match run(package, Path::new(output), features) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("pintle-plugin-build: {message}");
            ExitCode::FAILURE
        }
    }
}

fn run(package: &str, output: &Path, features: &[String]) -> Result<(), String> {
    let root = workspace_root()?;
    // A directory of its own: other features must not undo the plain build's cache.
    let target_dir = root.join("target/guests/with-features");
    let features: Vec<&str> = features.iter().map(String::as_str).collect();
    let built = pintle_plugin_build::build_with(&root, &[package], &features, &target_dir)
        .map_err(|error| error.to_string())?;
    if let Some(parent) = output.parent() {
        std::fs::create_dir_all(parent).map_err(|e| format!("{}: {e}", parent.display()))?;
    }
    for component in built {
        std::fs::copy(&component.path, output).map_err(|e| format!("{}: {e}", output.display()))?;
        println!("{}", output.display());
    }
    Ok(())
}

/// The nearest folder upwards whose Cargo.toml has a `[workspace]`.
fn workspace_root() -> Result<PathBuf, String> {
    let here = std::env::current_dir().map_err(|e| format!("the current folder: {e}"))?;
    here.ancestors()
        .find(|folder| {
            std::fs::read_to_string(folder.join("Cargo.toml"))
                .is_ok_and(|manifest| manifest.contains("[workspace]"))
        })
        .map(Path::to_owned)
        .ok_or_else(|| format!("no cargo workspace at or above {}", here.display()))
}
