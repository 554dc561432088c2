//! From the bytes of a component to something that can be instantiated:
//! checked, compiled once per machine, mapped from the cache afterwards.
//!
//! Compiled code is native code, so what is loaded is only ever what this host
//! or a child of it compiled: the cache lies in a directory of its own that
//! nobody else may write to, and components arrive as WebAssembly, never
//! precompiled.

#![allow(unsafe_code)] // mapping cached native code; see `Artifacts::map`

mod error;

use std::collections::BTreeSet;
use std::fs;
use std::hash::{Hash, Hasher};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use sha2::{Digest as _, Sha256};
use wasmtime::component::Component;

use crate::compile::{self, Compiler};
use crate::contract;
use crate::engine::Wasm;
use crate::plugin::Role;

pub use error::ArtifactError;

/// Far above any sensible component (a JavaScript engine inside is 12 MB).
pub(crate) const MAX_COMPONENT_BYTES: usize = 64 << 20;

const EXTENSION: &str = "cwasm";

/// Longer than any compilation.
const TEMPORARY_LIFETIME: Duration = Duration::from_secs(3600);

/// The digest of a component, as it is written in Plugin objects.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest(Arc<str>);

impl Digest {
    pub fn of(bytes: &[u8]) -> Self {
        Self(format!("sha256:{}", hex::encode(Sha256::digest(bytes))).into())
    }

    /// `sha256:` and 64 hexadecimal digits, or nothing.
    pub fn parse(text: &str) -> Option<Self> {
        let hex = text.strip_prefix("sha256:")?;
        let well_formed = hex.len() == 64 && hex.bytes().all(|byte| byte.is_ascii_hexdigit());
        well_formed.then(|| Self(text.to_ascii_lowercase().into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(crate) fn hex(&self) -> &str {
        self.0.trim_start_matches("sha256:")
    }
}

impl std::fmt::Display for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// A checked component.
#[derive(Clone)]
pub struct Artifact {
    pub digest: Digest,
    pub role: Role,
    /// Imports WASI, which it gets with an empty context.
    pub wasi: bool,
    pub(crate) component: Component,
}

/// Compiles components and keeps the results.
pub struct Artifacts {
    wasm: Arc<Wasm>,
    directory: PathBuf,
    compatibility: String,
    compiler: Compiler,
    gate: Gate,
}

/// So many compilations at once, and never two of the same component.
struct Gate {
    parallelism: usize,
    compiling: Mutex<BTreeSet<PathBuf>>,
    done: Condvar,
}

impl Gate {
    fn enter(&self, path: &Path) -> Entered<'_> {
        let mut compiling = self.compiling.lock();
        while compiling.len() >= self.parallelism || compiling.contains(path) {
            self.done.wait(&mut compiling);
        }
        compiling.insert(path.to_owned());
        Entered { gate: self, path: path.to_owned() }
    }
}

struct Entered<'a> {
    gate: &'a Gate,
    path: PathBuf,
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        self.gate.compiling.lock().remove(&self.path);
        self.gate.done.notify_all();
    }
}

#[derive(Debug, thiserror::Error)]
#[error(
    "cannot use {path} to keep compiled plugins; it must be a directory that only the server may write to"
)]
pub struct CacheError {
    pub path: PathBuf,
    #[source]
    pub source: std::io::Error,
}

impl Artifacts {
    /// `directory` is created (0700) if it is missing.
    pub fn open(wasm: Arc<Wasm>, directory: &Path, compiler: Compiler) -> Result<Self, CacheError> {
        let fail = |source| CacheError { path: directory.to_owned(), source };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(fail)?;
        let metadata = fs::symlink_metadata(directory).map_err(fail)?;
        if !metadata.is_dir()
            || metadata.uid() != rustix::process::geteuid().as_raw()
            || metadata.mode() & 0o022 != 0
        {
            return Err(fail(std::io::ErrorKind::PermissionDenied.into()));
        }
        let mut hasher = std::hash::DefaultHasher::new();
        wasm.engine().precompile_compatibility_hash().hash(&mut hasher);
        let compatibility = format!("{:016x}", hasher.finish());
        let artifacts = Self {
            wasm,
            directory: directory.to_owned(),
            compatibility,
            gate: Gate {
                parallelism: compiler.parallelism(),
                compiling: Mutex::default(),
                done: Condvar::new(),
            },
            compiler,
        };
        artifacts.prune();
        Ok(artifacts)
    }

