//! Ranges of IP addresses in CIDR notation.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use thiserror::Error;

/// Why a text is no range.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CidrError {
    #[error("must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)")]
    Syntax,
    #[error("must not have bits set beyond the prefix length")]
    HostBits,
}

/// `10.96.0.0/16`: a network and the length of its prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Cidr {
    network: IpAddr,
    prefix: u8,
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(u32::from(v4)),
        IpAddr::V6(v6) => u128::from(v6),
    }
}

impl Cidr {
    fn width(&self) -> u8 {
        if self.network.is_ipv6() { 128 } else { 32 }
    }

    /// The bits that tell addresses of the range apart.
    fn host_mask(&self) -> u128 {
        match self.width() - self.prefix {
            128 => u128::MAX,
            host_bits => (1 << host_bits) - 1,
        }
    }

    pub fn network(&self) -> IpAddr {
        self.network
    }

    pub fn is_ipv6(&self) -> bool {
        self.network.is_ipv6()
    }

    /// `IPv4` or `IPv6`.
    pub fn family(&self) -> &'static str {
        if self.is_ipv6() { "IPv6" } else { "IPv4" }
    }

    /// How many addresses it has, the network's own included; at most 2^64.
    pub fn size(&self) -> u128 {
        self.host_mask().saturating_add(1).min(1 << 64)
    }

    /// Its `offset`-th address, counted from the network's own.
    pub fn address(&self, offset: u128) -> IpAddr {
        let address = bits(self.network) | (offset & self.host_mask());
        match self.network {
            // The range has 32 bits at most.
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::from(address as u32)),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::from(address)),
        }
    }

    pub fn contains(&self, address: IpAddr) -> bool {
        address.is_ipv6() == self.is_ipv6()
            && bits(address) & !self.host_mask() == bits(self.network)
    }

    /// Whether every address of the other is one of this.
    pub fn covers(&self, other: &Cidr) -> bool {
        self.prefix <= other.prefix && self.contains(other.network)
    }
}

impl FromStr for Cidr {
    type Err = CidrError;

    fn from_str(text: &str) -> Result<Self, CidrError> {
        let (address, prefix) = text.split_once('/').ok_or(CidrError::Syntax)?;
        let network: IpAddr = address.parse().map_err(|_| CidrError::Syntax)?;
        if prefix.is_empty() || !prefix.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(CidrError::Syntax);
        }
        let prefix = prefix.parse().map_err(|_| CidrError::Syntax)?;
        let range = Cidr { network, prefix };
        if prefix > range.width() {
            return Err(CidrError::Syntax);
        }
        if bits(network) & range.host_mask() != 0 {
            return Err(CidrError::HostBits);
        }
        Ok(range)
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_read_and_print() {
        fn check(text: &str, expect: Result<&str, CidrError>) {
            let read: Result<Cidr, CidrError> = text.parse();
            assert_eq!(read.map(|range| range.to_string()), expect.map(str::to_owned), "{text}");
        }
        check("10.96.0.0/16", Ok("10.96.0.0/16"));
        check("fd00:0::/64", Ok("fd00::/64"));
        check("0.0.0.0/0", Ok("0.0.0.0/0"));
        check("::/0", Ok("::/0"));
        check("10.0.0.1/32", Ok("10.0.0.1/32"));
        check("10.0.0.1/24", Err(CidrError::HostBits));
        for text in
            ["", "10.0.0.0", "10.0.0.0/", "10.0.0.0/33", "10.0.0.0/+8", "x/8", "::/129", "::/999"]
        {
            check(text, Err(CidrError::Syntax));
        }
    }

    #[test]
    fn ranges_know_their_addresses() {
        let range: Cidr = "10.96.0.0/28".parse().unwrap();
        assert_eq!(range.size(), 16);
        assert_eq!(range.address(15).to_string(), "10.96.0.15");
        assert!(range.contains("10.96.0.15".parse().unwrap()));
        assert!(!range.contains("10.96.0.16".parse().unwrap()));
        assert!(!range.contains("::10.96.0.1".parse().unwrap()));
        let wide: Cidr = "fd00::/48".parse().unwrap();
        assert_eq!(wide.size(), 1 << 64);
        assert_eq!(wide.address(3).to_string(), "fd00::3");
        let everything: Cidr = "::/0".parse().unwrap();
        assert!(
            everything.covers(&wide) && !wide.covers(&everything) && !everything.covers(&range)
        );
        assert!(range.covers(&range));
    }
}
