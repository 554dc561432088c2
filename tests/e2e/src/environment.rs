//! What programs under test are told of whoever runs the tests: as little as
//! possible, so that a test goes the same way for everybody.

use std::ffi::OsString;
use std::path::Path;
use std::process::Command;

/// Settings of people that change what the programs under test do or say.
const OF_PEOPLE: [&str; 14] = [
    "KUBECONFIG",
    "KUBERC",
    "KUBE_EDITOR",
    "EDITOR",
    "DOCKER_CONFIG",
    "XDG_CACHE_HOME",
    "XDG_CONFIG_HOME",
    // Nobody reaches a network namespace through a proxy.
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "LANGUAGE",
];

/// With `home` for whatever the program keeps: kubectl's discovery of another
/// cluster at the same address would be found in a home that is shared.
pub fn hermetic(command: &mut Command, home: &Path) {
    let own = std::env::vars_os().map(|(name, _)| name);
    own.filter(|name| name.to_string_lossy().starts_with("PINTLE_")).for_each(|name| {
        command.env_remove(name);
    });
    OF_PEOPLE.iter().for_each(|name| {
        command.env_remove(name);
    });
    command.env("HOME", home).env("LC_ALL", "C.UTF-8").env("PATH", path());
}

/// System directories are often missing from a person's PATH.
fn path() -> OsString {
    let mut path = std::env::var_os("PATH").unwrap_or_default();
    path.push(":/usr/local/sbin:/usr/sbin:/sbin");
    path
}
