//! Pulling: manifest, config, component and signatures, each checked against
//! the digest under which it was asked for.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::{Method, StatusCode};
use tokio::time::timeout;

use super::Registry;
use super::auth::Scope;
use super::error::RegistryError;
use super::transport::cause;
use crate::MAX_COMPONENT_BYTES;
use crate::digest::Digest;
use crate::manifest::{
    ComponentInterface, Descriptor, INDEX, MANIFEST, MAX_MANIFEST_BYTES, Manifest, WasmConfig,
};
use crate::package::component_layer;
use crate::reference::Reference;
use crate::signature::{self, Signature};

const MAX_SIGNATURES: usize = 32;
const MAX_PAYLOAD_BYTES: u64 = 64 << 10;

/// How far the component has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    pub received: u64,
    pub total: u64,
}

#[derive(Debug, Clone)]
pub struct PulledComponent {
    pub bytes: Bytes,
    /// Of the artifact; what signatures in the registry are about.
    pub manifest_digest: Digest,
    /// Of the component.
    pub layer_digest: Digest,
    pub signatures: Vec<Signature>,
    pub annotations: BTreeMap<String, String>,
    pub interface: Option<ComponentInterface>,
}

impl Registry {
    /// The digest of the manifest that the reference means now.
    pub async fn resolve(&self, reference: &Reference) -> Result<Digest, RegistryError> {
        self.manifest(reference).await.map(|(_, digest)| digest)
    }

    /// `step` is told of every piece of the component.
    pub async fn pull(
        &self,
        reference: &Reference,
        step: &(dyn Fn(Step) + Send + Sync),
    ) -> Result<PulledComponent, RegistryError> {
        // A registry may send a byte now and then, for ever.
        let after = self.limits.pull;
        timeout(after, self.pull_at_leisure(reference, step))
            .await
            .map_err(|_| RegistryError::TimedOut { registry: reference.registry.clone(), after })?
    }

    async fn pull_at_leisure(
        &self,
        reference: &Reference,
        step: &(dyn Fn(Step) + Send + Sync),
    ) -> Result<PulledComponent, RegistryError> {
        let (bytes, manifest_digest) = self.manifest(reference).await?;
        let not = |problem: String| RegistryError::NotAComponent {
            reference: reference.to_string(),
            problem,
        };
        let manifest: Manifest =
            serde_json::from_slice(&bytes).map_err(|error| not(error.to_string()))?;
        let layer = component_layer(&manifest).map_err(not)?;
        let nobody = |_: Step| {};
        let config = self
            .blob(reference, &manifest.config, "the config", MAX_MANIFEST_BYTES, &nobody)
            .await?;
        let config: WasmConfig = serde_json::from_slice(&config)
            .map_err(|error| not(format!("its config cannot be read: {error}")))?;
        if !config.layer_digests.contains(&layer.digest) {
            return Err(not("its config speaks of another layer".to_owned()));
        }
        let bytes = self.blob(reference, layer, "the component", MAX_COMPONENT_BYTES, step).await?;
        Ok(PulledComponent {
            bytes,
            layer_digest: layer.digest.clone(),
            signatures: self.signatures(reference, &manifest_digest).await?,
            manifest_digest,
            annotations: manifest.annotations,
            interface: config.component,
        })
    }

    async fn manifest(&self, reference: &Reference) -> Result<(Bytes, Digest), RegistryError> {
        let uri = self.uri(reference, &format!("manifests/{}", reference.version()))?;
        let request = self.request(Method::GET, uri).with("accept", format!("{MANIFEST}, {INDEX}"));
        let answer = self.ask(&Scope { reference, write: false }, request).await?;
        if !answer.status().is_success() {
            return Err(answer.refusal(&reference.to_string()).await);
        }
        // What the registry says the digest is must be so, too.
        let said = answer.header("docker-content-digest").and_then(|d| Digest::parse(d).ok());
        let bytes = answer.body("the manifest", MAX_MANIFEST_BYTES).await?;
        let actual = Digest::of(&bytes);
        for expected in reference.digest.iter().chain(&said) {
            if *expected != actual {
                return Err(RegistryError::DigestMismatch {
                    registry: reference.registry.clone(),
                    what: "the manifest",
                    expected: expected.clone(),
                    actual,
                });
            }
        }
        Ok((bytes, actual))
    }

