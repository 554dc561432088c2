//! Decides about approved certificate requests of Kubernetes' signers: for which
//! usages and how long the server's authority is to sign, or why it is not.
//!
//! | Signer | Takes |
//! |---|---|
//! | `kubernetes.io/kube-apiserver-client` | `client auth`, with `digital signature` and `key encipherment` or without |
//! | `kubernetes.io/kube-apiserver-client-kubelet` | a node's name, no other names, usages of a client |
//! | `kubernetes.io/kubelet-serving` | a node's name with addresses or DNS names, usages of a server |
//! | `kubernetes.io/legacy-unknown` | anything |
//!
//! What a signer does not take gets the condition `Failed` with the reason
//! `SignerValidationFailure`. Requests for other signers are somebody else's.
//!
//! Watches CertificateSigningRequests. The key of the authority is the
//! server's: this only asks for signatures (`update/signature`).
//!
//! Config: `durationSeconds` (31536000, a year): how long a certificate holds at
//! most.
//!
//! Does not know: who may approve, or how a certificate is made. Read first:
//! [`terms::Terms`].

pub mod terms;

use pintle_sdk::api::x509::CertificateRequest;
use pintle_sdk::certificates;
use pintle_sdk::prelude::*;
use serde_json::json;

use crate::terms::Terms;

const YEAR_SECONDS: i64 = 365 * 24 * 3600;

#[derive(Debug, Clone, serde::Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub struct Config {
    pub duration_seconds: i64,
}

impl Default for Config {
    fn default() -> Self {
        Config { duration_seconds: YEAR_SECONDS }
    }
}

pub struct Plugin {
    duration_seconds: i64,
}

impl Controller for Plugin {
    type Config = Config;

    fn new(config: Config) -> Result<Self, String> {
        let duration_seconds = config.duration_seconds;
        if duration_seconds < terms::SHORTEST_SECONDS {
            return Err(format!(
                "durationSeconds: {duration_seconds}: must be at least {}",
                terms::SHORTEST_SECONDS
            ));
        }
        Ok(Plugin { duration_seconds })
    }

    fn describe(&self) -> Description {
        Description::new(Manifest::new("certificate-signer", env!("CARGO_PKG_VERSION")).needs(
            CERTIFICATE_SIGNING_REQUEST,
            &["get", "list", "watch", "patch/status", "update/signature"],
            "has approved requests signed, says what is wrong with others",
        ))
        .watch(
            Watch::of(CERTIFICATE_SIGNING_REQUEST)
                .on(Change::ADDED.or(Change::MODIFIED))
                .when_changed(&["status"]),
        )
    }

    fn reconcile(
        &self,
        context: &Context,
        lister: &dyn Lister,
        request: &Request,
    ) -> Result<Outcome, Error> {
        let Some(csr) = request.read::<CertificateSigningRequest>(lister)? else {
            return Ok(Outcome::done());
        };
        let status = &csr.status;
        let decided = status.is_failed() || !status.certificate.is_empty();
        if decided || !status.is_approved() || status.is_denied() {
            return Ok(Outcome::done());
        }
        let CertificateSigningRequestSpec { signer_name, usages, .. } = &csr.spec;
        let asked = CertificateRequest::from_field(&csr.spec.request)
            .map_err(|error| Error::retry(format!("unable to parse csr: {error}")))?;
        match certificates::check(signer_name, &asked, usages) {
            None => Ok(Outcome::done()),
            Some(Err(why)) => Ok(Outcome::of(failure(context, &csr, why))),
            Some(Ok(())) => {
                let terms = Terms::of(
                    context.now_unix_ms,
                    csr.spec.expiration_seconds,
                    self.duration_seconds,
                );
                Ok(Outcome::of(signature(&csr, &terms)))
            }
        }
    }
}

fn failure(context: &Context, csr: &Typed<CertificateSigningRequest>, why: String) -> Patch {
    let now = context.now();
    let mut conditions = csr.status.conditions.clone();
    let mut failed = Condition::new("Failed", "True", "SignerValidationFailure", why);
    failed.last_update_time = Some(now.clone());
    conditions::set(&mut conditions, failed, &now);
    let body = json!({"metadata": {"uid": csr.uid}, "status": {"conditions": conditions}});
    Patch::merge(csr, &body).status().at(csr.revision)
}

/// Of this request, as it was looked at.
fn signature(csr: &Typed<CertificateSigningRequest>, terms: &Terms) -> Update {
    let order = json!({
        "metadata": {
            "name": csr.reference.name,
            "uid": csr.uid,
            "resourceVersion": csr.revision.to_string(),
        },
        "signature": {
            "usages": csr.spec.usages,
            "notBefore": terms.not_before(),
            "notAfter": terms.not_after(),
        },
    });
    Update::new(csr, &order).subresource("signature")
}

pintle_sdk::export_controller!(Plugin);
