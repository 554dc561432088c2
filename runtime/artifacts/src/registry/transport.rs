//! HTTP/1.1 with time-outs: one connection per request, redirects followed,
//! nothing read without a limit.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{HeaderName, HeaderValue};
use http::{Method, StatusCode, Uri};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::error::RegistryError;
use super::{Cause, Limits};

const REDIRECTS: usize = 5;
/// Of an error's text.
const MAX_ERROR_BYTES: u64 = 16 << 10;

#[derive(Debug, thiserror::Error)]
#[error(
    "this machine has no root certificates to check registries with; install ca-certificates, or name a file in SSL_CERT_FILE"
)]
pub struct SystemRootsError {
    #[source]
    source: Option<rustls::Error>,
}

pub(super) struct Transport {
    /// None: plain HTTP alone.
    tls: Option<Arc<ClientConfig>>,
    limits: Limits,
}

#[derive(Clone)]
pub(super) struct Request {
    pub method: Method,
    pub uri: Uri,
    pub headers: Vec<(&'static str, String)>,
    pub body: Bytes,
    pub authorization: Option<String>,
}

impl Request {
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

/// The head of an answer, with its body still on the way.
pub(super) struct Answer {
    response: http::Response<Incoming>,
    pub registry: String,
    limits: Limits,
}

impl Transport {
    pub fn new(insecure: bool, limits: Limits) -> Result<Self, SystemRootsError> {
        let tls = if insecure { None } else { Some(Arc::new(system_tls()?)) };
        Ok(Self { tls, limits })
    }

    /// Follows redirects; the answer may be any status else.
    pub async fn send(&self, request: &Request) -> Result<Answer, RegistryError> {
        let mut request = request.clone();
        for _ in 0..=REDIRECTS {
            let answer = self.send_once(&request).await?;
            let follows = matches!(request.method, Method::GET | Method::HEAD)
                && answer.status().is_redirection();
            if !follows {
                return Ok(answer);
            }
            let registry = answer.registry.clone();
            let fail = |problem| RegistryError::Redirect { registry: registry.clone(), problem };
            let place = answer.header("location").ok_or_else(|| fail("to nowhere"))?;
            let next = resolve(&request.uri, place)
                .ok_or_else(|| fail("to something that is no address"))?;
            if self.tls.is_some() && next.scheme_str() != Some("https") {
                return Err(fail("to a place without TLS"));
            }
            // What one is to the registry is nobody else's business.
            if next.authority() != request.uri.authority() {
                request.authorization = None;
            }
            request.uri = next;
        }
        let registry = request.uri.authority().map(ToString::to_string).unwrap_or_default();
        Err(RegistryError::Redirect { registry, problem: "in a circle" })
    }

    async fn send_once(&self, request: &Request) -> Result<Answer, RegistryError> {
        let uri = &request.uri;
        let registry = uri.authority().map(ToString::to_string).unwrap_or_default();
        let unreachable =
            |source: Cause| RegistryError::Unreachable { registry: registry.clone(), source };
        let secure = uri.scheme_str() == Some("https");
        let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
        let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let connecting = async {
            let tcp = TcpStream::connect((host, port)).await.map_err(cause)?;
            tcp.set_nodelay(true).map_err(cause)?;
            match &self.tls {
                Some(tls) if secure => {
                    let name = ServerName::try_from(host.to_owned()).map_err(cause)?;
                    let stream = TlsConnector::from(tls.clone()).connect(name, tcp).await;
                    handshake(stream.map_err(no_tls)?).await
                }
                None if !secure => handshake(tcp).await,
                None => Err(cause(std::io::Error::other(
                    "it is to be spoken to over plain HTTP, but wants TLS for this",
                ))),
                // A login may be in the request.
                Some(_) => Err(cause(std::io::Error::other("it wants this without TLS"))),
            }
        };
        let mut sender = timeout(self.limits.connect, connecting)
            .await
            .map_err(|_| RegistryError::TimedOut {
                registry: registry.clone(),
                after: self.limits.connect,
            })?
            .map_err(unreachable)?;
        let after = if request.body.is_empty() { self.limits.idle } else { self.limits.upload };
        let response = timeout(after, sender.send_request(head(request, &registry)))
            .await
            .map_err(|_| RegistryError::TimedOut { registry: registry.clone(), after })?
            .map_err(|error| RegistryError::BrokenOff {
                registry: registry.clone(),
                source: cause(error),
            })?;
        Ok(Answer { response, registry, limits: self.limits })
    }
}

type Sender = http1::SendRequest<Full<Bytes>>;

async fn handshake<S>(stream: S) -> Result<Sender, Cause>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(cause)?;
    // Ends with the answer's body; its errors are the body's, too.
    tokio::spawn(connection);
    Ok(sender)
}

fn head(request: &Request, registry: &str) -> http::Request<Full<Bytes>> {
    let path = request.uri.path_and_query().map_or("/", |path| path.as_str());
    let mut made = http::Request::new(Full::new(request.body.clone()));
    *made.method_mut() = request.method.clone();
    *made.uri_mut() = path.parse().unwrap_or_default();
    let agent = concat!("pintle/", env!("CARGO_PKG_VERSION"));
    let own = [("host", registry.to_owned()), ("user-agent", agent.to_owned())];
    let authorization = request.authorization.clone().map(|value| ("authorization", value));
    for (name, value) in own.into_iter().chain(request.headers.clone()).chain(authorization) {
        // A value that no header can have is left out, and then refused over there.
        if let Ok(value) = HeaderValue::from_str(&value) {
            made.headers_mut().append(HeaderName::from_static(name), value);
        }
    }
    made
}

impl Answer {
    pub fn status(&self) -> StatusCode {
        self.response.status()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.response.headers().get(name).and_then(|value| value.to_str().ok())
    }

