//! From a directory to a running store: lock, engine, format check, rebuilt index.
//!
//! Opening never writes files anew, however large they have grown: that is done beside the
//! commits, see [`crate::reclaim`].

use std::{
    fs, io,
    ops::ControlFlow,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use thiserror::Error;
use tracing::debug;

use crate::{
    engine::{Engine, RedbEngine, SledEngine, WriteBatch},
    envelope,
    error::StorageError,
    generation::{Directory, Files, Generation, io_error},
    index::Index,
    keys,
    lock::{DirLock, LockError},
    mvcc::{MvccStore, State},
    store::Store,
    types::Revision,
};

/// Which engine keeps the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum EngineKind {
    /// The default: a log of changes. Fast with many small transactions; its file grows to a
    /// multiple of its data (400 MB after a minute of continuous overwriting of 15 MB) until
    /// [`Store::reclaim`] writes it anew. Safe only through what this crate does around it.
    #[default]
    Sled,
    /// A copy-on-write B-tree, safe by itself. About as fast; smaller files, more bytes written
    /// per change. For disks that are small, or for whoever trusts it more.
    Redb,
}

impl EngineKind {
    pub const ALL: [Self; 2] = [Self::Sled, Self::Redb];

    pub fn name(self) -> &'static str {
        match self {
            Self::Sled => "sled",
            Self::Redb => "redb",
        }
    }
}

impl std::fmt::Display for EngineKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl std::str::FromStr for EngineKind {
    type Err = UnknownEngine;

    fn from_str(name: &str) -> Result<Self, UnknownEngine> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.name() == name)
            .ok_or_else(|| UnknownEngine(name.to_owned()))
    }
}

#[derive(Debug, Error)]
#[error("unknown storage engine {0:?}, use sled or redb")]
pub struct UnknownEngine(String);

#[derive(Clone, Debug)]
pub struct Options {
    /// The engine's page cache. Small, because the watch bus holds the current objects.
    pub cache_bytes: u64,
    /// Engine files below this are never rewritten by [`Store::reclaim`].
    pub rewrite_above_bytes: u64,
    /// Engine files this many times larger than what they hold are.
    pub rewrite_factor: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { cache_bytes: 16 << 20, rewrite_above_bytes: 64 << 20, rewrite_factor: 3 }
    }
}

#[derive(Debug, Error)]
pub enum OpenError {
    #[error("data directory {dir} is in use by {}, stop it or use another --data-dir",
        .pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}")))]
    InUse { dir: PathBuf, pid: Option<u32> },
    #[error(
        "data directory {dir} was created with --storage {found}, not {asked}; \
         leave --storage out or use another --data-dir"
    )]
    OtherEngine { dir: PathBuf, found: EngineKind, asked: EngineKind },
    #[error("{what} {path}")]
    Io { what: &'static str, path: PathBuf, source: io::Error },
    #[error("the {engine} files in {dir} cannot be opened")]
    Engine { engine: EngineKind, dir: PathBuf, source: StorageError },
    #[error("{dir} holds storage format {found:?}, this version reads format {FORMAT_VERSION}")]
    Format { dir: PathBuf, found: String },
    #[error("the storage in {dir} is damaged: {message}")]
    Damaged { dir: PathBuf, message: String },
    #[error("cannot start the committer thread")]
    Thread(#[source] io::Error),
}

const FORMAT_VERSION: &str = "1";

/// Opens the store in `dir`, creating it when the directory is new.
pub fn open(kind: EngineKind, dir: &Path, options: Options) -> Result<Arc<dyn Store>, OpenError> {
    match kind {
        EngineKind::Sled => open_with::<SledEngine>(kind, dir, options),
        EngineKind::Redb => open_with::<RedbEngine>(kind, dir, options),
    }
}

fn open_with<E: Engine>(
    kind: EngineKind,
    dir: &Path,
    options: Options,
) -> Result<Arc<dyn Store>, OpenError> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(io_error("cannot create data directory", dir))?;
    let lock = DirLock::acquire(dir).map_err(|error| match error {
        LockError::Held(pid) => OpenError::InUse { dir: dir.to_owned(), pid },
        LockError::Io(source) => {
            OpenError::Io { what: "cannot lock data directory", path: dir.to_owned(), source }
        }
    })?;
    let directory = Directory { kind, path: dir.to_owned(), cache_bytes: options.cache_bytes };
    let began = Instant::now();
    let current = directory.current()?;
    let files: Files<E> = if current.new {
        initialise(&directory, current.number)?
    } else {
        directory.open(current.number)?
    };
    directory.remove_others(files.number)?;
    let opened = began.elapsed();
    let state = load(&directory, &files.engine)?;
    debug!(
        engine_ms = opened.as_millis() as u64,
        index_ms = (began.elapsed() - opened).as_millis() as u64,
        "storage files open"
    );
    let store = MvccStore::start(directory, options, files, state, lock);
    Ok(Arc::new(store.map_err(OpenError::Thread)?))
}

/// Makes a generation that holds nothing but the facts of a new store.
fn initialise<E: Engine>(directory: &Directory, number: u64) -> Result<Files<E>, OpenError> {
    let files: Files<E> = directory.create(number)?;
    let mut facts = WriteBatch::default();
    facts.put(keys::meta(keys::FORMAT), FORMAT_VERSION.as_bytes());
    facts.put(keys::meta(keys::CLUSTER_ID), uuid::Uuid::new_v4().to_string().into_bytes());
    files.engine.commit(facts).map_err(|error| directory.engine_error(error))?;
    directory.announce(&Generation { number, new: false })?;
    directory.replace_current()?;
    Ok(files)
}

/// Reads the facts and rebuilds the index from the log.
fn load<E: Engine>(directory: &Directory, engine: &E) -> Result<State, OpenError> {
    let fact = |name| -> Result<Option<String>, OpenError> {
        let value = engine.get(&keys::meta(name)).map_err(|error| directory.engine_error(error))?;
        Ok(value.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
    };
    let format = fact(keys::FORMAT)?.unwrap_or_default();
    if format != FORMAT_VERSION {
        return Err(OpenError::Format { dir: directory.path.clone(), found: format });
    }
    let cluster_id = fact(keys::CLUSTER_ID)?
        .ok_or_else(|| directory.damaged("the cluster id is missing".to_owned()))?;
    let compacted: Revision = match fact(keys::COMPACTED)? {
        None => 0,
        Some(digits) => digits
            .parse()
            .map_err(|_| directory.damaged(format!("the compacted revision is {digits:?}")))?,
    };
    let (mut index, mut revision, mut damage) = (Index::default(), compacted, None);
    engine
        .scan(&keys::log_start(), &keys::log_end(), &mut |key, value| {
            let entry = keys::parse_log(key)
                .ok_or_else(|| StorageError::Key(key.escape_ascii().to_string()))
                .and_then(|at| match envelope::decode(value) {
                    Ok(entry) => Ok((at, entry)),
                    Err(error) => Err(StorageError::entry(at.revision, error)),
                });
            match entry {
                Ok((at, entry)) => {
                    revision = revision.max(at.revision);
                    index.replay(at, &entry);
                    ControlFlow::Continue(())
                }
                Err(error) => {
                    damage = Some(error);
                    ControlFlow::Break(())
                }
            }
        })
        .map_err(|error| directory.engine_error(error))?;
    match damage {
        Some(error) => Err(directory.engine_error(error)),
        None => Ok(State { index, revision, compacted, cluster_id }),
    }
}
