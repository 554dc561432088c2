//! Makes volumes out of folders on nodes, for claims of classes whose
//! provisioner is `pintle.dev/host-path`.
//!
//! A volume is a folder below `root` on the node of the claim's first pod; the
//! node makes it when it is first mounted. The volume is bound to that node by
//! its node affinity, and there is no limit on its size. When a volume whose
//! policy is `Delete` is released, its object goes; the folder stays on the
//! node, for nobody else can remove it there.
//!
//! Watches PersistentVolumeClaims and PersistentVolumes. Config (all optional):
//! `root` (`/var/lib/pintle-volumes`), `provisioner` (`pintle.dev/host-path`).
//!
//! Does not know: who binds claims or chooses nodes. Read first: [`make::plan`].

pub mod make;

use pintle_sdk::prelude::*;

#[derive(Debug, Clone, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    pub root: String,
    pub provisioner: String,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            root: "/var/lib/pintle-volumes".to_owned(),
            provisioner: "pintle.dev/host-path".to_owned(),
        }
    }
}

pub struct Plugin {
    config: Config,
}

impl Controller for Plugin {
    type Config = Config;

    fn new(config: Config) -> Result<Self, String> {
        let inner = config.root.trim_end_matches('/');
        if !inner.starts_with('/') || inner.split('/').any(|part| part == "..") {
            return Err(format!(
                "root: {:?} must be an absolute path below / and without `..`",
                config.root
            ));
        }
        if config.provisioner.is_empty() {
            return Err("provisioner: must not be empty".to_owned());
        }
        let root = inner.to_owned();
        Ok(Plugin { config: Config { root, ..config } })
    }

    fn describe(&self) -> Description {
        Description::new(
            Manifest::new("hostpath-provisioner", env!("CARGO_PKG_VERSION"))
                .needs(
                    PERSISTENT_VOLUME_CLAIM,
                    &["get", "list", "watch", "patch"],
                    "claims that ask for a volume",
                )
                .needs(
                    PERSISTENT_VOLUME,
                    &["get", "list", "watch", "create", "delete"],
                    "makes volumes and lets them go",
                )
                .needs(STORAGE_CLASS, &["get"], "the class of a claim")
                .needs(NODE, &["get"], "by which label a node is found")
                .needs(EVENT, &["create"], "says what was made, or why not"),
        )
        .watch(
            Watch::of(PERSISTENT_VOLUME_CLAIM)
                .on(Change::ADDED.or(Change::MODIFIED))
                .having("metadata.annotations")
                .when_changed(&["metadata.annotations", "spec.volumeName"]),
        )
        .watch(
            Watch::of(PERSISTENT_VOLUME)
                .on(Change::ADDED.or(Change::MODIFIED))
                .when_changed(&["status.phase"]),
        )
    }

    fn reconcile(
        &self,
        _: &Context,
        lister: &dyn Lister,
        request: &Request,
    ) -> Result<Outcome, Error> {
        if request.reference.kind == PERSISTENT_VOLUME {
            let volume = request.read::<PersistentVolume>(lister)?;
            return Ok(
                volume.map_or_else(Outcome::done, |volume| make::release(&self.config, &volume))
            );
        }
        match request.read::<PersistentVolumeClaim>(lister)? {
            Some(claim) => make::plan(&self.config, lister, &claim),
            None => Ok(Outcome::done()),
        }
    }
}

pintle_sdk::export_controller!(Plugin);
