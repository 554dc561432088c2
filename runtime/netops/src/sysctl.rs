//! The sysctls a network plugin may set, and the write.

use std::io::{self, Write};
use std::path::Path;

use crate::error::{OpError, ScopeError};

/// Per interface, below `net/ipv4/conf/<interface>/`.
const IPV4_INTERFACE_KEYS: [&str; 8] = [
    "accept_local",
    "arp_announce",
    "arp_ignore",
    "arp_notify",
    "forwarding",
    "proxy_arp",
    "route_localnet",
    "rp_filter",
];

/// Per interface, below `net/ipv6/conf/<interface>/`.
const IPV6_INTERFACE_KEYS: [&str; 6] =
    ["accept_dad", "accept_ra", "addr_gen_mode", "disable_ipv6", "forwarding", "proxy_ndp"];

/// The node must forward packets, or no pod is reached.
const NODE_KEYS: [&str; 3] =
    ["net/ipv4/ip_forward", "net/ipv4/conf/all/forwarding", "net/ipv6/conf/all/forwarding"];

/// Those that Kubernetes calls safe: they are confined to the pod's namespace.
const POD_KEYS: [&str; 4] = [
    "net/ipv4/ip_unprivileged_port_start",
    "net/ipv4/ip_local_port_range",
    "net/ipv4/ping_group_range",
    "net/ipv4/tcp_syncookies",
];

pub(crate) fn check_key(key: &str, inside_pod: bool, prefix: &str) -> Result<(), ScopeError> {
    let fixed: &[&str] = if inside_pod { &POD_KEYS } else { &NODE_KEYS };
    if fixed.contains(&key) || interface_key(key, inside_pod, prefix) {
        return Ok(());
    }
    Err(ScopeError::SysctlKey(key.to_owned()))
}

fn interface_key(key: &str, inside_pod: bool, prefix: &str) -> bool {
    let parts: Vec<&str> = key.split('/').collect();
    let ["net", family, "conf", link, name] = parts[..] else {
        return false;
    };
    let known = match family {
        "ipv4" => IPV4_INTERFACE_KEYS.contains(&name),
        "ipv6" => IPV6_INTERFACE_KEYS.contains(&name),
        _ => false,
    };
    let named = !link.is_empty() && link != "." && link != "..";
    known && named && (inside_pod || link.starts_with(prefix))
}

pub(crate) fn check_value(value: &str) -> Result<(), ScopeError> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b' ';
    if (1..=64).contains(&value.len()) && value.bytes().all(plain) {
        return Ok(());
    }
    Err(ScopeError::SysctlValue(value.to_owned()))
}

/// `/proc/sys/net` shows the namespace of the thread that opens it, so the
/// caller must be inside the right one.
pub(crate) fn set(key: &str, value: &str) -> Result<(), OpError> {
    let path = Path::new("/proc/sys").join(key);
    let write = || -> io::Result<()> {
        std::fs::OpenOptions::new().write(true).open(&path)?.write_all(value.as_bytes())
    };
    write().map_err(|source| OpError::Sysctl { key: key.to_owned(), source })
}
