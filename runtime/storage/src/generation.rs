//! The data directory: which generation of engine files is the current one.
//!
//! It holds `LOCK`, one engine directory `<engine>-<generation>` and `CURRENT`, which names
//! it. The next generation is made beside the current one, and then `CURRENT` is replaced by
//! an atomic rename, so that a crash at any moment leaves exactly one valid generation. What
//! `CURRENT` does not name is removed.
//!
//! Does not know what an engine holds.

use std::{
    fs, io,
    io::Write,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

use tracing::warn;

use crate::{
    engine::{Engine, sync_dir},
    error::StorageError,
    open::{EngineKind, OpenError},
};

const CURRENT: &str = "CURRENT";

/// One line of `CURRENT`: `<engine>-<number>`, and ` new` until it is initialised.
pub(crate) struct Generation {
    pub(crate) number: u64,
    pub(crate) new: bool,
}

/// An engine directory as it lies there.
struct Found {
    kind: EngineKind,
    number: u64,
    path: PathBuf,
}

/// The engine of one generation, open.
pub(crate) struct Files<E> {
    pub(crate) engine: E,
    pub(crate) number: u64,
    /// After the engine, which is closed before its files are removed.
    place: Place,
}

struct Place {
    path: PathBuf,
    superseded: AtomicBool,
}

impl<E> Files<E> {
    /// Another generation is current: the last one to use these files removes them.
    pub(crate) fn supersede(&self) {
        self.place.superseded.store(true, Ordering::Release);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.superseded.load(Ordering::Acquire)
            && let Err(error) = fs::remove_dir_all(&self.path)
        {
            warn!(path = %self.path.display(), %error,
                "superseded storage files stay until the next start");
        }
    }
}

/// A data directory of one engine.
#[derive(Clone, Debug)]
pub(crate) struct Directory {
    pub(crate) kind: EngineKind,
    pub(crate) path: PathBuf,
    pub(crate) cache_bytes: u64,
}

/// The engine that keeps the data in `dir`; none when the directory is new. What is
/// damaged counts as new here: [`crate::open`] says what is wrong with it.
pub fn engine_in(dir: &Path) -> Option<EngineKind> {
    let current = fs::read_to_string(dir.join(CURRENT)).ok()?;
    parse(current.split_whitespace().next()?).map(|(kind, _)| kind)
}

impl Directory {
    pub(crate) fn current(&self) -> Result<Generation, OpenError> {
        let path = self.path.join(CURRENT);
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
                self.announce(&first)?;
                self.replace_current()?;
                return Ok(first);
            }
            Err(source) => return Err(io_error("cannot read", &path)(source)),
        };
        let line = text.trim();
        let (name, new) = line.strip_suffix(" new").map_or((line, false), |name| (name, true));
        let (kind, number) =
            parse(name).ok_or_else(|| self.damaged(format!("{CURRENT} says {line:?}")))?;
        if kind != self.kind {
            return Err(OpenError::OtherEngine {
                dir: self.path.clone(),
                found: kind,
                asked: self.kind,
            });
        }
        Ok(Generation { number, new })
    }

    /// Writes what `CURRENT` is going to say. Until [`Directory::replace_current`] nothing
    /// has changed.
    pub(crate) fn announce(&self, generation: &Generation) -> Result<(), OpenError> {
        let path = self.announcement();
        let new = if generation.new { " new" } else { "" };
        let line = format!("{}-{}{new}\n", self.kind, generation.number);
        fs::File::create(&path)
            .and_then(|mut file| file.write_all(line.as_bytes()).and_then(|()| file.sync_all()))
            .map_err(io_error("cannot write", &path))
    }

    /// Makes the announced generation the current one. After an error nobody knows which
    /// one the disk names.
    pub(crate) fn replace_current(&self) -> Result<(), OpenError> {
        let path = self.path.join(CURRENT);
        fs::rename(self.announcement(), &path).map_err(io_error("cannot write", &path))?;
        sync_dir(&self.path).map_err(|error| self.engine_error(error))
    }

    fn announcement(&self) -> PathBuf {
        self.path.join("CURRENT.tmp")
    }

    fn generations(&self) -> Result<Vec<Found>, OpenError> {
        let read = || -> io::Result<Vec<_>> {
            let mut found = Vec::new();
            for entry in fs::read_dir(&self.path)? {
                let entry = entry?;
                if let Some((kind, number)) = entry.file_name().to_str().and_then(parse) {
                    found.push(Found { kind, number, path: entry.path() });
                }
            }
            Ok(found)
        };
        read().map_err(io_error("cannot list", &self.path))
    }

    fn place(&self, number: u64) -> PathBuf {
        self.path.join(format!("{}-{number}", self.kind))
    }

    /// Removes all generations but one: what an interrupted rewrite left.
    pub(crate) fn remove_others(&self, number: u64) -> Result<(), OpenError> {
        for Found { kind, number: found, path } in self.generations()? {
            if (kind, found) != (self.kind, number) {
                fs::remove_dir_all(&path).map_err(io_error("cannot remove", &path))?;
            }
        }
        Ok(())
    }

    /// Opens a generation that is there.
    pub(crate) fn open<E: Engine>(&self, number: u64) -> Result<Files<E>, OpenError> {
        let path = self.place(number);
        if !path.is_dir() {
            return Err(self.damaged(format!("{} is missing", path.display())));
        }
        self.files(path, number)
    }

    /// Makes a generation in the place of whatever an interrupted attempt left there.
    pub(crate) fn create<E: Engine>(&self, number: u64) -> Result<Files<E>, OpenError> {
        let path = self.place(number);
        if path.exists() {
            fs::remove_dir_all(&path).map_err(io_error("cannot remove", &path))?;
        }
        fs::create_dir(&path).map_err(io_error("cannot create", &path))?;
        let files = self.files(path, number)?;
        sync_dir(&self.path).map_err(|error| self.engine_error(error))?;
        Ok(files)
    }

    fn files<E: Engine>(&self, path: PathBuf, number: u64) -> Result<Files<E>, OpenError> {
        let engine = E::open(&path, self.cache_bytes).map_err(|error| self.engine_error(error))?;
        Ok(Files { engine, number, place: Place { path, superseded: AtomicBool::new(false) } })
    }

    pub(crate) fn engine_error(&self, source: StorageError) -> OpenError {
        OpenError::Engine { engine: self.kind, dir: self.path.clone(), source }
    }

    pub(crate) fn damaged(&self, message: String) -> OpenError {
        OpenError::Damaged { dir: self.path.clone(), message }
    }
}

fn parse(name: &str) -> Option<(EngineKind, u64)> {
    let (kind, number) = name.rsplit_once('-')?;
    Some((kind.parse().ok()?, number.parse().ok()?))
}

pub(crate) fn io_error<'a>(
    what: &'static str,
    path: &'a Path,
) -> impl Fn(io::Error) -> OpenError + 'a {
    move |source| OpenError::Io { what, path: path.to_owned(), source }
}
