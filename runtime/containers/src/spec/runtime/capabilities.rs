//! Linux capabilities: the default set and changes to it.

use crate::spec::Capabilities;

/// What a container may do unless it says otherwise; the set of containerd and Docker.
const DEFAULT: [&str; 14] = [
    "CAP_AUDIT_WRITE",
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_MKNOD",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_RAW",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
];

const ALL: [&str; 41] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

pub(super) fn all() -> Vec<String> {
    ALL.iter().map(|&name| name.to_owned()).collect()
}

/// Drops first, then adds, as Kubernetes does: `drop: [ALL], add: [X]` leaves X.
pub(super) fn resolve(change: &Capabilities) -> Vec<String> {
    let drop: Vec<_> = change.drop.iter().map(|name| canonical(name)).collect();
    let add: Vec<_> = change.add.iter().map(|name| canonical(name)).collect();
    let is_all = |names: &[String]| names.iter().any(|name| name == "CAP_ALL");
    let mut set: Vec<String> = match (is_all(&drop), is_all(&add)) {
        (_, true) => all(),
        (true, false) => Vec::new(),
        (false, false) => DEFAULT.iter().map(|&name| name.to_owned()).collect(),
    };
    set.retain(|name| !drop.contains(name));
    for name in add {
        if name != "CAP_ALL" && !set.contains(&name) {
            set.push(name);
        }
    }
    set
}

fn canonical(name: &str) -> String {
    let upper = name.to_ascii_uppercase();
    match upper.starts_with("CAP_") {
        true => upper,
        false => format!("CAP_{upper}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(add: &[&str], drop: &[&str], expect: impl Fn(&[String]) -> bool) {
        let names = |list: &[&str]| list.iter().map(|&name| name.to_owned()).collect();
        let set = resolve(&Capabilities { add: names(add), drop: names(drop) });
        assert!(expect(&set), "{set:?}");
    }

    #[test]
    fn adding_and_dropping() {
        check(&[], &[], |set| set.len() == 14);
        check(&["net_admin"], &["ALL"], |set| set == ["CAP_NET_ADMIN"]);
        check(&["ALL"], &["CAP_SYS_ADMIN"], |set| {
            set.len() == 40 && !set.contains(&"CAP_SYS_ADMIN".to_owned())
        });
        check(&["NET_RAW"], &[], |set| set.len() == 14);
        check(&["KILL"], &["KILL"], |set| set.contains(&"CAP_KILL".to_owned()));
    }
}
