//! The ranges of a cluster: which are taken, which is the next free one.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A cluster may have so many nodes at most; bounds the memory of a wrong
/// configuration.
const MOST_RANGES: u128 = 1 << 16;

#[derive(Debug, Clone)]
pub struct Ranges {
    is_v6: bool,
    /// The first address of the cluster, as a number.
    base: u128,
    /// Addresses of one range, as a power of two.
    host_bits: u32,
    mask: u8,
    taken: Vec<bool>,
    next: usize,
}

impl Ranges {
    pub fn new(cluster_cidr: &str, mask: Option<u8>) -> Result<Self, String> {
        let (is_v6, base, prefix) = parse(cluster_cidr).ok_or_else(|| {
            format!(
                "spec.config.clusterCIDR: `{cluster_cidr}` is not a range such as 10.244.0.0/16"
            )
        })?;
        let (bits, default) = if is_v6 { (128, 64) } else { (32, 24) };
        let mask = mask.unwrap_or(default);
        if mask < prefix || mask > bits {
            return Err(format!(
                "spec.config.nodeMaskSize: {mask} must lie between {prefix} and {bits}"
            ));
        }
        let count = 1u128 << u32::from(mask - prefix).min(127);
        if count > MOST_RANGES {
            return Err(format!(
                "spec.config.nodeMaskSize: {mask} cuts {cluster_cidr} into more than {MOST_RANGES} ranges"
            ));
        }
        Ok(Ranges {
            is_v6,
            base,
            host_bits: u32::from(bits - mask),
            mask,
            taken: vec![false; count as usize],
            next: 0,
        })
    }

    /// Marks every range that overlaps `cidr`; others do not concern the cluster.
    pub fn occupy(&mut self, cidr: &str) {
        let Some((is_v6, start, prefix)) = parse(cidr) else { return };
        if is_v6 != self.is_v6 {
            return;
        }
        let bits: u32 = if is_v6 { 128 } else { 32 };
        let last = start | mask_below(bits - u32::from(prefix));
        let end = self.base
            + ((self.taken.len() as u128 - 1) << self.host_bits)
            + mask_below(self.host_bits);
        if last < self.base || start > end {
            return;
        }
        let index = |address: u128| ((address - self.base) >> self.host_bits) as usize;
        let (first, last) = (index(start.max(self.base)), index(last.min(end)));
        self.taken[first..=last].fill(true);
    }

    /// The lowest free range, now taken.
    pub fn take(&mut self) -> Option<String> {
        let index = self.next + self.taken.get(self.next..)?.iter().position(|taken| !taken)?;
        self.taken[index] = true;
        self.next = index + 1;
        let address = self.base + ((index as u128) << self.host_bits);
        let ip: IpAddr = match self.is_v6 {
            true => Ipv6Addr::from_bits(address).into(),
            false => Ipv4Addr::from_bits(u32::try_from(address).ok()?).into(),
        };
        Some(format!("{ip}/{}", self.mask))
    }
}

/// Is it IPv6, its first address, its prefix length.
fn parse(cidr: &str) -> Option<(bool, u128, u8)> {
    let (address, prefix) = cidr.split_once('/')?;
    let prefix: u8 = prefix.parse().ok()?;
    let (is_v6, number, bits) = match address.parse().ok()? {
        IpAddr::V4(address) => (false, u128::from(address.to_bits()), 32),
        IpAddr::V6(address) => (true, address.to_bits(), 128),
    };
    (prefix <= bits).then(|| (is_v6, number & !mask_below(u32::from(bits - prefix)), prefix))
}

/// A number with so many low bits set.
fn mask_below(bits: u32) -> u128 {
    1u128.checked_shl(bits).map_or(u128::MAX, |bit| bit - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_lowest_free_range_comes_next() {
        fn check(cluster: &str, mask: u8, occupied: &[&str], expect: &[&str]) {
            let mut ranges = Ranges::new(cluster, Some(mask)).unwrap();
            occupied.iter().for_each(|cidr| ranges.occupy(cidr));
            let got: Vec<String> =
                std::iter::from_fn(|| ranges.take()).take(expect.len()).collect();
            assert_eq!(got, expect, "{cluster} {occupied:?}");
        }
        check("10.244.0.0/16", 24, &[], &["10.244.0.0/24", "10.244.1.0/24"]);
        check(
            "10.244.0.0/16",
            24,
            &["10.244.0.0/24", "10.244.2.0/24"],
            &["10.244.1.0/24", "10.244.3.0/24"],
        );
        check(
            "10.244.0.0/16",
            24,
            &["10.244.0.0/23", "10.244.2.7/32", "nonsense"],
            &["10.244.3.0/24"],
        );
        check("10.0.0.0/30", 31, &["10.0.0.0/8"], &[]);
        check(
            "10.0.0.0/30",
            32,
            &["192.168.0.0/24", "fd00::/64"],
            &["10.0.0.0/32", "10.0.0.1/32", "10.0.0.2/32", "10.0.0.3/32"],
        );
        check("fd00:1::/56", 64, &["fd00:1::/64"], &["fd00:1:0:1::/64"]);
        let mut full = Ranges::new("10.0.0.0/30", Some(31)).unwrap();
        assert_eq!(
            [full.take(), full.take(), full.take()],
            [Some("10.0.0.0/31".into()), Some("10.0.0.2/31".into()), None]
        );
    }

    #[test]
    fn a_wrong_configuration_says_what_is_wrong() {
        fn check(cluster: &str, mask: Option<u8>, expect: &str) {
            let error = Ranges::new(cluster, mask).unwrap_err();
            assert!(error.contains(expect), "{error}");
        }
        check("10.244.0.0", None, "clusterCIDR");
        check("10.244.0.0/33", None, "clusterCIDR");
        check("10.244.0.0/16", Some(8), "between 16 and 32");
        check("fd00::/8", Some(64), "more than 65536");
        check("fd00::/8", Some(128), "more than 65536");
    }

    proptest! {
        #[test]
        fn no_range_is_given_twice(occupied in prop::collection::vec((0..64u8, 20..32u8), 0..20)) {
            let mut ranges = Ranges::new("10.1.0.0/18", Some(24)).unwrap();
            let mut seen: Vec<String> = Vec::new();
            for (third, prefix) in occupied {
                ranges.occupy(&format!("10.1.{third}.0/{prefix}"));
            }
            while let Some(cidr) = ranges.take() {
                prop_assert!(!seen.contains(&cidr));
                seen.push(cidr);
            }
            prop_assert!(seen.len() <= 64);
        }
    }
}
