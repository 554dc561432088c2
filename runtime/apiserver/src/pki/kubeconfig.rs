//! The file that kubectl and every client library reads.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::{Ca, FileError, Issued, write_private};

/// What a kubeconfig says: one cluster, one user, one context.
pub struct Kubeconfig<'a> {
    pub cluster: &'a str,
    pub user: &'a str,
    /// `https://HOST:PORT`.
    pub server: &'a str,
    pub ca_pem: &'a str,
    pub client: &'a Issued,
}

#[derive(Debug, thiserror::Error)]
pub enum KubeconfigError {
    #[error("kubeconfig could not be encoded")]
    Encode(#[from] serde_yaml_ng::Error),
    #[error(transparent)]
    File(#[from] FileError),
}

impl<'a> Kubeconfig<'a> {
    pub fn new(ca: &'a Ca, server: &'a str, user: &'a str, client: &'a Issued) -> Kubeconfig<'a> {
        Kubeconfig { cluster: "pintle", user, server, ca_pem: ca.certificate_pem(), client }
    }

    pub fn to_yaml(&self) -> Result<String, KubeconfigError> {
        let context = format!("{}@{}", self.user, self.cluster);
        Ok(serde_yaml_ng::to_string(&json!({
            "apiVersion": "v1",
            "kind": "Config",
            "preferences": {},
            "clusters": [{
                "name": self.cluster,
                "cluster": {
                    "server": self.server,
                    "certificate-authority-data": STANDARD.encode(self.ca_pem),
                },
            }],
            "users": [{
                "name": self.user,
                "user": {
                    "client-certificate-data": STANDARD.encode(&self.client.certificate.pem),
                    "client-key-data": STANDARD.encode(&self.client.key_pem),
                },
            }],
            "contexts": [{
                "name": context,
                "context": { "cluster": self.cluster, "user": self.user },
            }],
            "current-context": context,
        }))?)
    }

    /// Writes the file, readable by its owner only: it holds a private key.
    pub fn write(&self, path: &Path) -> Result<(), KubeconfigError> {
        Ok(write_private(path, self.to_yaml()?.as_bytes())?)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::pki::NODE_LIFETIME;

    #[test]
    fn a_kubeconfig_holds_one_context_and_is_private() {
        let dir = tempfile::tempdir().unwrap();
        let ca = Ca::load_or_create(dir.path()).unwrap();
        let client = ca.issue_client("admin", &["system:masters"], NODE_LIFETIME).unwrap();
        let path = dir.path().join("config");
        Kubeconfig::new(&ca, "https://127.0.0.1:6443", "admin", &client).write(&path).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let value: serde_json::Value = serde_yaml_ng::from_str(&text).unwrap();
        assert_eq!(value["current-context"], "admin@pintle");
        assert_eq!(value["clusters"][0]["cluster"]["server"], "https://127.0.0.1:6443");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
