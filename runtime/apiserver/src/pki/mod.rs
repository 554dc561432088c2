//! The cluster's certificate authority and what it signs.
//!
//! One ECDSA P-256 authority per cluster, made on first start and kept in the
//! data directory. Everything it signs is short-lived or re-issued at start,
//! so there is no revocation list.

mod der;
mod files;
mod kubeconfig;
pub mod possession;
mod sign;
mod tls;

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName,
    DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{
    CertificateDer, CertificateSigningRequestDer, PrivateKeyDer, PrivatePkcs8KeyDer,
};
use sha2::{Digest, Sha256};
use time::OffsetDateTime;

pub use files::{FileError, write_private, write_public};
pub use kubeconfig::{Kubeconfig, KubeconfigError};
pub use sign::{SignError, Terms};
pub use tls::{TlsError, client_config, server_config};

/// The authority itself; nodes pin its hash, so it outlives everything else.
const CA_LIFETIME: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
/// Serving certificates are re-issued at every start.
const SERVER_LIFETIME: Duration = Duration::from_secs(365 * 24 * 3600);
/// Node certificates are renewed by the node long before they end.
pub const NODE_LIFETIME: Duration = Duration::from_secs(24 * 3600);
/// Certificates start a little in the past, for clocks that are a little off.
const BACKDATE: Duration = Duration::from_secs(5 * 60);

#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    #[error("certificate authority file {} is not usable; restore it from a backup, or remove both ca.crt and ca.key to start with a new authority (all nodes must then join again)", path.display())]
    Load {
        path: PathBuf,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("{} exists but {} does not; restore the missing file, or remove both to start with a new authority", present.display(), missing.display())]
    Half { present: PathBuf, missing: PathBuf },
    #[error("certificate for {subject:?} could not be made")]
    Issue {
        subject: String,
        #[source]
        source: rcgen::Error,
    },
    #[error("certificate signing request is malformed or its signature does not match")]
    Request(#[source] rcgen::Error),
    #[error(
        "certificate for {0:?} names more than two groups, which is the most a certificate made here can hold"
    )]
    Organizations(String),
    #[error("{0:?} is neither an IP address nor a DNS name")]
    Name(String),
    #[error(transparent)]
    File(#[from] FileError),
}

/// Whom a client certificate names: CN is the user, each O a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    pub common_name: String,
    pub organizations: Vec<String>,
}

impl Identity {
    pub fn new<O: Into<String>>(
        common_name: &str,
        organizations: impl IntoIterator<Item = O>,
    ) -> Identity {
        Identity {
            common_name: common_name.to_string(),
            organizations: organizations.into_iter().map(Into::into).collect(),
        }
    }

    /// `system:node:NAME` in the group `system:nodes`.
    pub fn node(name: &str) -> Identity {
        Identity::new(&format!("system:node:{name}"), [crate::user::GROUP_NODES])
    }
}

/// A certificate with its private key.
pub struct Issued {
    pub certificate: SignedCertificate,
    pub key_pem: String,
    pub key: PrivateKeyDer<'static>,
}

impl Clone for Issued {
    fn clone(&self) -> Issued {
        Issued {
            certificate: self.certificate.clone(),
            key_pem: self.key_pem.clone(),
            key: self.key.clone_key(),
        }
    }
}

/// A certificate; the key stays with whoever asked for it.
#[derive(Debug, Clone)]
pub struct SignedCertificate {
    pub pem: String,
    pub der: CertificateDer<'static>,
    pub not_after_unix_seconds: i64,
}

/// The certificate authority.
pub struct Ca {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    certificate_pem: String,
}

impl Ca {
    /// Loads `ca.crt` and `ca.key` from `dir`, making both on first use.
    pub fn load_or_create(dir: &Path) -> Result<Ca, PkiError> {
        let certificate_path = dir.join("ca.crt");
        let key_path = dir.join("ca.key");
        match (certificate_path.exists(), key_path.exists()) {
            (true, true) => Ca::load(&certificate_path, &key_path),
            // The key is written first: a lone certificate is a lost key, a
            // lone key is a first start that was cut off.
            (true, false) => Err(PkiError::Half { present: certificate_path, missing: key_path }),
            (false, _) => Ca::create(&certificate_path, &key_path),
        }
    }

