//! Which address a pod gets.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use pintle_sdk::cni::{Node, Reservation};

/// The lowest address of the node's ranges that nobody has. The first two (the
/// network's and `.1`, which people expect to be a gateway) and the last (the
/// broadcast address) of a range are left out.
pub fn lowest_free(node: &Node, reserved: &[Reservation]) -> Result<Ipv4Addr, String> {
    let ranges: Vec<(u32, u32)> = node.pod_cidrs.iter().filter_map(|cidr| range(cidr)).collect();
    if ranges.is_empty() {
        return Err(format!(
            "node {}: no IPv4 range for pods in spec.podCIDRs yet; the node-ipam plugin assigns one",
            node.name
        ));
    }
    let taken: BTreeSet<u32> = reserved
        .iter()
        .filter_map(|known| parse(&known.address).ok())
        .map(Ipv4Addr::to_bits)
        .collect();
    for (first, last) in ranges {
        // Taken addresses come in order, so each is looked at once.
        let mut candidate = first.saturating_add(2);
        for &address in taken.range(candidate..last.max(candidate)) {
            if address != candidate {
                break;
            }
            candidate += 1;
        }
        if candidate < last {
            return Ok(Ipv4Addr::from_bits(candidate));
        }
    }
    Err(format!("node {}: all addresses of {} are in use", node.name, node.pod_cidrs.join(", ")))
}

/// An address with or without prefix length.
pub fn parse(text: &str) -> Result<Ipv4Addr, String> {
    let address = text.split_once('/').map_or(text, |(address, _)| address);
    address.parse().map_err(|_| format!("`{text}` is not an IPv4 address"))
}

/// First and last address; `None` for anything that is not an IPv4 range.
pub fn range(cidr: &str) -> Option<(u32, u32)> {
    let (address, prefix) = cidr.split_once('/')?;
    let address: Ipv4Addr = address.parse().ok()?;
    let prefix: u32 = prefix.parse().ok().filter(|prefix| *prefix <= 32)?;
    let host = u32::MAX.checked_shr(prefix).unwrap_or(0);
    Some((address.to_bits() & !host, address.to_bits() | host))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn node(cidrs: &[&str]) -> Node {
        Node {
            name: "n1".to_owned(),
            pod_cidrs: cidrs.iter().map(|cidr| cidr.to_string()).collect(),
            ..Node::default()
        }
    }

    fn reserved(addresses: &[&str]) -> Vec<Reservation> {
        let one = |address: &&str| Reservation {
            sandbox: "other".to_owned(),
            address: address.to_string(),
        };
        addresses.iter().map(one).collect()
    }

    #[test]
    fn the_lowest_free_address() {
        fn check(cidrs: &[&str], taken: &[&str], expect: Result<&str, &str>) {
            let got =
                lowest_free(&node(cidrs), &reserved(taken)).map(|address| address.to_string());
            assert_eq!(
                got,
                expect.map(str::to_owned).map_err(str::to_owned),
                "{cidrs:?} {taken:?}"
            );
        }
        check(&["10.244.3.0/24"], &[], Ok("10.244.3.2"));
        check(&["10.244.3.0/24"], &["10.244.3.2", "10.244.3.3/32", "10.244.3.5"], Ok("10.244.3.4"));
        check(&["10.244.3.0/24"], &["10.244.3.3", "192.168.0.1"], Ok("10.244.3.2"));
        check(&["fd00::/64", "10.0.0.0/30"], &[], Ok("10.0.0.2"));
        check(
            &["10.0.0.0/30"],
            &["10.0.0.2"],
            Err("node n1: all addresses of 10.0.0.0/30 are in use"),
        );
        check(&["10.0.0.0/30", "10.0.1.0/30"], &["10.0.0.2"], Ok("10.0.1.2"));
        check(
            &["10.0.0.0/31", "10.0.0.7/32"],
            &[],
            Err("node n1: all addresses of 10.0.0.0/31, 10.0.0.7/32 are in use"),
        );
        check(
            &["fd00::/64"],
            &[],
            Err(
                "node n1: no IPv4 range for pods in spec.podCIDRs yet; the node-ipam plugin assigns one",
            ),
        );
    }

    proptest! {
        /// Filling a range gives every usable address once.
        #[test]
        fn every_address_once(third in any::<u8>(), prefix in 26..=30u32) {
            let node = node(&[&format!("10.1.{third}.0/{prefix}")]);
            let mut taken = Vec::new();
            while let Ok(address) = lowest_free(&node, &taken) {
                prop_assert!(!taken.iter().any(|known: &Reservation| known.address == address.to_string()));
                taken.push(Reservation { sandbox: "s".to_owned(), address: address.to_string() });
            }
            prop_assert_eq!(taken.len() as u32, (1 << (32 - prefix)) - 3);
        }
    }
}