    /// The next piece of the body; None at its end.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, RegistryError> {
        loop {
            let after = self.limits.idle;
            let frame = timeout(after, self.response.body_mut().frame())
                .await
                .map_err(|_| RegistryError::TimedOut { registry: self.registry.clone(), after })?;
            match frame {
                None => return Ok(None),
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        return Ok(Some(data));
                    }
                }
                Some(Err(error)) => {
                    return Err(RegistryError::BrokenOff {
                        registry: self.registry.clone(),
                        source: cause(error),
                    });
                }
            }
        }
    }

    /// The whole body.
    pub async fn body(mut self, what: &'static str, most: u64) -> Result<Bytes, RegistryError> {
        let mut all = Vec::new();
        while let Some(chunk) = self.chunk().await? {
            if (all.len() + chunk.len()) as u64 > most {
                return Err(RegistryError::TooLarge { registry: self.registry, what, most });
            }
            all.extend_from_slice(&chunk);
        }
        Ok(Bytes::from(all))
    }

    /// What the status says, with the registry's own words.
    pub async fn refusal(self, what: &str) -> RegistryError {
        let (status, registry, what) = (self.status(), self.registry.clone(), what.to_owned());
        let said = match self.body("an error", MAX_ERROR_BYTES).await {
            Ok(body) => words(&body),
            Err(_) => String::new(),
        };
        match status {
            StatusCode::NOT_FOUND => RegistryError::NotFound { registry, what },
            StatusCode::UNAUTHORIZED => RegistryError::Refused {
                registry,
                what,
                status,
                said,
                hint: "log in, or give the credentials in a pull secret",
            },
            StatusCode::FORBIDDEN => RegistryError::Refused {
                registry,
                what,
                status,
                said,
                hint: "the login has not the right to do this",
            },
            _ => RegistryError::Answered { registry, what, status, said },
        }
    }
}

/// The first message of a registry's error document.
fn words(body: &[u8]) -> String {
    let message = serde_json::from_slice::<serde_json::Value>(body).ok().and_then(|document| {
        let first = document.pointer("/errors/0")?;
        let message = first["message"].as_str().or_else(|| first["code"].as_str())?;
        Some(message.chars().filter(|c| !c.is_control()).take(200).collect::<String>())
    });
    message.map_or_else(String::new, |message| format!(": {message}"))
}

/// `place` as seen from `base`.
pub(super) fn resolve(base: &Uri, place: &str) -> Option<Uri> {
    let next: Uri = if place.starts_with('/') {
        format!("{}://{}{place}", base.scheme_str()?, base.authority()?).parse().ok()?
    } else {
        place.parse().ok()?
    };
    (next.authority().is_some() && matches!(next.scheme_str(), Some("http" | "https")))
        .then_some(next)
}

pub(super) fn cause(error: impl std::error::Error + Send + Sync + 'static) -> Cause {
    Arc::new(error)
}

/// Why there is no TLS; who speaks HTTP alone answers with what is no TLS at all.
fn no_tls(error: std::io::Error) -> Cause {
    use rustls::{Error, InvalidMessage};
    let of_tls = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    match of_tls {
        Some(Error::InvalidMessage(InvalidMessage::InvalidContentType)) => {
            cause(std::io::Error::other(
                "it does not speak TLS; if it may be spoken to over plain HTTP, say so (`insecure`)",
            ))
        }
        _ => cause(error),
    }
}

fn system_tls() -> Result<ClientConfig, SystemRootsError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        return Err(SystemRootsError { source: None });
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| SystemRootsError { source: Some(error) })?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_resolved() {
        let base: Uri = "http://r.example:5000/v2/x/blobs/uploads/".parse().unwrap();
        let check = |place: &str, expect: Option<&str>| {
            assert_eq!(resolve(&base, place).map(|uri| uri.to_string()).as_deref(), expect);
        };
        check("/v2/y?state=1", Some("http://r.example:5000/v2/y?state=1"));
        check("https://cdn.example/blob", Some("https://cdn.example/blob"));
        check("file:///etc/passwd", None);
        check("blob", None);
        check("", None);
    }

    #[test]
    fn a_registry_without_tls_is_told_from_a_broken_one() {
        let check = |error: rustls::Error, expect: &str| {
            let error = std::io::Error::new(std::io::ErrorKind::InvalidData, error);
            let said = no_tls(error).to_string();
            assert!(said.contains(expect), "{said}");
        };
        let other = rustls::InvalidMessage::InvalidContentType;
        check(rustls::Error::InvalidMessage(other), "does not speak TLS");
        check(rustls::Error::DecryptError, "decrypt");
    }

    #[test]
    fn the_words_of_an_error_are_short_and_plain() {
        let check = |body: &str, expect: &str| assert_eq!(words(body.as_bytes()), expect);
        check(r#"{"errors":[{"code":"DENIED","message":"no\u001b way"}]}"#, ": no way");
        check(r#"{"errors":[{"code":"DENIED"}]}"#, ": DENIED");
        check("<html>", "");
    }
}
