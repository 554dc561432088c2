//! Gives Services their addresses and node ports (Kubernetes' allocation of
//! `clusterIPs`, `nodePort` and `healthCheckNodePort`).
//!
//! Mutating, on created and changed Services. Addresses come from the ServiceCIDRs,
//! node ports from `nodePortRange`; the lower end of each range is left to those who
//! ask for a certain one (KEP-3070, KEP-3668) until the rest is used up. Where the
//! search starts is drawn from the call's seed. What a person asks for is kept if it
//! lies in a range and is free.
//!
//! Config: `nodePortRange` (`30000-32767`).
//!
//! Does not know: how two requests that choose the same are kept apart. The API
//! server gives each address and port to one Service, and asks again for the other.
//! Read first: [`families::settle`] and [`addresses::assign`].

pub mod addresses;
pub mod bands;
pub mod families;
pub mod node_ports;
pub mod spec;
pub mod view;

use pintle_sdk::Context;
use pintle_sdk::admission::{
    Admission, Description, FieldError, Operations, Request, Response, Rule,
};
use pintle_sdk::lister::Lister;
use pintle_sdk::names::Random;
use pintle_sdk::prelude::{IP_ADDRESS, Manifest, SERVICE, SERVICE_CIDR};

use crate::node_ports::PortRange;
use crate::spec::Service;
use crate::view::{Cluster, Listed};

/// Why a Service is refused.
#[derive(Debug, Clone, PartialEq)]
pub enum Refusal {
    /// What was asked for cannot be had.
    Invalid(Vec<FieldError>),
    /// Nothing is left to give.
    Internal(String),
}

impl Refusal {
    pub fn field(error: FieldError) -> Self {
        Refusal::Invalid(vec![error])
    }
}

#[derive(Debug, Clone, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    #[serde(rename = "nodePortRange")]
    pub node_port_range: String,
}

impl Default for Config {
    fn default() -> Self {
        Config { node_port_range: "30000-32767".to_owned() }
    }
}

pub struct Plugin {
    node_ports: PortRange,
}

impl Admission for Plugin {
    type Config = Config;

    fn new(config: Config) -> Result<Self, String> {
        Ok(Plugin { node_ports: config.node_port_range.parse()? })
    }

    fn describe(&self) -> Description {
        let manifest = Manifest::new("service-addresses", env!("CARGO_PKG_VERSION"))
            .needs(SERVICE, &["get", "list"], "which addresses and ports are in use")
            .needs(SERVICE_CIDR, &["list"], "the ranges of addresses")
            .needs(IP_ADDRESS, &["get", "list"], "addresses that others than Services have");
        Description::new(manifest)
            .mutating(Rule::on(SERVICE, Operations::CREATE.or(Operations::UPDATE)))
    }

    fn review(&self, context: &Context, lister: &dyn Lister, request: &Request) -> Response {
        let read = || -> Result<(Service, Option<Service>), pintle_sdk::Error> {
            let new = request.object()?;
            let old = if request.operation.update { Some(request.old_object()?) } else { None };
            Ok((new, old))
        };
        // What cannot be read is for validation to refuse.
        let Ok((before, old)) = read() else { return Response::allow() };
        let mut after = before.clone();
        let cluster = Listed::new(lister, &request.reference);
        match self.fill_in(context.seed, &cluster, &mut after, old.as_ref()) {
            Ok(()) => match spec::patch(&before, &after) {
                operations if operations.is_empty() => Response::allow(),
                operations => Response::patch_with(&operations),
            },
            Err(Refusal::Invalid(errors)) => Response::invalid(&errors),
            Err(Refusal::Internal(message)) => Response::internal(message),
        }
    }
}

impl Plugin {
    /// Completes a Service; `old` is how it was before an update.
    pub fn fill_in(
        &self,
        seed: u64,
        cluster: &dyn Cluster,
        service: &mut Service,
        old: Option<&Service>,
    ) -> Result<(), Refusal> {
        let old = old.map(|old| &old.spec);
        let mut random = Random::new(seed);
        if service.spec.wants_address() && service.spec.is_well_formed() {
            families::settle(&mut service.spec, old, cluster)?;
            addresses::assign(&mut service.spec, old, cluster, &mut random)?;
        }
        node_ports::assign(&mut service.spec, old, self.node_ports, cluster, &mut random)
    }
}

pintle_sdk::export_admission!(Plugin);
