//! Artifacts in files: an OCI image layout, as a folder or as a tar of one.

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use serde::de::DeserializeOwned;

use crate::MAX_COMPONENT_BYTES;
use crate::digest::Digest;
use crate::manifest::{Descriptor, INDEX, Index, MANIFEST, MAX_MANIFEST_BYTES, Manifest};
use crate::package::{Package, component_layer, json};

const MARKER: &str = "oci-layout";
const MARKER_TEXT: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;
const INDEX_FILE: &str = "index.json";
/// The name under which an index lists what it holds.
const REF_NAME: &str = "org.opencontainers.image.ref.name";

#[derive(Debug, thiserror::Error)]
pub enum LayoutError {
    #[error("cannot write {path}")]
    Write {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("cannot read {path}")]
    Read {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("{path} is no OCI image layout: {problem}")]
    NotALayout { path: PathBuf, problem: String },
    #[error("{path} is damaged: {what} has the digest {actual}, not {expected}")]
    DigestMismatch { path: PathBuf, what: &'static str, expected: Digest, actual: Digest },
}

impl Package {
    /// Every file of the layout, by its path there.
    fn files(&self, name: Option<&str>) -> Vec<(String, Bytes)> {
        let mut entry = Descriptor::of(MANIFEST, &self.manifest);
        entry.annotations.extend(name.map(|name| (REF_NAME.to_owned(), name.to_owned())));
        let index =
            Index { schema_version: 2, media_type: INDEX.to_owned(), manifests: vec![entry] };
        let blob = |bytes: &Bytes| (blob_path(&Digest::of(bytes)), bytes.clone());
        vec![
            (MARKER.to_owned(), Bytes::from_static(MARKER_TEXT)),
            (INDEX_FILE.to_owned(), json(&index)),
            blob(&self.manifest),
            blob(&self.config),
            blob(&self.component),
        ]
    }

    /// Writes a layout folder; one that is there already is replaced file by file.
    pub fn write_layout(&self, directory: &Path, name: Option<&str>) -> Result<(), LayoutError> {
        for (file, bytes) in self.files(name) {
            let path = directory.join(file);
            let fail = |source| LayoutError::Write { path: path.clone(), source };
            if let Some(parent) = path.parent() {
                fs::create_dir_all(parent).map_err(fail)?;
            }
            fs::write(&path, &bytes).map_err(fail)?;
        }
        Ok(())
    }

    /// Writes a tar of a layout, whole or not at all.
    pub fn write_tar(&self, path: &Path, name: Option<&str>) -> Result<(), LayoutError> {
        let fail = |source| LayoutError::Write { path: path.to_owned(), source };
        let mut unfinished = path.as_os_str().to_owned();
        unfinished.push(format!(".{}.tmp", std::process::id()));
        let unfinished = PathBuf::from(unfinished);
        let write = || {
            let mut tar = tar::Builder::new(fs::File::create(&unfinished)?);
            for (file, bytes) in self.files(name) {
                let mut header = tar::Header::new_ustar();
                header.set_size(bytes.len() as u64);
                // Nothing of this machine goes in: the same package, the same tar.
                header.set_mode(0o644);
                tar.append_data(&mut header, file, &*bytes)?;
            }
            tar.into_inner()?.flush()?;
            fs::rename(&unfinished, path)
        };
        write().map_err(|source| {
            let _ = fs::remove_file(&unfinished);
            fail(source)
        })
    }

    /// Reads a layout that holds one component; every digest is checked.
    pub fn read_layout(path: &Path) -> Result<Self, LayoutError> {
        let mut files = Files::open(path)?;
        let index: Index = files.document(INDEX_FILE)?;
        let not = |problem: String| LayoutError::NotALayout { path: path.to_owned(), problem };
        let [entry] = index.manifests.as_slice() else {
            let count = index.manifests.len();
            return Err(not(format!("its index lists {count} manifests; it must be one")));
        };
        let manifest = files.blob(entry, "the manifest", MAX_MANIFEST_BYTES)?;
        let parsed: Manifest = serde_json::from_slice(&manifest)
            .map_err(|error| not(format!("its manifest cannot be read: {error}")))?;
        let layer = component_layer(&parsed).map_err(not)?;
        let config = files.blob(&parsed.config, "the config", MAX_MANIFEST_BYTES)?;
        let component = files.blob(layer, "the component", MAX_COMPONENT_BYTES)?;
        Ok(Self { component, config, manifest })
    }

