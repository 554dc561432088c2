//! Looks after the ranges that Services get their addresses from: ServiceCIDRs,
//! and one IPAddress per address that is given out. Also keeps the Service
//! `kubernetes`, under which pods reach the API server.
//!
//! Watches ServiceCIDRs (each is made Ready and held back from deletion while it is
//! in use), Services (each of their addresses has its IPAddress) and IPAddresses
//! (one whose Service is gone goes as well).
//!
//! Config, filled in by the server: `serviceCIDRs`, the ranges of the ServiceCIDR
//! `kubernetes`, which comes back when it is deleted; `apiServer.addresses` and
//! `apiServer.port`, where the API server is reached.
//!
//! Does not know: which address a Service gets (the service-addresses plugin). Read
//! first: [`ranges`], [`addresses`], [`api_server`].

pub mod addresses;
pub mod api_server;
pub mod ranges;

use pintle_sdk::api::cidr::Cidr;
use pintle_sdk::prelude::*;

use crate::api_server::ApiServer;

pub const ENDPOINTS: KindRef = KindRef::new("", "v1", "Endpoints");
/// The ServiceCIDR and the Service of that name are the cluster's own.
pub const KUBERNETES: &str = "kubernetes";

#[derive(Debug, Clone, Default, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    #[serde(rename = "serviceCIDRs")]
    pub service_cidrs: Vec<String>,
    #[serde(rename = "apiServer")]
    pub api_server: ApiServer,
}

pub struct Plugin {
    ranges: Vec<Cidr>,
    api_server: ApiServer,
}

impl Controller for Plugin {
    type Config = Config;

    fn new(config: Config) -> Result<Self, String> {
        let read = |text: &String| {
            text.parse::<Cidr>().map_err(|error| format!("serviceCIDRs: {text:?} {error}"))
        };
        let ranges = config.service_cidrs.iter().map(read).collect::<Result<_, _>>()?;
        config.api_server.check()?;
        Ok(Plugin { ranges, api_server: config.api_server })
    }

    fn describe(&self) -> Description {
        const KEEP: &[&str] = &["get", "list", "watch", "create", "patch", "delete"];
        let manifest = Manifest::new("service-cidrs", env!("CARGO_PKG_VERSION"))
            .needs(
                SERVICE_CIDR,
                &["get", "list", "watch", "create", "patch", "patch/status"],
                "holds ranges back while they are in use, says whether they are ready",
            )
            .needs(IP_ADDRESS, KEEP, "one for each address of a Service")
            .needs(
                SERVICE,
                &["get", "list", "watch", "create", "patch"],
                "which addresses are given out; the Service of the API server",
            )
            .needs(ENDPOINTS, KEEP, "where the API server is")
            .needs(ENDPOINT_SLICE, KEEP, "where the API server is");
        // What belongs to the API server is marked by a label that few others have.
        let own = |kind: KindRef| {
            Watch::of(kind)
                .on(Change::MODIFIED.or(Change::DELETED))
                .having("metadata.labels.provider")
                .enqueue(Enqueue::SameName(SERVICE))
        };
        Description::new(manifest)
            .watch(Watch::of(SERVICE_CIDR))
            // Another range may take over the addresses of one that goes.
            .watch(
                Watch::of(SERVICE_CIDR)
                    .on(Change::ADDED.or(Change::DELETED))
                    .enqueue(Enqueue::AllOf(SERVICE_CIDR)),
            )
            .watch(Watch::of(SERVICE).when_changed(&["spec"]))
            .watch(Watch::of(IP_ADDRESS))
            .watch(Watch::of(IP_ADDRESS).on(Change::DELETED).enqueue(Enqueue::AllOf(SERVICE_CIDR)))
            .watch(own(ENDPOINTS))
            .watch(own(ENDPOINT_SLICE))
    }

    fn reconcile(
        &self,
        context: &Context,
        lister: &dyn Lister,
        request: &Request,
    ) -> Result<Outcome, Error> {
        let mut outcome = Outcome::done();
        let reference = &request.reference;
        let is_own = reference.name == KUBERNETES;
        if reference.kind == SERVICE_CIDR {
            ranges::keep(context, lister, &reference.name, &mut outcome)?;
            if is_own {
                ranges::keep_default(lister, &self.ranges, &mut outcome)?;
                self.api_server.keep(lister, &self.ranges, &mut outcome)?;
            }
        } else if reference.kind == IP_ADDRESS {
            addresses::keep(lister, &reference.name, &mut outcome)?;
        } else if reference.kind == SERVICE {
            addresses::keep_of_service(lister, reference, &mut outcome)?;
            if is_own && reference.namespace == "default" {
                self.api_server.keep(lister, &self.ranges, &mut outcome)?;
            }
        }
        Ok(outcome)
    }
}

pintle_sdk::export_controller!(Plugin);
