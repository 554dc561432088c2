//! Projects of plugin authors: made from a template, built, tested.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use pintle_api::names;
use pintle_plugin_host::inspect::inspect;
use pintle_plugin_host::plugin::Role;

use super::sdk;
use crate::cli::role_name;

/// Where a project keeps what was built, below `target/`.
const BUILDS: &str = "pintle";

pub fn new(name: &str, role: Role, checkout: Option<&Path>) -> Result<()> {
    // It also names a crate, and so begins with a letter.
    if let Some(problem) = names::dns_label_1035(name) {
        bail!("{name:?} cannot be a plugin's name: {problem}");
    }
    let directory = Path::new(name);
    if directory.exists() {
        bail!("{name} is there already; choose another name, or remove it");
    }
    let sdk = match checkout {
        Some(checkout) => sdk::Place::Checkout(
            checkout
                .canonicalize()
                .with_context(|| format!("cannot find the checkout {}", checkout.display()))?,
        ),
        None => sdk::Place::Vendored,
    };
    let kebab = role_name(role);
    if let Err(error) = sdk::lay_out(directory, &kebab, name, &sdk) {
        // Half a project helps nobody.
        let _ = std::fs::remove_dir_all(directory);
        return Err(error);
    }
    println!("{name} is a plugin of role {kebab}. Next:\n");
    println!("  cd {name} && pintle plugin build");
    println!("  pintle plugin test");
    println!("  pintle plugin pack");
    match role {
        // A cluster has one, and there is one already.
        Role::Cni => println!("  pintle plugin swap cni-routed ."),
        _ => println!("  pintle plugin load {name} . --grant"),
    }
    Ok(())
}

/// The file of the component, which is also printed.
pub fn build(project: &Path) -> Result<PathBuf> {
    let package = package(project)?;
    let target = project.join("target").join(BUILDS);
    let project = project.canonicalize()?;
    let built = pintle_plugin_build::build(&project, &[&package], &absolute(&target)?)?;
    let built = built.into_iter().next().context("the build left nothing")?;
    let component = component_path(&project, &package);
    std::fs::copy(&built.path, &component)
        .with_context(|| format!("cannot write {}", component.display()))?;
    let bytes = std::fs::read(&component)?;
    let inspection = inspect(&bytes)?;
    let role = inspection.role.map_or("of no role".to_owned(), |role| format!("a {role}"));
    println!("{}  {role}, {} bytes, {}", component.display(), bytes.len(), inspection.digest);
    if let Err(problem) = inspection.described {
        bail!("it was built, but cannot be loaded: {} ({})", problem.message, problem.reason);
    }
    Ok(component)
}

pub fn test(project: &Path, arguments: &[String]) -> Result<()> {
    package(project)?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(&cargo)
        .arg("test")
        .args(arguments)
        .current_dir(project)
        .status()
        .with_context(|| format!("cannot run {}; install Rust", cargo.display()))?;
    // Cargo has said what is wrong.
    if status.success() { Ok(()) } else { bail!("the tests of {} fail", project.display()) }
}

/// The component of a project that was built.
pub fn component_of(project: &Path) -> Result<PathBuf> {
    let component = component_path(project, &package(project)?);
    ensure!(
        component.is_file(),
        "{} is missing; `pintle plugin build {}` makes it",
        component.display(),
        project.display()
    );
    Ok(component)
}

fn component_path(project: &Path, package: &str) -> PathBuf {
    project.join("target").join(format!("{package}.wasm"))
}

fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).with_context(|| format!("{} has no place", path.display()))
}

/// The name in the project's Cargo.toml.
fn package(project: &Path) -> Result<String> {
    let manifest = project.join("Cargo.toml");
    let text = std::fs::read_to_string(&manifest).with_context(|| {
        format!("{} is no plugin project: cannot read its Cargo.toml", project.display())
    })?;
    let parsed: toml::Table =
        toml::from_str(&text).with_context(|| format!("{} is not valid", manifest.display()))?;
    parsed
        .get("package")
        .and_then(|package| package.get("name")?.as_str())
        .map(str::to_owned)
        .with_context(|| format!("{} has no [package] with a name", manifest.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn projects_are_told_by_their_manifest() {
        let directory = tempfile::tempdir().unwrap();
        let check = |manifest: Option<&str>, expect: &str| {
            if let Some(text) = manifest {
                std::fs::write(directory.path().join("Cargo.toml"), text).unwrap();
            }
            let said = match component_of(directory.path()) {
                Ok(path) => path.display().to_string(),
                Err(error) => format!("{error:#}"),
            };
            assert!(said.contains(expect), "{said}");
        };
        check(None, "is no plugin project");
        check(Some("["), "is not valid");
        check(Some("[workspace]"), "no [package]");
        check(Some("[package]\nname = \"scorer\""), "scorer.wasm is missing; `pintle plugin build");
    }

    #[test]
    fn names_are_checked_before_anything_is_made() {
        let check = |name: &str, expect: &str| {
            let error = new(name, Role::Controller, None).unwrap_err().to_string();
            assert!(error.contains(expect), "{error}");
        };
        check("Scorer", "cannot be a plugin's name");
        check("../x", "cannot be a plugin's name");
        check("1x", "cannot be a plugin's name");
        check("src", "is there already");
    }
}
