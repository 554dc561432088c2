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

#[cfg(test)]
mod tests {
    use pintle_api::kinds::Registry;
    use pintle_apiserver::{
        AdmitAll, ApiServer, BusFacts, NoConnections, NoNodes, Parts, StaticAuthorizer,
        SystemClock, VersionInfo,
    };
    use pintle_storage::EngineKind;
    use pintle_watch::Bus;
    use serde_json::Value;

    use super::*;

    const NAME: &str = "jane";

    struct World {
        api: Arc<ApiServer>,
        signing: Signing,
        row: &'static Resource,
        made: Value,
        _dir: tempfile::TempDir,
    }

    impl World {
        /// With Jane's request.
        async fn new() -> World {
            let dir = tempfile::tempdir().unwrap();
            let store =
                pintle_storage::open(EngineKind::Sled, &dir.path().join("db"), Default::default())
                    .unwrap();
            let registry = Registry::builtin();
            let bus = Bus::new(registry, Default::default());
            bus.load(store.clone()).await.unwrap();
            let facts = Arc::new(BusFacts::new(bus.clone(), registry));
            let api = ApiServer::new(Parts {
                store,
                bus,
                registry,
                admission: Arc::new(AdmitAll),
                authorizer: Arc::new(StaticAuthorizer::new(facts)),
                nodes: Arc::new(NoNodes),
                connector: Arc::new(NoConnections),
                clock: Arc::new(SystemClock),
                info: VersionInfo::of("0.1.0", "", ""),
                address: String::new(),
            });
            let ca = Arc::new(Ca::load_or_create(&dir.path().join("pki")).unwrap());
            let row =
                registry.by_kind("certificates.k8s.io", "v1", "CertificateSigningRequest").unwrap();
            let pem = include_str!("../../../api/tests/x509/jane.csr");
            let request = json!({"metadata": {"name": NAME}, "spec": {
                "request": STANDARD.encode(pem), "usages": ["client auth"],
                "signerName": "example.com/mine"}});
            let made = api
                .verbs()
                .create(&user(), row, "", request, &WriteOptions::default())
                .await
                .unwrap()
                .to_value()
                .unwrap();
            World { api, signing: Signing::new(ca), row, made, _dir: dir }
        }

        fn order(&self, change: impl FnOnce(&mut Value)) -> Vec<u8> {
            let mut order = json!({
                "metadata": {
                    "uid": self.made["metadata"]["uid"],
                    "resourceVersion": self.made["metadata"]["resourceVersion"],
                },
                "signature": {
                    "usages": ["client auth"],
                    "notBefore": "2026-01-01T00:00:00Z",
                    "notAfter": "2026-01-02T00:00:00Z",
                },
            });
            change(&mut order);
            order.to_string().into_bytes()
        }

        async fn sign(&self, order: &[u8]) -> Result<Value, StatusError> {
            let verbs = self.api.verbs();
            let signed = self.signing.sign(verbs, &user(), self.row, "", NAME, order).await;
            signed?.to_value()
        }
    }

    fn user() -> User {
        User::new("system:pintle:plugin:mine", ["system:pintle:plugins"])
    }

    #[tokio::test]
    async fn a_request_is_signed_once_on_the_terms_of_the_order() {
        let world = World::new().await;
        let order = world.order(|_| {});
        let signed = world.sign(&order).await.unwrap();
        let certificate = signed["status"]["certificate"].as_str().unwrap();
        let pem = STANDARD.decode(certificate).unwrap();
        let end = pintle_api::x509::not_after_unix_seconds(&pem).unwrap();
        assert_eq!(time::format_seconds(end * 1000), "2026-01-02T00:00:00Z");
        // The same order again is about a request that is no more.
        let again = world.sign(&order).await.unwrap_err();
        assert_eq!((again.code(), again.reason()), (409, "Conflict"));
    }

    #[tokio::test]
    async fn orders_that_make_no_sense_are_refused() {
        let world = World::new().await;
        let refused = |order: Vec<u8>, code: u16, expect: &'static str| {
            let world = &world;
            async move {
                let error = world.sign(&order).await.unwrap_err();
                assert_eq!(error.code(), code, "{}", error.message());
                assert!(error.message().contains(expect), "{}", error.message());
            }
        };
        let order = |change: fn(&mut Value)| world.order(change);
        refused(b"{}".to_vec(), 400, "what to sign: missing field").await;
        refused(order(|o| o["signature"]["isCA"] = true.into()), 400, "unknown field").await;
        refused(order(|o| o["signature"]["notAfter"] = "soon".into()), 400, "is no RFC 3339 time")
            .await;
        refused(order(|o| o["signature"]["usages"] = json!(["fly"])), 400, "unrecognized usage")
            .await;
        refused(
            order(|o| o["signature"]["notAfter"] = "2025-01-01T00:00:00Z".into()),
            400,
            "would end before it begins",
        )
        .await;
        refused(order(|o| o["metadata"]["uid"] = "other".into()), 409, "has been modified").await;
        refused(order(|o| o["metadata"]["resourceVersion"] = "9".into()), 409, "has been modified")
            .await;
        let pods = Registry::builtin().by_plural("", "v1", "pods").unwrap();
        let order = world.order(|_| {});
        let error = world
            .signing
            .sign(world.api.verbs(), &user(), pods, "default", NAME, &order)
            .await
            .unwrap_err();
        assert_eq!(error.code(), 405);
    }
}
