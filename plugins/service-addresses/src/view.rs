//! What the cluster says about addresses and ports in use.

use std::cell::OnceCell;
use std::collections::BTreeSet;
use std::net::IpAddr;

use pintle_sdk::api::cidr::Cidr;
use pintle_sdk::lister::{Lister, Query};
use pintle_sdk::prelude::{
    Conditions as _, IP_ADDRESS, IpAddress, ObjectRef, SERVICE, ServiceCidr,
};

use crate::spec::Service;

/// The ServiceCIDR that every cluster has; its first range says which family is the default.
pub const DEFAULT_RANGE: &str = "kubernetes";

/// One range of a ServiceCIDR.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Range {
    pub cidr: Cidr,
    /// Addresses may be taken from it.
    pub is_ready: bool,
    /// Of the ServiceCIDR `kubernetes`: its first address is that of the API server.
    pub is_default: bool,
}

/// What a decision needs to know.
pub trait Cluster {
    /// The default ranges first.
    fn ranges(&self) -> &[Range];
    /// Whether somebody else has the address.
    fn is_taken(&self, address: IpAddr) -> bool;
    /// All addresses that are known to be taken, for ranges that are crowded. One that was
    /// given out a moment ago may be missing.
    fn taken_addresses(&self) -> BTreeSet<IpAddr>;
    /// Whether another Service has the node port.
    fn is_port_taken(&self, port: i64) -> bool;
    /// All node ports in use, for a range that is crowded.
    fn taken_ports(&self) -> BTreeSet<i64>;
    /// Whether the Service is the API server's.
    fn is_api_server(&self) -> bool;
}

/// The cluster through the lister, read when it is asked for.
pub struct Listed<'l> {
    lister: &'l dyn Lister,
    service: &'l ObjectRef,
    ranges: OnceCell<Vec<Range>>,
}

impl<'l> Listed<'l> {
    pub fn new(lister: &'l dyn Lister, service: &'l ObjectRef) -> Self {
        Listed { lister, service, ranges: OnceCell::new() }
    }

    fn is_own(&self, other: &ObjectRef) -> bool {
        other.namespace == self.service.namespace && other.name == self.service.name
    }

    /// Whether another Service holds it. The API server keeps an index of what is held.
    fn is_claimed(&self, claim: String) -> bool {
        let holder = Query::of(SERVICE).field("claims", claim).metadata_only().limit(2);
        self.lister.list(&holder).iter().any(|holder| !self.is_own(&holder.reference))
    }

    /// Whether a Service has the address, in whichever place.
    fn holds(&self, reference: &ObjectRef, address: IpAddr) -> bool {
        let service = self.lister.get(reference).and_then(|found| found.parse::<Service>().ok());
        service.is_some_and(|service| {
            service.spec.cluster_ips.iter().any(|held| held.parse() == Ok(address))
        })
    }
}

impl Cluster for Listed<'_> {
    fn ranges(&self) -> &[Range] {
        self.ranges.get_or_init(|| {
            let mut found =
                self.lister.read_all::<ServiceCidr>(Query::any_kind()).unwrap_or_default();
            let is_default = |name: &str| name == DEFAULT_RANGE;
            found.sort_by_key(|one| (!is_default(&one.reference.name), one.reference.name.clone()));
            let mut ranges = Vec::new();
            for one in &found {
                // Without a condition nobody looks after it yet, which is no reason to wait.
                let refused =
                    one.status.conditions.condition("Ready").is_some_and(|c| !c.is_true());
                for cidr in one.spec.cidrs.iter().filter_map(|cidr| cidr.parse().ok()) {
                    ranges.push(Range {
                        cidr,
                        is_ready: !refused && !one.metadata.is_being_deleted(),
                        is_default: is_default(&one.reference.name),
                    });
                }
            }
            ranges
        })
    }

    fn is_taken(&self, address: IpAddr) -> bool {
        let name = address.to_string();
        if self.is_claimed(format!("clusterIP/{name}")) {
            return true;
        }
        let Some(known) = self.lister.get(&IP_ADDRESS.named("", &*name)) else { return false };
        let Ok(known) = known.parse::<IpAddress>() else { return true };
        let parent = &known.spec.parent_ref;
        if !parent.group.is_empty() || parent.resource != "services" {
            return true;
        }
        // That of a Service that is gone is on its way out.
        let parent = SERVICE.named(&*parent.namespace, &*parent.name);
        !self.is_own(&parent) && self.holds(&parent, address)
    }

    fn taken_addresses(&self) -> BTreeSet<IpAddr> {
        let all = self.lister.list(&Query::of(IP_ADDRESS).metadata_only());
        all.iter().filter_map(|known| known.reference.name.parse().ok()).collect()
    }

    fn is_port_taken(&self, port: i64) -> bool {
        self.is_claimed(format!("nodePort/{port}"))
    }

    fn taken_ports(&self) -> BTreeSet<i64> {
        let mut ports = BTreeSet::new();
        for kind in ["NodePort", "LoadBalancer"] {
            let query = Query::of(SERVICE).field("spec.type", kind);
            let fields = ["spec.ports", "spec.healthCheckNodePort"];
            for found in self.lister.list_fields(&query, &fields) {
                let Ok(service) = found.parse::<Service>() else { continue };
                ports.extend(service.spec.ports.iter().map(|port| port.node_port));
                ports.insert(service.spec.health_check_node_port);
            }
        }
        ports
    }

    fn is_api_server(&self) -> bool {
        self.service.namespace == "default" && self.service.name == DEFAULT_RANGE
    }
}