    fn load(certificate_path: &Path, key_path: &Path) -> Result<Ca, PkiError> {
        let bad = |path: &Path, source: Box<dyn std::error::Error + Send + Sync>| PkiError::Load {
            path: path.to_path_buf(),
            source,
        };
        let certificate_pem = files::read(certificate_path)?;
        let key_pem = files::read(key_path)?;
        let key = KeyPair::from_pem(&key_pem).map_err(|e| bad(key_path, e.into()))?;
        let certificate = CertificateDer::from_pem_slice(certificate_pem.as_bytes())
            .map_err(|e| bad(certificate_path, e.into()))?;
        let matches = x509_parser::parse_x509_certificate(&certificate)
            .map(|(_, parsed)| {
                parsed.public_key().subject_public_key.data.as_ref() == key.public_key_raw()
            })
            .map_err(|e| bad(certificate_path, e.into()))?;
        if !matches {
            return Err(bad(key_path, "the key does not belong to the certificate".into()));
        }
        let issuer = Issuer::from_ca_cert_der(&certificate, key)
            .map_err(|e| bad(certificate_path, e.into()))?;
        Ok(Ca { issuer, certificate, certificate_pem })
    }

    fn create(certificate_path: &Path, key_path: &Path) -> Result<Ca, PkiError> {
        let subject = "pintle-ca";
        let issue = |source| PkiError::Issue { subject: subject.to_string(), source };
        let key = KeyPair::generate().map_err(issue)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = distinguished_name(&Identity::new::<String>(subject, []))?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::CrlSign,
            KeyUsagePurpose::DigitalSignature,
        ];
        validity(&mut params, CA_LIFETIME);
        let certificate = params.self_signed(&key).map_err(issue)?;
        files::write_private(key_path, key.serialize_pem().as_bytes())?;
        files::write_public(certificate_path, certificate.pem().as_bytes())?;
        Ok(Ca {
            certificate: certificate.der().clone(),
            certificate_pem: certificate.pem(),
            issuer: Issuer::new(params, key),
        })
    }

    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// SHA-256 of the certificate in DER: what join tokens pin.
    pub fn sha256(&self) -> [u8; 32] {
        Sha256::digest(&self.certificate).into()
    }

    /// A secret for another use than signing, the same for as long as this CA is.
    pub fn derived_secret(&self, purpose: &str) -> [u8; 32] {
        let key = self.issuer.key().serialize_der();
        Sha256::new().chain_update(purpose).chain_update([0]).chain_update(key).finalize().into()
    }

    /// A serving certificate for the given IP addresses and DNS names.
    pub fn issue_server(&self, names: &[String]) -> Result<Issued, PkiError> {
        let mut params = CertificateParams::default();
        params.distinguished_name =
            distinguished_name(&Identity::new::<String>("pintle-apiserver", []))?;
        params.subject_alt_names = names.iter().map(|name| san(name)).collect::<Result<_, _>>()?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.issue("pintle-apiserver", params, SERVER_LIFETIME)
    }

    /// A client certificate with a new key.
    pub fn issue_client(
        &self,
        common_name: &str,
        organizations: &[&str],
        lifetime: Duration,
    ) -> Result<Issued, PkiError> {
        let mut params = CertificateParams::default();
        params.distinguished_name =
            distinguished_name(&Identity::new(common_name, organizations.iter().copied()))?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.issue(common_name, params, lifetime)
    }

    /// Signs the public key of a request for `identity`. What the request asks
    /// for (subject, names, usages) is ignored: the authority decides.
    pub fn sign_csr(
        &self,
        request_der: &[u8],
        identity: &Identity,
        lifetime: Duration,
    ) -> Result<SignedCertificate, PkiError> {
        let request = CertificateSigningRequestDer::from(request_der);
        let mut request =
            CertificateSigningRequestParams::from_der(&request).map_err(PkiError::Request)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = distinguished_name(identity)?;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let not_after = validity(&mut params, lifetime);
        request.params = params;
        let certificate = request
            .signed_by(&self.issuer)
            .map_err(|source| PkiError::Issue { subject: identity.common_name.clone(), source })?;
        Ok(SignedCertificate {
            pem: certificate.pem(),
            der: certificate.der().clone(),
            not_after_unix_seconds: not_after,
        })
    }

    fn issue(
        &self,
        subject: &str,
        mut params: CertificateParams,
        lifetime: Duration,
    ) -> Result<Issued, PkiError> {
        let issue = |source| PkiError::Issue { subject: subject.to_string(), source };
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let not_after = validity(&mut params, lifetime);
        let key = KeyPair::generate().map_err(issue)?;
        let certificate = params.signed_by(&key, &self.issuer).map_err(issue)?;
        Ok(Issued {
            certificate: SignedCertificate {
                pem: certificate.pem(),
                der: certificate.der().clone(),
                not_after_unix_seconds: not_after,
            },
            key_pem: key.serialize_pem(),
            key: PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
        })
    }
}

