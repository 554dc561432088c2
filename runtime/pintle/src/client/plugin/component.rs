//! What people call a component on the command line: a file, a project that was
//! built, a packed artifact, or a place in a registry.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use pintle_artifacts::{
    Credentials, Digest, MAX_COMPONENT_BYTES, Options, Package, PulledComponent, Reference,
    Registry, Signature,
};

use super::project;

const SCHEME: &str = "oci://";

/// As it was said.
pub enum Named {
    Path(PathBuf),
    Registry(Reference),
}

impl Named {
    pub fn parse(text: &str) -> Result<Self> {
        match text.strip_prefix(SCHEME) {
            Some(reference) => Ok(Self::Registry(reference.parse()?)),
            None => Ok(Self::Path(text.into())),
        }
    }
}

/// A component with what came along with it.
pub struct Component {
    pub bytes: Bytes,
    /// Of the artifact that it was in.
    pub manifest: Option<Digest>,
    pub signatures: Vec<Signature>,
    /// The very artifact, where it was packed before.
    pub package: Option<Package>,
    /// Where a file of its own lies.
    pub file: Option<PathBuf>,
}

impl Component {
    pub async fn of(named: &Named, insecure: bool) -> Result<Self> {
        match named {
            Named::Path(path) => Self::at(path),
            Named::Registry(reference) => {
                let pulled = pull(reference, insecure).await?;
                Ok(Self {
                    bytes: pulled.bytes,
                    manifest: Some(pulled.manifest_digest),
                    signatures: pulled.signatures,
                    package: None,
                    file: None,
                })
            }
        }
    }

    /// From a file, a project or a layout.
    pub fn at(path: &Path) -> Result<Self> {
        let file = if path.join("Cargo.toml").is_file() {
            project::component_of(path)?
        } else if path.is_dir() && !path.join("oci-layout").is_file() {
            bail!(
                "{} is neither a plugin project (no Cargo.toml) nor a packed component (no oci-layout)",
                path.display()
            );
        } else if Package::is_layout(path) {
            let package = Package::read_layout(path)?;
            return Ok(Self {
                bytes: package.component.clone(),
                manifest: Some(package.digest()),
                signatures: Vec::new(),
                package: Some(package),
                file: None,
            });
        } else {
            path.to_owned()
        };
        let size = std::fs::metadata(&file)
            .with_context(|| format!("cannot read the component {}", file.display()))?
            .len();
        if size == 0 {
            bail!("{} is empty; a component is what `pintle plugin build` makes", file.display());
        }
        if size > MAX_COMPONENT_BYTES {
            bail!(
                "{} has {size} bytes; a component has at most {MAX_COMPONENT_BYTES}",
                file.display()
            );
        }
        let bytes = std::fs::read(&file)
            .with_context(|| format!("cannot read the component {}", file.display()))?;
        Ok(Self {
            bytes: bytes.into(),
            manifest: None,
            signatures: Vec::new(),
            package: None,
            file: Some(file),
        })
    }
}

/// A client with the logins of whoever runs this.
pub fn registry(insecure: bool) -> Result<Registry> {
    let options = Options { credentials: Credentials::of_user()?, insecure, ..Options::default() };
    Ok(Registry::new(options)?)
}

pub async fn pull(reference: &Reference, insecure: bool) -> Result<PulledComponent> {
    registry(insecure)?
        .pull(reference, &|_| {})
        .await
        .with_context(|| format!("cannot pull {reference}"))
}
