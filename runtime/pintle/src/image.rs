//! `pintle image`: the content store of this node, with or without an agent running.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use pintle_containers::{ContentStore, ImageRecord};

use crate::cli::{ImageAction, ImageCommand};

/// Below the data directory; the agent opens the same one.
pub fn store_dir(data_dir: &Path) -> PathBuf {
    data_dir.join("images")
}

pub fn run(command: ImageCommand) -> Result<ExitCode> {
    let data_dir = crate::config::data_dir(command.data_dir.as_deref());
    let making = matches!(command.action, ImageAction::Import { .. });
    // Only an import makes a directory: a mistyped one would look like an empty node.
    let store = store_dir(&data_dir);
    let there = store
        .try_exists()
        .with_context(|| format!("cannot look for images in {}", store.display()))?;
    if !making && !there {
        bail!(
            "{} holds no images; name the node's directory with --data-dir, or import one with \
             `pintle image import`",
            data_dir.display()
        );
    }
    crate::server::private_dir(&data_dir)?;
    let store = ContentStore::open(store_dir(&data_dir))?;
    match command.action {
        ImageAction::Import { path, name } => {
            let imported = if path == Path::new("-") {
                store.import_reader(std::io::stdin().lock(), name.as_deref())
            } else {
                store.import(&path, name.as_deref())
            };
            let imported =
                imported.with_context(|| format!("{} cannot be imported", path.display()))?;
            for image in imported {
                println!(
                    "imported {} ({}, {})",
                    image.name,
                    short(&image.digest),
                    size(image.size)
                );
            }
        }
        ImageAction::List => print(&store.list()?),
        ImageAction::Rm { name } => {
            if !store.remove(&name)? {
                bail!("there is no image {name:?} here; see `pintle image list`");
            }
            println!("removed {name}");
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn print(images: &[ImageRecord]) {
    let width = images.iter().map(|i| i.name.len()).max().unwrap_or(0).max("NAME".len());
    println!("{:<width$}   {:<19}   {:<9}   CREATED", "NAME", "DIGEST", "SIZE");
    for image in images {
        println!(
            "{:<width$}   {:<19}   {:<9}   {}",
            image.name,
            short(&image.digest),
            size(image.size),
            image.created.as_deref().unwrap_or("<unknown>"),
        );
    }
}

fn short(digest: &str) -> &str {
    digest.get(..19).unwrap_or(digest)
}

fn size(bytes: u64) -> String {
    let (amount, unit) = if bytes < 1_000_000 {
        (bytes as f64 / 1e3, "kB")
    } else if bytes < 1_000_000_000 {
        (bytes as f64 / 1e6, "MB")
    } else {
        (bytes as f64 / 1e9, "GB")
    };
    format!("{amount:.1} {unit}")
}
