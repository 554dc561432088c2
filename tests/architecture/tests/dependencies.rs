//! The dependency table holds: who may know whom, and who alone uses which
//! heavy library. A new edge is a decision, made in the table first.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

/// What "all of the above" in the table is written as.
const ALL_ABOVE: &str = "all of the above";

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

/// The table of docs/ARCHITECTURE.md: folder, and the crates that it may depend on.
fn table() -> BTreeMap<String, BTreeSet<String>> {
    let text = include_str!("../../../docs/ARCHITECTURE.md");
    let mut table = BTreeMap::new();
    let mut above = BTreeSet::new();
    for line in text.lines() {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let ["", folder, _, dependencies, ""] = cells[..] else { continue };
        let Some(folder) = folder.strip_prefix('`').and_then(|f| f.strip_suffix('`')) else {
            continue;
        };
        let allowed = match dependencies {
            ALL_ABOVE => above.clone(),
            names => names.split(',').filter_map(crate_name).collect(),
        };
        if let Some(short) = folder.strip_prefix("runtime/") {
            above.insert(format!("pintle-{short}"));
        }
        table.insert(folder.to_owned(), allowed);
    }
    table
}

/// `shim (its protocol)` is pintle-shim; a dash is none.
fn crate_name(cell: &str) -> Option<String> {
    let name = cell.split_whitespace().next().filter(|name| *name != "–")?;
    Some(format!("pintle-{name}"))
}

#[test]
fn crates_depend_on_what_the_table_says() {
    let table = table();
    for package in packages() {
        let folder = package.path.trim_end_matches("/Cargo.toml");
        let rest = |prefix: &str| folder.starts_with(prefix) && !table.contains_key(folder);
        if rest("plugins/") || rest("sdk/examples/") || rest("tests/") {
            continue; // Of these the table has one row for all.
        }
        let expected = table.get(folder).unwrap_or_else(|| panic!("{folder} is not in the table"));
        let mut found = inner(&package);
        if folder == "runtime/pintle" {
            // Its build script makes the default plugins.
            found.remove("pintle-plugin-build");
            let extra: Vec<_> = found.iter().filter(|d| !expected.contains(**d)).collect();
            assert!(extra.is_empty(), "{folder} must not depend on {extra:?}");
            continue;
        }
        let expected: BTreeSet<&str> = expected.iter().map(String::as_str).collect();
        assert_eq!(found, expected, "{folder}: what it depends on, and what the table says");
    }
}

#[test]
fn plugins_are_made_of_the_sdk_alone() {
    let table = table();
    let packages = packages();
    for (row, prefix, least) in
        [("plugins/*", "plugins/", 10), ("sdk/examples/*", "sdk/examples/", 1)]
    {
        let allowed = table.get(row).unwrap_or_else(|| panic!("the table has a row for {row}"));
        let plugins: Vec<_> = packages.iter().filter(|p| p.path.starts_with(prefix)).collect();
        assert!(plugins.len() >= least, "{row} are members of the workspace");
        for package in plugins {
            let extra: Vec<_> =
                inner(package).into_iter().filter(|d| !allowed.contains(*d)).collect();
            assert!(extra.is_empty(), "{} must not depend on {extra:?}", package.name);
        }
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
            // Examples have the names that a stranger would give them.
            Some("sdk") if package.path.starts_with("sdk/examples/") => folder.to_owned(),
            _ if folder.starts_with("pintle") => folder.to_owned(),
            _ => format!("pintle-{folder}"),
        };
        assert_eq!(package.name, expected, "{}", package.path);
    }
}
