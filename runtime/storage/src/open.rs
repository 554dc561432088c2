//! From a directory to a running store: lock, engine, format check, rebuilt index.
//!
//! The data directory holds `LOCK`, one engine directory `<engine>-<generation>` and
//! `CURRENT`, which names it. A rewrite builds the next generation beside the current one
//! and then replaces `CURRENT` by an atomic rename, so that a crash at any moment leaves
//! exactly one valid generation. What `CURRENT` does not name is removed.

use std::{
    fs, io,
    io::Write,
    ops::ControlFlow,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use thiserror::Error;
use tracing::info;

use crate::{
    engine::{Engine, RedbEngine, SledEngine, WriteBatch, sync_dir},
    envelope,
    error::StorageError,
    index::Index,
    keys::{self, EngineKey},
    lock::{DirLock, LockError},
    mvcc::{MvccStore, State},
    store::Store,
    types::Revision,
};

/// Which engine keeps the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum EngineKind {
    /// The default: a log of changes. Fast with many small transactions; its file grows to a
    /// multiple of its data (400 MB after a minute of continuous overwriting of 15 MB) and is
    /// rewritten when the store is opened. Safe only through what this crate does around it.
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
    /// Engine files below this are never rewritten when the store is opened.
    pub rewrite_above_bytes: u64,
    /// Engine files this many times larger than what they hold are.
    pub rewrite_factor: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { cache_bytes: 16 << 20, rewrite_above_bytes: 128 << 20, rewrite_factor: 4 }
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
const CURRENT: &str = "CURRENT";
/// Entries copied per engine batch by a rewrite.
const REWRITE_BATCH_BYTES: usize = 4 << 20;

/// Opens the store in `dir`, creating it when the directory is new.
pub fn open(kind: EngineKind, dir: &Path, options: Options) -> Result<Arc<dyn Store>, OpenError> {
    match kind {
        EngineKind::Sled => open_with::<SledEngine>(kind, dir, &options),
        EngineKind::Redb => open_with::<RedbEngine>(kind, dir, &options),
    }
}

/// The engine that keeps the data in `dir`; none when the directory is new. What is
/// damaged counts as new here: [`open`] says what is wrong with it.
pub fn engine_in(dir: &Path) -> Option<EngineKind> {
    let current = fs::read_to_string(dir.join(CURRENT)).ok()?;
    parse_generation(current.split_whitespace().next()?).map(|(kind, _)| kind)
}

fn open_with<E: Engine>(
    kind: EngineKind,
    dir: &Path,
    options: &Options,
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
    let opener = Opener { kind, dir, cache_bytes: options.cache_bytes };
    let mut generation = opener.current()?;
    let mut engine = opener.engine::<E>(&mut generation)?;
    opener.remove_others(generation.number)?;
    let state = opener.load(&engine)?;

    let size = engine.size_on_disk().map_err(|error| opener.engine_error(error))?;
    let held = state.index.bytes();
    if size > options.rewrite_above_bytes && size > held.saturating_mul(options.rewrite_factor) {
        let next = generation.number + 1;
        info!(dir = %dir.display(), size, held, "rewriting storage files to reclaim space");
        engine = opener.rewrite(engine, next)?;
        opener.remove_others(next)?;
    }
    let store = MvccStore::start(engine, state, lock).map_err(OpenError::Thread)?;
    Ok(Arc::new(store))
}

/// One line of `CURRENT`: `<engine>-<number>`, and ` new` until it is initialised.
struct Generation {
    number: u64,
    new: bool,
}

/// An engine directory as it lies there.
struct Found {
    kind: EngineKind,
    number: u64,
    path: PathBuf,
}

struct Opener<'a> {
    kind: EngineKind,
    dir: &'a Path,
    cache_bytes: u64,
}