    /// Whether [`Package::read_layout`] is to read this, and not a bare component.
    pub fn is_layout(path: &Path) -> bool {
        path.is_dir() || path.extension().is_some_and(|extension| extension == "tar")
    }
}

fn blob_path(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

/// A folder, or a tar read from its beginning for each file: a layout has five.
struct Files<'a> {
    path: &'a Path,
}

impl<'a> Files<'a> {
    fn open(path: &'a Path) -> Result<Self, LayoutError> {
        let mut files = Self { path };
        files.read(MARKER, MAX_MANIFEST_BYTES)?;
        Ok(files)
    }

    fn read(&mut self, name: &str, most: u64) -> Result<Bytes, LayoutError> {
        let not = |problem: String| LayoutError::NotALayout { path: self.path.to_owned(), problem };
        let missing = || not(format!("{name} is missing"));
        let fail = |source| LayoutError::Read { path: self.path.to_owned(), source };
        let mut bytes = Vec::new();
        if self.path.is_dir() {
            let file = match fs::File::open(self.path.join(name)) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                    return Err(missing());
                }
                opened => opened.map_err(fail)?,
            };
            file.take(most + 1).read_to_end(&mut bytes).map_err(fail)?;
        } else {
            let mut tar = tar::Archive::new(fs::File::open(self.path).map_err(fail)?);
            let mut found = false;
            for entry in tar.entries().map_err(fail)? {
                let entry = entry.map_err(fail)?;
                let is_it = entry
                    .path()
                    .is_ok_and(|path| path.strip_prefix("./").unwrap_or(&path) == Path::new(name));
                if is_it {
                    found = true;
                    entry.take(most + 1).read_to_end(&mut bytes).map_err(fail)?;
                    break;
                }
            }
            if !found {
                return Err(missing());
            }
        }
        if bytes.len() as u64 > most {
            return Err(not(format!("{name} has more than {most} bytes")));
        }
        Ok(Bytes::from(bytes))
    }

    fn document<T: DeserializeOwned>(&mut self, name: &str) -> Result<T, LayoutError> {
        let bytes = self.read(name, MAX_MANIFEST_BYTES)?;
        serde_json::from_slice(&bytes).map_err(|error| LayoutError::NotALayout {
            path: self.path.to_owned(),
            problem: format!("{name} cannot be read: {error}"),
        })
    }

    fn blob(
        &mut self,
        descriptor: &Descriptor,
        what: &'static str,
        most: u64,
    ) -> Result<Bytes, LayoutError> {
        let bytes = self.read(&blob_path(&descriptor.digest), most)?;
        let actual = Digest::of(&bytes);
        if actual != descriptor.digest {
            let (path, expected) = (self.path.to_owned(), descriptor.digest.clone());
            return Err(LayoutError::DigestMismatch { path, what, expected, actual });
        }
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::{ComponentInterface, Description};

    fn package() -> Package {
        let about = Description { title: "t".into(), ..Description::default() };
        Package::new(Bytes::from_static(b"component"), ComponentInterface::default(), &about)
    }

    #[test]
    fn folder_and_tar_hold_the_same() {
        let temporary = tempfile::tempdir().unwrap();
        let (directory, tar) = (temporary.path().join("layout"), temporary.path().join("x.tar"));
        package().write_layout(&directory, Some("1.0")).unwrap();
        package().write_tar(&tar, Some("1.0")).unwrap();
        assert_eq!(Package::read_layout(&directory).unwrap(), package());
        assert_eq!(Package::read_layout(&tar).unwrap(), package());
        let again = temporary.path().join("y.tar");
        package().write_tar(&again, Some("1.0")).unwrap();
        assert_eq!(fs::read(&tar).unwrap(), fs::read(&again).unwrap(), "the same bytes each time");
    }

    #[test]
    fn damage_is_named() {
        let temporary = tempfile::tempdir().unwrap();
        let check = |damage: &dyn Fn(&Path), expect: &str| {
            let directory = temporary.path().join("layout");
            package().write_layout(&directory, None).unwrap();
            damage(&directory);
            let error = Package::read_layout(&directory).unwrap_err().to_string();
            assert!(error.contains(expect), "{error}");
        };
        let component = blob_path(&package().component_digest());
        check(
            &|d| fs::write(d.join(&component), b"tampered!").unwrap(),
            "the component has the digest",
        );
        check(&|d| fs::remove_file(d.join(&component)).unwrap(), "is missing");
        check(&|d| fs::write(d.join(INDEX_FILE), b"{").unwrap(), "index.json cannot be read");
        check(&|d| fs::remove_file(d.join(MARKER)).unwrap(), "oci-layout is missing");
        let tar = temporary.path().join("cut.tar");
        package().write_tar(&tar, None).unwrap();
        let whole = fs::read(&tar).unwrap();
        fs::write(&tar, &whole[..whole.len() / 2]).unwrap();
        assert!(Package::read_layout(&tar).is_err());
    }
}
