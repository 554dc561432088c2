//! The operations, as data.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

use ipnet::IpNet;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// One privileged operation. `netns: None` means the network namespace that the
/// executor runs in (the node's own).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "kebab-case", deny_unknown_fields)]
pub enum NetOp {
    /// A new network namespace with `lo` up, pinned at `path` by a bind mount.
    NetnsCreate { path: PathBuf },
    /// Unpin; the kernel destroys it (and its veth pairs) with its last process.
    NetnsDelete { path: PathBuf },
    /// A veth pair: `host` stays here, `peer` is born inside `peer_netns`.
    VethAdd {
        host: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        host_mac: Option<MacAddr>,
        peer: String,
        peer_netns: PathBuf,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        peer_mac: Option<MacAddr>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        mtu: Option<u32>,
    },
    LinkUp {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        netns: Option<PathBuf>,
        link: String,
    },
    LinkSet {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        netns: Option<PathBuf>,
        link: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        mtu: Option<u32>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        mac: Option<MacAddr>,
    },
    LinkDelete {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        netns: Option<PathBuf>,
        link: String,
    },
    AddressAdd {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        netns: Option<PathBuf>,
        link: String,
        cidr: IpNet,
    },
    AddressDelete {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        netns: Option<PathBuf>,
        link: String,
        cidr: IpNet,
    },
    RouteReplace {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        netns: Option<PathBuf>,
        destination: IpNet,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        via: Option<IpAddr>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        link: Option<String>,
        /// The preferred source address.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        source: Option<IpAddr>,
        /// `via` is reachable on `link` although no address of it covers `via`.
        #[serde(default)]
        onlink: bool,
        /// Drop what matches instead of forwarding it; then `via` and `link` are
        /// absent.
        #[serde(default)]
        blackhole: bool,
    },
    RouteDelete {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        netns: Option<PathBuf>,
        destination: IpNet,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        via: Option<IpAddr>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        link: Option<String>,
    },
    NeighbourReplace {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        netns: Option<PathBuf>,
        link: String,
        ip: IpAddr,
        mac: MacAddr,
        #[serde(default)]
        permanent: bool,
    },
    NeighbourDelete {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        netns: Option<PathBuf>,
        link: String,
        ip: IpAddr,
    },
    /// `key` is spelled with slashes below `/proc/sys`, for example
    /// `net/ipv4/ip_forward` (an interface name may contain dots).
    SysctlSet {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        netns: Option<PathBuf>,
        key: String,
        value: String,
    },
    /// One nftables transaction that touches exactly one table of the plugin's
    /// own. `body` is what stands between the braces of `table <family> <table>`;
    /// the table's former content is replaced. An empty body deletes the table.
    NftApply { family: String, table: String, body: String },
}

impl NetOp {
    /// The pod namespace that the operation works in, if it is not the node's.
    pub fn netns(&self) -> Option<&PathBuf> {
        match self {
            NetOp::LinkUp { netns, .. }
            | NetOp::LinkSet { netns, .. }
            | NetOp::LinkDelete { netns, .. }
            | NetOp::AddressAdd { netns, .. }
            | NetOp::AddressDelete { netns, .. }
            | NetOp::RouteReplace { netns, .. }
            | NetOp::RouteDelete { netns, .. }
            | NetOp::NeighbourReplace { netns, .. }
            | NetOp::NeighbourDelete { netns, .. }
            | NetOp::SysctlSet { netns, .. } => netns.as_ref(),
            NetOp::NetnsCreate { .. }
            | NetOp::NetnsDelete { .. }
            | NetOp::VethAdd { .. }
            | NetOp::NftApply { .. } => None,
        }
    }

    /// The name that errors and logs use.
    pub fn name(&self) -> &'static str {
        match self {
            NetOp::NetnsCreate { .. } => "netns-create",
            NetOp::NetnsDelete { .. } => "netns-delete",
            NetOp::VethAdd { .. } => "veth-add",
            NetOp::LinkUp { .. } => "link-up",
            NetOp::LinkSet { .. } => "link-set",
            NetOp::LinkDelete { .. } => "link-delete",
            NetOp::AddressAdd { .. } => "address-add",
            NetOp::AddressDelete { .. } => "address-delete",
            NetOp::RouteReplace { .. } => "route-replace",
            NetOp::RouteDelete { .. } => "route-delete",
            NetOp::NeighbourReplace { .. } => "neighbour-replace",
            NetOp::NeighbourDelete { .. } => "neighbour-delete",
            NetOp::SysctlSet { .. } => "sysctl-set",
            NetOp::NftApply { .. } => "nft-apply",
        }
    }
}

/// An Ethernet address, written `02:00:00:00:00:01`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct MacAddr(pub [u8; 6]);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not an ethernet address, expected six hexadecimal bytes such as 02:00:00:00:00:01"
)]
pub struct ParseMacError(String);

impl fmt::Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl FromStr for MacAddr {
    type Err = ParseMacError;

    fn from_str(text: &str) -> Result<Self, ParseMacError> {
        let bad = || ParseMacError(text.to_owned());
        let mut bytes = [0u8; 6];
        let mut parts = text.split(':');
        for byte in &mut bytes {
            let part = parts.next().filter(|part| part.len() == 2 && part.is_ascii());
            *byte = u8::from_str_radix(part.ok_or_else(bad)?, 16).map_err(|_| bad())?;
        }
        match parts.next() {
            None => Ok(MacAddr(bytes)),
            Some(_) => Err(bad()),
        }
    }
}

impl Serialize for MacAddr {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for MacAddr {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ethernet_address_reads_and_writes() {
        let check = |text: &str, expect: Option<&str>| {
            let got = text.parse::<MacAddr>().ok().map(|mac| mac.to_string());
            assert_eq!(got.as_deref(), expect, "{text}");
        };
        check("02:00:00:00:00:01", Some("02:00:00:00:00:01"));
        check("EE:ee:00:00:00:aB", Some("ee:ee:00:00:00:ab"));
        check("", None);
        check("02:00:00:00:00", None);
        check("02:00:00:00:00:01:02", None);
        check("2:0:0:0:0:1", None);
        check("zz:00:00:00:00:01", None);
        check("é:00:00:00:00:01", None);
    }

    #[test]
    fn operations_are_tagged_json() {
        let op: NetOp = serde_json::from_str(
            r#"{"op":"route-replace","destination":"10.0.0.0/24","via":"192.168.0.2"}"#,
        )
        .unwrap();
        assert_eq!(op.name(), "route-replace");
        let back: NetOp = serde_json::from_str(&serde_json::to_string(&op).unwrap()).unwrap();
        assert_eq!(back, op);
        assert!(serde_json::from_str::<NetOp>(r#"{"op":"format-disk"}"#).is_err());
    }
}
