//! What an entry of a layer says of a file besides its content: owner, mode,
//! extended attributes, time. Knows descriptors, not paths in the layer.

use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{Gid, Mode, Timestamps, Uid, XattrFlags, fchmod, fchown, fsetxattr};
use rustix::io::Errno;
use tar::Entry;

use super::{UnpackError, bad, failed};

pub(super) fn owner<R: Read>(path: &Path, entry: &Entry<'_, R>) -> Result<(Uid, Gid), UnpackError> {
    let id = |id: io::Result<u64>| {
        id.ok()
            .and_then(|id| u32::try_from(id).ok())
            .filter(|&id| id != u32::MAX)
            .ok_or_else(|| bad(path, "has an owner that is not a user id"))
    };
    let header = entry.header();
    Ok((Uid::from_raw(id(header.uid())?), Gid::from_raw(id(header.gid())?)))
}

/// Owner first: changing it takes set-user-id bits away.
pub(super) fn set_owner<R: Read>(
    fd: &OwnedFd,
    path: &Path,
    entry: &mut Entry<'_, R>,
) -> Result<(), UnpackError> {
    let (uid, gid) = owner(path, entry)?;
    fchown(fd, Some(uid), Some(gid)).map_err(failed(path))?;
    let mode = entry.header().mode().map_err(UnpackError::Damaged)?;
    fchmod(fd, Mode::from_raw_mode(mode & 0o7777)).map_err(failed(path))
}

pub(super) fn set_xattrs<R: Read>(
    fd: &OwnedFd,
    path: &Path,
    entry: &mut Entry<'_, R>,
) -> Result<(), UnpackError> {
    let Some(extensions) = entry.pax_extensions().map_err(UnpackError::Damaged)? else {
        return Ok(());
    };
    for extension in extensions {
        let extension = extension.map_err(UnpackError::Damaged)?;
        let Some(name) = extension.key().ok().and_then(|key| key.strip_prefix("SCHILY.xattr."))
        else {
            continue;
        };
        if !(name.starts_with("user.") || name.starts_with("security.capability")) {
            continue;
        }
        match fsetxattr(fd, name, extension.value_bytes(), XattrFlags::empty()) {
            // A file system without them runs the image all the same.
            Ok(()) | Err(Errno::NOTSUP) => {}
            Err(error) => return Err(failed(path)(error)),
        }
    }
    Ok(())
}

pub(super) fn times(mtime: u64) -> Timestamps {
    let time = rustix::fs::Timespec { tv_sec: i64::try_from(mtime).unwrap_or(0), tv_nsec: 0 };
    Timestamps { last_access: time, last_modification: time }
}
