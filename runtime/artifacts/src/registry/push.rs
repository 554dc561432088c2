//! Pushing: blobs first, then the manifest that names them.

use bytes::Bytes;
use http::{Method, StatusCode};
use serde_json::json;

use super::Registry;
use super::auth::Scope;
use super::error::RegistryError;
use super::pull::signature_tag;
use super::transport::resolve;
use crate::digest::Digest;
use crate::manifest::{Descriptor, MANIFEST, Manifest};
use crate::package::{Package, json};
use crate::reference::Reference;
use crate::signature::{self, Signature};

/// What cosign gives its signature manifests.
const IMAGE_CONFIG: &str = "application/vnd.oci.image.config.v1+json";

impl Registry {
    /// Returns the digest of the manifest.
    pub async fn push(
        &self,
        reference: &Reference,
        package: &Package,
    ) -> Result<Digest, RegistryError> {
        let digest = package.digest();
        if let Some(expected) = reference.digest.as_ref().filter(|wanted| **wanted != digest) {
            return Err(RegistryError::DigestMismatch {
                registry: reference.registry.clone(),
                what: "the manifest",
                expected: expected.clone(),
                actual: digest,
            });
        }
        self.upload(reference, &package.config).await?;
        self.upload(reference, &package.component).await?;
        self.put_manifest(reference, &package.manifest).await?;
        Ok(digest)
    }

    /// Puts a signature beside the manifest, next to those that are there.
    pub async fn push_signature(
        &self,
        reference: &Reference,
        manifest: &Digest,
        made: &Signature,
    ) -> Result<(), RegistryError> {
        let before = self.signature_manifest(reference, manifest).await?;
        let mut layers = before.map(|before| before.layers).unwrap_or_default();
        let payload = Bytes::from(made.payload.clone());
        let mut layer = Descriptor::of(signature::PAYLOAD, &payload);
        layer.annotations.insert(signature::ANNOTATION.to_owned(), made.signature.clone());
        layers.push(layer);
        let diffs: Vec<&str> = layers.iter().map(|layer| layer.digest.as_str()).collect();
        let nothing = "0001-01-01T00:00:00Z";
        let history: Vec<_> = layers.iter().map(|_| json!({"created": nothing})).collect();
        let config = json(&json!({
            "architecture": "", "os": "", "created": nothing, "config": {},
            "history": history,
            "rootfs": {"type": "layers", "diff_ids": diffs},
        }));
        let signatures = Manifest {
            schema_version: 2,
            media_type: MANIFEST.to_owned(),
            config: Descriptor::of(IMAGE_CONFIG, &config),
            layers,
            annotations: Default::default(),
        };
        self.upload(reference, &payload).await?;
        self.upload(reference, &config).await?;
        let place = reference.tagged(signature_tag(manifest));
        self.put_manifest(&place, &json(&signatures)).await
    }

    async fn upload(&self, reference: &Reference, blob: &Bytes) -> Result<(), RegistryError> {
        let scope = Scope { reference, write: true };
        let digest = Digest::of(blob);
        let what = format!("blobs in {}", reference.name());
        let there = self.request(Method::HEAD, self.uri(reference, &format!("blobs/{digest}"))?);
        if self.ask(&scope, there).await?.status().is_success() {
            return Ok(());
        }
        let uploads = self.uri(reference, "blobs/uploads/")?;
        let begun = self.ask(&scope, self.request(Method::POST, uploads.clone())).await?;
        if begun.status() != StatusCode::ACCEPTED {
            return Err(begun.refusal(&what).await);
        }
        let malformed = |problem: &str| RegistryError::Malformed {
            registry: reference.registry.clone(),
            what: "an answer to an upload",
            problem: problem.to_owned(),
        };
        let place = begun.header("location").unwrap_or_default();
        let separator = if place.contains('?') { '&' } else { '?' };
        let place = resolve(&uploads, &format!("{place}{separator}digest={digest}"))
            .ok_or_else(|| malformed("it names no place to put the bytes to"))?;
        if place.scheme() != uploads.scheme() {
            return Err(malformed("it names a place without TLS"));
        }
        let mut put = self
            .request(Method::PUT, place)
            .with("content-type", "application/octet-stream")
            .with("content-length", blob.len().to_string());
        put.body = blob.clone();
        let done = self.ask(&scope, put).await?;
        if done.status() == StatusCode::CREATED { Ok(()) } else { Err(done.refusal(&what).await) }
    }

    async fn put_manifest(
        &self,
        reference: &Reference,
        manifest: &Bytes,
    ) -> Result<(), RegistryError> {
        // By tag where there is one, so that it can be found by it.
        let version = reference.tag.clone().unwrap_or_else(|| reference.version());
        let uri = self.uri(reference, &format!("manifests/{version}"))?;
        let mut put = self.request(Method::PUT, uri).with("content-type", MANIFEST);
        put.body = manifest.clone();
        let answer = self.ask(&Scope { reference, write: true }, put).await?;
        if answer.status().is_success() {
            Ok(())
        } else {
            Err(answer.refusal(&reference.to_string()).await)
        }
    }
}
