//! Mirrors Endpoints that people write for Services without selector into
//! EndpointSlices, so that whoever routes reads slices only.
//!
//! Watches Endpoints, Services of the same name, and its own slices. One slice
//! for each subset and address family, at most
//! [`Config::max_endpoints_per_subset`] addresses of each.
//!
//! Config (all optional): `maxEndpointsPerSubset` (1000).
//!
//! Does not know: Services with a selector (the endpointslice plugin). Read
//! first: [`slices::of_endpoints`].

pub mod slices;

use std::collections::BTreeMap;

use pintle_sdk::prelude::*;
use pintle_sdk::{owners, selector};
use serde_json::{Value, json};

use crate::slices::{Endpoints, MANAGED_BY, MANAGER, SERVICE_NAME};

pub const ENDPOINTS: KindRef = KindRef::new("", "v1", "Endpoints");
/// Endpoints with this label are nobody's business but their author's.
const SKIP: &str = "endpointslice.kubernetes.io/skip-mirror";
/// Leader election of old kept its lock in Endpoints.
const LEADER: &str = "control-plane.alpha.kubernetes.io/leader";

#[derive(Debug, Clone, serde::Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Config {
    pub max_endpoints_per_subset: usize,
}

impl Default for Config {
    fn default() -> Self {
        Config { max_endpoints_per_subset: 1000 }
    }
}

pub struct Plugin {
    config: Config,
}

impl Controller for Plugin {
    type Config = Config;

    fn new(config: Config) -> Result<Self, String> {
        match config.max_endpoints_per_subset {
            1..=1000 => Ok(Plugin { config }),
            other => Err(format!(
                "spec.config.maxEndpointsPerSubset: {other} must lie between 1 and 1000"
            )),
        }
    }

    fn describe(&self) -> Description {
        Description::new(
            Manifest::new("endpointslice-mirroring", env!("CARGO_PKG_VERSION"))
                .needs(ENDPOINTS, &["get", "list", "watch"], "what people wrote")
                .needs(SERVICE, &["get", "list", "watch"], "whether it has a selector")
                .needs(
                    ENDPOINT_SLICE,
                    &["get", "list", "watch", "create", "patch", "delete"],
                    "the slices that mirror them",
                ),
        )
        .watch(Watch::of(ENDPOINTS))
        .watch(
            Watch::of(SERVICE)
                .when_changed(&["spec.selector"])
                .enqueue(Enqueue::SameName(ENDPOINTS)),
        )
        .watch(
            Watch::of(ENDPOINT_SLICE)
                .on(Change::MODIFIED.or(Change::DELETED))
                .enqueue(Enqueue::ControllerOwner(ENDPOINTS)),
        )
    }

    fn reconcile(
        &self,
        _: &Context,
        lister: &dyn Lister,
        request: &Request,
    ) -> Result<Outcome, Error> {
        let mut outcome = Outcome::done();
        let (namespace, name) = (&request.reference.namespace, &request.reference.name);
        let managed = BTreeMap::from([
            (SERVICE_NAME.to_owned(), name.clone()),
            (MANAGED_BY.to_owned(), MANAGER.to_owned()),
        ]);
        let mine = Query::any_kind().namespace(namespace).labels(selector::of_labels(&managed));
        let mut known = lister.read_all::<EndpointSlice>(mine)?;
        let endpoints = request.read::<Endpoints>(lister)?.filter(is_to_be_mirrored);
        let service = lister
            .read::<Service>(namespace, name)?
            .filter(|service| service.spec.selector.is_empty());
        let wanted = match (&endpoints, service) {
            (Some(endpoints), Some(_)) => {
                slices::of_endpoints(endpoints, self.config.max_endpoints_per_subset)
            }
            _ => Vec::new(),
        };
        for slice in wanted {
            let same_group = |known: &Typed<EndpointSlice>| {
                known.address_type == slice.address_type && known.ports == slice.ports
            };
            match known.iter().position(same_group) {
                Some(at) => {
                    let known = known.swap_remove(at);
                    if known.endpoints != slice.endpoints {
                        let body = json!({"endpoints": slice.endpoints});
                        outcome.push(Patch::merge(&known, &body));
                    }
                }
                None => {
                    if let Some(endpoints) = &endpoints {
                        outcome.push(create(endpoints, &managed, &slice));
                    }
                }
            }
        }
        outcome.extend(known.iter().map(Delete::this));
        Ok(outcome)
    }
}

fn is_to_be_mirrored(endpoints: &Typed<Endpoints>) -> bool {
    let metadata = &endpoints.metadata;
    !metadata.is_being_deleted()
        && metadata.labels.get(SKIP).map(String::as_str) != Some("true")
        && !metadata.annotations.contains_key(LEADER)
}

fn create(
    endpoints: &Typed<Endpoints>,
    managed: &BTreeMap<String, String>,
    slice: &EndpointSlice,
) -> Create {
    let mut labels = json!(endpoints.metadata.labels);
    for (key, value) in managed {
        labels[key.as_str()] = json!(value);
    }
    let mut object: Value = json!(slice);
    object["metadata"] = json!({
        "generateName": format!("{}-", endpoints.reference.name),
        "labels": labels,
        "ownerReferences": [owners::controller_reference(endpoints)],
    });
    Create::new(ENDPOINT_SLICE, &endpoints.reference.namespace, &object)
}

pintle_sdk::export_controller!(Plugin);