impl Opener<'_> {
    fn current(&self) -> Result<Generation, OpenError> {
        let path = self.dir.join(CURRENT);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if let Some(stray) = self.generations()?.first() {
                    return Err(self.damaged(format!(
                        "{CURRENT} is missing although {} exists; to go on with it, \
                         write its name into {CURRENT}",
                        stray.path.display()
                    )));
                }
                let first = Generation { number: 1, new: true };
                self.set_current(&first)?;
                return Ok(first);
            }
            Err(source) => return Err(io_error("cannot read", &path)(source)),
        };
        let line = text.trim();
        let (name, new) = line.strip_suffix(" new").map_or((line, false), |name| (name, true));
        let (kind, number) = parse_generation(name)
            .ok_or_else(|| self.damaged(format!("{CURRENT} says {line:?}")))?;
        if kind != self.kind {
            return Err(OpenError::OtherEngine {
                dir: self.dir.to_owned(),
                found: kind,
                asked: self.kind,
            });
        }
        Ok(Generation { number, new })
    }

    fn set_current(&self, generation: &Generation) -> Result<(), OpenError> {
        let path = self.dir.join(CURRENT);
        let temporary = self.dir.join("CURRENT.tmp");
        let new = if generation.new { " new" } else { "" };
        let line = format!("{}-{}{new}\n", self.kind, generation.number);
        let written = fs::File::create(&temporary)
            .and_then(|mut file| file.write_all(line.as_bytes()).and_then(|()| file.sync_all()))
            .and_then(|()| fs::rename(&temporary, &path));
        written.map_err(io_error("cannot write", &path))?;
        sync_dir(self.dir).map_err(|error| self.engine_error(error))
    }

    fn generations(&self) -> Result<Vec<Found>, OpenError> {
        let read = || -> io::Result<Vec<_>> {
            let mut found = Vec::new();
            for entry in fs::read_dir(self.dir)? {
                let entry = entry?;
                if let Some((kind, number)) = entry.file_name().to_str().and_then(parse_generation)
                {
                    found.push(Found { kind, number, path: entry.path() });
                }
            }
            Ok(found)
        };
        read().map_err(io_error("cannot list", self.dir))
    }

    fn path(&self, number: u64) -> PathBuf {
        self.dir.join(format!("{}-{number}", self.kind))
    }

    /// Removes what an interrupted rewrite left.
    fn remove_others(&self, number: u64) -> Result<(), OpenError> {
        for Found { kind, number: found, path } in self.generations()? {
            if (kind, found) != (self.kind, number) {
                fs::remove_dir_all(&path).map_err(io_error("cannot remove", &path))?;
            }
        }
        Ok(())
    }

    /// Opens the generation, after creating it when it is new.
    fn engine<E: Engine>(&self, generation: &mut Generation) -> Result<E, OpenError> {
        let path = self.path(generation.number);
        if !generation.new {
            if !path.is_dir() {
                return Err(self.damaged(format!("{} is missing", path.display())));
            }
            return E::open(&path, self.cache_bytes).map_err(|error| self.engine_error(error));
        }
        if path.exists() {
            // A creation that was interrupted before anything could be written to it.
            fs::remove_dir_all(&path).map_err(io_error("cannot remove", &path))?;
        }
        let engine: E = self.create(&path)?;
        let mut facts = WriteBatch::default();
        facts.put(keys::meta(keys::FORMAT), FORMAT_VERSION.as_bytes());
        facts.put(keys::meta(keys::CLUSTER_ID), uuid::Uuid::new_v4().to_string().into_bytes());
        engine.commit(facts).map_err(|error| self.engine_error(error))?;
        generation.new = false;
        self.set_current(generation)?;
        Ok(engine)
    }

    fn create<E: Engine>(&self, path: &Path) -> Result<E, OpenError> {
        fs::create_dir(path).map_err(io_error("cannot create", path))?;
        let engine = E::open(path, self.cache_bytes).map_err(|error| self.engine_error(error))?;
        sync_dir(self.dir).map_err(|error| self.engine_error(error))?;
        Ok(engine)
    }

    /// Reads the facts and rebuilds the index from the log.
    fn load<E: Engine>(&self, engine: &E) -> Result<State, OpenError> {
        let format = self.fact(engine, keys::FORMAT)?.unwrap_or_default();
        if format != FORMAT_VERSION {
            return Err(OpenError::Format { dir: self.dir.to_owned(), found: format });
        }
        let cluster_id = self
            .fact(engine, keys::CLUSTER_ID)?
            .ok_or_else(|| self.damaged("the cluster id is missing".to_owned()))?;
        let compacted: Revision = match self.fact(engine, keys::COMPACTED)? {
            None => 0,
            Some(digits) => digits
                .parse()
                .map_err(|_| self.damaged(format!("the compacted revision is {digits:?}")))?,
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
            .map_err(|error| self.engine_error(error))?;
        match damage {
            Some(error) => Err(self.engine_error(error)),
            None => Ok(State { index, revision, compacted, cluster_id }),
        }
    }

    fn fact<E: Engine>(&self, engine: &E, name: &str) -> Result<Option<String>, OpenError> {
        let value = engine.get(&keys::meta(name)).map_err(|error| self.engine_error(error))?;
        Ok(value.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
    }

    /// Copies everything into the next generation and makes it the current one.
    fn rewrite<E: Engine>(&self, old: E, number: u64) -> Result<E, OpenError> {
        let path = self.path(number);
        let new: E = self.create(&path)?;
        let (mut batch, mut bytes, mut result) = (WriteBatch::default(), 0, Ok(()));
        // One prefix after the other: `c`, `l`, `m` are all there is.
        old.scan(b"c", b"n", &mut |key, value| {
            bytes += key.len() + value.len();
            batch.put(EngineKey::from_slice(key), value.to_vec());
            if bytes >= REWRITE_BATCH_BYTES {
                bytes = 0;
                result = new.commit(std::mem::take(&mut batch));
            }
            if result.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })
        .and(result)
        .and_then(|()| new.commit(batch))
        .map_err(|error| self.engine_error(error))?;
        self.set_current(&Generation { number, new: false })?;
        Ok(new)
    }

    fn engine_error(&self, source: StorageError) -> OpenError {
        OpenError::Engine { engine: self.kind, dir: self.dir.to_owned(), source }
    }

    fn damaged(&self, message: String) -> OpenError {
        OpenError::Damaged { dir: self.dir.to_owned(), message }
    }
}

fn parse_generation(name: &str) -> Option<(EngineKind, u64)> {
    let (kind, number) = name.rsplit_once('-')?;
    Some((kind.parse().ok()?, number.parse().ok()?))
}

fn io_error<'a>(what: &'static str, path: &'a Path) -> impl Fn(io::Error) -> OpenError + 'a {
    move |source| OpenError::Io { what, path: path.to_owned(), source }
}
