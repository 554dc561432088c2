//! Links the `pintle-shim` executable statically where the toolchain allows it.
//!
//! One shim runs for every pod. The dynamic loader, the libraries' relocations and their private
//! pages are about half of what a dynamic one keeps in memory, and its start. `crt-static` would do
//! this, but it is a flag for a whole build and would change every other crate of it; arguments to
//! the linker can be given for one executable.
//!
//! The standard library asks for `-lgcc_s` and `-lc` as shared libraries. A directory that is
//! searched first answers with linker scripts that name the static archives. Without them (no
//! `libc.a` installed, another linker or system) the executable is linked as usual and works the
//! same.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=PINTLE_SHIM_DYNAMIC");
    if let Some(dir) = prepare() {
        // The last one: the C library's start code calls what is defined nowhere unless its address
        // is zero, and without a dynamic loader nobody but the linker can say so.
        for argument in
            ["-static-pie", &format!("-L{}", dir.display()), "-Wl,-z,nodynamic-undefined-weak"]
        {
            println!("cargo:rustc-link-arg-bin=pintle-shim={argument}");
        }
    }
}

/// The directory with the scripts; `None` when the executable cannot be static.
fn prepare() -> Option<PathBuf> {
    let variable = |name: &str| env::var(name).unwrap_or_default();
    let target = variable("TARGET");
    let usable = target.ends_with("-linux-gnu")
        && target == variable("HOST")
        && variable("PINTLE_SHIM_DYNAMIC").is_empty();
    if !usable {
        return None;
    }
    let archives = ["libc.a", "libgcc_eh.a", "libgcc.a", "rcrt1.o"].map(located);
    let [Some(libc), Some(unwinder), Some(gcc), Some(_)] = archives else {
        return None;
    };
    let dir = PathBuf::from(env::var_os("OUT_DIR")?).join("static");
    fs::create_dir_all(&dir).ok()?;
    // The unwinder and the C library need each other.
    let group = format!("GROUP ( {} {} {} )\n", unwinder.display(), gcc.display(), libc.display());
    for script in ["libgcc_s.so", "libc.so"] {
        fs::write(dir.join(script), &group).ok()?;
    }
    Some(dir)
}

/// Where the C compiler that links has a file.
fn located(file: &str) -> Option<PathBuf> {
    let output = Command::new("cc").arg(format!("-print-file-name={file}")).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let path = Path::new(text.trim());
    // An unknown file is answered with its bare name.
    (path.is_absolute() && path.exists()).then(|| path.to_owned())
}
