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

/// In the kernel's order: the index is the bit.
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

/// Everything that this process could give away.
pub(super) fn all() -> Vec<String> {
    mask(available(), ALL.iter().map(|&name| name.to_owned()).collect())
}

/// Drops first, then adds, as Kubernetes does: `drop: [ALL], add: [X]` leaves X.
pub(super) fn resolve(change: &Capabilities) -> Vec<String> {
    mask(available(), changed(change))
}

fn changed(change: &Capabilities) -> Vec<String> {
    let drop: Vec<_> = change.drop.iter().map(|name| canonical(name)).collect();
    let add: Vec<_> = change.add.iter().map(|name| canonical(name)).collect();
    let is_all = |names: &[String]| names.iter().any(|name| name == "CAP_ALL");
    let mut set: Vec<String> = match (is_all(&drop), is_all(&add)) {
        (_, true) => ALL.iter().map(|&name| name.to_owned()).collect(),
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

/// Leaves out what the node itself may not do: inside a virtual machine or another container the
/// bounding set is often smaller, and a runtime that asks for more fails. A name that does not
/// exist is left for the runtime to complain about.
fn mask(available: u64, mut set: Vec<String>) -> Vec<String> {
    set.retain(|name| match ALL.iter().position(|known| known == name) {
        Some(bit) => available & (1 << bit) != 0,
        None => true,
    });
    set
}

/// The bounding set of this process; everything when it cannot be read.
fn available() -> u64 {
    std::fs::read_to_string("/proc/self/status")
        .ok()
        .and_then(|status| {
            let line = status.lines().find_map(|line| line.strip_prefix("CapBnd:"))?;
            u64::from_str_radix(line.trim(), 16).ok()
        })
        .unwrap_or(u64::MAX)
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
        let set = changed(&Capabilities { add: names(add), drop: names(drop) });
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

    #[test]
    fn what_the_node_lacks_is_left_out() {
        let names = |list: &[&str]| list.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        let set = names(&["CAP_CHOWN", "CAP_KILL", "CAP_UNKNOWN"]);
        assert_eq!(mask(1, set.clone()), names(&["CAP_CHOWN", "CAP_UNKNOWN"]));
        assert_eq!(mask(u64::MAX, set.clone()), set);
    }
}
