//! Every container's image is pulled anew at each start, so that nobody runs an
//! image from a node's store without the right to pull it (Kubernetes'
//! `AlwaysPullImages`).
//!
//! Mutating, on Pods: `imagePullPolicy` of every container and `pullPolicy` of
//! every image volume become `Always`; on an update only where an image is new.
//! It is not active by default (`spec.suspended`).
//!
//! No configuration.
//!
//! Does not know: registries. Read first: [`patch`].

use std::collections::BTreeSet;

use pintle_sdk::admission::{Admission, Description, Operations, Request, Response, Rule};
use pintle_sdk::prelude::{Lister, Manifest, NoConfig, POD};
use pintle_sdk::serde_json::{Value, json};
use pintle_sdk::{Context, log};
use serde::Deserialize;

pub struct Plugin;

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct PodFields {
    pub spec: Spec,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Spec {
    pub init_containers: Option<Vec<Container>>,
    pub containers: Option<Vec<Container>>,
    pub ephemeral_containers: Option<Vec<Container>>,
    pub volumes: Option<Vec<Volume>>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Container {
    pub image: Option<String>,
    pub image_pull_policy: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Volume {
    pub image: Option<ImageVolume>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ImageVolume {
    pub reference: Option<String>,
    pub pull_policy: Option<String>,
}

impl Spec {
    fn container_lists(&self) -> [(&'static str, &Option<Vec<Container>>); 3] {
        [
            ("initContainers", &self.init_containers),
            ("containers", &self.containers),
            ("ephemeralContainers", &self.ephemeral_containers),
        ]
    }

    fn images(&self) -> BTreeSet<&str> {
        let containers = self.container_lists().into_iter().flat_map(|(_, list)| list).flatten();
        let volumes = self.volumes.iter().flatten().filter_map(|volume| volume.image.as_ref());
        containers
            .filter_map(|container| container.image.as_deref())
            .chain(volumes.filter_map(|image| image.reference.as_deref()))
            .collect()
    }
}

/// What has to change so that every image is pulled; `old` is the pod before.
pub fn patch(spec: &Spec, old: Option<&Spec>) -> Vec<Value> {
    if old.is_some_and(|old| spec.images().is_subset(&old.images())) {
        return Vec::new();
    }
    let mut operations = Vec::new();
    let mut always = |path: String| {
        operations.push(json!({"op": "add", "path": path, "value": "Always"}));
    };
    for (field, list) in spec.container_lists() {
        for (index, container) in list.iter().flatten().enumerate() {
            if container.image_pull_policy.as_deref() != Some("Always") {
                always(format!("/spec/{field}/{index}/imagePullPolicy"));
            }
        }
    }
    for (index, volume) in spec.volumes.iter().flatten().enumerate() {
        let Some(image) = &volume.image else { continue };
        if image.pull_policy.as_deref() != Some("Always") {
            always(format!("/spec/volumes/{index}/image/pullPolicy"));
        }
    }
    operations
}

impl Admission for Plugin {
    type Config = NoConfig;

    fn new(_: NoConfig) -> Result<Self, String> {
        Ok(Plugin)
    }

    fn describe(&self) -> Description {
        let on_write = Operations::CREATE.or(Operations::UPDATE);
        Description::new(Manifest::new("always-pull-images", env!("CARGO_PKG_VERSION")))
            .mutating(Rule::on(POD, on_write))
            .mutating(Rule::on(POD, Operations::UPDATE).subresource("ephemeralcontainers"))
    }

    fn review(&self, _: &Context, _: &dyn Lister, request: &Request) -> Response {
        let old: Option<PodFields> = match request.operation.update {
            true => request.old_object().ok(),
            false => None,
        };
        match request.object::<PodFields>() {
            Ok(pod) => {
                let operations = patch(&pod.spec, old.as_ref().map(|old| &old.spec));
                if operations.is_empty() {
                    Response::allow()
                } else {
                    Response::patch_with(&operations)
                }
            }
            Err(error) => {
                // The server has parsed it before; its shape is the server's to refuse.
                log::warn!("{error}");
                Response::allow()
            }
        }
    }
}

pintle_sdk::export_admission!(Plugin);
