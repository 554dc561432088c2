//! Lists the pods behind each Service in Endpoints, for clients from before
//! EndpointSlices.
//!
//! Watches Services, and Pods through the Service's selector. At most
//! [`MOST_ADDRESSES`] addresses are listed; an annotation says when there are more.
//!
//! No configuration.
//!
//! Does not know: EndpointSlices (the endpointslice plugin), or Services without
//! selector, whose Endpoints are written by people. Read first:
//! [`subsets::of_service`].

pub mod subsets;

use pintle_sdk::prelude::*;
use pintle_sdk::remembered::Remembered;
use pintle_sdk::selector;
use serde_json::{Value, json};

pub const ENDPOINTS: KindRef = KindRef::new("", "v1", "Endpoints");
/// More than this would make every change of one address a large write.
pub const MOST_ADDRESSES: usize = 1000;

const TRIGGER_TIME: &str = "endpoints.kubernetes.io/last-change-trigger-time";
const OVER_CAPACITY: &str = "endpoints.kubernetes.io/over-capacity";
const MANAGED_BY: &str = "endpoints.kubernetes.io/managed-by";
const MANAGER: &str = "endpoint-controller";
const HEADLESS: &str = "service.kubernetes.io/headless";

#[derive(Default)]
pub struct Plugin {
    pods: Remembered<Typed<Pod>>,
}

impl Controller for Plugin {
    type Config = NoConfig;

    fn new(_: NoConfig) -> Result<Self, String> {
        Ok(Plugin::default())
    }

    fn describe(&self) -> Description {
        Description::new(
            Manifest::new("endpoints", env!("CARGO_PKG_VERSION"))
                .needs(SERVICE, &["get", "list", "watch"], "which pods, which ports")
                .needs(POD, &["get", "list", "watch"], "addresses and readiness of pods")
                .needs(
                    ENDPOINTS,
                    &["get", "list", "watch", "create", "patch", "delete"],
                    "the endpoints of every Service with a selector",
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
            Watch::of(ENDPOINTS)
                .on(Change::MODIFIED.or(Change::DELETED))
                .enqueue(Enqueue::SameName(SERVICE)),
        )
    }

    fn reconcile(
        &self,
        context: &Context,
        lister: &dyn Lister,
        request: &Request,
    ) -> Result<Outcome, Error> {
        let mut outcome = Outcome::done();
        let (namespace, name) = (&request.reference.namespace, &request.reference.name);
        let reference = ENDPOINTS.named(namespace.as_str(), name.as_str());
        let known = lister.get(&reference);
        let Some(service) = request.read::<Service>(lister)? else {
            // A Service has no owner references on its Endpoints: they go by name.
            let ours = known.as_ref().and_then(|known| known.parse::<Value>().ok());
            if ours.is_some_and(|known| known["metadata"]["labels"][MANAGED_BY] == MANAGER) {
                outcome.extend(known.map(|known| Delete::this(&known)));
            }
            return Ok(outcome);
        };
        if service.spec.selector.is_empty() || service.metadata.is_being_deleted() {
            return Ok(outcome);
        }
        let selected = Query::of(POD)
            .namespace(namespace)
            .labels(selector::of_labels(&service.spec.selector))
            .fields(subsets::OF_POD);
        let selected = match subsets::names_ports(&service.spec) {
            true => selected.fields(&["spec.containers"]),
            false => selected,
        };
        let pods = self.pods.read(lister, &selected)?;
        let (subsets, truncated) = subsets::of_service(&service, &pods);
        let over = truncated.then_some("truncated");
        let mut labels = json!(service.metadata.labels);
        labels[MANAGED_BY] = json!(MANAGER);
        let headless = service.spec.cluster_ip == "None";
        if headless {
            labels[HEADLESS] = json!("");
        }
        match known {
            None => {
                let mut annotations = json!({ TRIGGER_TIME: context.now() });
                if let Some(over) = over {
                    annotations[OVER_CAPACITY] = json!(over);
                }
                let object = json!({
                    "metadata": {"name": name, "labels": labels, "annotations": annotations},
                    "subsets": subsets,
                });
                outcome.push(Create::new(ENDPOINTS, namespace, &object));
            }
            Some(known) => {
                let whole: Value = known.parse()?;
                let same_subsets = subsets::same(&whole["subsets"], &subsets);
                let same_labels = labels
                    .as_object()
                    .into_iter()
                    .flatten()
                    .all(|(key, value)| whole["metadata"]["labels"][key] == *value);
                let marked = whole["metadata"]["annotations"][OVER_CAPACITY].as_str();
                if !same_subsets || !same_labels || marked != over {
                    let subsets = if subsets == json!([]) { Value::Null } else { subsets };
                    let annotations = json!({TRIGGER_TIME: context.now(), OVER_CAPACITY: over});
                    let metadata = json!({"labels": labels, "annotations": annotations});
                    outcome.push(Patch::merge(
                        &known,
                        &json!({"metadata": metadata, "subsets": subsets}),
                    ));
                }
            }
        }
        Ok(outcome)
    }
}

pintle_sdk::export_controller!(Plugin);
