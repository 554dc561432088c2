//! Certificates on behalf of plugins. A plugin that has the grant
//! `update/signature` on a kind that carries certificate requests says for what
//! and how long one of them is to be signed; the authority's key stays here.
//!
//! Does not know: which requests deserve a certificate.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use pintle_api::kinds::{CertificateFields, Resource, Subresource, str_at};
use pintle_api::status::StatusError;
use pintle_api::time;
use pintle_api::x509::CertificateRequest;
use pintle_apiserver::User;
use pintle_apiserver::pki::{Ca, Terms};
use pintle_apiserver::verbs::{Patch, Verbs, WriteOptions, Written};
use serde::Deserialize;
use serde_json::json;

/// The object that a plugin sends: the request at the revision it was decided
/// about, and what was decided.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Order {
    metadata: Seen,
    signature: Decided,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Seen {
    uid: String,
    resource_version: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Decided {
    usages: Vec<String>,
    not_before: String,
    not_after: String,
}

pub struct Signing {
    ca: Arc<Ca>,
}

impl Signing {
    pub fn new(ca: Arc<Ca>) -> Self {
        Self { ca }
    }

    /// Signs the request in the object and writes the certificate into its
    /// status, as `user`; what admission says about that holds.
    pub async fn sign(
        &self,
        verbs: &Verbs,
        user: &User,
        row: &'static Resource,
        namespace: &str,
        name: &str,
        order: &[u8],
    ) -> Result<Written, StatusError> {
        let Some(fields) = &row.certificates else {
            return Err(StatusError::method_not_allowed(row.group_resource(), "sign"));
        };
        let order: Order = serde_json::from_slice(order)
            .map_err(|error| StatusError::bad_request(format!("what to sign: {error}")))?;
        let object = verbs.get(row, namespace, name)?;
        // The certificate is made of what the plugin saw and of nothing later.
        if order.metadata.resource_version != object.revision.to_string()
            || *order.metadata.uid != *object.meta.uid
        {
            return Err(StatusError::modified(row.group_resource(), name));
        }
        let pem = self.certificate(fields, &object.parse(), order.signature)?;
        let patch = Patch::Merge(json!({
            "metadata": {"uid": order.metadata.uid, "resourceVersion": order.metadata.resource_version},
            "status": {fields.certificate: STANDARD.encode(pem)},
        }));
        let status = Some(Subresource::Status);
        let written = verbs
            .patch(user, row, status, namespace, name, &patch, &WriteOptions::default())
            .await?;
        tracing::info!(kind = row.kind, name, user = user.name, "a certificate was signed");
        Ok(written)
    }

    fn certificate(
        &self,
        fields: &CertificateFields,
        object: &serde_json::Value,
        decided: Decided,
    ) -> Result<String, StatusError> {
        let request = CertificateRequest::from_field(str_at(object, fields.request))
            .map_err(|error| StatusError::bad_request(error.to_string()))?;
        let seconds = |field: &str, text: &str| {
            time::parse(text).map(|ms| ms.div_euclid(1000)).ok_or_else(|| {
                StatusError::bad_request(format!("signature.{field}: {text:?} is no RFC 3339 time"))
            })
        };
        let terms = Terms {
            not_before_unix_seconds: seconds("notBefore", &decided.not_before)?,
            not_after_unix_seconds: seconds("notAfter", &decided.not_after)?,
            usages: decided.usages,
        };
        self.ca
            .sign_request(&request, &terms)
            .map_err(|error| StatusError::bad_request(error.to_string()))
    }
}
