//! The three questions; an error is the reason of a refusal.

use pintle_sdk::admission::Request;
use pintle_sdk::api::x509::CertificateRequest;
use pintle_sdk::authorizer::{Attributes, User};
use pintle_sdk::certificates::{self, GROUP, KUBE_APISERVER_CLIENT};
use pintle_sdk::prelude::CertificateSigningRequest;
use pintle_sdk::rbac::View;

const MASTERS: &str = "system:masters";
/// What they do was granted to them, and the host has checked it.
const PLUGINS: &str = "system:pintle:plugins";

/// May this be asked for at all?
pub fn subject(request: &Request) -> Result<(), String> {
    let csr = read(request.object())?;
    if csr.spec.signer_name != KUBE_APISERVER_CLIENT {
        return Ok(());
    }
    let asked = CertificateRequest::from_field(&csr.spec.request)
        .map_err(|error| format!("failed to parse CSR: {error}"))?;
    match asked.subject.organizations.iter().find(|group| is_reserved(group)) {
        Some(group) => {
            Err(format!("use of {KUBE_APISERVER_CLIENT} signer with {group} group is not allowed"))
        }
        None => Ok(()),
    }
}

/// Administrators, and the server's own parts: nobody becomes either by asking.
fn is_reserved(group: &str) -> bool {
    group == MASTERS || group == "system:pintle" || group.starts_with("system:pintle:")
}

/// May this user approve or deny it? The signer is that of the stored request.
pub fn approval(request: &Request, view: impl FnOnce() -> View) -> Result<(), String> {
    let csr = read(request.old_object())?;
    permitted(request, view, "approve", &csr.spec.signer_name)
}

/// May this user write a certificate?
pub fn signature(request: &Request, view: impl FnOnce() -> View) -> Result<(), String> {
    let (new, old) = (read(request.object())?, read(request.old_object())?);
    if new.status.certificate == old.status.certificate {
        return Ok(());
    }
    permitted(request, view, "sign", &old.spec.signer_name)
}

fn read(
    csr: Result<CertificateSigningRequest, pintle_sdk::Error>,
) -> Result<CertificateSigningRequest, String> {
    csr.map_err(|error| error.to_string())
}

fn permitted(
    request: &Request,
    view: impl FnOnce() -> View,
    verb: &str,
    signer: &str,
) -> Result<(), String> {
    let user = &request.user;
    if user.groups.iter().any(|group| group == MASTERS || group == PLUGINS) {
        return Ok(());
    }
    let view = view();
    let may = |name: &str| {
        let user = User {
            name: user.name.clone(),
            uid: user.uid.clone(),
            groups: user.groups.clone(),
            ..User::default()
        };
        view.authorize(&Attributes::resource(user, verb, GROUP, "signers").named(name)).is_allowed()
    };
    if may(signer) || may(&certificates::wildcard(signer)) {
        return Ok(());
    }
    Err(format!("user not permitted to {verb} requests with signerName {signer:?}"))
}