impl std::fmt::Debug for Ca {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Ca")
    }
}

fn distinguished_name(identity: &Identity) -> Result<DistinguishedName, PkiError> {
    let mut name = DistinguishedName::new();
    // The name is a map in the library: one attribute per type. The same type
    // spelled as an identifier counts as another one, which makes room for two.
    let slots = [DnType::OrganizationName, DnType::CustomDnType(vec![2, 5, 4, 10])];
    if identity.organizations.len() > slots.len() {
        return Err(PkiError::Organizations(identity.common_name.clone()));
    }
    for (slot, organization) in slots.into_iter().zip(&identity.organizations) {
        name.push(slot, organization.as_str());
    }
    name.push(DnType::CommonName, identity.common_name.as_str());
    Ok(name)
}

fn san(name: &str) -> Result<SanType, PkiError> {
    if let Ok(address) = name.parse::<IpAddr>() {
        return Ok(SanType::IpAddress(address));
    }
    let dns = name.try_into().map_err(|_| PkiError::Name(name.to_string()))?;
    Ok(SanType::DnsName(dns))
}

/// Sets the validity from now on; returns the end in unix seconds. TLS stacks
/// compare it with the machine's clock, so that is the clock used here.
fn validity(params: &mut CertificateParams, lifetime: Duration) -> i64 {
    let now = OffsetDateTime::now_utc();
    params.not_before = now - BACKDATE;
    params.not_after = now + lifetime;
    params.not_after.unix_timestamp()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::user::User;

    #[test]
    fn the_authority_survives_a_restart_and_its_key_is_private() {
        let dir = tempfile::tempdir().unwrap();
        let first = Ca::load_or_create(dir.path()).unwrap();
        let second = Ca::load_or_create(dir.path()).unwrap();
        assert_eq!(first.sha256(), second.sha256());
        assert_eq!(first.derived_secret("a"), second.derived_secret("a"));
        assert_ne!(first.derived_secret("a"), first.derived_secret("b"));
        let mode = std::fs::metadata(dir.path().join("ca.key")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        // What the reloaded authority signs verifies like before.
        assert!(second.issue_client("jane", &["dev"], NODE_LIFETIME).is_ok());
    }

    #[test]
    fn a_lost_or_foreign_key_is_reported_with_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        Ca::load_or_create(dir.path()).unwrap();
        std::fs::remove_file(dir.path().join("ca.key")).unwrap();
        let error = Ca::load_or_create(dir.path()).unwrap_err();
        assert!(error.to_string().contains("restore the missing file"), "{error}");
        let foreign = KeyPair::generate().unwrap().serialize_pem();
        write_private(&dir.path().join("ca.key"), foreign.as_bytes()).unwrap();
        let error = Ca::load_or_create(dir.path()).unwrap_err();
        assert!(error.to_string().contains("ca.key is not usable"), "{error}");
    }

    #[test]
    fn client_certificates_name_a_user_and_groups() {
        let dir = tempfile::tempdir().unwrap();
        let ca = Ca::load_or_create(dir.path()).unwrap();
        let issued = ca.issue_client("jane", &["dev", "ops"], NODE_LIFETIME).unwrap();
        let user = User::from_certificate(&issued.certificate.der).unwrap();
        assert_eq!(user.name, "jane");
        assert_eq!(user.groups, ["dev", "ops", "system:authenticated"]);
        assert!(ca.issue_client("jane", &["a", "b", "c"], NODE_LIFETIME).is_err());
    }

    #[test]
    fn a_request_gets_the_identity_that_the_authority_chose() {
        let dir = tempfile::tempdir().unwrap();
        let ca = Ca::load_or_create(dir.path()).unwrap();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name =
            distinguished_name(&Identity::new("root", ["system:masters"])).unwrap();
        let request = params.serialize_request(&key).unwrap();
        let signed = ca.sign_csr(request.der(), &Identity::node("n1"), NODE_LIFETIME).unwrap();
        let user = User::from_certificate(&signed.der).unwrap();
        assert_eq!(user.node_name(), Some("n1"));
        assert!(!user.in_group("system:masters"));
        assert!(ca.sign_csr(b"junk", &Identity::node("n1"), NODE_LIFETIME).is_err());
    }

    #[test]
    fn names_are_addresses_or_dns_names() {
        let dir = tempfile::tempdir().unwrap();
        let ca = Ca::load_or_create(dir.path()).unwrap();
        let names = ["127.0.0.1", "::1", "localhost", "kubernetes.default.svc"].map(String::from);
        assert!(ca.issue_server(&names).is_ok());
    }
}
