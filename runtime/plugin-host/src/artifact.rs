//! From the bytes of a component to something that can be instantiated:
//! checked, compiled once per machine, mapped from the cache afterwards.
//!
//! Compiled code is native code, so what is loaded is only ever what this host
//! compiled itself: the cache lies in a directory of its own that nobody else
//! may write to, and components arrive as WebAssembly, never precompiled.

#![allow(unsafe_code)] // mapping cached native code; see `Artifacts::map`

use std::fs;
use std::hash::{Hash, Hasher};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};
use wasmtime::component::Component;

use crate::contract;
use crate::engine::Wasm;
use crate::plugin::Role;

/// Far above any sensible component (a JavaScript engine inside is 12 MB).
const MAX_COMPONENT_BYTES: usize = 64 << 20;

const EXTENSION: &str = "cwasm";

/// The digest of a component, as it is written in Plugin objects.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest(Arc<str>);

impl Digest {
    pub fn of(bytes: &[u8]) -> Self {
        Self(format!("sha256:{}", hex::encode(Sha256::digest(bytes))).into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn hex(&self) -> &str {
        self.0.trim_start_matches("sha256:")
    }
}

impl std::fmt::Display for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why bytes are not a component of the wanted role.
#[derive(Debug, thiserror::Error)]
pub enum ArtifactError {
    #[error("the component is empty")]
    Empty,
    #[error("the component has {size} bytes, more than the {MAX_COMPONENT_BYTES} allowed")]
    TooLarge { size: usize },
    #[error("the digest is {actual}, but the Plugin object names {expected}")]
    DigestMismatch { expected: String, actual: Digest },
    #[error("{expected:?} is not a digest; write sha256: and 64 hexadecimal digits")]
    DigestSyntax { expected: String },
    #[error("not WebAssembly: the file starts with {start}, not with \\0asm")]
    NotWasm { start: String },
    #[error("a core module, not a component; link it with wasm-component-ld")]
    CoreModule,
    #[error("WebAssembly of an unknown kind (version bytes {version})")]
    UnknownLayer { version: String },
    #[error("the component does not compile")]
    Compile(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("the component imports {import}, which role {role} does not offer")]
    UngrantedImport { import: String, role: Role },
    #[error("the component exports {found}, but role {role} needs {needed}")]
    WrongRole { role: Role, needed: String, found: String },
}

impl ArtifactError {
    /// One word for status.reason.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::DigestMismatch { .. } | Self::DigestSyntax { .. } => "DigestMismatch",
            Self::Empty | Self::TooLarge { .. } => "BadSize",
            Self::NotWasm { .. } | Self::CoreModule | Self::UnknownLayer { .. } => "NotAComponent",
            Self::Compile(_) => "CompileError",
            Self::UngrantedImport { .. } => "UngrantedImport",
            Self::WrongRole { .. } => "WrongRole",
        }
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
    /// One at a time: compiling is what takes memory here.
    compiling: Mutex<()>,
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
    pub fn open(wasm: Arc<Wasm>, directory: &Path) -> Result<Self, CacheError> {
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
            compiling: Mutex::new(()),
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

    fn component(&self, bytes: &[u8], digest: &Digest) -> Result<Component, ArtifactError> {
        let path =
            self.directory.join(format!("{}-{}.{EXTENSION}", digest.hex(), self.compatibility));
        if let Some(component) = self.map(&path) {
            return Ok(component);
        }
        let _one_at_a_time = self.compiling.lock();
        if let Some(component) = self.map(&path) {
            return Ok(component);
        }
        let code = self
            .wasm
            .engine()
            .precompile_component(bytes)
            .map_err(|error| ArtifactError::Compile(error.into()))?;
        match self.keep(&path, &code) {
            Ok(()) => {
                drop(code);
                if let Some(component) = self.map(&path) {
                    return Ok(component);
                }
            }
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "cannot keep a compiled plugin; it will be compiled again");
            }
        }
        // The cache is an optimisation only.
        Component::from_binary(self.wasm.engine(), bytes)
            .map_err(|error| ArtifactError::Compile(error.into()))
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
        // change while it is mapped. `keep` alone writes such files, whole and
        // under a new name each time, readable and writable by this user only,
        // in a directory that `open` has checked to be writable by this user only.
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

    /// Writes under a temporary name, syncs, renames: a reader sees all or nothing,
    /// also after a power cut.
    fn keep(&self, path: &Path, code: &[u8]) -> std::io::Result<()> {
        let temporary = path.with_extension(format!("{}.tmp", std::process::id()));
        let _ = fs::remove_file(&temporary);
        let mut file =
            fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
        let written = file.write_all(code).and_then(|()| file.sync_all());
        written.and_then(|()| fs::rename(&temporary, path)).inspect_err(|_| {
            let _ = fs::remove_file(&temporary);
        })?;
        fs::File::open(&self.directory)?.sync_all()
    }

    /// Removes what other engine versions left behind. Failing to is harmless.
    fn prune(&self) {
        let Ok(entries) = fs::read_dir(&self.directory) else { return };
        let current = format!("-{}.{EXTENSION}", self.compatibility);
        for entry in entries.flatten() {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if name.ends_with(&format!(".{EXTENSION}")) && !name.ends_with(&current) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }
}

/// Everything that can be said about the bytes without compiling them.
fn verify(bytes: &[u8], expected: Option<&str>) -> Result<Digest, ArtifactError> {
    if bytes.is_empty() {
        return Err(ArtifactError::Empty);
    }
    if bytes.len() > MAX_COMPONENT_BYTES {
        return Err(ArtifactError::TooLarge { size: bytes.len() });
    }
    let digest = Digest::of(bytes);
    if let Some(expected) = expected {
        let well_formed = expected
            .strip_prefix("sha256:")
            .is_some_and(|hex| hex.len() == 64 && hex.bytes().all(|byte| byte.is_ascii_hexdigit()));
        if !well_formed {
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
        check(b"\x7fELF....", None, "not WebAssembly: the file starts with \\x7fELF");
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
        let artifacts = Artifacts::open(Wasm::new().unwrap(), &cache).unwrap();
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
        Artifacts::open(wasm.clone(), &cache).unwrap();
        assert!(!cache.join("0-0.cwasm").exists());

        fs::set_permissions(&cache, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
        assert!(Artifacts::open(wasm, &cache).is_err());
    }
}
