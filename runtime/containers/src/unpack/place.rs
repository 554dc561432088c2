//! Where entries go: every directory is opened by the kernel inside the layer,
//! links included, and what is in the way is removed through descriptors.
//! Does not know what an entry holds.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, ResolveFlags, fchmod, mkdirat, open, openat, openat2, statat,
    unlinkat,
};
use rustix::io::Errno;

use super::{UnpackError, Unpacker, bad, failed};

/// Where an entry goes.
pub(super) struct Place {
    pub path: PathBuf,
    pub name: OsString,
}

impl Unpacker<'_> {
    pub(super) fn parent(&self) -> Result<&OwnedFd, UnpackError> {
        self.parent.as_ref().map(|(_, fd)| fd).ok_or_else(|| bad(Path::new(""), "has no parent"))
    }

    /// Opens the directory that `path` is in; makes what is missing of it.
    pub(super) fn enter_parent(&mut self, path: &Path) -> Result<(), UnpackError> {
        let parent = path.parent().unwrap_or(Path::new("")).to_owned();
        if self.parent.as_ref().is_some_and(|(open, _)| *open == parent) {
            return Ok(());
        }
        let fd = self.open_beneath(&parent, path)?;
        self.parent = Some((parent, fd));
        Ok(())
    }

    fn open_beneath(&self, dir: &Path, entry: &Path) -> Result<OwnedFd, UnpackError> {
        let mut at = open_dir(self.root.as_fd(), Path::new("."))
            .map_err(|source| UnpackError::Io { entry: entry.display().to_string(), source })?;
        let mut prefix = PathBuf::new();
        for part in dir.components() {
            prefix.push(part);
            at = match self.resolve(&prefix, ResolveFlags::BENEATH) {
                Ok(fd) => fd,
                Err(Errno::NOENT) => {
                    match mkdirat(&at, part.as_os_str(), Mode::from_raw_mode(0o755)) {
                        Ok(()) => {}
                        Err(Errno::EXIST) => {
                            return Err(bad(
                                entry,
                                "is below a symbolic link to nothing in the layer",
                            ));
                        }
                        Err(error) => return Err(failed(entry)(error)),
                    }
                    let made =
                        self.resolve(&prefix, ResolveFlags::BENEATH).map_err(failed(entry))?;
                    // Whatever the umask of this process is.
                    fchmod(&made, Mode::from_raw_mode(0o755)).map_err(failed(entry))?;
                    made
                }
                // The link leaves the layer as written; in the container it means a place inside.
                Err(Errno::XDEV) => {
                    self.resolve(&prefix, ResolveFlags::IN_ROOT).map_err(|error| match error {
                        Errno::NOENT => {
                            bad(entry, "is below a symbolic link that leaves the layer")
                        }
                        other => failed(entry)(other),
                    })?
                }
                Err(Errno::NOTDIR) => {
                    return Err(bad(entry, "is below something that is not a directory"));
                }
                Err(Errno::LOOP) => return Err(bad(entry, "is below a loop of symbolic links")),
                Err(error) => return Err(failed(entry)(error)),
            };
        }
        Ok(at)
    }

    pub(super) fn resolve(&self, path: &Path, how: ResolveFlags) -> rustix::io::Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        openat2(&self.root, path, flags, Mode::empty(), how | ResolveFlags::NO_MAGICLINKS)
    }

    pub(super) fn resolve_or_root(&self, dir: &Path) -> rustix::io::Result<OwnedFd> {
        match dir.as_os_str().is_empty() {
            true => open_at(&self.root, OsStr::new(".")),
            false => self.resolve(dir, ResolveFlags::IN_ROOT),
        }
    }

    pub(super) fn existing(&self, place: &Place) -> Result<Option<FileType>, UnpackError> {
        match statat(self.parent()?, &place.name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(FileType::from_raw_mode(stat.st_mode))),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(failed(&place.path)(error)),
        }
    }

    /// Makes room: a later entry replaces an earlier one.
    pub(super) fn make_room(&mut self, place: &Place) -> Result<(), UnpackError> {
        let result = match self.existing(place)? {
            None => return Ok(()),
            Some(FileType::Directory) => {
                // Emptied through descriptors, so nothing outside can be reached.
                self.remove_directory(place)
            }
            Some(_) => {
                unlinkat(self.parent()?, &place.name, AtFlags::empty()).map_err(failed(&place.path))
            }
        };
        self.written.retain(|path| !path.starts_with(&place.path));
        result
    }

    fn remove_directory(&mut self, place: &Place) -> Result<(), UnpackError> {
        self.dir_times.retain(|(path, _)| !path.starts_with(&place.path));
        remove_tree(self.parent()?, &place.name).map_err(failed(&place.path))
    }
}

/// The path relative to the layer; `None` when it climbs. A leading `/` means the layer's root.
pub(super) fn inside(path: &Path) -> Option<PathBuf> {
    let mut out = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(part) => out.push(part),
            Component::CurDir | Component::RootDir => {}
            Component::ParentDir | Component::Prefix(_) => return None,
        }
    }
    Some(out)
}

pub(super) fn open_dir(at: impl AsFd, path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(match path.is_absolute() {
        true => open(path, flags, Mode::empty())?,
        false => openat(at, path, flags, Mode::empty())?,
    })
}

pub(super) fn open_at(dir: &OwnedFd, name: &OsStr) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(dir, name, flags, Mode::empty())
}

fn remove_tree(parent: &OwnedFd, name: &OsStr) -> rustix::io::Result<()> {
    let dir = open_at(parent, name)?;
    for entry in rustix::fs::Dir::read_from(&dir)? {
        let entry = entry?;
        let child = OsStr::from_bytes(entry.file_name().to_bytes());
        if child == "." || child == ".." {
            continue;
        }
        match unlinkat(&dir, child, AtFlags::empty()) {
            Err(Errno::ISDIR) => remove_tree(&dir, child)?,
            result => result?,
        }
    }
    unlinkat(parent, name, AtFlags::REMOVEDIR)
}
