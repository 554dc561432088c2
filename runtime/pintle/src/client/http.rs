//! HTTPS to the server, with the kubeconfig's identity; errors are the server's
//! own `Status` in words.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::kubeconfig::Credentials;

pub struct Client {
    credentials: Credentials,
    tls: Arc<ClientConfig>,
}

impl Client {
    pub fn new(credentials: Credentials) -> Result<Self> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(&credentials.ca_pem) {
            roots.add(certificate.context("the CA certificate in the kubeconfig is no PEM")?)?;
        }
        let chain = CertificateDer::pem_slice_iter(&credentials.certificate_pem)
            .collect::<Result<Vec<_>, _>>()
            .context("the client certificate in the kubeconfig is no PEM")?;
        let key = PrivateKeyDer::from_pem_slice(&credentials.key_pem)
            .context("the client key in the kubeconfig is no PEM")?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)
            .context("client certificate and key do not fit together")?;
        Ok(Self { credentials, tls: Arc::new(tls) })
    }

    pub fn ca_pem(&self) -> &[u8] {
        &self.credentials.ca_pem
    }

    /// The namespace to use when none is named.
    pub fn default_namespace(&self) -> &str {
        let named = self.credentials.namespace.as_deref();
        named.filter(|namespace| !namespace.is_empty()).unwrap_or("default")
    }

    pub async fn stream(&self) -> Result<TlsStream<TcpStream>> {
        let address = &self.credentials.address;
        let tcp = TcpStream::connect(address).await.with_context(|| {
            format!("no server answers at {address}; is it running? (`pintle up`)")
        })?;
        tcp.set_nodelay(true)?;
        let name = ServerName::try_from(self.credentials.host.clone())?;
        let connector = TlsConnector::from(self.tls.clone());
        connector
            .connect(name, tcp)
            .await
            .with_context(|| format!("the server at {address} is not the one of this kubeconfig"))
    }

    /// One request on a connection of its own; the body is streamed.
    pub async fn open(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> Result<http::Response<Incoming>> {
        // A name that is empty would make the path that of all objects of a kind.
        let place = path.split('?').next().unwrap_or_default();
        ensure!(!place.ends_with('/') && !place.contains("//"), "{place} names nothing");
        let io = TokioIo::new(self.stream().await?);
        let (mut sender, connection) = http1::handshake(io).await?;
        tokio::spawn(connection);
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", &self.credentials.address)
            .header("user-agent", concat!("pintle/", env!("CARGO_PKG_VERSION")));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = sender.send_request(request.body(Full::new(body))?).await?;
        for warning in response.headers().get_all("warning") {
            if let Some(text) = warning.to_str().ok().and_then(|w| w.split('"').nth(1)) {
                eprintln!("Warning: {text}");
            }
        }
        Ok(response)
    }

    /// The answer's JSON, or the server's error.
    pub async fn json(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> Result<Value> {
        let response = self.open(method, path, headers, body).await?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        if status.is_success() {
            return serde_json::from_slice(&body).context("the server's answer is no JSON");
        }
        Err(error_of(status, &body))
    }

    pub async fn get(&self, path: &str) -> Result<Value> {
        self.json(Method::GET, path, &[("accept", "application/json")], Bytes::new()).await
    }
}

/// An answer other than 2xx.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct ServerError {
    pub code: StatusCode,
    pub message: String,
}

pub fn error_of(code: StatusCode, body: &[u8]) -> anyhow::Error {
    let status: Option<Value> = serde_json::from_slice(body).ok();
    let field = |name: &str| {
        status.as_ref().and_then(|s| s[name].as_str()).filter(|s| !s.is_empty()).map(str::to_owned)
    };
    let message = match (field("reason"), field("message")) {
        (Some(reason), Some(message)) => {
            format!("Error from server ({reason}): {message}")
        }
        (None, Some(message)) => message,
        _ => format!("the server answered {code}"),
    };
    ServerError { code, message }.into()
}

pub fn is_not_found(error: &anyhow::Error) -> bool {
    error.downcast_ref::<ServerError>().is_some_and(|e| e.code == StatusCode::NOT_FOUND)
}

pub fn is_conflict(error: &anyhow::Error) -> bool {
    error.downcast_ref::<ServerError>().is_some_and(|e| e.code == StatusCode::CONFLICT)
}
