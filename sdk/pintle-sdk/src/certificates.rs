//! What Kubernetes' own signers ask of a certificate request, and who may
//! approve or sign for a signer. Pure; for whoever approves, signs or admits
//! CertificateSigningRequests.
//!
//! ```
//! use pintle_sdk::certificates::{self, KUBE_APISERVER_CLIENT};
//!
//! let usages = ["server auth".to_owned()];
//! let refused = certificates::check_client_usages(&usages).unwrap_err();
//! assert_eq!(refused, "invalid usage for client certificate: server auth");
//! assert_eq!(certificates::wildcard(KUBE_APISERVER_CLIENT), "kubernetes.io/*");
//! ```

use pintle_api::x509::CertificateRequest;

use crate::conditions::Conditions;
use crate::types::CertificateSigningRequestStatus;

/// The API group, also of the made-up resource `signers`.
pub const GROUP: &str = "certificates.k8s.io";

/// Certificates with which users talk to the API; anybody but administrators.
pub const KUBE_APISERVER_CLIENT: &str = "kubernetes.io/kube-apiserver-client";
/// Certificates with which nodes talk to the API.
pub const KUBE_APISERVER_CLIENT_KUBELET: &str = "kubernetes.io/kube-apiserver-client-kubelet";
/// Certificates that nodes show to those who connect to them.
pub const KUBELET_SERVING: &str = "kubernetes.io/kubelet-serving";
/// Whatever was asked for before signers had names; nothing is checked.
pub const LEGACY_UNKNOWN: &str = "kubernetes.io/legacy-unknown";

const NODES: &str = "system:nodes";
const NODE_PREFIX: &str = "system:node:";

/// Whether the request is one that the signer of this name takes; the error is
/// the message of the `Failed` condition. `None`: no such signer is known.
pub fn check(
    signer: &str,
    request: &CertificateRequest,
    usages: &[String],
) -> Option<Result<(), String>> {
    match signer {
        KUBE_APISERVER_CLIENT => Some(check_client_usages(usages)),
        KUBE_APISERVER_CLIENT_KUBELET => Some(check_node_client(request, usages)),
        KUBELET_SERVING => Some(check_node_serving(request, usages)),
        LEGACY_UNKNOWN => Some(Ok(())),
        _ => None,
    }
}

/// For certificates of users.
pub fn check_client_usages(usages: &[String]) -> Result<(), String> {
    for usage in usages {
        if !matches!(usage.as_str(), "digital signature" | "key encipherment" | "client auth") {
            return Err(format!("invalid usage for client certificate: {usage}"));
        }
    }
    if usages.iter().any(|usage| usage == "client auth") {
        return Ok(());
    }
    Err("missing required usage for client certificate: client auth".to_owned())
}

/// For certificates with which a node talks to the API.
pub fn check_node_client(request: &CertificateRequest, usages: &[String]) -> Result<(), String> {
    check_organization(request)?;
    for (names, kind) in [
        (request.dns_names.len(), "DNS"),
        (request.email_addresses.len(), "Email"),
        (request.ip_addresses.len(), "IP"),
        (request.uris.len(), "URI"),
    ] {
        if names > 0 {
            return Err(format!("{kind} subjectAltNames are not allowed"));
        }
    }
    check_node_name(request)?;
    check_usages(usages, "client auth", "[client auth digital signature key encipherment]")
}

/// For certificates that a node serves with.
pub fn check_node_serving(request: &CertificateRequest, usages: &[String]) -> Result<(), String> {
    check_organization(request)?;
    if request.dns_names.is_empty() && request.ip_addresses.is_empty() {
        return Err("DNS or IP subjectAltName is required".to_owned());
    }
    if !request.email_addresses.is_empty() {
        return Err("Email subjectAltNames are not allowed".to_owned());
    }
    if !request.uris.is_empty() {
        return Err("URI subjectAltNames are not allowed".to_owned());
    }
    check_usages(usages, "server auth", "[digital signature key encipherment server auth]")?;
    check_node_name(request)
}

fn check_organization(request: &CertificateRequest) -> Result<(), String> {
    if request.subject.organizations == [NODES] {
        return Ok(());
    }
    Err("subject organization is not system:nodes".to_owned())
}

fn check_node_name(request: &CertificateRequest) -> Result<(), String> {
    if request.subject.common_name.starts_with(NODE_PREFIX) {
        return Ok(());
    }
    Err("subject common name does not begin with system:node:".to_owned())
}

