//! The `certificates.k8s.io` group.

use std::collections::BTreeMap;

use pintle_api::meta::ObjectMeta;

use super::partial;
use crate::conditions::Condition;
use crate::object::KindRef;

pub const CERTIFICATE_SIGNING_REQUEST: KindRef =
    KindRef::new("certificates.k8s.io", "v1", "CertificateSigningRequest");

partial! {
    pub struct CertificateSigningRequest = CERTIFICATE_SIGNING_REQUEST {
        pub metadata: ObjectMeta,
        pub spec: CertificateSigningRequestSpec,
        pub status: CertificateSigningRequestStatus,
    }

    pub struct CertificateSigningRequestSpec {
        /// PKCS #10 in PEM in base64; see [`pintle_api::x509`].
        pub request: String,
        pub signer_name: String,
        pub expiration_seconds: Option<i64>,
        pub usages: Vec<String>,
        pub username: String,
        pub uid: String,
        pub groups: Vec<String>,
        pub extra: BTreeMap<String, Vec<String>>,
    }

    pub struct CertificateSigningRequestStatus {
        pub conditions: Vec<Condition>,
        /// PEM in base64.
        pub certificate: String,
    }
}
