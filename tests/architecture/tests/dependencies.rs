//! The dependency table holds: who may know whom, and who alone uses which
//! heavy library. A new edge is a decision, made in the table first.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

/// Crate of `runtime/`, and the crates of this workspace it may depend on.
const TABLE: &[(&str, &[&str])] = &[
    ("pintle-api", &[]),
    ("pintle-storage", &[]),
    ("pintle-watch", &["pintle-api", "pintle-storage"]),
    ("pintle-plugin-host", &["pintle-api"]),
    ("pintle-apiserver", &["pintle-api", "pintle-storage", "pintle-watch"]),
    ("pintle-node-link", &[]),
    ("pintle-shim", &[]),
    ("pintle-containers", &["pintle-shim"]),
    ("pintle-netops", &[]),
    (
        "pintle-agent",
        &[
            "pintle-api",
            "pintle-containers",
            "pintle-netops",
            "pintle-node-link",
            "pintle-plugin-host",
        ],
    ),
];

/// What a plugin may be made of, besides crates from outside.
const OF_PLUGINS: &[&str] = &["pintle-api", "pintle-sdk"];

/// Libraries that one crate wraps for all others.
const ONLY_USER: &[(&str, &[&str])] = &[
    ("wasmtime", &["pintle-plugin-host"]),
    ("wasmtime-wasi", &["pintle-plugin-host"]),
    ("quinn", &["pintle-node-link"]),
    ("netlink-packet-core", &["pintle-netops"]),
    ("netlink-packet-route", &["pintle-netops"]),
    ("sled", &["pintle-storage"]),
    ("redb", &["pintle-storage"]),
];

struct Package {
    name: String,
    path: String,
    /// Ordinary and build dependencies; tests may use more.
    dependencies: BTreeSet<String>,
}

fn packages() -> Vec<Package> {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--format-version", "1", "--offline"])
        .current_dir(root)
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo prints JSON");
    let root = metadata["workspace_root"].as_str().unwrap().to_owned();
    metadata["packages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|package| Package {
            name: package["name"].as_str().unwrap().to_owned(),
            path: package["manifest_path"].as_str().unwrap().replace(&format!("{root}/"), ""),
            dependencies: package["dependencies"]
                .as_array()
                .unwrap()
                .iter()
                .filter(|d| d["kind"] != "dev")
                .map(|d| d["name"].as_str().unwrap().to_owned())
                .collect(),
        })
        .collect()
}

fn inner(package: &Package) -> BTreeSet<&str> {
    package.dependencies.iter().map(String::as_str).filter(|d| d.starts_with("pintle")).collect()
}

#[test]
fn the_runtime_knows_only_what_the_table_allows() {
    let table: BTreeMap<&str, &[&str]> = TABLE.iter().copied().collect();
    for package in packages().iter().filter(|p| p.path.starts_with("runtime/")) {
        if package.name == "pintle" {
            continue; // The binary wires everything together.
        }
        let allowed = table
            .get(package.name.as_str())
            .unwrap_or_else(|| panic!("{} is not in the table", package.name));
        let extra: Vec<_> = inner(package).into_iter().filter(|d| !allowed.contains(d)).collect();
        assert!(extra.is_empty(), "{} must not depend on {extra:?}", package.name);
    }
}

#[test]
fn plugins_are_made_of_the_sdk_alone() {
    let packages = packages();
    let plugins: Vec<_> = packages.iter().filter(|p| p.path.starts_with("plugins/")).collect();
    assert!(plugins.len() >= 10, "the default plugins are members of the workspace");
    for package in plugins {
        let extra: Vec<_> =
            inner(package).into_iter().filter(|d| !OF_PLUGINS.contains(d)).collect();
        assert!(extra.is_empty(), "{} must not depend on {extra:?}", package.name);
    }
}

#[test]
fn heavy_libraries_have_one_user() {
    for package in packages() {
        for (library, users) in ONLY_USER {
            let uses = package.dependencies.contains(*library);
            let bench = package.path.starts_with("tests/");
            assert!(
                !uses || bench || users.contains(&package.name.as_str()),
                "{} uses {library}; only {users:?} may",
                package.name
            );
        }
    }
}

#[test]
fn folder_names_are_crate_names() {
    for package in packages() {
        let folder = package.path.rsplit('/').nth(1).unwrap_or_default();
        let expected = match package.path.split('/').next() {
            Some("plugins") => format!("pintle-plugin-{folder}"),
            _ if folder.starts_with("pintle") => folder.to_owned(),
            _ => format!("pintle-{folder}"),
        };
        assert_eq!(package.name, expected, "{}", package.path);
    }
}
