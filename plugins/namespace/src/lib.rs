//! Furnishes new namespaces and empties the ones that go.
//!
//! An active namespace gets its `default` ServiceAccount, again if somebody
//! removes it. A terminating one loses its pods first and then everything else; each step waits for the watch, as
//! pods have their grace and objects their finalizers. When nothing is left,
//! the `kubernetes` finalizer goes, through the `finalize` subresource.
//!
//! Watches Namespaces and the deletion of anything in them.
//!
//! No configuration.
//!
//! Does not know: which kinds exist (it lists what is there). Read first:
//! [`terminate::plan`].

pub mod furnish;
pub mod terminate;

use pintle_sdk::prelude::*;

pub struct Plugin;

impl Controller for Plugin {
    type Config = NoConfig;

    fn new(_: NoConfig) -> Result<Self, String> {
        Ok(Plugin)
    }

    fn describe(&self) -> Description {
        let its_namespace = || Enqueue::NamedBy(NAMESPACE, "metadata.namespace".to_owned());
        Description::new(
            Manifest::new("namespace", env!("CARGO_PKG_VERSION"))
                .needs(
                    EVERY_KIND,
                    &["get", "list", "watch", "delete"],
                    "empties a namespace that is being deleted",
                )
                .needs(
                    NAMESPACE,
                    &["get", "list", "watch", "patch/status", "update/finalize"],
                    "reports what remains, lets the namespace go",
                )
                .needs(
                    SERVICE_ACCOUNT,
                    &["get", "watch", "create"],
                    "the account `default` of every namespace",
                ),
        )
        .watch(Watch::of(NAMESPACE))
        .watch(Watch::every_kind().on(Change::DELETED).enqueue(its_namespace()))
        .watch(
            Watch::every_kind()
                .on(Change::MODIFIED)
                .having("metadata.deletionTimestamp")
                .when_changed(&["metadata.finalizers"])
                .enqueue(its_namespace()),
        )
    }

    fn reconcile(
        &self,
        context: &Context,
        lister: &dyn Lister,
        request: &Request,
    ) -> Result<Outcome, Error> {
        let Some(namespace) = lister.get(&NAMESPACE.named("", request.reference.name.clone()))
        else {
            return Ok(Outcome::done());
        };
        let json: serde_json::Value = namespace.parse()?;
        let namespace: Typed<Namespace> = namespace.try_into()?;
        if namespace.metadata.is_being_deleted() {
            terminate::plan(context, lister, &namespace, json)
        } else {
            Ok(furnish::plan(lister, &namespace))
        }
    }
}

pintle_sdk::export_controller!(Plugin);
