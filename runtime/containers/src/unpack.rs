//! Unpacks one layer, as overlayfs wants it, without ever leaving its directory.
//!
//! Layers come from strangers. Every path is resolved by the kernel inside the target directory
//! (`openat2` with `RESOLVE_IN_ROOT`), so no link can lead outside, not even one that changes
//! meanwhile. On top of that, what only an attack or a broken tool writes is an error:
//!
//! - `..` in a name, and hard links to what is not in the layer;
//! - a name below a symbolic link that points out of the layer, unless what it means inside the
//!   layer exists (`/var/run -> /run` is usual and stays inside).
//!
//! Device nodes are left out: the OCI runtime provides `/dev`, and a container could not open any
//! other. Extended attributes of the `trusted` and `system` namespaces are dropped: overlayfs takes
//! orders from the former.

mod attributes;
mod place;

use std::collections::HashSet;
use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, XattrFlags, chmodat, chownat, fsetxattr, futimens,
    linkat, mkdirat, mknodat, openat, statat, symlinkat, utimensat,
};
use rustix::io::Errno;
use sha2::{Digest as _, Sha256};
use tar::{Entry, EntryType};

use attributes::{owner, set_owner, set_xattrs, times};
use place::{Place, inside, open_at, open_dir};

use crate::store::ImportLimits;

const WHITEOUT: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";
const OPAQUE_XATTR: &str = "trusted.overlay.opaque";

#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    #[error("layer is truncated or damaged")]
    Damaged(#[source] io::Error),
    #[error("entry {entry:?} {reason}")]
    BadEntry { entry: String, reason: &'static str },
    #[error("layer has more than {limit} {what}")]
    TooLarge { what: &'static str, limit: u64 },
    #[error("cannot write {entry:?}")]
    Io {
        entry: String,
        #[source]
        source: io::Error,
    },
}

/// Unpacks an uncompressed layer into an empty directory; returns the SHA-256 of its tar.
pub fn unpack(
    reader: impl Read,
    target: &Path,
    limits: &ImportLimits,
) -> Result<Vec<u8>, UnpackError> {
    let mut reader = Hashing { inner: reader, hash: Sha256::new() };
    let root = open_dir(CWD, target)
        .map_err(|source| UnpackError::Io { entry: target.display().to_string(), source })?;
    let mut unpacker = Unpacker {
        root,
        parent: None,
        written: HashSet::new(),
        dir_times: Vec::new(),
        bytes: 0,
        limits,
    };
    let mut archive = tar::Archive::new(&mut reader);
    let mut count = 0;
    for entry in archive.entries().map_err(UnpackError::Damaged)? {
        count += 1;
        if count > limits.layer_entries {
            return Err(UnpackError::TooLarge { what: "entries", limit: limits.layer_entries });
        }
        unpacker.entry(entry.map_err(UnpackError::Damaged)?)?;
    }
    unpacker.finish();
    // The digest is of the whole stream, with the padding after the last entry.
    io::copy(&mut reader, &mut io::sink()).map_err(UnpackError::Damaged)?;
    Ok(reader.hash.finalize().to_vec())
}

struct Hashing<R> {
    inner: R,
    hash: Sha256,
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.hash.update(&buffer[..count]);
        Ok(count)
    }
}

struct Unpacker<'a> {
    root: OwnedFd,
    /// The directory of the last entry: the next is mostly in the same one.
    parent: Option<(PathBuf, OwnedFd)>,
    /// What this layer has written: whiteouts hide only what is below it.
    written: HashSet<PathBuf>,
    /// Set last, for every new file changes its directory's time.
    dir_times: Vec<(PathBuf, u64)>,
    bytes: u64,
    limits: &'a ImportLimits,
}

fn bad(entry: &Path, reason: &'static str) -> UnpackError {
    UnpackError::BadEntry { entry: entry.display().to_string(), reason }
}

fn failed(entry: &Path) -> impl Fn(Errno) -> UnpackError {
    let entry = entry.display().to_string();
    move |error| UnpackError::Io { entry: entry.clone(), source: error.into() }
}

