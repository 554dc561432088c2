//! Root file systems: an image's unpacked layers under a writable directory of one container.

use std::collections::BTreeSet;
use std::ffi::CString;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use pintle_shim::layout::{make_private_dir, read_json, write_json};
use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_change, unmount,
};

use crate::image::{Image, Layer};
use crate::store::{
    ContentStore, Digest, Staging, StoreError, chain_dir, decompress, read_dir, remove_all,
};
use crate::unpack::unpack;

/// Longest options string of a mount, in bytes: one page with its end.
const MAX_OPTIONS: usize = 4095;

/// Makes and removes the root file systems of containers. Its methods block.
#[derive(Debug, Clone)]
pub struct Snapshots {
    store: ContentStore,
}

#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    #[error(
        "{0:?} cannot be a key: it must have 1 to 200 letters, digits, '-', '_' or '.', not '.' first"
    )]
    BadKey(String),
    #[error("cannot {action} {}", path.display())]
    Io {
        action: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("cannot mount the root file system {}", path.display())]
    Mount {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("cannot use the image store")]
    Store(#[from] StoreError),
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> SnapshotError {
    let path = path.to_owned();
    move |source| SnapshotError::Io { action, path, source }
}

impl Snapshots {
    pub(crate) fn new(store: ContentStore) -> Self {
        Snapshots { store }
    }

    /// Mounts a fresh root file system for `key`, one container attempt. Asking again for one that
    /// is mounted gives the same.
    pub fn prepare(&self, image: &Image, key: &str) -> Result<PathBuf, SnapshotError> {
        let dir = self.dir(key)?;
        let rootfs = dir.join("rootfs");
        if is_mount(&rootfs) {
            return Ok(rootfs);
        }
        // Left by a container that is not running, and never continued.
        remove_all(&dir)?;
        let (upper, work, empty) = (dir.join("upper"), dir.join("work"), dir.join("empty"));
        for path in [&dir, &upper, &work, &empty, &rootfs] {
            make_private_dir(path).map_err(failed("create", path))?;
        }
        // The container sees the upper directory as its `/`.
        fs::set_permissions(&upper, std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .map_err(failed("set the mode of", &upper))?;
        let chains: Vec<&str> = image.layers.iter().map(|layer| layer.chain_id.as_str()).collect();
        {
            let _lock = self.store.lock()?;
            // Says which layers are in use, before they are looked for.
            let path = dir.join("layers.json");
            write_json(&path, &chains, false).map_err(failed("write", &path))?;
        }
        if let Some(missing) = image.layers.iter().find(|layer| !self.layer_dir(layer).exists()) {
            let staging = Staging::new(&self.store)?;
            tracing::info!(layer = missing.chain_id, "unpacking a layer again");
            let _lock = self.store.lock()?;
            for layer in &image.layers {
                ensure_layer(&self.store, &staging, layer)?;
            }
        }
        let mut lower: Vec<PathBuf> =
            image.layers.iter().rev().map(|layer| self.layer_dir(layer)).collect();
        if lower.is_empty() {
            lower.push(empty);
        }
        let mounted = mount_overlay(&lower, &upper, &work, &rootfs)
            .and_then(|()| Ok(mount_change(&rootfs, MountPropagationFlags::PRIVATE)?));
        if let Err(source) = mounted {
            let _ = self.remove(key);
            return Err(SnapshotError::Mount { path: rootfs, source });
        }
        Ok(rootfs)
    }

    /// Unmounts and removes the root file system of `key`; one that does not exist is removed.
    pub fn remove(&self, key: &str) -> Result<(), SnapshotError> {
        let dir = self.dir(key)?;
        let rootfs = dir.join("rootfs");
        loop {
            match unmount(&rootfs, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
                Ok(()) => {}
                Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOENT) => break,
                Err(error) => return Err(failed("unmount", &rootfs)(error.into())),
            }
        }
        Ok(remove_all(&dir)?)
    }

    /// Every key that has a root file system, for an agent that looks for leftovers.
    pub fn list(&self) -> Result<Vec<String>, SnapshotError> {
        let mut keys: Vec<String> = read_dir(&self.store.roots())?
            .iter()
            .filter_map(|dir| Some(dir.file_name()?.to_str()?.to_owned()))
            .collect();
        keys.sort();
        Ok(keys)
    }

    /// The writable directory of `key`: what the container has changed.
    pub fn upper(&self, key: &str) -> Result<PathBuf, SnapshotError> {
        Ok(self.dir(key)?.join("upper"))
    }

    /// Chain ids that root file systems are made of. The caller holds the store's lock.
    pub(crate) fn chains_in_use(&self) -> Result<BTreeSet<String>, StoreError> {
        let mut chains = BTreeSet::new();
        for dir in read_dir(&self.store.roots())? {
            let path = dir.join("layers.json");
            let listed: Option<Vec<String>> =
                read_json(&path).map_err(|e| StoreError::io("read", &path, e))?;
            chains.extend(listed.unwrap_or_default());
        }
        Ok(chains)
    }

    fn dir(&self, key: &str) -> Result<PathBuf, SnapshotError> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let plain =
            (1..=200).contains(&key.len()) && key.chars().all(allowed) && !key.starts_with('.');
        match plain {
            true => Ok(self.store.roots().join(key)),
            false => Err(SnapshotError::BadKey(key.chars().take(250).collect())),
        }
    }

    fn layer_dir(&self, layer: &Layer) -> PathBuf {
        self.store.snapshots_dir().join(chain_dir(&layer.chain_id)).join("fs")
    }
}

