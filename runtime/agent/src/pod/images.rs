//! Images and root file systems for containers: the blocking stores, called from
//! where blocking is allowed, with the kubelet's words for what is missing.

use std::path::PathBuf;
use std::sync::Arc;

use pintle_containers::{ContentStore, Image, Snapshots};

use super::model::Container;
use super::runtime::Failure;
use crate::client::chain;

#[derive(Clone)]
pub struct Images {
    pub store: Arc<ContentStore>,
    pub snapshots: Arc<Snapshots>,
}

/// Why a container does not come about: the reason and message of its status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub reason: &'static str,
    pub message: String,
}

impl Images {
    pub async fn resolve(
        &self,
        container: &Container,
        before: Option<&Failure>,
    ) -> Result<Image, Refusal> {
        let (store, name) = (self.store.clone(), container.image.clone());
        let found = blocking(move || store.resolve(&name).map_err(|error| chain(&error))).await;
        match found {
            Ok(Some(image)) => Ok(image),
            Ok(None) => Err(absent(container, before)),
            Err(message) => Err(Refusal { reason: "ImageInspectError", message }),
        }
    }

    /// The mounted root file system for one attempt.
    pub async fn prepare(&self, image: Image, key: String) -> Result<PathBuf, String> {
        let snapshots = self.snapshots.clone();
        blocking(move || snapshots.prepare(&image, &key).map_err(|error| chain(&error))).await
    }

    pub async fn remove(&self, key: String) -> Result<(), String> {
        let snapshots = self.snapshots.clone();
        blocking(move || snapshots.remove(&key).map_err(|error| chain(&error))).await
    }

    /// Removes root file systems whose key starts with none of these uids.
    pub async fn keep_only(&self, uids: Vec<String>) -> Result<(), String> {
        let snapshots = self.snapshots.clone();
        blocking(move || {
            let keys = snapshots.list().map_err(|error| chain(&error))?;
            for key in keys {
                if !uids.iter().any(|uid| key.starts_with(uid.as_str())) {
                    snapshots.remove(&key).map_err(|error| chain(&error))?;
                }
            }
            Ok(())
        })
        .await
    }
}

/// Images are imported, not pulled; the words are those that users search for.
fn absent(container: &Container, before: Option<&Failure>) -> Refusal {
    let image = &container.image;
    let help = format!("import it on this node with `pintle image import ARCHIVE --name {image}`");
    let again = before.is_some_and(|failure| {
        failure.reason.starts_with("ErrImage") || failure.reason.starts_with("ImagePull")
    });
    match container.image_pull_policy.as_str() {
        "Never" => Refusal {
            reason: "ErrImageNeverPull",
            message: format!(
                "Container image \"{image}\" is not present with pull policy of Never: {help}"
            ),
        },
        _ if again => Refusal {
            reason: "ImagePullBackOff",
            message: format!("Back-off pulling image \"{image}\": it is not present, {help}"),
        },
        _ => Refusal {
            reason: "ErrImagePull",
            message: format!(
                "failed to pull image \"{image}\": this node does not pull images, {help}"
            ),
        },
    }
}

pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(_) => Err("interrupted: the agent is stopping".into()),
    }
}