impl Unpacker<'_> {
    fn entry<R: Read>(&mut self, mut entry: Entry<'_, R>) -> Result<(), UnpackError> {
        let raw = PathBuf::from(OsStr::from_bytes(&entry.path_bytes()));
        let kind = entry.header().entry_type();
        if matches!(kind, EntryType::XGlobalHeader | EntryType::Char | EntryType::Block) {
            return Ok(());
        }
        let path = inside(&raw).ok_or_else(|| bad(&raw, "leaves the layer with '..'"))?;
        let Some(name) = path.file_name().map(OsStr::to_owned) else {
            // `./`: the root directory itself.
            return self.set_directory(&path, &mut entry);
        };
        let place = Place { path, name };
        self.enter_parent(&place.path)?;
        if place.name.as_bytes().starts_with(WHITEOUT) {
            return self.whiteout(&place);
        }
        match kind {
            EntryType::Directory => self.directory(&place, &mut entry)?,
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                self.file(&place, &mut entry)?
            }
            EntryType::Symlink => self.symlink(&place, &mut entry)?,
            EntryType::Link => self.hard_link(&place, &mut entry)?,
            EntryType::Fifo => self.fifo(&place, &mut entry)?,
            _ => return Err(bad(&raw, "is of a kind that layers do not have")),
        }
        self.written.insert(place.path);
        Ok(())
    }

    fn whiteout(&mut self, place: &Place) -> Result<(), UnpackError> {
        let hidden = &place.name.as_bytes()[WHITEOUT.len()..];
        if place.name.as_bytes() == OPAQUE {
            let parent = self.parent()?;
            return fsetxattr(parent, OPAQUE_XATTR, b"y", XattrFlags::empty())
                .map_err(failed(&place.path));
        }
        if hidden.is_empty() || hidden == b"." || hidden == b".." {
            return Err(bad(&place.path, "hides nothing that has a name"));
        }
        // aufs kept notes under such names; they mean nothing here.
        if hidden.starts_with(WHITEOUT) {
            return Ok(());
        }
        let target = Place {
            path: place.path.with_file_name(OsStr::from_bytes(hidden)),
            name: OsStr::from_bytes(hidden).to_owned(),
        };
        if self.existing(&target)?.is_some() {
            return Ok(());
        }
        // overlayfs' own sign: a character device 0/0.
        mknodat(self.parent()?, &target.name, FileType::CharacterDevice, Mode::empty(), 0)
            .map_err(failed(&place.path))
    }

    fn directory<R: Read>(
        &mut self,
        place: &Place,
        entry: &mut Entry<'_, R>,
    ) -> Result<(), UnpackError> {
        match self.existing(place)? {
            Some(FileType::Directory) => {}
            existing => {
                let was_hidden = existing == Some(FileType::CharacterDevice);
                self.make_room(place)?;
                let parent = self.parent()?;
                mkdirat(parent, &place.name, Mode::from_raw_mode(0o700))
                    .map_err(failed(&place.path))?;
                if was_hidden {
                    // The whiteout that stood here goes on hiding what is below.
                    let dir = open_at(parent, &place.name).map_err(failed(&place.path))?;
                    fsetxattr(&dir, OPAQUE_XATTR, b"y", XattrFlags::empty())
                        .map_err(failed(&place.path))?;
                }
            }
        }
        self.set_directory(&place.path, entry)
    }

    fn set_directory<R: Read>(
        &mut self,
        path: &Path,
        entry: &mut Entry<'_, R>,
    ) -> Result<(), UnpackError> {
        let dir = match path.file_name() {
            Some(name) => open_at(self.parent()?, name).map_err(failed(path))?,
            None => open_at(&self.root, OsStr::new(".")).map_err(failed(path))?,
        };
        set_owner(&dir, path, entry)?;
        set_xattrs(&dir, path, entry)?;
        self.dir_times.push((path.to_owned(), entry.header().mtime().unwrap_or(0)));
        Ok(())
    }

    fn file<R: Read>(
        &mut self,
        place: &Place,
        entry: &mut Entry<'_, R>,
    ) -> Result<(), UnpackError> {
        self.make_room(place)?;
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = openat(self.parent()?, &place.name, flags, Mode::from_raw_mode(0o600))
            .map_err(failed(&place.path))?;
        let mut file = std::fs::File::from(fd);
        let mut buffer = [0; 64 << 10];
        loop {
            let count = match entry.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(UnpackError::Damaged(error)),
            };
            self.bytes += count as u64;
            if self.bytes > self.limits.layer_bytes {
                return Err(UnpackError::TooLarge {
                    what: "bytes",
                    limit: self.limits.layer_bytes,
                });
            }
            file.write_all(&buffer[..count]).map_err(|source| UnpackError::Io {
                entry: place.path.display().to_string(),
                source,
            })?;
        }
        let fd = OwnedFd::from(file);
        set_owner(&fd, &place.path, entry)?;
        set_xattrs(&fd, &place.path, entry)?;
        futimens(&fd, &times(entry.header().mtime().unwrap_or(0))).map_err(failed(&place.path))
    }

    fn symlink<R: Read>(
        &mut self,
        place: &Place,
        entry: &mut Entry<'_, R>,
    ) -> Result<(), UnpackError> {
        let target = entry
            .link_name_bytes()
            .filter(|target| !target.is_empty())
            .ok_or_else(|| bad(&place.path, "links to nothing"))?
            .into_owned();
        self.make_room(place)?;
        symlinkat(OsStr::from_bytes(&target), self.parent()?, &place.name)
            .map_err(failed(&place.path))?;
        self.set_by_name(place, entry)
    }

    fn fifo<R: Read>(
        &mut self,
        place: &Place,
        entry: &mut Entry<'_, R>,
    ) -> Result<(), UnpackError> {
        self.make_room(place)?;
        let mode = Mode::from_raw_mode(entry.header().mode().unwrap_or(0o600) & 0o777);
        mknodat(self.parent()?, &place.name, FileType::Fifo, mode, 0)
            .map_err(failed(&place.path))?;
        chmodat(self.parent()?, &place.name, mode, AtFlags::empty())
            .map_err(failed(&place.path))?;
        self.set_by_name(place, entry)
    }

    fn hard_link<R: Read>(
        &mut self,
        place: &Place,
        entry: &mut Entry<'_, R>,
    ) -> Result<(), UnpackError> {
        let raw = entry
            .link_name_bytes()
            .ok_or_else(|| bad(&place.path, "links to nothing"))?
            .into_owned();
        let outside = || bad(&place.path, "is a hard link to what is not in the layer");
        let target = inside(Path::new(OsStr::from_bytes(&raw))).ok_or_else(outside)?;
        let name = target.file_name().ok_or_else(outside)?;
        if target == place.path {
            return Err(bad(&place.path, "is a hard link to itself"));
        }
        let dir = self
            .resolve_or_root(target.parent().unwrap_or(Path::new("")))
            .map_err(|_| outside())?;
        let stat = statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW).map_err(|_| outside())?;
        // A link to a whiteout or directory would be an order to overlayfs, or nothing at all.
        if !matches!(
            FileType::from_raw_mode(stat.st_mode),
            FileType::RegularFile | FileType::Symlink | FileType::Fifo
        ) {
            return Err(bad(&place.path, "is a hard link to something that is not a file"));
        }
        self.make_room(place)?;
        linkat(&dir, name, self.parent()?, &place.name, AtFlags::empty())
            .map_err(failed(&place.path))
    }

    /// Owner and time of what cannot be opened.
    fn set_by_name<R: Read>(
        &self,
        place: &Place,
        entry: &mut Entry<'_, R>,
    ) -> Result<(), UnpackError> {
        let (uid, gid) = owner(&place.path, entry)?;
        let parent = self.parent()?;
        chownat(parent, &place.name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(failed(&place.path))?;
        let times = times(entry.header().mtime().unwrap_or(0));
        utimensat(parent, &place.name, &times, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(failed(&place.path))
    }

    fn finish(&mut self) {
        for (path, mtime) in std::mem::take(&mut self.dir_times) {
            // Times of directories are a courtesy; one that a later entry replaced has none.
            if let Ok(dir) = self.resolve_or_root(&path) {
                let _ = futimens(&dir, &times(mtime));
            }
        }
    }
}
