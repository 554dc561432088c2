//! The tables of scenarios that lie beside the plugins: `plugins/NAME/scenarios`.

use std::path::{Path, PathBuf};

use pintle_sdk_testing::scenario;

use crate::Cast;

/// Every table, by plugin and name.
pub fn all() -> Vec<PathBuf> {
    let plugins = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugins");
    let within = |folder: &Path| -> Vec<PathBuf> {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
        paths.sort();
        paths
    };
    within(&plugins)
        .iter()
        .flat_map(|plugin| within(&plugin.join("scenarios")))
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .collect()
}

/// Plays them all; `only` is a part of a path. Panics with everything that failed.
pub fn play(cast: &Cast, only: &str) -> usize {
    let (mut played, mut failures) = (0, Vec::new());
    for table in all().iter().filter(|path| path.to_string_lossy().contains(only)) {
        match scenario::run(table, |company| cast.company(company)) {
            Ok(count) => played += count,
            Err(failed) => failures.extend(failed),
        }
    }
    assert!(failures.is_empty(), "{} failed:\n\n{}", failures.len(), failures.join("\n\n"));
    played
}
