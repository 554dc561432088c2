//! The level `baseline`: no known way to more rights.

use std::collections::BTreeSet;

use crate::fields::{Container, Handler, SecurityContext, Template};
use crate::policy::Version;
use crate::words::{Violation, containers, plural, quoted, setters};

const CAPABILITIES: [&str; 13] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

/// Allowed since `v1.N`.
const SYSCTLS: [(&str, u32); 12] = [
    ("kernel.shm_rmid_forced", 0),
    ("net.ipv4.ip_local_port_range", 0),
    ("net.ipv4.tcp_syncookies", 0),
    ("net.ipv4.ping_group_range", 0),
    ("net.ipv4.ip_unprivileged_port_start", 0),
    ("net.ipv4.ip_local_reserved_ports", 27),
    ("net.ipv4.tcp_keepalive_time", 29),
    ("net.ipv4.tcp_fin_timeout", 29),
    ("net.ipv4.tcp_keepalive_intvl", 29),
    ("net.ipv4.tcp_keepalive_probes", 29),
    ("net.ipv4.tcp_rmem", 32),
    ("net.ipv4.tcp_wmem", 32),
];

/// The names of the containers for which it holds.
pub fn names(pod: &Template, bad: impl Fn(&Container) -> bool) -> Vec<&str> {
    pod.containers().filter(|container| bad(container)).map(Container::name).collect()
}

/// The names of the containers whose security context is bad.
pub fn by_context(pod: &Template, bad: impl Fn(&SecurityContext) -> bool) -> Vec<&str> {
    names(pod, |container| container.security_context.as_ref().is_some_and(&bad))
}

fn pod_context(pod: &Template, bad: impl Fn(&SecurityContext) -> bool) -> bool {
    pod.spec.security_context.as_ref().is_some_and(bad)
}

