//! Compiled plugins, shared by all clusters of the tests: compiling them takes
//! seconds per cluster otherwise, and is not what these tests are about.
//!
//! The cache knows its files by what is in them and by the engine, so one of
//! another build does no harm. It lies beside the binaries under test.

use std::fs;
use std::path::{Path, PathBuf};

use crate::bin_dir;

/// More than the plugins of a few builds, and variants of them: time to begin anew.
const MAX_FILES: usize = 400;

/// Gives a data directory what others have compiled.
pub fn provide(data_dir: &Path) {
    let own = data_dir.join("plugin-cache");
    make_private(data_dir);
    make_private(&own);
    for file in files(&shared()) {
        let to = own.join(file.file_name().expect("a file has a name"));
        // Files of a cache are only ever replaced as a whole. Another test may
        // just have begun anew: then this one compiles for itself.
        let _ = fs::hard_link(&file, &to).or_else(|_| fs::copy(&file, &to).map(drop));
    }
}

/// Keeps for others what a server has compiled.
pub fn keep(data_dir: &Path) {
    let shared = shared();
    if files(&shared).len() > MAX_FILES {
        let _ = fs::remove_dir_all(&shared);
    }
    make_private(&shared);
    for file in files(&data_dir.join("plugin-cache")) {
        let name = file.file_name().expect("a file has a name");
        let to = shared.join(name);
        if !to.exists() {
            // Without it the next cluster starts more slowly.
            let _ = place(&file, &to);
        }
    }
}

/// As a whole or not at all, whoever else does the same.
fn place(from: &Path, to: &Path) -> std::io::Result<()> {
    let folder = to.parent().unwrap_or(Path::new("."));
    let mut unfinished = tempfile::NamedTempFile::new_in(folder)?;
    std::io::copy(&mut fs::File::open(from)?, &mut unfinished)?;
    unfinished.persist(to)?;
    Ok(())
}

fn shared() -> PathBuf {
    bin_dir().join("e2e-plugin-cache")
}

fn make_private(dir: &Path) {
    use std::os::unix::fs::DirBuilderExt;
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(dir);
    made.unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|e| e.path()).filter(|p| p.extension().is_some_and(|e| e == "cwasm")).collect()
}
