//! A data directory of its own for every test.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::{path::Path, sync::Arc};

use pintle_storage::{EngineKind, Options, Store, open};

pub struct Site {
    pub kind: EngineKind,
    dir: tempfile::TempDir,
}

impl Site {
    pub fn new(kind: EngineKind) -> Self {
        Self { kind, dir: tempfile::tempdir().unwrap() }
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// A store that writes its files anew whenever it is asked to.
    pub fn open(&self) -> Arc<dyn Store> {
        let options = Options { rewrite_above_bytes: 0, rewrite_factor: 0, ..Options::default() };
        open(self.kind, self.path(), options).unwrap()
    }

    /// What all files take.
    pub fn bytes(&self) -> u64 {
        // Engines tidy up in the background: a file may vanish between the two calls.
        fn bytes(dir: &Path) -> u64 {
            let Ok(entries) = std::fs::read_dir(dir) else { return 0 };
            entries
                .filter_map(|entry| {
                    let entry = entry.ok()?;
                    let metadata = entry.metadata().ok()?;
                    Some(if metadata.is_dir() { bytes(&entry.path()) } else { metadata.len() })
                })
                .sum()
        }
        bytes(self.path())
    }
}

pub fn on_every_engine(test: impl AsyncFn(Site)) {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    for kind in EngineKind::ALL {
        runtime.block_on(test(Site::new(kind)));
    }
}
