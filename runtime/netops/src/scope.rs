//! What one plugin may touch.

use std::net::IpAddr;
use std::path::{Component, Path, PathBuf};

use ipnet::IpNet;

use crate::error::ScopeError;
use crate::op::NetOp;
use crate::sysctl;

/// The limits of one plugin on one node. In the node's own namespace only
/// interfaces with the prefix may be touched; inside a pod's namespace every
/// name is the plugin's business.
#[derive(Debug, Clone)]
pub struct Scope {
    pub interface_prefix: String,
    /// Pod addresses and route destinations in the node's namespace must lie in
    /// one of these.
    pub cidrs: Vec<IpNet>,
    pub table_prefix: String,
    /// Named network namespaces lie directly inside this directory.
    pub netns_dir: PathBuf,
}

impl Scope {
    pub fn check(&self, op: &NetOp) -> Result<(), ScopeError> {
        if let Some(netns) = op.netns() {
            self.netns_path(netns)?;
        }
        let inside_pod = op.netns().is_some();
        match op {
            NetOp::NetnsCreate { path } | NetOp::NetnsDelete { path } => self.netns_path(path),
            NetOp::VethAdd { host, peer, peer_netns, .. } => {
                self.netns_path(peer_netns)?;
                self.link(host, false)?;
                self.link(peer, true)
            }
            NetOp::LinkUp { link, .. }
            | NetOp::LinkSet { link, .. }
            | NetOp::LinkDelete { link, .. }
            | NetOp::NeighbourDelete { link, .. }
            | NetOp::NeighbourReplace { link, .. } => self.link(link, inside_pod),
            NetOp::AddressAdd { link, cidr, .. } | NetOp::AddressDelete { link, cidr, .. } => {
                self.link(link, inside_pod)?;
                self.address(cidr.addr())
            }
            NetOp::RouteReplace { destination, link, .. }
            | NetOp::RouteDelete { destination, link, .. } => {
                if let Some(link) = link {
                    self.link(link, inside_pod)?;
                }
                if inside_pod { Ok(()) } else { self.range(destination) }
            }
            NetOp::SysctlSet { key, value, .. } => {
                sysctl::check_value(value)?;
                sysctl::check_key(key, inside_pod, &self.interface_prefix)
            }
            NetOp::NftApply { family, table, body } => self.table(family, table, body),
        }
    }

    fn netns_path(&self, path: &Path) -> Result<(), ScopeError> {
        let direct_child = path.parent() == Some(self.netns_dir.as_path())
            && matches!(path.components().next_back(), Some(Component::Normal(_)))
            && !path.components().any(|part| part == Component::ParentDir);
        if direct_child {
            return Ok(());
        }
        Err(ScopeError::NetnsPath { path: path.to_owned(), dir: self.netns_dir.clone() })
    }

    fn link(&self, link: &str, inside_pod: bool) -> Result<(), ScopeError> {
        // IFNAMSIZ is 16 with the closing NUL.
        let well_formed = (1..=15).contains(&link.len())
            && link != "."
            && link != ".."
            && link.bytes().all(|b| b.is_ascii_graphic() && b != b'/' && b != b':');
        if !well_formed {
            return Err(ScopeError::LinkName(link.to_owned()));
        }
        if inside_pod || link.starts_with(&self.interface_prefix) {
            return Ok(());
        }
        Err(ScopeError::LinkPrefix { link: link.to_owned(), prefix: self.interface_prefix.clone() })
    }

    /// Link-local addresses mean nothing outside their link, so they are free.
    fn address(&self, address: IpAddr) -> Result<(), ScopeError> {
        let link_local = match address {
            IpAddr::V4(v4) => v4.is_link_local(),
            IpAddr::V6(v6) => v6.is_unicast_link_local(),
        };
        if link_local || self.cidrs.iter().any(|cidr| cidr.contains(&address)) {
            return Ok(());
        }
        Err(ScopeError::Address(address))
    }

    fn range(&self, range: &IpNet) -> Result<(), ScopeError> {
        if self.cidrs.iter().any(|cidr| cidr.contains(range)) {
            return Ok(());
        }
        Err(ScopeError::Range(*range))
    }

    fn table(&self, family: &str, table: &str, body: &str) -> Result<(), ScopeError> {
        if !matches!(family, "ip" | "ip6" | "inet") {
            return Err(ScopeError::TableFamily(family.to_owned()));
        }
        let word = table.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
        if !word || table.is_empty() || !table.starts_with(&self.table_prefix) {
            return Err(ScopeError::TablePrefix {
                table: table.to_owned(),
                prefix: self.table_prefix.clone(),
            });
        }
        if stays_in_its_table(body) { Ok(()) } else { Err(ScopeError::TableBody) }
    }
}

