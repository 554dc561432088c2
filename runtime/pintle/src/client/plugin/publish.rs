//! Components as artifacts: packed into files, pushed to registries.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use pintle_api::time;
use pintle_artifacts::{ComponentInterface, Description, Package, Reference};
use pintle_plugin_host::inspect::inspect;

use super::component::{Component, registry};
use super::keys;
use crate::cli::About;

pub fn pack(path: &Path, output: Option<&Path>, about: &About) -> Result<()> {
    let component = Component::at(path)?;
    let package = package(&component, about)?;
    let output = match output {
        Some(output) => output.to_owned(),
        None => component.file.as_deref().unwrap_or(path).with_extension("oci.tar"),
    };
    let version = package.annotations().remove("org.opencontainers.image.version");
    if output.extension().is_some_and(|extension| extension == "tar") {
        package.write_tar(&output, version.as_deref())?;
    } else {
        package.write_layout(&output, version.as_deref())?;
    }
    println!("{}", output.display());
    println!("artifact   {}", package.digest());
    println!("component  {}", package.component_digest());
    Ok(())
}

pub async fn push(
    reference: &str,
    path: &Path,
    sign: Option<&Path>,
    insecure: bool,
    about: &About,
) -> Result<()> {
    let reference: Reference = reference.parse()?;
    // Before anything is pushed: a key that cannot sign is no reason to publish.
    let key = sign.map(keys::read_private).transpose()?;
    let package = package(&Component::at(path)?, about)?;
    let registry = registry(insecure)?;
    let digest = registry
        .push(&reference, &package)
        .await
        .with_context(|| format!("cannot push {reference}"))?;
    if let Some(key) = key {
        let made = key.sign_manifest(&reference.name(), &digest)?;
        registry
            .push_signature(&reference, &digest, &made)
            .await
            .context("it was pushed, but its signature cannot be")?;
    }
    println!("oci://{}", reference.pinned(digest));
    println!("component  {}", package.component_digest());
    Ok(())
}

/// What was packed before is taken as it is.
fn package(component: &Component, about: &About) -> Result<Package> {
    if let Some(package) = &component.package {
        return Ok(package.clone());
    }
    let inspection = inspect(&component.bytes)?;
    let interface = ComponentInterface { exports: inspection.exports, imports: inspection.imports };
    let own = inspection.described.ok();
    let annotations = about.annotation.iter().map(|text| {
        let (name, value) = text
            .split_once('=')
            .with_context(|| format!("--annotation {text:?} must look like name=value"))?;
        Ok((name.to_owned(), value.to_owned()))
    });
    let description = Description {
        title: match (&about.title, &own) {
            (Some(title), _) => title.clone(),
            (None, Some(own)) => own.name.clone(),
            (None, None) => String::new(),
        },
        description: about.description.clone().unwrap_or_default(),
        version: own.map(|own| own.version).unwrap_or_default(),
        created: created(component.file.as_ref())?,
        annotations: annotations.collect::<Result<_>>()?,
    };
    Ok(Package::new(component.bytes.clone(), interface, &description))
}

/// The time of the component's file, so that packing it twice gives the same;
/// SOURCE_DATE_EPOCH where a build wants to be reproducible.
fn created(file: Option<&PathBuf>) -> Result<String> {
    let seconds = match std::env::var("SOURCE_DATE_EPOCH") {
        Ok(text) => text
            .parse::<i64>()
            .with_context(|| format!("SOURCE_DATE_EPOCH {text:?} is no number of seconds"))?,
        Err(_) => file
            .and_then(|file| std::fs::metadata(file).ok()?.modified().ok())
            .and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok())
            .map_or(0, |since| since.as_secs() as i64),
    };
    Ok(time::format_seconds(seconds.saturating_mul(1000)))
}
