//! The node's key and certificate: made here, signed by the server, kept in files
//! that only root can read, and swapped while sessions go on.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use rcgen::{CertificateParams, DnType, KeyPair};
use rustls::SignatureScheme;
use rustls::client::ResolvesClientCert;
use rustls::sign::CertifiedKey;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use serde::{Deserialize, Serialize};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::LinkError;

/// A new key and the request to certify it.
pub(crate) struct KeyRequest {
    key: KeyPair,
    pub(crate) csr: Vec<u8>,
}

impl KeyRequest {
    pub(crate) fn new(node: &str) -> Result<Self, LinkError> {
        let bad = |e: rcgen::Error| LinkError::Certificate(e.to_string());
        let key = KeyPair::generate().map_err(bad)?;
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, format!("{USER_PREFIX}{node}"));
        params.distinguished_name.push(DnType::OrganizationName, GROUP);
        let csr = params.serialize_request(&key).map_err(bad)?.der().to_vec();
        Ok(Self { key, csr })
    }

    pub(crate) fn certified(self, chain: Vec<Vec<u8>>) -> Result<Credentials, LinkError> {
        Credentials::new(chain, self.key.serialize_der())
    }
}

/// What is stored: one file, so that key and certificate can never disagree.
#[derive(Serialize, Deserialize)]
pub(crate) struct Credentials {
    chain: Vec<Vec<u8>>,
    key: Vec<u8>,
}

impl Credentials {
    fn new(chain: Vec<Vec<u8>>, key: Vec<u8>) -> Result<Self, LinkError> {
        let this = Self { chain, key };
        this.validity()?;
        Ok(this)
    }

    fn validity(&self) -> Result<(SystemTime, SystemTime), LinkError> {
        let leaf = self
            .chain
            .first()
            .ok_or_else(|| LinkError::Certificate("the chain is empty".into()))?;
        validity(leaf)
    }

    /// The node that the certificate names.
    fn node(&self) -> Result<String, LinkError> {
        let leaf = self.chain.first().map(Vec::as_slice).unwrap_or_default();
        let (_, certificate) =
            X509Certificate::from_der(leaf).map_err(|e| LinkError::Certificate(e.to_string()))?;
        let node = named(&certificate)
            .ok_or_else(|| LinkError::Certificate("it is not that of a node".into()))?;
        Ok(node.to_owned())
    }

    fn certified_key(&self) -> Result<CertifiedKey, LinkError> {
        let chain = self.chain.iter().map(|der| CertificateDer::from(der.clone())).collect();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key.clone()));
        CertifiedKey::from_der(chain, key, &rustls::crypto::ring::default_provider())
            .map_err(LinkError::Tls)
    }
}

const USER_PREFIX: &str = "system:node:";
const GROUP: &str = "system:nodes";

/// The node that a certificate is for: CN `system:node:NAME`, O `system:nodes`.
pub(crate) fn named<'a>(certificate: &'a X509Certificate<'_>) -> Option<&'a str> {
    let subject = certificate.subject();
    let user = subject.iter_common_name().next()?.as_str().ok()?;
    let in_group = subject.iter_organization().any(|group| group.as_str() == Ok(GROUP));
    user.strip_prefix(USER_PREFIX).filter(|_| in_group)
}

/// `not_before` and `not_after` of a certificate.
pub(crate) fn validity(der: &[u8]) -> Result<(SystemTime, SystemTime), LinkError> {
    let (_, certificate) =
        X509Certificate::from_der(der).map_err(|e| LinkError::Certificate(e.to_string()))?;
    let at = |t: x509_parser::time::ASN1Time| {
        UNIX_EPOCH + Duration::from_secs(u64::try_from(t.timestamp()).unwrap_or(0))
    };
    let validity = certificate.validity();
    Ok((at(validity.not_before), at(validity.not_after)))
}

