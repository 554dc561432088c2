//! Waiting for changes of files without asking again and again.

use std::ffi::OsString;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use rustix::fs::inotify::{CreateFlags, Reader, WatchFlags, add_watch, init};
use rustix::io::Errno;
use tokio::io::unix::AsyncFd;

/// Room for a batch of events with names.
const BUFFER: usize = 4096;

/// Watches one directory: files in it that are written, made or renamed.
pub struct DirWatch {
    fd: AsyncFd<OwnedFd>,
}

impl DirWatch {
    pub fn new(dir: &Path) -> io::Result<DirWatch> {
        let fd = init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        let interesting = WatchFlags::MODIFY
            | WatchFlags::CREATE
            | WatchFlags::MOVED_TO
            | WatchFlags::DELETE_SELF;
        add_watch(&fd, dir, interesting)?;
        // The deprecation is about types whose descriptor can change under way;
        // an owned descriptor cannot, and the replacement is `unsafe`.
        #[allow(deprecated)]
        let fd = AsyncFd::new(fd)?;
        Ok(DirWatch { fd })
    }

    /// Names of the files that changed since the last call; waits for one at
    /// least. Safe to cancel.
    pub async fn changed(&mut self) -> io::Result<Vec<OsString>> {
        loop {
            let mut guard = self.fd.readable().await?;
            let mut names = Vec::new();
            let mut space = [MaybeUninit::uninit(); BUFFER];
            let mut reader = Reader::new(guard.get_inner(), &mut space);
            loop {
                match reader.next() {
                    Ok(event) => {
                        let name = event.file_name().map(|name| name.to_bytes().to_vec());
                        names.push(OsString::from_vec(name.unwrap_or_default()));
                    }
                    Err(Errno::AGAIN) => break,
                    Err(error) => return Err(error.into()),
                }
            }
            guard.clear_ready();
            if !names.is_empty() {
                return Ok(names);
            }
        }
    }
}
