//! Which requests are approved without a person.

use pintle_sdk::api::x509::CertificateRequest;
use pintle_sdk::authorizer::{Attributes, User};
use pintle_sdk::certificates::{self, GROUP, KUBE_APISERVER_CLIENT_KUBELET};
use pintle_sdk::prelude::*;
use pintle_sdk::rbac::View;

const MASTERS: &str = "system:masters";

/// The message of the approval; none: it is decided already, or not for this
/// plugin to decide.
pub fn verdict(
    csr: &CertificateSigningRequest,
    view: impl FnOnce() -> View,
) -> Option<&'static str> {
    let CertificateSigningRequest { spec, status, .. } = csr;
    if !status.certificate.is_empty() || status.is_approved() || status.is_denied() {
        return None;
    }
    if spec.signer_name != KUBE_APISERVER_CLIENT_KUBELET {
        return None;
    }
    let request = CertificateRequest::from_field(&spec.request).ok()?;
    certificates::check_node_client(&request, &spec.usages).ok()?;
    let is_itself = spec.username == request.subject.common_name;
    let view = view();
    if is_itself && may(&view, spec, "selfnodeclient") {
        return Some("Auto approving self kubelet client certificate after SubjectAccessReview.");
    }
    may(&view, spec, "nodeclient")
        .then_some("Auto approving kubelet client certificate after SubjectAccessReview.")
}

fn may(view: &View, spec: &CertificateSigningRequestSpec, what: &str) -> bool {
    if spec.groups.iter().any(|group| group == MASTERS) {
        return true;
    }
    let user = User {
        name: spec.username.clone(),
        uid: spec.uid.clone(),
        groups: spec.groups.clone(),
        extra: spec.extra.clone(),
    };
    let resource = format!("certificatesigningrequests/{what}");
    view.authorize(&Attributes::resource(user, "create", GROUP, &resource)).is_allowed()
}
