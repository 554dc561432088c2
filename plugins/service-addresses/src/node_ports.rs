//! Node ports: one for each port of a Service that is reached through the nodes,
//! and one for the health checks of a load balancer.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use pintle_sdk::admission::FieldError;
use pintle_sdk::names::Random;

use crate::Refusal;
use crate::bands::{NODE_PORTS, PROBES, bands};
use crate::spec::Spec;
use crate::view::Cluster;

/// `30000-32767`, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortRange {
    first: i64,
    last: i64,
}

impl FromStr for PortRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let ends = text.split_once('-').and_then(|(first, last)| {
            Some((first.parse::<u16>().ok()?, last.parse::<u16>().ok()?))
        });
        match ends {
            Some((first, last)) if first > 0 && first <= last => {
                Ok(PortRange { first: i64::from(first), last: i64::from(last) })
            }
            _ => Err(format!("nodePortRange {text:?} must be two ports such as 30000-32767")),
        }
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

/// Ports of one Service while it is decided about.
struct Ports<'c> {
    range: PortRange,
    cluster: &'c dyn Cluster,
    /// What the Service had before; nobody else can have it.
    held: BTreeSet<i64>,
    /// What it has been given by now.
    given: BTreeSet<i64>,
}

impl Ports<'_> {
    fn check(&mut self, port: i64) -> Result<(), String> {
        if self.held.contains(&port) || self.given.contains(&port) {
            return Ok(());
        }
        if port < self.range.first || port > self.range.last {
            let range = self.range;
            return Err(format!(
                "provided port is not in the valid range. The range of valid ports is {range}"
            ));
        }
        if self.cluster.is_port_taken(port) {
            return Err("provided port is already allocated".to_owned());
        }
        self.given.insert(port);
        Ok(())
    }

    fn pick(&mut self, random: &mut Random) -> Result<i64, String> {
        let mut known = None;
        // Both fit: ports are 16 bits wide.
        let (first, count) =
            (self.range.first as u128, (self.range.last - self.range.first + 1) as u128);
        for band in bands(first, count, NODE_PORTS.offset(count)) {
            for (tried, port) in band.shuffled(random).enumerate() {
                let port = port as i64;
                if self.held.contains(&port) || self.given.contains(&port) {
                    continue;
                }
                if tried >= PROBES {
                    let known = known.get_or_insert_with(|| self.cluster.taken_ports());
                    if known.contains(&port) {
                        continue;
                    }
                }
                if !self.cluster.is_port_taken(port) {
                    self.given.insert(port);
                    return Ok(port);
                }
            }
        }
        Err("range is full".to_owned())
    }
}

/// Completes the node ports of a Service and checks those that were asked for. A port
/// that is served over two protocols has one node port.
pub fn assign(
    spec: &mut Spec,
    old: Option<&Spec>,
    range: PortRange,
    cluster: &dyn Cluster,
    random: &mut Random,
) -> Result<(), Refusal> {
    if !spec.wants_node_ports() {
        return Ok(());
    }
    let held = old.map(all_ports).unwrap_or_default();
    let mut ports = Ports { range, cluster, held, given: BTreeSet::new() };
    // What is asked for comes first, so that nothing of it is given away below.
    let mut of_port: BTreeMap<i64, i64> = BTreeMap::new();
    for (index, port) in spec.ports.iter().enumerate().filter(|(_, port)| port.node_port != 0) {
        ports.check(port.node_port).map_err(|why| {
            let field = format!("spec.ports[{index}].nodePort");
            Refusal::field(FieldError::invalid(field, port.node_port, why))
        })?;
        of_port.entry(port.port).or_insert(port.node_port);
    }
    let health = spec.health_check_node_port;
    if spec.wants_health_check() && health != 0 {
        ports.check(health).map_err(|why| {
            Refusal::field(FieldError::invalid("spec.healthCheckNodePort", health, why))
        })?;
    }
    if spec.allocates_node_ports() {
        let mut used: BTreeSet<(String, i64)> =
            spec.ports.iter().map(|port| (port.protocol.clone(), port.node_port)).collect();
        for port in spec.ports.iter_mut().filter(|port| port.node_port == 0) {
            let same = of_port.get(&port.port).copied();
            port.node_port =
                match same.filter(|same| !used.contains(&(port.protocol.clone(), *same))) {
                    Some(same) => same,
                    None => ports.pick(random).map_err(|why| {
                        Refusal::Internal(format!("failed to allocate a nodePort: {why}"))
                    })?,
                };
            of_port.entry(port.port).or_insert(port.node_port);
            used.insert((port.protocol.clone(), port.node_port));
        }
    }
    if spec.wants_health_check() && health == 0 {
        spec.health_check_node_port = ports.pick(random).map_err(|why| {
            Refusal::Internal(format!("failed to allocate a HealthCheck NodePort: {why}"))
        })?;
    }
    Ok(())
}

fn all_ports(spec: &Spec) -> BTreeSet<i64> {
    let ports = spec.ports.iter().map(|port| port.node_port);
    ports.chain([spec.health_check_node_port]).filter(|port| *port != 0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_read_and_print() {
        fn check(text: &str, expect: Option<&str>) {
            let read = text.parse::<PortRange>().ok().map(|range| range.to_string());
            assert_eq!(read.as_deref(), expect);
        }
        check("30000-32767", Some("30000-32767"));
        check("1-1", Some("1-1"));
        for text in ["", "30000", "5-4", "0-9", "1-70000", "a-b"] {
            check(text, None);
        }
    }
}