pub fn app_armor(pod: &Template) -> Option<Violation> {
    const KEY: &str = "container.apparmor.security.beta.kubernetes.io/";
    let is_allowed = |value: &str| {
        value.is_empty() || value == "runtime/default" || value.starts_with("localhost/")
    };
    let mut details = Vec::new();
    let is_bad = |context: &SecurityContext| {
        context.app_armor_profile.as_ref().is_some_and(|profile| {
            !matches!(profile.r#type.as_deref(), Some("RuntimeDefault" | "Localhost"))
        })
    };
    let bad = by_context(pod, is_bad);
    if let Some(who) = setters(pod_context(pod, is_bad), &bad) {
        details.push(format!("{who} must not set AppArmor profile type to \"Unconfined\""));
    }
    let annotations = pod.metadata.annotations.iter().flatten();
    let by_annotation: Vec<String> = annotations
        .filter(|(key, value)| key.starts_with(KEY) && !is_allowed(value))
        .map(|(key, value)| format!("{key}={value:?}"))
        .collect();
    let count = by_annotation.len() + details.len();
    if !by_annotation.is_empty() {
        details.push(by_annotation.join(", "));
    }
    let reason = plural("forbidden AppArmor profile", "forbidden AppArmor profiles", count);
    (count > 0).then(|| Violation::new(reason, details.join("; ")))
}

pub fn capabilities(pod: &Template) -> Option<Violation> {
    let mut added = BTreeSet::new();
    let mut bad = Vec::new();
    for container in pod.containers() {
        let context = container.security_context.as_ref();
        let capabilities = context.and_then(|context| context.capabilities.as_ref());
        let own: Vec<&str> = capabilities
            .and_then(|capabilities| capabilities.add.as_ref())
            .into_iter()
            .flatten()
            .map(String::as_str)
            .filter(|name| !CAPABILITIES.contains(name))
            .collect();
        if !own.is_empty() {
            bad.push(container.name());
            added.extend(own);
        }
    }
    (!bad.is_empty()).then(|| {
        let detail = format!(
            "{} must not include {} in securityContext.capabilities.add",
            containers(&bad),
            quoted(&added)
        );
        Violation::new("non-default capabilities", detail)
    })
}

pub fn host_namespaces(pod: &Template) -> Option<Violation> {
    let set: Vec<&str> = [
        ("hostNetwork=true", pod.spec.host_network),
        ("hostPID=true", pod.host.pid),
        ("hostIPC=true", pod.host.ipc),
    ]
    .into_iter()
    .filter(|(_, set)| *set == Some(true))
    .map(|(text, _)| text)
    .collect();
    (!set.is_empty()).then(|| Violation::new("host namespaces", set.join(", ")))
}

pub fn host_path_volumes(pod: &Template) -> Option<Violation> {
    let volumes = pod.spec.volumes.iter().flatten();
    let names: Vec<&str> = volumes
        .filter(|volume| volume.get("hostPath").is_some_and(|source| !source.is_null()))
        .map(|volume| volume.get("name").and_then(|name| name.as_str()).unwrap_or_default())
        .collect();
    (!names.is_empty()).then(|| {
        let detail = format!("{} {}", plural("volume", "volumes", names.len()), quoted(&names));
        Violation::new("hostPath volumes", detail)
    })
}

pub fn host_ports(pod: &Template) -> Option<Violation> {
    let used = |container: &Container| {
        let ports = container.ports.iter().flatten();
        ports.filter_map(|port| port.host_port).filter(|port| *port != 0).collect::<Vec<_>>()
    };
    let bad = names(pod, |container| !used(container).is_empty());
    let ports: BTreeSet<String> =
        pod.containers().flat_map(used).map(|port| port.to_string()).collect();
    (!bad.is_empty()).then(|| {
        let detail = format!(
            "{} {} {} {}",
            containers(&bad),
            plural("uses", "use", bad.len()),
            plural("hostPort", "hostPorts", ports.len()),
            ports.into_iter().collect::<Vec<_>>().join(", ")
        );
        Violation::new("hostPort", detail)
    })
}

pub fn host_probes(pod: &Template) -> Option<Violation> {
    fn hosts(handler: Option<&Handler>) -> impl Iterator<Item = &str> {
        handler
            .into_iter()
            .flat_map(|handler| [handler.http_get.as_ref(), handler.tcp_socket.as_ref()])
            .flatten()
            .filter_map(|target| target.host.as_deref())
            .filter(|host| !host.is_empty())
    }
    let mut bad = BTreeSet::new();
    let mut forbidden = BTreeSet::new();
    for container in pod.containers() {
        let lifecycle = container.lifecycle.as_ref();
        for handler in [
            container.liveness_probe.as_ref(),
            container.readiness_probe.as_ref(),
            container.startup_probe.as_ref(),
            lifecycle.and_then(|lifecycle| lifecycle.post_start.as_ref()),
            lifecycle.and_then(|lifecycle| lifecycle.pre_stop.as_ref()),
        ] {
            for host in hosts(handler) {
                bad.insert(container.name());
                forbidden.insert(host);
            }
        }
    }
    (!bad.is_empty()).then(|| {
        let bad: Vec<&str> = bad.into_iter().collect();
        let detail = format!(
            "{} {} {} {}",
            containers(&bad),
            plural("uses", "use", bad.len()),
            plural("probe or lifecycle host", "probe or lifecycle hosts", forbidden.len()),
            quoted(&forbidden)
        );
        Violation::new("probe or lifecycle host", detail)
    })
}

pub fn privileged(pod: &Template) -> Option<Violation> {
    let bad = by_context(pod, |context| context.privileged == Some(true));
    let detail = || format!("{} must not set securityContext.privileged=true", containers(&bad));
    (!bad.is_empty()).then(|| Violation::new("privileged", detail()))
}

pub fn proc_mount(pod: &Template) -> Option<Violation> {
    let other = |context: &SecurityContext| {
        context
            .proc_mount
            .as_ref()
            .filter(|mount| !mount.is_empty() && *mount != "Default")
            .cloned()
    };
    let bad = by_context(pod, |context| other(context).is_some());
    let contexts = pod.containers().filter_map(|container| container.security_context.as_ref());
    let mounts: BTreeSet<String> = contexts.filter_map(other).collect();
    (!bad.is_empty()).then(|| {
        let detail = format!(
            "{} must not set securityContext.procMount to {}",
            containers(&bad),
            quoted(&mounts)
        );
        Violation::new("procMount", detail)
    })
}

pub fn se_linux(pod: &Template, version: Version) -> Option<Violation> {
    let is_allowed = |name: &str| {
        matches!(name, "" | "container_t" | "container_init_t" | "container_kvm_t")
            || (version.has(31) && name == "container_engine_t")
    };
    let set = |text: &Option<String>| text.as_deref().is_some_and(|text| !text.is_empty());
    let options = |context: &SecurityContext| context.se_linux_options.clone().unwrap_or_default();
    let is_bad = |context: &SecurityContext| {
        let options = options(context);
        !is_allowed(options.r#type.as_deref().unwrap_or_default())
            || set(&options.user)
            || set(&options.role)
    };
    let bad = by_context(pod, is_bad);
    let who = setters(pod_context(pod, is_bad), &bad)?;
    let all: Vec<_> = pod
        .containers()
        .filter_map(|container| container.security_context.as_ref())
        .chain(pod.spec.security_context.as_ref())
        .map(options)
        .collect();
    let types: BTreeSet<String> = all
        .iter()
        .filter_map(|options| options.r#type.clone())
        .filter(|name| !is_allowed(name))
        .collect();
    let mut details = Vec::new();
    if !types.is_empty() {
        details.push(format!("{} {}", plural("type", "types", types.len()), quoted(&types)));
    }
    if all.iter().any(|options| set(&options.user)) {
        details.push("user may not be set".to_owned());
    }
    if all.iter().any(|options| set(&options.role)) {
        details.push("role may not be set".to_owned());
    }
    let details = details.join("; ");
    let detail = format!("{who} set forbidden securityContext.seLinuxOptions: {details}");
    Some(Violation::new("seLinuxOptions", detail))
}

/// Types of profiles that are set and allowed nowhere; who sets them.
pub fn bad_seccomp(pod: &Template) -> Option<Violation> {
    let other = |context: &SecurityContext| {
        let profile = context.seccomp_profile.as_ref()?;
        let name = profile.r#type.clone().unwrap_or_default();
        (!matches!(name.as_str(), "RuntimeDefault" | "Localhost")).then_some(name)
    };
    let bad = by_context(pod, |context| other(context).is_some());
    let who = setters(pod_context(pod, |context| other(context).is_some()), &bad)?;
    let values: BTreeSet<String> = pod
        .containers()
        .filter_map(|container| container.security_context.as_ref())
        .chain(pod.spec.security_context.as_ref())
        .filter_map(other)
        .collect();
    let values = quoted(&values);
    let detail = format!("{who} must not set securityContext.seccompProfile.type to {values}");
    Some(Violation::new("seccompProfile", detail))
}

pub fn sysctls(pod: &Template, version: Version) -> Option<Violation> {
    let is_allowed =
        |name: &str| SYSCTLS.iter().any(|(known, since)| *known == name && version.has(*since));
    let context = pod.spec.security_context.as_ref();
    let bad: Vec<&str> = context
        .and_then(|context| context.sysctls.as_ref())
        .into_iter()
        .flatten()
        .filter_map(|sysctl| sysctl.name.as_deref())
        .filter(|name| !is_allowed(name))
        .collect();
    (!bad.is_empty()).then(|| Violation::new("forbidden sysctls", bad.join(", ")))
}

pub fn windows_host_process(pod: &Template) -> Option<Violation> {
    let is_bad = |context: &SecurityContext| {
        context.windows_options.as_ref().is_some_and(|options| options.host_process == Some(true))
    };
    let bad = by_context(pod, is_bad);
    let who = setters(pod_context(pod, is_bad), &bad)?;
    let detail = format!("{who} must not set securityContext.windowsOptions.hostProcess=true");
    Some(Violation::new("hostProcess", detail))
}
