//! Where Services get their addresses from, and the address under which pods find
//! this server. The plugins decide with it; here are the server's own facts.

use std::net::{IpAddr, SocketAddr, UdpSocket};

use anyhow::{Result, anyhow};
use pintle_api::cidr::Cidr;
use pintle_apiserver::ApiServer;
use serde_json::{Value, json};

use super::bootstrap;
use crate::config::Settings;

/// The ServiceCIDR that every cluster has from its first start on.
const DEFAULT: &str = "kubernetes";

/// Creates it, and says so if the cluster was made with other ranges.
pub async fn ranges(api: &ApiServer, settings: &Settings) -> Result<()> {
    let wanted: Vec<String> = settings.service_cidr()?.iter().map(Cidr::to_string).collect();
    let row = bootstrap::row("ServiceCIDR")?;
    if let Ok(known) = api.verbs().get(row, "", DEFAULT) {
        if known.parse()["spec"]["cidrs"] != json!(wanted) {
            tracing::warn!(setting = ?wanted, "the ServiceCIDR kubernetes has other ranges than --service-cidr, and keeps them");
        }
        return Ok(());
    }
    let object = json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "ServiceCIDR",
        "metadata": {"name": DEFAULT},
        "spec": {"cidrs": wanted},
    });
    bootstrap::create(api, "ServiceCIDR", "", object).await
}

/// What the plugin `service-cidrs` is told.
pub fn config(settings: &Settings, listen: SocketAddr) -> Result<Value> {
    let ranges = settings.service_cidr()?;
    let addresses: Vec<IpAddr> =
        ranges.iter().take(1).filter_map(|range| advertised(listen, range.is_ipv6())).collect();
    Ok(json!({
        "serviceCIDRs": ranges.iter().map(Cidr::to_string).collect::<Vec<_>>(),
        "apiServer": {"addresses": addresses, "port": listen.port()},
    }))
}

/// The addresses of the Service `kubernetes`, for the server's certificate.
pub fn first_addresses(settings: &Settings) -> Result<Vec<IpAddr>> {
    Ok(settings.service_cidr()?.iter().map(|range| range.address(1)).collect())
}

/// The address at which others reach this server; none if it serves its own machine only.
fn advertised(listen: SocketAddr, v6: bool) -> Option<IpAddr> {
    let usable = |ip: &IpAddr| !ip.is_loopback() && !ip.is_unspecified() && ip.is_ipv6() == v6;
    if !listen.ip().is_unspecified() {
        return Some(listen.ip()).filter(usable);
    }
    by_default_route(v6).filter(usable).or_else(|| {
        super::own_addresses().into_iter().filter_map(|text| text.parse().ok()).find(usable)
    })
}

/// The source address of what would leave by the default route. Nothing is sent:
/// connecting a UDP socket only looks the route up.
fn by_default_route(v6: bool) -> Option<IpAddr> {
    // Addresses for documentation, which nobody has.
    let (own, other) =
        if v6 { ("[::]:0", "[2001:db8::1]:9") } else { ("0.0.0.0:0", "192.0.2.1:9") };
    let socket = UdpSocket::bind(own).ok()?;
    socket.connect(other).ok()?;
    Some(socket.local_addr().ok()?.ip())
}

impl Settings {
    /// One range, or one of each IP family.
    pub fn service_cidr(&self) -> Result<Vec<Cidr>> {
        let default = [String::from("10.96.0.0/16")];
        let texts = self.service_cidr.as_deref().unwrap_or(&default);
        let read = |text: &String| {
            text.parse::<Cidr>().map_err(|error| anyhow!("--service-cidr {text:?} {error}"))
        };
        let ranges = texts.iter().map(read).collect::<Result<Vec<_>>>()?;
        match ranges.as_slice() {
            [one] if one.size() >= 8 => Ok(ranges),
            [one, two] if one.size() >= 8 && two.size() >= 8 && one.family() != two.family() => {
                Ok(ranges)
            }
            [_] => Err(anyhow!("--service-cidr must have 8 addresses at least")),
            _ => Err(anyhow!(
                "--service-cidr must be one range, or one of IPv4 and one of IPv6, of 8 addresses at least"
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_one_of_each_family() {
        fn check(texts: &[&str], expect: Result<&[&str], &str>) {
            let texts = (!texts.is_empty()).then(|| texts.iter().map(|t| t.to_string()).collect());
            let settings = Settings { service_cidr: texts, ..Settings::default() };
            match (settings.service_cidr(), expect) {
                (Ok(ranges), Ok(expect)) => {
                    assert_eq!(ranges.iter().map(Cidr::to_string).collect::<Vec<_>>(), expect);
                }
                (Err(error), Err(expect)) => assert!(error.to_string().contains(expect), "{error}"),
                (found, expect) => panic!("{found:?} is not {expect:?}"),
            }
        }
        check(&[], Ok(&["10.96.0.0/16"]));
        check(&["10.0.0.0/24", "fd00::/112"], Ok(&["10.0.0.0/24", "fd00::/112"]));
        check(&["10.0.0.1/24"], Err("--service-cidr \"10.0.0.1/24\" must not have bits set"));
        check(&["10.0.0.0/30"], Err("8 addresses"));
        check(&["10.0.0.0/24", "10.1.0.0/24"], Err("one of IPv4 and one of IPv6"));
    }

    #[test]
    fn only_what_others_can_reach_is_advertised() {
        let check = |listen: &str, expect: Option<&str>| {
            let found = advertised(listen.parse().unwrap(), false);
            assert_eq!(found.map(|ip| ip.to_string()).as_deref(), expect, "{listen}");
        };
        check("127.0.0.1:6443", None);
        check("192.0.2.7:6443", Some("192.0.2.7"));
        check("[2001:db8::7]:6443", None);
    }
}
