//! A store of its own for each test, and layers made entry by entry.

use std::error::Error;
use std::path::PathBuf;

use pintle_containers::ContentStore;
use tar::EntryType;

use super::image::put;

pub struct Store {
    pub dir: tempfile::TempDir,
    pub store: ContentStore,
}

pub fn open() -> Store {
    let dir = tempfile::tempdir().unwrap();
    let store = ContentStore::open(dir.path()).unwrap();
    Store { dir, store }
}

impl Store {
    /// What lies in the store besides its own furniture.
    pub fn content(&self) -> Vec<PathBuf> {
        ["blobs/sha256", "snapshots", "staging", "roots"]
            .iter()
            .flat_map(|dir| std::fs::read_dir(self.dir.path().join(dir)).unwrap())
            .map(|entry| entry.unwrap().path())
            .collect()
    }

    pub fn refuses(&self, archive: &[u8], expect: &str) {
        let error = self.store.import_reader(archive, Some("bad:1")).unwrap_err();
        let text = chain(&error);
        assert!(text.contains(expect), "{expect:?} is not in {text:?}");
        assert_eq!(self.content(), Vec::<PathBuf>::new(), "{text}");
        assert!(self.store.list().unwrap().is_empty());
    }
}

pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        text.push_str(": ");
        text.push_str(&error.to_string());
        next = error.source();
    }
    text
}

pub fn root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        println!("SKIPPED: needs root");
    }
    root
}

pub fn layer(entries: &[(EntryType, &str, &str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (kind, name, link, bytes) in entries {
        put(&mut builder, *kind, name, link, 0o644, bytes);
    }
    builder.into_inner().unwrap()
}

pub const FILE: EntryType = EntryType::Regular;
pub const DIR: EntryType = EntryType::Directory;