    pub(crate) fn wasm(&self) -> &Arc<Wasm> {
        &self.wasm
    }

    /// Checks `bytes` and compiles them unless the cache has them.
    pub fn load(
        &self,
        bytes: &[u8],
        expected: Option<&str>,
        role: Role,
    ) -> Result<Artifact, ArtifactError> {
        let digest = verify(bytes, expected)?;
        let component = self.component(bytes, &digest)?;
        let wasi = contract::check(&component, self.wasm.engine(), role)?;
        Ok(Artifact { digest, role, wasi, component })
    }

    /// A component that was compiled before, although nobody has its bytes now.
    pub(crate) fn remembered(
        &self,
        digest: &Digest,
        role: Role,
    ) -> Option<Result<Artifact, ArtifactError>> {
        let component = self.map(&self.path(digest))?;
        let checked = contract::check(&component, self.wasm.engine(), role);
        Some(checked.map(|wasi| Artifact { digest: digest.clone(), role, wasi, component }))
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        self.directory.join(format!("{}-{}.{EXTENSION}", digest.hex(), self.compatibility))
    }

    fn component(&self, bytes: &[u8], digest: &Digest) -> Result<Component, ArtifactError> {
        let path = self.path(digest);
        if let Some(component) = self.map(&path) {
            return Ok(component);
        }
        let _turn = self.gate.enter(&path);
        if let Some(component) = self.map(&path) {
            return Ok(component);
        }
        let cache = |source| ArtifactError::Cache { directory: self.directory.clone(), source };
        let (temporary, file) = self.temporary(&path).map_err(cache)?;
        let made = self.compile(bytes, file).and_then(|file| {
            file.sync_all().and_then(|()| fs::rename(&temporary, &path)).map_err(cache)
        });
        if made.is_err() {
            let _ = fs::remove_file(&temporary);
        }
        made?;
        fs::File::open(&self.directory)
            .and_then(|directory| directory.sync_all())
            .map_err(cache)?;
        self.map(&path).ok_or_else(|| cache(std::io::ErrorKind::InvalidData.into()))
    }

    /// Writes native code into `file` and returns it.
    fn compile(&self, bytes: &[u8], mut file: fs::File) -> Result<fs::File, ArtifactError> {
        match &self.compiler {
            Compiler::InProcess => {
                let code = self
                    .wasm
                    .engine()
                    .precompile_component(bytes)
                    .map_err(|error| ArtifactError::Compile(error.into()))?;
                file.write_all(&code).map_err(|source| ArtifactError::Cache {
                    directory: self.directory.clone(),
                    source,
                })?;
            }
            Compiler::Program { program, arguments } => {
                compile::run(program, arguments, bytes, &file)?;
            }
        }
        Ok(file)
    }

    /// Maps compiled code from the cache; None if it is not there or not ours.
    fn map(&self, path: &Path) -> Option<Component> {
        let metadata = fs::symlink_metadata(path).ok()?;
        let ours = metadata.is_file()
            && metadata.uid() == rustix::process::geteuid().as_raw()
            && metadata.mode() & 0o077 == 0;
        if !ours {
            tracing::warn!(path = %path.display(), "ignoring a compiled plugin that others may have written");
            return None;
        }
        // SAFETY: the file is native code that will be executed, so it must be
        // what `precompile_component` of this engine returned, and must not
        // change while it is mapped. `component` alone makes such files, from
        // what this process or its compiler child wrote into a file that was
        // new, whole and under a new name each time, readable and writable by
        // this user only, in a directory that `open` has checked to be writable
        // by this user only.
        // Code of another engine version or configuration is refused by wasmtime.
        match unsafe { Component::deserialize_file(self.wasm.engine(), path) } {
            Ok(component) => Some(component),
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "dropping an unusable compiled plugin");
                let _ = fs::remove_file(path);
                None
            }
        }
    }

    /// Compiled code is written under a temporary name, synced and renamed: a
    /// reader sees all or nothing, also after a power cut.
    fn temporary(&self, path: &Path) -> std::io::Result<(PathBuf, fs::File)> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let temporary = path.with_extension(format!("{}-{number}.tmp", std::process::id()));
        // Of a process that had the same id and is dead.
        let _ = fs::remove_file(&temporary);
        let file =
            fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
        Ok((temporary, file))
    }

    /// Removes what other engine versions left behind. Failing to is harmless.
    fn prune(&self) {
        let Ok(entries) = fs::read_dir(&self.directory) else { return };
        let current = format!("-{}.{EXTENSION}", self.compatibility);
        for entry in entries.flatten() {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            let outdated = name.ends_with(&format!(".{EXTENSION}")) && !name.ends_with(&current);
            if outdated || (name.ends_with(".tmp") && !is_recent(&entry)) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }
}

