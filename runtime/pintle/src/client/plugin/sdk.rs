//! The SDK inside this program: templates of projects, and the sources that
//! plugins are compiled with, so that a project needs nothing but crates.io.

use std::io::Read;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, bail};
use flate2::read::GzDecoder;

/// Made by the build script.
const ARCHIVE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/sdk.tar.gz"));

/// Where a project finds the SDK.
pub enum Place {
    /// In the project itself.
    Vendored,
    /// In a checkout of pintle.
    Checkout(PathBuf),
}

/// Makes the project `directory` from the template of the role.
pub fn lay_out(directory: &Path, role: &str, name: &str, sdk: &Place) -> Result<()> {
    let folder = match sdk {
        Place::Vendored => "vendor/sdk".to_owned(),
        Place::Checkout(checkout) => checkout.join("sdk").display().to_string(),
    };
    if let Place::Checkout(checkout) = sdk
        && !checkout.join("sdk/pintle-sdk/Cargo.toml").is_file()
    {
        bail!("{} is no checkout of pintle: it has no sdk/pintle-sdk", checkout.display());
    }
    let template = Path::new("templates").join(role);
    let mut of_template = 0;
    for (path, bytes) in files()? {
        let target = if let Ok(rest) = path.strip_prefix(&template) {
            of_template += 1;
            let text = String::from_utf8(bytes).context("a template is no text")?;
            write(&directory.join(visible(rest)), fill(&text, name, &folder).as_bytes())?;
            continue;
        } else if path.starts_with("vendor") {
            matches!(sdk, Place::Vendored).then(|| directory.join(&path))
        } else {
            // The versions that this program was tested with.
            (path == Path::new("Cargo.lock")).then(|| directory.join(&path))
        };
        if let Some(target) = target {
            write(&target, &bytes)?;
        }
    }
    if of_template == 0 {
        bail!("this version of pintle has no template for role {role}");
    }
    Ok(())
}

/// A file of that name would hide the template's own files from git.
fn visible(path: &Path) -> PathBuf {
    match path.file_name() {
        Some(name) if name == "gitignore" => path.with_file_name(".gitignore"),
        _ => path.to_owned(),
    }
}

fn fill(text: &str, name: &str, sdk: &str) -> String {
    text.replace("{{name}}", name)
        .replace("{{crate}}", &name.replace('-', "_"))
        .replace("{{sdk}}", sdk)
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let make = || {
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::write(path, bytes)
    };
    make().with_context(|| format!("cannot write {}", path.display()))
}

/// Every file of the archive.
fn files() -> Result<Vec<(PathBuf, Vec<u8>)>> {
    let mut archive = tar::Archive::new(GzDecoder::new(ARCHIVE));
    let mut files = Vec::new();
    for entry in archive.entries()? {
        let mut entry = entry?;
        let path = entry.path()?.into_owned();
        if !path.components().all(|part| matches!(part, Component::Normal(_))) {
            bail!("the archive inside this program is damaged: {}", path.display());
        }
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes)?;
        files.push((path, bytes));
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_archive_is_small_and_complete() {
        assert!(ARCHIVE.len() < 400 << 10, "{} bytes", ARCHIVE.len());
        let files = files().unwrap();
        for expect in [
            "vendor/Cargo.toml",
            "vendor/wit/worlds.wit",
            "vendor/runtime/api/src/lib.rs",
            "vendor/sdk/pintle-sdk/Cargo.toml",
            "vendor/sdk/pintle-sdk-testing/src/lib.rs",
            "Cargo.lock",
        ] {
            assert!(files.iter().any(|(path, _)| path == Path::new(expect)), "{expect}");
        }
    }

    #[test]
    fn a_template_is_filled_in() {
        assert_eq!(
            fill("{{name}} {{crate}} {{sdk}}/x", "a-b", "vendor/sdk"),
            "a-b a_b vendor/sdk/x"
        );
        let directory = tempfile::tempdir().unwrap();
        let project = directory.path().join("x");
        let error = lay_out(&project, "pilot", "x", &Place::Vendored).unwrap_err();
        assert!(error.to_string().contains("no template"), "{error}");
        let place = Place::Checkout(directory.path().to_owned());
        let error = lay_out(&project, "controller", "x", &place).unwrap_err();
        assert!(error.to_string().contains("no checkout"), "{error}");
    }
}
