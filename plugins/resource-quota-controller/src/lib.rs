//! How much of its quota a namespace uses: `status.hard` and `status.used` of
//! ResourceQuotas.
//!
//! Watches ResourceQuotas and every kind that they count; a change brings all
//! quotas of its namespace. What counts for what is in `pintle_sdk::quota`,
//! shared with the plugin that refuses requests.
//!
//! No configuration.
//!
//! Does not know: requests that are under way. Read first: [`Plugin::reconcile`].

use pintle_sdk::ledger::Ledger;
use pintle_sdk::prelude::*;
use pintle_sdk::quota::custom::CUSTOM_RESOURCE_DEFINITION;
use pintle_sdk::quota::{self, RESOURCE_QUOTA, ResourceQuota, TRACKED};
use pintle_sdk::serde_json::json;

#[derive(Default)]
pub struct Plugin {
    ledger: Ledger,
}

/// What of each kind makes a difference; kinds that are only counted matter
/// when they come and go.
fn looked_at(name: &str) -> &'static [&'static str] {
    match name {
        "pods" => &[
            "status.phase",
            "metadata.deletionTimestamp",
            "spec.containers",
            "spec.initContainers",
            "spec.activeDeadlineSeconds",
        ],
        "services" => &["spec.type", "spec.ports"],
        "persistentvolumeclaims" => {
            &["spec.resources", "spec.storageClassName", "spec.volumeAttributesClassName"]
        }
        _ => &[],
    }
}

impl Controller for Plugin {
    type Config = NoConfig;

    fn new(_: NoConfig) -> Result<Self, String> {
        Ok(Plugin::default())
    }

    fn describe(&self) -> Description {
        let manifest = Manifest::new("resource-quota-controller", env!("CARGO_PKG_VERSION"))
            .needs(CUSTOM_RESOURCE_DEFINITION, &["get"], "which kinds quotas name")
            .needs(EVERY_KIND, &["list", "watch"], "counts what quotas limit, of any kind")
            .needs(
                RESOURCE_QUOTA,
                &["get", "list", "watch", "patch/status"],
                "notes how much is used",
            );
        let own = Watch::of(RESOURCE_QUOTA)
            .on(Change::ADDED.or(Change::MODIFIED))
            .when_changed(&["spec", "status"]);
        let mut description = Description::new(manifest).watch(own);
        for (kind, name) in TRACKED.iter().filter(|(_, name)| !looked_at(name).is_empty()) {
            let watch = Watch::of(kind.clone())
                .on(Change::MODIFIED)
                .when_changed(looked_at(name))
                .enqueue(Enqueue::AllOf(RESOURCE_QUOTA));
            description = description.watch(watch);
        }
        // Any kind may be counted, custom ones too.
        let any = Watch::every_kind()
            .on(Change::ADDED.or(Change::DELETED))
            .enqueue(Enqueue::AllOf(RESOURCE_QUOTA));
        description.watch(any)
    }

    fn reconcile(
        &self,
        context: &Context,
        lister: &dyn Lister,
        request: &Request,
    ) -> Result<Outcome, Error> {
        let mut outcome = Outcome::done();
        let Some(found) = request.read::<ResourceQuota>(lister)? else { return Ok(outcome) };
        let namespace = &request.reference.namespace;
        let hard = found.spec.hard.clone();
        let used = quota::used(&self.ledger, lister, namespace, &found.spec, context.now_unix_ms)?;
        if found.status.hard != hard || found.status.used != used {
            // Whole: resources that are not limited any more must go.
            let status = json!([{"op": "add", "path": "/status",
                "value": {"hard": hard, "used": used}}]);
            outcome.push(Patch::json(&found, &status).status().at(found.revision));
        }
        Ok(outcome)
    }
}

pintle_sdk::export_controller!(Plugin);
