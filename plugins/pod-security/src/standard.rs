//! Which rules make up a level, as of which version.

use crate::fields::Template;
use crate::policy::{Level, Standard};
use crate::words::Violation;
use crate::{baseline, restricted};

/// Everything that the pod breaks, baseline rules first, each group by the name
/// of the rule.
pub fn violations(standard: Standard, pod: &Template) -> Vec<Violation> {
    let Standard { level, version } = standard;
    if level == Level::Privileged {
        return Vec::new();
    }
    let is_restricted = level == Level::Restricted;
    // Since v1.25 rules about what Windows does not have leave its pods alone.
    let spares = version.has(25) && pod.is_windows();
    // Since v1.35 root in a pod with users of its own is no root.
    let own_users = version.has(35) && pod.has_own_users();
    // A restricted rule takes the place of the baseline rule about the same field.
    let strict_capabilities = is_restricted && version.has(22);
    let strict_seccomp = is_restricted && version.has(19);
    let unless = |condition: bool, rule: fn(&Template) -> Option<Violation>| {
        if condition { None } else { rule(pod) }
    };
    let mut found = vec![
        baseline::app_armor(pod),
        unless(strict_capabilities, baseline::capabilities),
        baseline::host_namespaces(pod),
        unless(is_restricted, baseline::host_path_volumes),
        baseline::host_ports(pod),
        unless(!version.has(34), baseline::host_probes),
        baseline::privileged(pod),
        unless(own_users || (is_restricted && version.has(35)), baseline::proc_mount),
        baseline::se_linux(pod, version),
        unless(strict_seccomp || !version.has(19), baseline::bad_seccomp),
        baseline::sysctls(pod, version),
        baseline::windows_host_process(pod),
    ];
    if is_restricted {
        found.extend([
            unless(!version.has(8) || spares, restricted::allow_privilege_escalation),
            unless(!strict_capabilities || spares, restricted::capabilities),
            unless(!version.has(35), baseline::proc_mount),
            restricted::volumes(pod),
            unless(own_users, restricted::run_as_non_root),
            unless(!version.has(23) || own_users, restricted::run_as_user),
            unless(!strict_seccomp || spares, restricted::seccomp),
        ]);
    }
    found.into_iter().flatten().collect()
}
