//! The plugin host's sources, over the artifacts crate: registries are spoken
//! to, and signatures checked, as everywhere else.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result};
use async_trait::async_trait;
use pintle_artifacts::signature::{self, Subject, check_public_key};
use pintle_artifacts::{Credentials, Digest, Options, Reference, Registry, RegistryError};
use pintle_plugin_host::artifact;
use pintle_plugin_host::plugin::OciSource;
use pintle_plugin_host::source::{
    Claim, FetchError, Fetched, Fetcher, Progress, Signature, Sources, Verifier,
};

/// What this process reaches, and whose signatures it demands.
pub fn with_public_keys(files: Option<&[PathBuf]>) -> Result<Sources> {
    Ok(Sources {
        fetcher: Arc::new(Registries),
        verifier: Arc::new(Signatures),
        public_keys: read_public_keys(files.unwrap_or_default())?,
    })
}

pub fn read_public_keys(files: &[PathBuf]) -> Result<Vec<String>> {
    let read = |file: &PathBuf| {
        let named = || format!("the plugins' public key {}", file.display());
        let pem =
            std::fs::read_to_string(file).with_context(|| format!("{} cannot be read", named()))?;
        check_public_key(&pem).with_context(|| format!("{} cannot be used", named()))?;
        Ok(pem)
    };
    files.iter().map(read).collect()
}

struct Registries;

#[async_trait]
impl Fetcher for Registries {
    async fn fetch(
        &self,
        source: &OciSource,
        login: Option<&[u8]>,
        progress: Progress<'_>,
    ) -> Result<Fetched, FetchError> {
        let invalid = |error: &dyn std::error::Error| FetchError::Invalid(chain(error));
        let reference: Reference = source.reference.parse().map_err(|error| invalid(&error))?;
        let credentials = match login {
            None => Credentials::anonymous(),
            // It may be mended in the Secret, hence worth another try.
            Some(login) => Credentials::from_docker_config(login, "the pull secret")
                .map_err(|error| FetchError::Unavailable(chain(&error)))?,
        };
        let options = Options { credentials, insecure: source.insecure, ..Options::default() };
        let registry = Registry::new(options).map_err(|error| invalid(&error))?;
        let step = |step: pintle_artifacts::Step| progress(step.received, step.total);
        let pulled = registry.pull(&reference, &step).await.map_err(|error| failed(&error))?;
        let manifest = artifact::Digest::parse(pulled.manifest_digest.as_str())
            .ok_or_else(|| FetchError::Invalid("the artifact has no digest".to_owned()))?;
        let signatures = pulled.signatures.into_iter();
        Ok(Fetched {
            component: pulled.bytes,
            manifest,
            signatures: signatures
                .map(|made| Signature { payload: made.payload, signature: made.signature })
                .collect(),
        })
    }
}

fn failed(error: &RegistryError) -> FetchError {
    let text = chain(error);
    if error.is_digest_mismatch() {
        FetchError::DigestMismatch(text)
    } else if error.is_about_content() {
        FetchError::NotAComponent(text)
    } else {
        FetchError::Unavailable(text)
    }
}

struct Signatures;

impl Verifier for Signatures {
    fn verify(&self, keys: &[String], claim: Claim<'_>) -> Result<(), String> {
        let manifest = claim.manifest.map(|digest| Digest::parse(digest.as_str())).transpose();
        let manifest = manifest.map_err(|error| error.to_string())?;
        let subject = Subject { component: claim.component, manifest: manifest.as_ref() };
        let signatures: Vec<_> = claim
            .signatures
            .iter()
            .map(|made| signature::Signature {
                payload: made.payload.clone(),
                signature: made.signature.clone(),
            })
            .collect();
        signature::verify(keys, subject, &signatures).map_err(|error| chain(&error))
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use pintle_artifacts::signature::SigningKey;

    use super::*;

    #[test]
    fn keys_that_are_none_are_named() {
        let directory = tempfile::tempdir().unwrap();
        let (key, private) = SigningKey::generate().unwrap();
        let file = |name: &str, text: &str| {
            let path = directory.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let public = file("good.pub", &key.public_pem());
        assert_eq!(read_public_keys(&[public]).unwrap(), [key.public_pem()]);
        let error = format!("{:#}", read_public_keys(&[file("bad.pub", &private)]).unwrap_err());
        assert!(error.contains("bad.pub cannot be used: this is no public key"), "{error}");
        let absent = directory.path().join("absent.pub");
        let error = format!("{:#}", read_public_keys(&[absent]).unwrap_err());
        assert!(error.contains("absent.pub cannot be read"), "{error}");
    }

    #[tokio::test]
    async fn references_that_name_nothing_are_not_tried_again() {
        let source = OciSource { reference: "scorer".into(), ..OciSource::default() };
        let error = Registries.fetch(&source, None, &|_, _| {}).await.unwrap_err();
        assert!(matches!(error, FetchError::Invalid(_)), "{error}");
    }
}
