//! A component as a Plugin object demands it: the right one, signed by whom it
//! says and by whom the host trusts.

use std::path::Path;

use bytes::Bytes;

use super::keep::{By, Keep, Kept};
use super::{Claim, FetchError, Fetched, NotVouched, Progress, Signature, Sources};
use crate::artifact::{ArtifactError, Digest};
use crate::plugin::{OciSource, PluginSpec};
use crate::program::LoadError;

const SPEC: &str = "spec.verification demands a signature";
const SERVER: &str = "this server demands a signature of every plugin";

/// Gets components from registries and keeps them; checks who vouches for them.
pub struct Components {
    sources: Sources,
    keep: Keep,
}

impl Components {
    /// `directory` is the one of the compiled components, which exists.
    pub fn new(sources: Sources, directory: &Path) -> Self {
        Self { sources, keep: Keep::at(directory) }
    }

    /// The component of an OCI source, from the keep or from the registry.
    pub async fn obtain(
        &self,
        source: &OciSource,
        spec: &PluginSpec,
        login: Option<&[u8]>,
    ) -> Result<Bytes, LoadError> {
        if let Some(component) = self.kept(source, spec)? {
            return Ok(component);
        }
        let manifest = self.fetch(source, login, &|_, _| {}).await?;
        self.arrived(&manifest, spec)
    }

    /// The component if it is kept and vouched for.
    pub(super) fn kept(
        &self,
        source: &OciSource,
        spec: &PluginSpec,
    ) -> Result<Option<Bytes>, LoadError> {
        let manifest = manifest_of(source);
        let component = match &spec.digest {
            None => None,
            Some(text) => Some(
                Digest::parse(text)
                    .ok_or_else(|| ArtifactError::DigestSyntax { expected: text.clone() })?,
            ),
        };
        let found = match (&manifest, &component) {
            (Some(manifest), _) => self.keep.find(By::Manifest(manifest)),
            (None, Some(component)) => self.keep.find(By::Component(component)),
            (None, None) => {
                let message = "a plugin from a registry needs spec.digest or a reference with \
                               @sha256:…, so that no other bytes can be run";
                return Err(LoadError::Source(message.to_owned()));
            }
        };
        // It may have been signed since then: only the registry knows.
        Ok(found.filter(|kept| self.check(spec, kept).is_ok()).map(|kept| kept.component))
    }

    /// What was just fetched, or why it must not be used.
    pub(super) fn arrived(&self, manifest: &Digest, spec: &PluginSpec) -> Result<Bytes, LoadError> {
        let kept = self.keep.find(By::Manifest(manifest)).ok_or_else(|| {
            LoadError::Source("the component was pulled, but could not be kept".to_owned())
        })?;
        self.check(spec, &kept)?;
        Ok(kept.component)
    }

    /// From the registry into the keep; the digest of the artifact.
    pub(super) async fn fetch(
        &self,
        source: &OciSource,
        login: Option<&[u8]>,
        progress: Progress<'_>,
    ) -> Result<Digest, FetchError> {
        let fetched = self.sources.fetcher.fetch(source, login, progress).await?;
        let Fetched { component, manifest, signatures } = fetched;
        let kept = Kept { component, manifest: Some(manifest.clone()), signatures };
        self.keep.put(&kept).map_err(|error| {
            FetchError::Unavailable(format!("cannot keep what was pulled: {error}"))
        })?;
        Ok(manifest)
    }

    /// For a component that came with its Plugin object: in it, or as a file.
    pub fn check_own(&self, spec: &PluginSpec, component: &Bytes) -> Result<(), LoadError> {
        let signature = spec.signature.iter();
        let signatures = signature
            .map(|text| Signature { payload: String::new(), signature: text.clone() })
            .collect();
        let kept = Kept { component: component.clone(), manifest: None, signatures };
        self.check(spec, &kept)?;
        if !self.sources.public_keys.is_empty()
            && let Err(error) = self.keep.put(&kept)
        {
            tracing::warn!(%error, "a signed component cannot be kept; it is not rolled back to after a restart");
        }
        Ok(())
    }

    /// For a version that decided before the server was restarted, of which only
    /// the compiled form is certain to be there.
    pub(crate) fn check_remembered(&self, digest: &Digest) -> Result<(), LoadError> {
        let keys = &self.sources.public_keys;
        if keys.is_empty() {
            return Ok(());
        }
        let kept = self.keep.find(By::Component(digest));
        let kept = kept.ok_or(NotVouched::Missing { demand: SERVER })?;
        Ok(self.vouch(keys, SERVER, &kept)?)
    }

    /// The bytes of a version that decided before, if they came from a registry.
    pub(crate) fn remembered(&self, digest: &Digest) -> Option<Bytes> {
        self.keep.find(By::Component(digest)).map(|kept| kept.component)
    }

    fn check(&self, spec: &PluginSpec, kept: &Kept) -> Result<(), NotVouched> {
        if !self.sources.public_keys.is_empty() {
            self.vouch(&self.sources.public_keys, SERVER, kept)?;
        }
        match &spec.verification {
            None => Ok(()),
            Some(verification) => self.vouch(&verification.public_keys, SPEC, kept),
        }
    }

    fn vouch(&self, keys: &[String], demand: &'static str, kept: &Kept) -> Result<(), NotVouched> {
        if keys.is_empty() {
            let problem = "there is no public key to check it with".to_owned();
            return Err(NotVouched::Invalid { demand, problem });
        }
        if kept.signatures.is_empty() {
            return Err(NotVouched::Missing { demand });
        }
        let claim = Claim {
            component: &kept.component,
            manifest: kept.manifest.as_ref(),
            signatures: &kept.signatures,
        };
        self.sources
            .verifier
            .verify(keys, claim)
            .map_err(|problem| NotVouched::Invalid { demand, problem })
    }
}