/// A node's identity in a folder of its own: `ca.der` and `node.credentials`.
pub struct NodeIdentity {
    dir: PathBuf,
    node: String,
    ca: CertificateDer<'static>,
    current: ArcSwap<CertifiedKey>,
    validity: ArcSwap<(SystemTime, SystemTime)>,
}

impl std::fmt::Debug for NodeIdentity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NodeIdentity").field("node", &self.node).finish_non_exhaustive()
    }
}

impl NodeIdentity {
    /// `None` when the node has not joined yet, or when its certificate has run out.
    /// A node that is called something else than when it joined is an error: the
    /// server would refuse all that it asks for.
    pub fn load(dir: &Path, node: &str, now: SystemTime) -> Result<Option<Arc<Self>>, LinkError> {
        let path = dir.join("node.credentials");
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(LinkError::File { path, source }),
        };
        let credentials: Credentials = crate::wire::decode(&bytes)?;
        if credentials.validity()?.1 <= now {
            return Ok(None);
        }
        let found = credentials.node()?;
        if found != node {
            let (dir, asked) = (dir.to_owned(), node.to_owned());
            return Err(LinkError::OtherNode { dir, found, asked });
        }
        let path = dir.join("ca.der");
        let ca = fs::read(&path).map_err(|source| LinkError::File { path, source })?.into();
        Ok(Some(Arc::new(Self {
            dir: dir.to_owned(),
            node: node.to_owned(),
            ca,
            current: ArcSwap::from_pointee(credentials.certified_key()?),
            validity: ArcSwap::from_pointee(credentials.validity()?),
        })))
    }

    pub(crate) fn create(
        dir: &Path,
        node: &str,
        ca: CertificateDer<'static>,
        credentials: &Credentials,
    ) -> Result<Arc<Self>, LinkError> {
        fs::create_dir_all(dir)
            .map_err(|source| LinkError::File { path: dir.to_owned(), source })?;
        write_private(&dir.join("ca.der"), &ca)?;
        write_private(&dir.join("node.credentials"), &crate::wire::encode(credentials)?)?;
        Ok(Arc::new(Self {
            dir: dir.to_owned(),
            node: node.to_owned(),
            ca,
            current: ArcSwap::from_pointee(credentials.certified_key()?),
            validity: ArcSwap::from_pointee(credentials.validity()?),
        }))
    }

    pub(crate) fn replace(&self, credentials: &Credentials) -> Result<(), LinkError> {
        write_private(&self.dir.join("node.credentials"), &crate::wire::encode(credentials)?)?;
        self.validity.store(Arc::new(credentials.validity()?));
        self.current.store(Arc::new(credentials.certified_key()?));
        Ok(())
    }

    pub fn node(&self) -> &str {
        &self.node
    }

    pub fn ca(&self) -> &CertificateDer<'static> {
        &self.ca
    }

    pub fn not_after(&self) -> SystemTime {
        self.validity.load().1
    }

    /// At two thirds of its life the certificate is to be renewed.
    pub fn renew_at(&self) -> SystemTime {
        let (from, until) = **self.validity.load();
        from + until.duration_since(from).unwrap_or_default() * 2 / 3
    }

    pub(crate) fn resolver(self: &Arc<Self>) -> Arc<dyn ResolvesClientCert> {
        self.clone()
    }
}

/// Each new handshake picks up the newest certificate; sessions that are open go on.
impl ResolvesClientCert for NodeIdentity {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.current.load_full())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// Written beside, synced, renamed: a crash leaves the old file or the new one.
fn write_private(path: &Path, bytes: &[u8]) -> Result<(), LinkError> {
    let fail = |source| LinkError::File { path: path.to_owned(), source };
    let temporary = path.with_extension("new");
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&temporary)
        .map_err(fail)?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(fail)?;
    fs::rename(&temporary, path).map_err(fail)?;
    if let Some(dir) = path.parent() {
        fs::File::open(dir).and_then(|dir| dir.sync_all()).map_err(fail)?;
    }
    Ok(())
}
