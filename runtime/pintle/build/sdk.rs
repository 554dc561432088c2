//! The sources of which plugin projects are made, as one small archive: the
//! templates as they are, and what a plugin is compiled with, cut down to that,
//! as a cargo workspace of its own with the same shape as this one.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;

/// What a change of makes the archive anew, besides what the plugins are made of.
pub const INPUTS: &[&str] = &["sdk/pintle-sdk-testing", "sdk/templates", "Cargo.toml"];

const CRATES: [&str; 3] = ["runtime/api", "sdk/pintle-sdk", "sdk/pintle-sdk-testing"];

/// Behind a feature that plugins do not use, and most of that crate.
const LEFT_OUT: [&str; 3] =
    ["runtime/api/src/schema", "runtime/api/src/openapi", "runtime/api/src/protobuf"];

/// Parts of a crate's manifest that belong to files which are left out.
const OF_TESTS: [&str; 4] = ["dev-dependencies", "test", "bench", "example"];

/// Lines between these are for checkouts alone.
const CHECKOUT_ONLY: (&str, &str) = ("# component: begin", "# component: end");

type Files = BTreeMap<PathBuf, Vec<u8>>;

pub fn pack(root: &Path, archive: &Path) -> io::Result<()> {
    let mut files = Files::new();
    gather(root, Path::new("sdk/templates"), Path::new("templates"), &mut files)?;
    gather(root, Path::new("wit"), Path::new("vendor/wit"), &mut files)?;
    for folder in CRATES {
        let vendored = Path::new("vendor").join(folder);
        gather(root, &Path::new(folder).join("src"), &vendored.join("src"), &mut files)?;
        let manifest = fs::read_to_string(root.join(folder).join("Cargo.toml"))?;
        files.insert(vendored.join("Cargo.toml"), member(&manifest)?.into_bytes());
    }
    let manifest = fs::read_to_string(root.join("Cargo.toml"))?;
    files.insert("vendor/Cargo.toml".into(), workspace(&manifest)?.into_bytes());
    files.insert("Cargo.lock".into(), fs::read(root.join("Cargo.lock"))?);
    write(&files, archive)
}

/// Files below `from`, under the same names below `to`.
fn gather(root: &Path, from: &Path, to: &Path, files: &mut Files) -> io::Result<()> {
    let directory = root.join(from);
    if LEFT_OUT.iter().any(|left_out| from == Path::new(left_out)) || !directory.is_dir() {
        return Ok(());
    }
    for entry in fs::read_dir(&directory)? {
        let entry = entry?;
        let (name, kind) = (entry.file_name(), entry.file_type()?);
        let (from, to) = (from.join(&name), to.join(&name));
        if kind.is_dir() {
            // What somebody built in a template is no part of it.
            if name != "target" {
                gather(root, &from, &to, files)?;
            }
        } else if !LEFT_OUT.iter().any(|left_out| from.with_extension("") == Path::new(left_out)) {
            files.insert(to, fs::read(entry.path())?);
        }
    }
    Ok(())
}

/// The manifest of a crate without its tests.
fn member(text: &str) -> io::Result<String> {
    let mut kept = String::new();
    let mut inside = false;
    for line in text.lines() {
        inside |= line.trim() == CHECKOUT_ONLY.0;
        if !inside {
            kept.push_str(line);
            kept.push('\n');
        }
        inside &= line.trim() != CHECKOUT_ONLY.1;
    }
    let mut manifest: toml::Table = toml::from_str(&kept).map_err(io::Error::other)?;
    manifest.retain(|key, _| !OF_TESTS.contains(&key));
    toml::to_string(&manifest).map_err(io::Error::other)
}

/// The workspace's manifest for those crates alone.
fn workspace(text: &str) -> io::Result<String> {
    let whole: toml::Table = toml::from_str(text).map_err(io::Error::other)?;
    let mut workspace = toml::Table::new();
    let members = CRATES.iter().map(|folder| toml::Value::from(*folder)).collect::<Vec<_>>();
    workspace.insert("members".into(), members.into());
    let all = whole.get("workspace").and_then(toml::Value::as_table);
    for key in ["resolver", "package", "lints", "dependencies"] {
        let Some(mut value) = all.and_then(|all| all.get(key)).cloned() else { continue };
        if let Some(dependencies) = value.as_table_mut().filter(|_| key == "dependencies") {
            dependencies.retain(|_, dependency| {
                let path = dependency.get("path").and_then(toml::Value::as_str);
                path.is_none_or(|path| CRATES.contains(&path))
            });
        }
        workspace.insert(key.into(), value);
    }
    let manifest = toml::Table::from_iter([("workspace".to_owned(), workspace.into())]);
    toml::to_string(&manifest).map_err(io::Error::other)
}

fn write(files: &Files, archive: &Path) -> io::Result<()> {
    let encoder = GzEncoder::new(fs::File::create(archive)?, Compression::best());
    let mut tar = tar::Builder::new(encoder);
    for (path, bytes) in files {
        // Nothing of this machine goes in: the same sources, the same archive.
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, path, bytes.as_slice())?;
    }
    tar.into_inner()?.finish()?.sync_all()
}