/// The digest behind the @ of a reference.
fn manifest_of(source: &OciSource) -> Option<Digest> {
    source.reference.split_once('@').and_then(|(_, digest)| Digest::parse(digest))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use async_trait::async_trait;
    use serde_json::{Value, json};

    use super::super::{Fetcher, Verifier};
    use super::*;

    /// Has one artifact; a signature is good if it is the key's text.
    struct Shop {
        signed_by: &'static str,
    }

    #[async_trait]
    impl Fetcher for Shop {
        async fn fetch(
            &self,
            _: &OciSource,
            _: Option<&[u8]>,
            progress: Progress<'_>,
        ) -> Result<Fetched, FetchError> {
            progress(4, 4);
            let signature = Signature { payload: "p".into(), signature: self.signed_by.into() };
            Ok(Fetched {
                component: Bytes::from_static(b"wasm"),
                manifest: Digest::of(b"manifest"),
                signatures: if self.signed_by.is_empty() { vec![] } else { vec![signature] },
            })
        }
    }

    impl Verifier for Shop {
        fn verify(&self, keys: &[String], claim: Claim<'_>) -> Result<(), String> {
            let good = claim.signatures.iter().any(|made| keys.contains(&made.signature));
            if good { Ok(()) } else { Err("wrong key".to_owned()) }
        }
    }

    fn components(directory: &Path, signed_by: &'static str, keys: &[&str]) -> Components {
        let sources = Sources {
            fetcher: Arc::new(Shop { signed_by }),
            verifier: Arc::new(Shop { signed_by }),
            public_keys: keys.iter().map(ToString::to_string).collect(),
        };
        Components::new(sources, directory)
    }

    fn spec(extra: Value) -> PluginSpec {
        let reference = format!("r.example/x@{}", Digest::of(b"manifest"));
        let mut spec = json!({"role": "Controller", "source": {"oci": {"reference": reference}}});
        spec.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        serde_json::from_value(spec).unwrap()
    }

    #[tokio::test]
    async fn demands_of_spec_and_server_both_hold() {
        async fn check(signed_by: &'static str, server: &[&str], extra: Value, expect: &str) {
            let directory = tempfile::tempdir().unwrap();
            let components = components(directory.path(), signed_by, server);
            let spec = spec(extra);
            let source = spec.source.oci.as_ref().unwrap();
            let said = match components.obtain(source, &spec, None).await {
                Ok(bytes) => String::from_utf8(bytes.to_vec()).unwrap(),
                Err(error) => error.reason().to_owned(),
            };
            assert_eq!(said, expect, "{signed_by} {server:?}");
        }
        let demands = |key: &str| json!({"verification": {"publicKeys": [key]}});
        check("", &[], json!({}), "wasm").await;
        check("", &["a"], json!({}), "SignatureMissing").await;
        check("a", &["a"], json!({}), "wasm").await;
        check("a", &["b"], json!({}), "SignatureInvalid").await;
        check("a", &[], demands("a"), "wasm").await;
        check("", &[], demands("a"), "SignatureMissing").await;
        check("a", &["a"], demands("b"), "SignatureInvalid").await;
        check("a", &["b"], demands("a"), "SignatureInvalid").await;
        check("a", &[], json!({"verification": {}}), "SignatureInvalid").await;
    }

    #[tokio::test]
    async fn what_was_fetched_once_needs_no_registry() {
        let directory = tempfile::tempdir().unwrap();
        let spec = spec(json!({}));
        let source = spec.source.oci.as_ref().unwrap();
        components(directory.path(), "a", &[]).obtain(source, &spec, None).await.unwrap();
        let later = Components::new(Sources::default(), directory.path());
        assert_eq!(later.obtain(source, &spec, None).await.unwrap(), "wasm");
        // A new demand needs what only the registry may have by now.
        let demanding = self::spec(json!({"verification": {"publicKeys": ["b"]}}));
        assert!(later.kept(source, &demanding).unwrap().is_none());
    }

    #[test]
    fn components_in_the_object_bring_their_signature_along() {
        let directory = tempfile::tempdir().unwrap();
        let check = |extra: Value, expect: Option<&str>| {
            let components = components(directory.path(), "", &["a"]);
            let result = components.check_own(&spec(extra), &Bytes::from_static(b"x"));
            assert_eq!(result.err().map(|error| error.reason()), expect);
        };
        check(json!({}), Some("SignatureMissing"));
        check(json!({"signature": "b"}), Some("SignatureInvalid"));
        let components = components(directory.path(), "", &["a"]);
        assert!(components.check_remembered(&Digest::of(b"x")).is_err());
        check(json!({"signature": "a"}), None);
        components.check_remembered(&Digest::of(b"x")).unwrap();
    }

    #[test]
    fn something_must_pin_the_bytes() {
        let directory = tempfile::tempdir().unwrap();
        let components = components(directory.path(), "", &[]);
        let check = |digest: Option<&str>, expect: &str| {
            let spec: PluginSpec = serde_json::from_value(json!({
                "role": "Controller", "digest": digest,
                "source": {"oci": {"reference": "r.example/x:1"}},
            }))
            .unwrap();
            let error = components.kept(spec.source.oci.as_ref().unwrap(), &spec).unwrap_err();
            assert!(error.to_string().contains(expect), "{error}");
        };
        check(None, "needs spec.digest");
        check(Some("1.0"), "is not a digest");
    }
}