/// May still be written to, by another process that shares the cache.
fn is_recent(entry: &fs::DirEntry) -> bool {
    let modified = entry.metadata().and_then(|metadata| metadata.modified());
    modified.is_ok_and(|at| at.elapsed().is_ok_and(|age| age < TEMPORARY_LIFETIME))
}

/// Everything that can be said about the bytes without compiling them.
pub(crate) fn verify(bytes: &[u8], expected: Option<&str>) -> Result<Digest, ArtifactError> {
    if bytes.is_empty() {
        return Err(ArtifactError::Empty);
    }
    if bytes.len() > MAX_COMPONENT_BYTES {
        return Err(ArtifactError::TooLarge { size: bytes.len() });
    }
    let digest = Digest::of(bytes);
    if let Some(expected) = expected {
        if Digest::parse(expected).is_none() {
            return Err(ArtifactError::DigestSyntax { expected: expected.to_owned() });
        }
        if !expected.eq_ignore_ascii_case(digest.as_str()) {
            return Err(ArtifactError::DigestMismatch {
                expected: expected.to_owned(),
                actual: digest,
            });
        }
    }
    if !bytes.starts_with(b"\0asm") {
        let start = bytes.iter().take(4).map(|byte| byte.escape_ascii().to_string()).collect();
        return Err(ArtifactError::NotWasm { start });
    }
    match bytes.get(4..8) {
        Some([0x0d, 0, 1, 0]) => Ok(digest),
        Some([1, 0, 0, 0]) => Err(ArtifactError::CoreModule),
        other => {
            Err(ArtifactError::UnknownLayer { version: hex::encode(other.unwrap_or_default()) })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_are_no_component_are_named() {
        fn check(bytes: &[u8], expected: Option<&str>, expect: &str) {
            let error = verify(bytes, expected).unwrap_err();
            assert!(error.to_string().contains(expect), "{error}");
        }
        check(b"", None, "empty");
        check(b"\x7fELF....", None, "not WebAssembly: the file starts with `\\x7fELF`");
        check(b"\0asm\x01\0\0\0", None, "core module");
        check(b"\0asm\x09\0\0\0", None, "unknown kind (version bytes 09000000)");
        check(b"\0asm", None, "unknown kind");
        check(b"x", Some("md5:1"), "not a digest");
        check(
            b"x",
            Some(&format!("sha256:{}", "0".repeat(64))),
            "the digest is sha256:2d711642b726b04401627ca9",
        );
    }

    #[test]
    fn the_cache_survives_damage_and_refuses_what_others_may_write() {
        let directory = tempfile::tempdir().unwrap();
        let cache = directory.path().join("cache");
        let artifacts = Artifacts::open(Wasm::new().unwrap(), &cache, Compiler::InProcess).unwrap();
        let empty_component = b"\0asm\x0d\0\x01\0";
        let digest = Digest::of(empty_component);
        artifacts.component(empty_component, &digest).unwrap();
        let files: Vec<_> =
            fs::read_dir(&cache).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert_eq!(files.len(), 1);
        assert_eq!(fs::metadata(&files[0]).unwrap().mode() & 0o777, 0o600);

        fs::write(&files[0], b"torn").unwrap();
        artifacts.component(empty_component, &digest).unwrap();
        assert!(fs::metadata(&files[0]).unwrap().len() > 4, "compiled again");

        fs::set_permissions(&files[0], std::os::unix::fs::PermissionsExt::from_mode(0o666))
            .unwrap();
        assert!(artifacts.map(&files[0]).is_none());

        fs::write(cache.join("0-0.cwasm"), b"old").unwrap();
        let wasm = artifacts.wasm().clone();
        Artifacts::open(wasm.clone(), &cache, Compiler::InProcess).unwrap();
        assert!(!cache.join("0-0.cwasm").exists());

        fs::set_permissions(&cache, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
        assert!(Artifacts::open(wasm, &cache, Compiler::InProcess).is_err());
    }
}
