//! Named network namespaces: a file with the namespace bind-mounted over it.
//!
//! Entering a namespace changes the calling thread only, so everything here
//! must run on a thread of the executor's own that is thrown away afterwards.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::statfs::{FsType, fstatfs};

use crate::error::OpError;

/// `NSFS_MAGIC` of `linux/magic.h`.
const NSFS_MAGIC: FsType = FsType(0x6e73_6673);

/// Whether `path` is a pinned namespace and not the empty file that is left when
/// the mount is gone (after a reboot, or in another mount namespace).
pub fn is_netns(path: &Path) -> bool {
    File::open(path)
        .ok()
        .and_then(|file| fstatfs(&file).ok())
        .is_some_and(|stat| stat.filesystem_type() == NSFS_MAGIC)
}

/// The namespace of the calling thread, to come back to.
pub(crate) fn current() -> io::Result<File> {
    File::open("/proc/thread-self/ns/net")
}

pub(crate) fn open(path: &Path) -> Result<File, OpError> {
    let failed = |source| OpError::Netns { path: path.to_owned(), source };
    let file = File::open(path).map_err(failed)?;
    let stat = fstatfs(&file).map_err(|errno| failed(errno.into()))?;
    if stat.filesystem_type() != NSFS_MAGIC {
        let reason = "nothing is pinned there, the namespace is gone";
        return Err(failed(io::Error::new(io::ErrorKind::NotFound, reason)));
    }
    Ok(file)
}

pub(crate) fn enter(namespace: &File) -> io::Result<()> {
    Ok(setns(namespace, CloneFlags::CLONE_NEWNET)?)
}

/// Leaves the calling thread inside the new namespace. Returns false when one
/// is already pinned there.
pub(crate) fn create(path: &Path) -> Result<bool, OpError> {
    if is_netns(path) {
        return Ok(false);
    }
    let failed = |source: io::Error| OpError::Netns { path: path.to_owned(), source };
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).map_err(failed)?;
    }
    OpenOptions::new().write(true).create(true).truncate(false).open(path).map_err(failed)?;
    unshare(CloneFlags::CLONE_NEWNET).map_err(|errno| failed(errno.into()))?;
    mount(Some("/proc/thread-self/ns/net"), path, None::<&str>, MsFlags::MS_BIND, None::<&str>)
        .map_err(|errno| failed(errno.into()))?;
    Ok(true)
}

pub(crate) fn delete(path: &Path) -> Result<(), OpError> {
    let failed = |source: io::Error| OpError::Netns { path: path.to_owned(), source };
    // More than one mount may lie on top of each other after a crash between
    // mount and bookkeeping: take all of them down.
    loop {
        match umount2(path, MntFlags::MNT_DETACH) {
            Ok(()) => {}
            Err(Errno::EINVAL | Errno::ENOENT) => break,
            Err(errno) => return Err(failed(errno.into())),
        }
    }
    match std::fs::remove_file(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(failed(error)),
    }
}
