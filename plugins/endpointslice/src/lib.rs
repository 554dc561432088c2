//! Lists the pods behind each Service in EndpointSlices.
//!
//! Watches Services, Pods through the Service's selector, and its own slices.
//! Slices hold at most [`Config::max_endpoints_per_slice`]
//! endpoints; a change touches as few slices as it can.
//!
//! Config (all optional): `maxEndpointsPerSlice` (100).
//!
//! Does not know: how traffic gets to a pod, or Services without selector (their
//! slices are written by people). Read first: [`slices::plan`].

pub mod endpoints;
pub mod slices;

use std::collections::BTreeMap;

use pintle_sdk::prelude::*;
use pintle_sdk::remembered::{FromObject, Remembered};
use pintle_sdk::selector;

#[derive(Debug, Clone, serde::Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Config {
    pub max_endpoints_per_slice: usize,
}

impl Default for Config {
    fn default() -> Self {
        Config { max_endpoints_per_slice: 100 }
    }
}

pub struct Plugin {
    config: Config,
    pods: Remembered<Typed<Pod>>,
    slices: Remembered<Typed<EndpointSlice>>,
    zones: Remembered<Zone>,
}

/// Nodes whose zones are remembered.
const MOST_NODES: usize = 100_000;

const ZONE_LABEL: &str = "topology.kubernetes.io/zone";

impl Controller for Plugin {
    type Config = Config;

    fn new(config: Config) -> Result<Self, String> {
        match config.max_endpoints_per_slice {
            1..=1000 => Ok(Plugin {
                config,
                pods: Remembered::default(),
                slices: Remembered::default(),
                zones: Remembered::at_most(MOST_NODES),
            }),
            other => Err(format!(
                "spec.config.maxEndpointsPerSlice: {other} must lie between 1 and 1000"
            )),
        }
    }

    fn describe(&self) -> Description {
        Description::new(
            Manifest::new("endpointslice", env!("CARGO_PKG_VERSION"))
                .needs(SERVICE, &["get", "list", "watch"], "which pods, which ports")
                .needs(POD, &["get", "list", "watch"], "addresses and readiness of pods")
                .needs(NODE, &["get", "list"], "the zone of an endpoint")
                .needs(
                    ENDPOINT_SLICE,
                    &["get", "list", "watch", "create", "patch", "delete"],
                    "the slices of every Service with a selector",
                ),
        )
        .watch(Watch::of(SERVICE).when_changed(&["spec", "metadata.labels"]))
        .watch(
            Watch::of(POD)
                .when_changed(&[
                    "metadata.labels",
                    "metadata.deletionTimestamp",
                    "spec.nodeName",
                    "status.phase",
                    "status.conditions",
                    "status.podIP",
                    "status.podIPs",
                ])
                .enqueue(Enqueue::SelectedBy(SERVICE, "spec.selector".to_owned())),
        )
        .watch(
            Watch::of(ENDPOINT_SLICE)
                .on(Change::MODIFIED.or(Change::DELETED))
                .enqueue(Enqueue::ControllerOwner(SERVICE)),
        )
    }

    fn reconcile(
        &self,
        _: &Context,
        lister: &dyn Lister,
        request: &Request,
    ) -> Result<Outcome, Error> {
        let (namespace, name) = (&request.reference.namespace, &request.reference.name);
        let Some(service) = lister.read::<Service>(namespace, name)? else {
            return Ok(Outcome::done()); // its slices are the garbage collector's
        };
        if service.metadata.is_being_deleted() {
            return Ok(Outcome::done());
        }
        let managed = BTreeMap::from([
            (slices::SERVICE_NAME.to_owned(), name.clone()),
            (slices::MANAGED_BY.to_owned(), slices::MANAGER.to_owned()),
        ]);
        let of_service =
            Query::of(ENDPOINT_SLICE).namespace(namespace).labels(selector::of_labels(&managed));
        let known = self.slices.read(lister, &of_service)?;
        let mut outcome = Outcome::done();
        let external = service.spec.r#type.as_deref() == Some("ExternalName");
        if service.spec.selector.is_empty() || external {
            if external {
                known.iter().for_each(|slice| outcome.push(Delete::new(slice).uid(&slice.uid)));
            }
            return Ok(outcome);
        }
        let selected = Query::of(POD)
            .namespace(namespace)
            .labels(selector::of_labels(&service.spec.selector))
            .fields(endpoints::OF_POD);
        let selected = if endpoints::names_ports(&service.spec) {
            selected.fields(endpoints::PORTS_OF_POD)
        } else {
            selected
        };
        let pods = self.pods.read(lister, &selected)?;
        let zones = self.zones(lister, &pods)?;
        let wanted = endpoints::of_service(&service, &pods, &zones);
        slices::plan(&service, wanted, known, self.config.max_endpoints_per_slice, &mut outcome);
        Ok(outcome)
    }
}

/// The zone of a node, as far as it has one.
#[derive(Debug, Clone)]
struct Zone(Option<String>);

impl FromObject for Zone {
    fn from_object(object: Object) -> Result<Self, Error> {
        let AnyObject { mut metadata } = object.parse()?;
        Ok(Zone(metadata.labels.remove(ZONE_LABEL)))
    }
}

impl Plugin {
    /// The zone of every node that has one of these pods.
    fn zones(
        &self,
        lister: &dyn Lister,
        pods: &[Typed<Pod>],
    ) -> Result<BTreeMap<String, String>, Error> {
        let mut nodes: Vec<&str> = pods.iter().map(|pod| pod.spec.node_name.as_str()).collect();
        nodes.sort_unstable();
        nodes.dedup();
        nodes.retain(|node| !node.is_empty());
        let all = Query::of(NODE).fields(&["metadata.labels"]);
        self.zones.look(lister, &all, |known| {
            nodes
                .into_iter()
                .filter_map(|node| {
                    let zone = known.get(&(String::new(), node.to_owned()))?.0.clone()?;
                    Some((node.to_owned(), zone))
                })
                .collect()
        })
    }
}

pintle_sdk::export_controller!(Plugin);