/// Unpacks a layer's blob into `target/fs` and checks it against the image's config.
pub(crate) fn unpack_layer(
    store: &ContentStore,
    layer: &Layer,
    blob: &Path,
    target: &Path,
) -> Result<(), StoreError> {
    let fs = target.join("fs");
    make_private_dir(target)
        .and_then(|()| make_private_dir(&fs))
        .map_err(|e| StoreError::io("create", &fs, e))?;
    fs::set_permissions(&fs, std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .map_err(|e| StoreError::io("set the mode of", &fs, e))?;
    let file = File::open(blob).map_err(|e| StoreError::io("open", blob, e))?;
    let reader = decompress(file).map_err(StoreError::Damaged)?;
    let hash = unpack(reader, &fs, store.limits())
        .map_err(|source| StoreError::Unpack { digest: layer.digest.clone(), source })?;
    let actual = Digest::from_hash(&hash);
    if actual.as_str() != layer.diff_id {
        return Err(StoreError::DigestMismatch {
            expected: layer.diff_id.clone(),
            actual: actual.to_string(),
        });
    }
    Ok(())
}

/// Unpacks a layer of the store unless it is. The caller holds the store's lock.
pub(crate) fn ensure_layer(
    store: &ContentStore,
    staging: &Staging,
    layer: &Layer,
) -> Result<(), StoreError> {
    let path = store.snapshots_dir().join(chain_dir(&layer.chain_id));
    if path.exists() {
        return Ok(());
    }
    let target = staging.path().join(chain_dir(&layer.chain_id));
    unpack_layer(store, layer, &store.blob(&Digest::parse(&layer.digest)?), &target)?;
    fs::rename(&target, &path).map_err(|e| StoreError::io("store", &path, e))
}

fn is_mount(path: &Path) -> bool {
    let device = |path: &Path| fs::symlink_metadata(path).map(|meta| meta.dev()).ok();
    match (device(path), path.parent().and_then(device)) {
        (Some(own), Some(parent)) => own != parent,
        _ => false,
    }
}

fn mount_overlay(lower: &[PathBuf], upper: &Path, work: &Path, target: &Path) -> io::Result<()> {
    let plain: Vec<String> = lower
        .iter()
        .map(PathBuf::as_path)
        .chain([upper, work])
        .map(|path| path.to_string_lossy().into_owned())
        .collect();
    let length: usize = plain.iter().map(|path| path.len() + 1).sum();
    let special = plain.iter().any(|path| path.contains([':', ',', '\\', '"']));
    if length + 64 < MAX_OPTIONS && !special {
        return mount_with(&plain, target);
    }
    // Many layers do not fit into the options, and some characters cannot be written in them. The
    // names of open descriptors are short and plain.
    let open: Vec<OwnedFd> = lower
        .iter()
        .map(PathBuf::as_path)
        .chain([upper, work])
        .map(|path| File::open(path).map(OwnedFd::from))
        .collect::<Result<_, _>>()?;
    let short: Vec<String> =
        open.iter().map(|fd| format!("/proc/self/fd/{}", fd.as_raw_fd())).collect();
    mount_with(&short, target)
}

/// `paths` are the layers from the top, then upper, then work.
fn mount_with(paths: &[String], target: &Path) -> io::Result<()> {
    let [lower @ .., upper, work] = paths else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let options = format!("lowerdir={},upperdir={upper},workdir={work}", lower.join(":"));
    // A container's changes end with it, so nothing is gained by syncing them, and an unmount that
    // syncs waits for the whole disk. Kernels before 5.10 do not know the option.
    let volatile = CString::new(format!("{options},volatile"))?;
    match mount("overlay", target, "overlay", MountFlags::empty(), volatile.as_c_str()) {
        Err(rustix::io::Errno::INVAL) => {
            let options = CString::new(options)?;
            Ok(mount("overlay", target, "overlay", MountFlags::empty(), options.as_c_str())?)
        }
        result => Ok(result?),
    }
}