/// `digital signature` and `purpose`, and `key encipherment` or not: only RSA
/// keys can do that.
fn check_usages(usages: &[String], purpose: &str, all: &str) -> Result<(), String> {
    let has = |wanted: &str| usages.iter().any(|usage| usage == wanted);
    let known = |usage: &String| usage == purpose || usage == "digital signature";
    let fits = has("digital signature")
        && has(purpose)
        && usages.iter().all(|usage| known(usage) || usage == "key encipherment");
    if fits { Ok(()) } else { Err(format!("usages did not match {all}")) }
}

/// `kubernetes.io/*`: the name under which somebody may approve or sign for all
/// signers of a domain.
pub fn wildcard(signer: &str) -> String {
    format!("{}/*", signer.split('/').next().unwrap_or_default())
}

impl CertificateSigningRequestStatus {
    /// Somebody said yes.
    pub fn is_approved(&self) -> bool {
        self.conditions.condition("Approved").is_some()
    }

    /// Somebody said no, which outweighs a yes.
    pub fn is_denied(&self) -> bool {
        self.conditions.condition("Denied").is_some()
    }

    /// The signer could not or would not.
    pub fn is_failed(&self) -> bool {
        self.conditions.is_condition_true("Failed")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(name: &str) -> CertificateRequest {
        let path =
            format!("{}/../../runtime/api/tests/x509/{name}.csr", env!("CARGO_MANIFEST_DIR"));
        CertificateRequest::from_pem(&std::fs::read(path).unwrap()).unwrap()
    }

    fn list(usages: &[&str]) -> Vec<String> {
        usages.iter().map(|usage| (*usage).to_owned()).collect()
    }

    const CLIENT: &[&str] = &["digital signature", "client auth"];
    const SERVING: &[&str] = &["digital signature", "server auth", "key encipherment"];

    #[test]
    fn signers_take_what_they_are_for() {
        fn case(
            signer: &str,
            request_name: &str,
            usages: &[&str],
            expect: Option<Result<(), &str>>,
        ) {
            let found = check(signer, &request(request_name), &list(usages));
            let expect = expect.map(|result| result.map_err(str::to_owned));
            assert_eq!(found, expect, "{signer} {request_name} {usages:?}");
        }
        let (client, serving) = (KUBE_APISERVER_CLIENT_KUBELET, KUBELET_SERVING);
        case("example.com/mine", "jane", CLIENT, None);
        case(LEGACY_UNKNOWN, "jane", &["any"], Some(Ok(())));
        case(KUBE_APISERVER_CLIENT, "jane", CLIENT, Some(Ok(())));
        case(KUBE_APISERVER_CLIENT, "node", &["client auth"], Some(Ok(())));
        case(
            KUBE_APISERVER_CLIENT,
            "jane",
            &["client auth", "any"],
            Some(Err("invalid usage for client certificate: any")),
        );
        case(
            KUBE_APISERVER_CLIENT,
            "jane",
            &["digital signature"],
            Some(Err("missing required usage for client certificate: client auth")),
        );
        case(client, "kubelet", CLIENT, Some(Ok(())));
        case(
            client,
            "kubelet",
            &["key encipherment", "client auth", "digital signature"],
            Some(Ok(())),
        );
        let usages = "usages did not match [client auth digital signature key encipherment]";
        case(client, "kubelet", &["client auth"], Some(Err(usages)));
        case(client, "kubelet", SERVING, Some(Err(usages)));
        case(client, "jane", CLIENT, Some(Err("subject organization is not system:nodes")));
        case(client, "serving", CLIENT, Some(Err("DNS subjectAltNames are not allowed")));
        case(serving, "serving", SERVING, Some(Ok(())));
        case(serving, "serving", &SERVING[..2], Some(Ok(())));
        case(serving, "kubelet", SERVING, Some(Err("DNS or IP subjectAltName is required")));
        case(serving, "node", SERVING, Some(Err("Email subjectAltNames are not allowed")));
        case(serving, "jane", SERVING, Some(Err("subject organization is not system:nodes")));
        let usages = "usages did not match [digital signature key encipherment server auth]";
        case(serving, "serving", CLIENT, Some(Err(usages)));
    }

    #[test]
    fn a_node_that_is_none_gets_nothing() {
        let mut request = request("kubelet");
        request.subject.common_name = "node-1".to_owned();
        let expect = Err("subject common name does not begin with system:node:".to_owned());
        assert_eq!(check_node_client(&request, &list(CLIENT)), expect);
        request.subject.organizations.push("system:masters".to_owned());
        let expect = Err("subject organization is not system:nodes".to_owned());
        assert_eq!(check_node_client(&request, &list(CLIENT)), expect);
    }
}
