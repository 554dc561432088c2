//! The plugins that there are, and their components.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

pub fn workspace() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    root.canonicalize().expect("the workspace's root")
}

/// One crate per folder of `plugins/`, the folder being the plugin's name.
pub fn names() -> Vec<String> {
    let folder = workspace().join("plugins");
    let entries = fs::read_dir(&folder).expect("plugins/ can be read");
    let mut names: Vec<String> = entries
        .map(|entry| entry.expect("plugins/ can be read"))
        .filter(|entry| entry.path().join("Cargo.toml").is_file())
        .map(|entry| entry.file_name().into_string().expect("a plugin's name is text"))
        .collect();
    names.sort();
    names
}

/// The component of every plugin, by name: those in `$PINTLE_COMPONENTS_DIR`, which
/// belong to the binaries in `$PINTLE_BIN_DIR`, or what is built now. That lies
/// where the build of the binary puts it, so that this is no second build.
pub fn built() -> BTreeMap<String, PathBuf> {
    let (names, workspace) = (names(), workspace());
    if let Some(folder) = std::env::var_os("PINTLE_COMPONENTS_DIR") {
        let file = |name: &str| format!("pintle_plugin_{}.wasm", name.replace('-', "_"));
        let path = |name: &str| Path::new(&folder).join(file(name));
        return names.iter().map(|name| (name.clone(), path(name))).collect();
    }
    let packages: Vec<String> = names.iter().map(|name| format!("pintle-plugin-{name}")).collect();
    let packages: Vec<&str> = packages.iter().map(String::as_str).collect();
    let built = pintle_plugin_build::build(&workspace, &packages, &workspace.join("target/guests"));
    let built = built.unwrap_or_else(|error| panic!("the plugins do not build: {error}"));
    names.into_iter().zip(built.into_iter().map(|one| one.path)).collect()
}

/// The same program under another digest: a custom section changes nothing else.
pub fn variant(component: &[u8], mark: u8) -> Vec<u8> {
    let mut bytes = component.to_vec();
    bytes.extend([0, 3, 1, b'v', mark]);
    bytes
}

/// As `spec.digest` has it.
pub fn digest(component: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(component)))
}

/// A table has one row per plugin: panics with the names of plugins that have
/// none, of rows without a plugin, and of rows that are there twice.
pub fn assert_complete<'a>(table: &str, rows: impl IntoIterator<Item = &'a str>) {
    let names = names();
    let mut missing: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut wrong = Vec::new();
    for row in rows {
        match missing.iter().position(|name| *name == row) {
            Some(place) => drop(missing.remove(place)),
            None => wrong.push(row),
        }
    }
    assert!(
        missing.is_empty() && wrong.is_empty(),
        "{table}: plugins without a row: {missing:?}; rows that are superfluous: {wrong:?}"
    );
}
