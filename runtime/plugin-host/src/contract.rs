//! What a component may import and must export for its role.

use wasmtime::Engine;
use wasmtime::component::Component;

use crate::artifact::ArtifactError;
use crate::plugin::Role;

const PACKAGE: &str = "pintle:plugin/";

/// The version of the contract that this host speaks; a component built for
/// another patch or minor version of it links by semver.
const VERSION: &str = "0.1.0";

/// WASI packages that general-purpose language runtimes link in. They get an
/// empty context: no files, sockets, arguments or environment.
const WASI: [&str; 6] =
    ["wasi:cli/", "wasi:clocks/", "wasi:filesystem/", "wasi:io/", "wasi:random/", "wasi:sockets/"];

/// Refuses any import beyond the role's world, and any other role. Returns
/// whether WASI has to be linked.
pub(crate) fn check(
    component: &Component,
    engine: &Engine,
    role: Role,
) -> Result<bool, ArtifactError> {
    let component_type = component.component_type();
    let exports: Vec<&str> = component_type.exports(engine).map(|(name, _)| name).collect();
    let is = |role: Role| exports.iter().any(|export| is_export_of(export, role));
    let wrong_role = || {
        let found = if exports.is_empty() { "nothing".to_owned() } else { exports.join(", ") };
        let needed = format!("{}@{VERSION}", role.interface());
        Err(ArtifactError::WrongRole { role, needed, found })
    };
    // A component of another role imports what belongs to that role: no news to its author.
    if !is(role) && Role::ALL.into_iter().any(is) {
        return wrong_role();
    }
    let mut wasi = false;
    for (import, _) in component_type.imports(engine) {
        if is_wasi(import) {
            wasi = true;
        } else if !offered(import, role) {
            return Err(ArtifactError::UngrantedImport { import: import.to_owned(), role });
        }
    }
    if is(role) { Ok(wasi) } else { wrong_role() }
}

/// Whether this is what a component of that role exports.
pub(crate) fn is_export_of(export: &str, role: Role) -> bool {
    let (name, version) = split_version(export);
    name == role.interface() && compatible(version)
}

fn is_wasi(import: &str) -> bool {
    WASI.iter().any(|package| import.starts_with(package))
        && split_version(import).1.starts_with("0.2.")
}

fn offered(import: &str, role: Role) -> bool {
    let (name, version) = split_version(import);
    let Some(interface) = name.strip_prefix(PACKAGE) else { return false };
    let offered = match interface {
        // `types` and `actions` hold types only.
        "types" | "actions" | "log" => true,
        "extensions" => role == Role::Scheduler,
        "lister" | "changes" => matches!(role, Role::Controller | Role::Admission),
        _ => false,
    };
    offered && compatible(version)
}

fn split_version(name: &str) -> (&str, &str) {
    name.split_once('@').unwrap_or((name, ""))
}

/// Below 1.0 the minor version is the one that breaks.
fn compatible(version: &str) -> bool {
    version.strip_prefix("0.1.").is_some_and(|patch| patch.parse::<u64>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn imports_are_offered_by_role() {
        fn check(import: &str, role: Role, expect: bool) {
            assert_eq!(offered(import, role) || is_wasi(import), expect, "{import} for {role}");
        }
        check("pintle:plugin/lister@0.1.0", Role::Controller, true);
        check("pintle:plugin/lister@0.1.7", Role::Admission, true);
        check("pintle:plugin/lister@0.1.0", Role::Scheduler, false);
        check("pintle:plugin/extensions@0.1.0", Role::Scheduler, true);
        check("pintle:plugin/extensions@0.1.0", Role::SchedulerExtension, false);
        check("pintle:plugin/lister@0.1.0", Role::SchedulerExtension, false);
        check("pintle:plugin/log@0.1.0", Role::SchedulerExtension, true);
        check("pintle:plugin/lister@0.2.0", Role::Controller, false);
        check("pintle:plugin/lister", Role::Controller, false);
        check("pintle:plugin/log@0.1.0", Role::Cni, true);
        check("pintle:other/log@0.1.0", Role::Cni, false);
        check("wasi:cli/environment@0.2.3", Role::Controller, true);
        check("wasi:cli/environment@0.3.0", Role::Controller, false);
        check("wasi:http/outgoing-handler@0.2.3", Role::Controller, false);
        check("env", Role::Controller, false);
    }
}
