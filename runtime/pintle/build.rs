//! Builds the default plugins into components and lists them for embedding, and
//! packs the SDK's sources, from which `pintle plugin new` makes projects.

#[path = "build/sdk.rs"]
mod sdk;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

/// What the binary carries: crate `pintle-plugin-<name>` in `plugins/<name>`,
/// and the role it plays.
const DEFAULTS: [(&str, &str); 45] = [
    ("always-pull-images", "Admission"),
    ("authorizer-abac", "Authorizer"),
    ("authorizer-node", "Authorizer"),
    ("authorizer-rbac", "Authorizer"),
    ("certificate-approver", "Controller"),
    ("certificate-cleaner", "Controller"),
    ("certificate-restriction", "Admission"),
    ("certificate-signer", "Controller"),
    ("clusterrole-aggregation", "Controller"),
    ("cni-routed", "Cni"),
    ("cronjob", "Controller"),
    ("daemonset", "Controller"),
    ("default-storage-class", "Admission"),
    ("default-tolerations", "Admission"),
    ("deployment", "Controller"),
    ("disruption", "Controller"),
    ("endpoints", "Controller"),
    ("endpointslice", "Controller"),
    ("endpointslice-mirroring", "Controller"),
    ("garbage-collector", "Controller"),
    ("horizontal-pod-autoscaler", "Controller"),
    ("hostpath-provisioner", "Controller"),
    ("job", "Controller"),
    ("limit-ranger", "Admission"),
    ("namespace", "Controller"),
    ("node-ipam", "Controller"),
    ("node-lifecycle", "Controller"),
    ("node-restriction", "Admission"),
    ("persistent-volume", "Controller"),
    ("pod-gc", "Controller"),
    ("pod-security", "Admission"),
    ("priority", "Admission"),
    ("rbac-escalation", "Admission"),
    ("replicaset", "Controller"),
    ("replicationcontroller", "Controller"),
    ("resource-quota", "Admission"),
    ("resource-quota-controller", "Controller"),
    ("root-ca-publisher", "Controller"),
    ("runtime-class", "Admission"),
    ("scheduler", "Scheduler"),
    ("service-account", "Admission"),
    ("service-addresses", "Admission"),
    ("service-cidrs", "Controller"),
    ("statefulset", "Controller"),
    ("ttl-after-finished", "Controller"),
];

fn main() {
    let manifest_dir = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("set by cargo"));
    let root = manifest_dir.join("../..").canonicalize().expect("the workspace's root");
    // Everything that a guest is made of; a change elsewhere rebuilds no guest.
    for input in
        ["plugins", "sdk/pintle-sdk", "runtime/api", "wit", "Cargo.lock"].iter().chain(sdk::INPUTS)
    {
        println!("cargo::rerun-if-changed={}", root.join(input).display());
    }
    let packages: Vec<String> =
        DEFAULTS.iter().map(|(name, _)| format!("pintle-plugin-{name}")).collect();
    let packages: Vec<&str> = packages.iter().map(String::as_str).collect();
    let target_dir = guests_dir(&root);
    let built = match pintle_plugin_build::build(&root, &packages, &target_dir) {
        Ok(built) => built,
        Err(error) => {
            eprintln!("the default plugins cannot be built: {error}");
            std::process::exit(1);
        }
    };
    let mut code = String::from("&[\n");
    for ((name, role), built) in DEFAULTS.iter().zip(&built) {
        let _ = writeln!(
            code,
            "    Default {{ name: {name:?}, role: Role::{role}, wasm: include_bytes!({:?}) }},",
            built.path
        );
    }
    code.push_str("]\n");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("set by cargo"));
    fs::write(out.join("plugins.rs"), code).expect("OUT_DIR is writable");
    if let Err(error) = sdk::pack(&root, &out.join("sdk.tar.gz")) {
        eprintln!("the SDK's sources cannot be packed: {error}");
        std::process::exit(1);
    }
}

/// Beside the host's artefacts, in a folder of its own: the outer cargo holds
/// the lock of the target directory while this runs.
fn guests_dir(root: &Path) -> PathBuf {
    env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| root.join("target"), PathBuf::from)
        .join("guests")
}