    /// The signatures that the registry keeps beside the manifest, as cosign does.
    pub(super) async fn signatures(
        &self,
        reference: &Reference,
        manifest: &Digest,
    ) -> Result<Vec<Signature>, RegistryError> {
        let Some(manifest) = self.signature_manifest(reference, manifest).await? else {
            return Ok(Vec::new());
        };
        let mut signatures = Vec::new();
        let signed = manifest.layers.iter().filter(|layer| layer.media_type == signature::PAYLOAD);
        for layer in signed.take(MAX_SIGNATURES) {
            let Some(made) = layer.annotations.get(signature::ANNOTATION) else { continue };
            let payload =
                self.blob(reference, layer, "a signature", MAX_PAYLOAD_BYTES, &|_| {}).await?;
            // What is no text is about nothing that could be verified.
            if let Ok(payload) = String::from_utf8(payload.to_vec()) {
                signatures.push(Signature { payload, signature: made.clone() });
            }
        }
        Ok(signatures)
    }

    pub(super) async fn signature_manifest(
        &self,
        reference: &Reference,
        manifest: &Digest,
    ) -> Result<Option<Manifest>, RegistryError> {
        let place = reference.tagged(signature_tag(manifest));
        match self.manifest(&place).await {
            Ok((bytes, _)) => {
                serde_json::from_slice(&bytes).map(Some).map_err(|error| RegistryError::Malformed {
                    registry: reference.registry.clone(),
                    what: "a signature",
                    problem: error.to_string(),
                })
            }
            Err(RegistryError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// A blob, taken up where it stopped when the registry goes away meanwhile.
    async fn blob(
        &self,
        reference: &Reference,
        descriptor: &Descriptor,
        what: &'static str,
        most: u64,
        step: &(dyn Fn(Step) + Send + Sync),
    ) -> Result<Bytes, RegistryError> {
        let registry = || reference.registry.clone();
        let total = descriptor.size;
        if total > most {
            return Err(RegistryError::TooLarge { registry: registry(), what, most });
        }
        let mut received: Vec<u8> = Vec::new();
        let mut resumptions = 0;
        loop {
            match self.read_blob(reference, descriptor, what, &mut received, step).await {
                Ok(()) => break,
                Err(error) if is_cut(&error) && resumptions < self.limits.resumptions => {
                    resumptions += 1;
                }
                // Nothing came yet: the plain error says it better.
                Err(error) if !is_cut(&error) || received.is_empty() => return Err(error),
                Err(error) => {
                    return Err(RegistryError::Vanished {
                        registry: registry(),
                        what,
                        received: received.len() as u64,
                        total,
                        source: cause(error),
                    });
                }
            }
        }
        let actual = Digest::of(&received);
        if actual != descriptor.digest {
            return Err(RegistryError::DigestMismatch {
                registry: registry(),
                what,
                expected: descriptor.digest.clone(),
                actual,
            });
        }
        Ok(Bytes::from(received))
    }

    /// Appends to what is there until the blob is whole.
    async fn read_blob(
        &self,
        reference: &Reference,
        descriptor: &Descriptor,
        what: &'static str,
        received: &mut Vec<u8>,
        step: &(dyn Fn(Step) + Send + Sync),
    ) -> Result<(), RegistryError> {
        let total = descriptor.size;
        let uri = self.uri(reference, &format!("blobs/{}", descriptor.digest))?;
        let mut request = self.request(Method::GET, uri);
        if !received.is_empty() {
            request = request.with("range", format!("bytes={}-", received.len()));
        }
        let mut answer = self.ask(&Scope { reference, write: false }, request).await?;
        match answer.status() {
            StatusCode::PARTIAL_CONTENT => {}
            // From its beginning, whatever was asked for.
            StatusCode::OK => received.clear(),
            _ => return Err(answer.refusal(&format!("{what} of {reference}")).await),
        }
        step(Step { received: received.len() as u64, total });
        while let Some(chunk) = answer.chunk().await? {
            if (received.len() + chunk.len()) as u64 > total {
                return Err(RegistryError::TooLarge {
                    registry: reference.registry.clone(),
                    what,
                    most: total,
                });
            }
            received.extend_from_slice(&chunk);
            step(Step { received: received.len() as u64, total });
        }
        Ok(())
    }
}

/// The connection ended, not the conversation.
fn is_cut(error: &RegistryError) -> bool {
    matches!(
        error,
        RegistryError::BrokenOff { .. }
            | RegistryError::TimedOut { .. }
            | RegistryError::Unreachable { .. }
    )
}

/// `sha256-<hex>.sig`
pub(super) fn signature_tag(manifest: &Digest) -> String {
    format!("sha256-{}.sig", manifest.hex())
}
