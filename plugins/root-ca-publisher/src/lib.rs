//! Publishes the certificate of the cluster's authority: the ConfigMap
//! `kube-root-ca.crt` in every namespace, again if somebody removes or changes it.
//! Pods verify the server with it.
//!
//! Watches Namespaces and ConfigMaps. Config: `rootCA` (PEM; without it nothing
//! is published).
//!
//! Does not know: how the authority signs. Read first: [`publish::plan`].

pub mod publish;

use pintle_sdk::prelude::*;

#[derive(Debug, Clone, Default, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    #[serde(rename = "rootCA")]
    pub root_ca: Option<String>,
}

pub struct Plugin {
    root_ca: Option<String>,
}

impl Controller for Plugin {
    type Config = Config;

    fn new(config: Config) -> Result<Self, String> {
        Ok(Plugin { root_ca: config.root_ca })
    }

    fn describe(&self) -> Description {
        let its_namespace = || Enqueue::NamedBy(NAMESPACE, "metadata.namespace".to_owned());
        Description::new(
            Manifest::new("root-ca-publisher", env!("CARGO_PKG_VERSION"))
                .needs(NAMESPACE, &["get", "list", "watch"], "every namespace has it")
                .needs(
                    CONFIG_MAP,
                    &["get", "watch", "create", "patch"],
                    "`kube-root-ca.crt` in every namespace",
                ),
        )
        .watch(Watch::of(NAMESPACE).on(Change::ADDED))
        .watch(
            Watch::of(CONFIG_MAP)
                .on(Change::MODIFIED.or(Change::DELETED))
                .when_changed(&["data"])
                .enqueue(its_namespace()),
        )
    }

    fn reconcile(
        &self,
        _: &Context,
        lister: &dyn Lister,
        request: &Request,
    ) -> Result<Outcome, Error> {
        let Some(root_ca) = &self.root_ca else { return Ok(Outcome::done()) };
        match request.read::<Namespace>(lister)? {
            Some(namespace) if !namespace.metadata.is_being_deleted() => {
                publish::plan(lister, &namespace.reference.name, root_ca)
            }
            _ => Ok(Outcome::done()),
        }
    }
}

pintle_sdk::export_controller!(Plugin);
