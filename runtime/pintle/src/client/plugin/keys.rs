//! Keys and signatures in files.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use pintle_artifacts::signature::{SigningKey, check_public_key};
use pintle_plugin_host::inspect::inspect;

use super::component::Component;

pub fn generate(name: &Path) -> Result<()> {
    let with = |ending: &str| {
        let mut path = name.as_os_str().to_owned();
        path.push(ending);
        PathBuf::from(path)
    };
    let (private, public) = (with(".key"), with(".pub"));
    let (key, pem) = SigningKey::generate()?;
    create(&private, 0o600, &pem)?;
    create(&public, 0o644, &key.public_pem())?;
    println!("{}  keep it secret; it is not encrypted", private.display());
    println!("{}  give it to those who load what you sign", public.display());
    Ok(())
}

/// A key that is there already may be the only one of its kind.
fn create(path: &Path, mode: u32, text: &str) -> Result<()> {
    let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
    match file {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            bail!("{} is there already; choose another name", path.display())
        }
        file => file
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .with_context(|| format!("cannot write {}", path.display())),
    }
}

pub fn sign(file: &Path, key: &Path) -> Result<()> {
    let component = Component::at(file)?;
    // One's name belongs under nothing that could not be loaded.
    inspect(&component.bytes)?;
    println!("{}", read_private(key)?.sign(&component.bytes)?);
    Ok(())
}

pub fn read_private(path: &Path) -> Result<SigningKey> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("cannot read the key {}", path.display()))?;
    SigningKey::from_pem(&text).with_context(|| format!("{} cannot sign", path.display()))
}

/// The PEM texts of public keys.
pub fn read_public(paths: &[PathBuf]) -> Result<Vec<String>> {
    let read = |path: &PathBuf| {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read the public key {}", path.display()))?;
        check_public_key(&text).with_context(|| format!("{} cannot verify", path.display()))?;
        Ok(text)
    };
    paths.iter().map(read).collect()
}

/// A signature as it was given: in base64, or in a file.
pub fn signature(given: &str) -> Result<String> {
    let path = Path::new(given);
    let text = if path.is_file() {
        std::fs::read_to_string(path).with_context(|| format!("cannot read {given}"))?
    } else {
        given.to_owned()
    };
    Ok(text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn keys_are_made_once_and_private() {
        let directory = tempfile::tempdir().unwrap();
        let name = directory.path().join("release");
        generate(&name).unwrap();
        let key = directory.path().join("release.key");
        assert_eq!(std::fs::metadata(&key).unwrap().mode() & 0o777, 0o600);
        let public = read_public(&[directory.path().join("release.pub")]).unwrap();
        assert_eq!(read_private(&key).unwrap().public_pem(), public[0]);
        let error = generate(&name).unwrap_err().to_string();
        assert!(error.contains("is there already"), "{error}");
        let error = format!("{:#}", read_public(&[key]).unwrap_err());
        assert!(error.contains("cannot verify"), "{error}");
    }
}