/// The body is pasted between braces, so it must not close them. Quotes could
/// hide a brace, comments a quote, `include` a file: none is needed, all are
/// refused.
fn stays_in_its_table(body: &str) -> bool {
    let mut depth = 0u32;
    for byte in body.bytes() {
        match byte {
            b'{' => depth += 1,
            b'}' if depth == 0 => return false,
            b'}' => depth -= 1,
            b'"' | b'\'' | b'#' | b'\\' | b'$' => return false,
            _ => {}
        }
    }
    depth == 0 && !body.split_ascii_whitespace().any(|word| word == "include")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope() -> Scope {
        Scope {
            interface_prefix: "pt".into(),
            cidrs: vec!["10.244.0.0/16".parse().unwrap()],
            table_prefix: "pintle".into(),
            netns_dir: "/run/pintle/netns".into(),
        }
    }

    fn check(op: &str, expect: Result<(), &str>) {
        let op: NetOp = serde_json::from_str(op).unwrap();
        let got = scope().check(&op).map_err(|error| error.to_string());
        match (got, expect) {
            (Ok(()), Ok(())) => {}
            (Err(got), Err(part)) => assert!(got.contains(part), "{got} lacks {part}"),
            (got, expect) => panic!("{op:?}: got {got:?}, expected {expect:?}"),
        }
    }

    #[test]
    fn a_plan_stays_within_its_scope() {
        check(r#"{"op":"netns-create","path":"/run/pintle/netns/a"}"#, Ok(()));
        check(
            r#"{"op":"netns-create","path":"/run/pintle/netns/../x"}"#,
            Err("not directly inside"),
        );
        check(
            r#"{"op":"netns-delete","path":"/run/pintle/netns/a/b"}"#,
            Err("not directly inside"),
        );
        check(r#"{"op":"netns-delete","path":"/run/pintle/netns/.."}"#, Err("not directly inside"));
        check(
            r#"{"op":"veth-add","host":"pt1","peer":"eth0","peer_netns":"/run/pintle/netns/a"}"#,
            Ok(()),
        );
        check(
            r#"{"op":"veth-add","host":"eth1","peer":"eth0","peer_netns":"/run/pintle/netns/a"}"#,
            Err("does not start with `pt`"),
        );
        check(
            r#"{"op":"veth-add","host":"pt1","peer":"eth0","peer_netns":"/proc/1/ns/net"}"#,
            Err("not directly inside"),
        );
        check(r#"{"op":"link-delete","link":"eth0"}"#, Err("does not start"));
        check(r#"{"op":"link-delete","netns":"/run/pintle/netns/a","link":"eth0"}"#, Ok(()));
        check(r#"{"op":"link-up","link":"pt/../x"}"#, Err("not an interface name"));
        check(r#"{"op":"link-up","link":"pt34567890123456"}"#, Err("not an interface name"));
        check(r#"{"op":"address-add","link":"pt1","cidr":"10.244.1.2/32"}"#, Ok(()));
        check(r#"{"op":"address-add","link":"pt1","cidr":"169.254.1.1/32"}"#, Ok(()));
        check(
            r#"{"op":"address-add","netns":"/run/pintle/netns/a","link":"eth0","cidr":"8.8.8.8/32"}"#,
            Err("none of the allowed"),
        );
        check(
            r#"{"op":"route-replace","destination":"10.244.3.0/24","via":"192.168.0.4"}"#,
            Ok(()),
        );
        check(
            r#"{"op":"route-replace","destination":"0.0.0.0/0","via":"192.168.0.4"}"#,
            Err("none of"),
        );
        check(r#"{"op":"route-replace","destination":"10.0.0.0/8","link":"pt1"}"#, Err("none of"));
        check(
            r#"{"op":"route-replace","netns":"/run/pintle/netns/a","destination":"0.0.0.0/0","via":"169.254.1.1"}"#,
            Ok(()),
        );
        check(r#"{"op":"sysctl-set","key":"net/ipv4/ip_forward","value":"1"}"#, Ok(()));
        check(r#"{"op":"sysctl-set","key":"net/ipv4/conf/pt9/rp_filter","value":"0"}"#, Ok(()));
        check(
            r#"{"op":"sysctl-set","key":"net/ipv4/conf/eth0/rp_filter","value":"0"}"#,
            Err("not on the list"),
        );
        check(
            r#"{"op":"sysctl-set","key":"kernel/core_pattern","value":"x"}"#,
            Err("not on the list"),
        );
        check(
            r#"{"op":"sysctl-set","key":"net/ipv4/conf/pt9/../../ip_forward","value":"1"}"#,
            Err("not on"),
        );
        check(
            r#"{"op":"sysctl-set","key":"net/ipv4/ip_forward","value":"1\n"}"#,
            Err("short word"),
        );
    }

    #[test]
    fn a_table_body_cannot_leave_its_table() {
        let check =
            |body: &str, expect: bool| assert_eq!(stays_in_its_table(body), expect, "{body}");
        check("chain input { type filter hook input priority 0; }", true);
        check("map m { type ipv4_addr : verdict; } chain c { ip saddr vmap @m }", true);
        check("", true);
        check("} table ip filter { chain x { }", false);
        check("chain x {", false);
        check("include /etc/passwd", false);
        check("chain x { comment \"}\" }", false);
        check("chain x { } # }", false);
    }
}
