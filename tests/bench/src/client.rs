//! A load generator's HTTP/1.1 client: requests are made once as bytes, answers
//! are read with as little work as possible. It shares two cores with the server
//! under test, so what it saves the server gets.

use std::sync::Arc;

use anyhow::{Context, Result, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use memchr::memmem;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Where a server is and who we are there, from its kubeconfig.
#[derive(Clone)]
pub struct Access {
    pub address: String,
    tls: Arc<ClientConfig>,
}

impl Access {
    pub fn from_kubeconfig(path: &std::path::Path) -> Result<Self> {
        let config: serde_json::Value = serde_yaml_ng::from_str(&std::fs::read_to_string(path)?)?;
        let decode = |pointer: &str| -> Result<Vec<u8>> {
            let text = config.pointer(pointer).and_then(|v| v.as_str());
            Ok(STANDARD.decode(text.with_context(|| format!("no {pointer}"))?)?)
        };
        let server = config.pointer("/clusters/0/cluster/server").and_then(|v| v.as_str());
        let address = server.and_then(|s| s.strip_prefix("https://")).context("no server")?;
        let mut roots = RootCertStore::empty();
        let ca = decode("/clusters/0/cluster/certificate-authority-data")?;
        roots.add(CertificateDer::from_pem_slice(&ca)?)?;
        let chain =
            CertificateDer::from_pem_slice(&decode("/users/0/user/client-certificate-data")?)?;
        let key = PrivateKeyDer::from_pem_slice(&decode("/users/0/user/client-key-data")?)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_root_certificates(roots)
            .with_client_auth_cert(vec![chain], key)?;
        Ok(Self { address: address.to_owned(), tls: Arc::new(tls) })
    }

    pub async fn connect(&self) -> Result<Connection> {
        let tcp = TcpStream::connect(&self.address).await?;
        tcp.set_nodelay(true)?;
        let name = ServerName::try_from("localhost")?;
        let stream = TlsConnector::from(self.tls.clone()).connect(name, tcp).await?;
        Ok(Connection {
            stream,
            buffer: Vec::with_capacity(64 << 10),
            address: self.address.clone(),
        })
    }
}

pub struct Connection {
    stream: TlsStream<TcpStream>,
    /// Bytes read and not used yet.
    buffer: Vec<u8>,
    address: String,
}

/// Status and length of an answer whose body was read and dropped.
pub struct Outcome {
    pub status: u16,
    pub bytes: usize,
}

impl Connection {
    pub fn request(&self, method: &str, path: &str, body: &[u8]) -> Vec<u8> {
        let mut request = format!(
            "{method} {path} HTTP/1.1\r\nhost: {}\r\naccept: application/json\r\n",
            self.address
        );
        if method != "GET" {
            let kind =
                if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
            request
                .push_str(&format!("content-type: {kind}\r\ncontent-length: {}\r\n", body.len()));
        }
        request.push_str("\r\n");
        let mut request = request.into_bytes();
        request.extend_from_slice(body);
        request
    }

    /// Sends and reads the whole answer.
    pub async fn call(&mut self, request: &[u8]) -> Result<(u16, Vec<u8>)> {
        let mut body = Vec::new();
        let status = self.exchange(request, |bytes| body.extend_from_slice(bytes)).await?;
        Ok((status, body))
    }

    pub async fn measure(&mut self, request: &[u8]) -> Result<Outcome> {
        let mut length = 0;
        let status = self.exchange(request, |bytes| length += bytes.len()).await?;
        Ok(Outcome { status, bytes: length })
    }

    async fn exchange(&mut self, request: &[u8], mut sink: impl FnMut(&[u8])) -> Result<u16> {
        self.stream.write_all(request).await?;
        let (status, framing) = self.head().await?;
        match framing {
            Framing::Length(mut left) => {
                while left > 0 {
                    if self.buffer.is_empty() {
                        self.fill().await?;
                    }
                    let take = left.min(self.buffer.len());
                    sink(&self.buffer[..take]);
                    self.buffer.drain(..take);
                    left -= take;
                }
            }
            Framing::Chunked => {
                while let Some(chunk) = self.chunk().await? {
                    sink(&chunk)
                }
            }
        }
        Ok(status)
    }

    /// Starts a request whose answer is read by [`Connection::chunk`].
    pub async fn open(&mut self, request: &[u8]) -> Result<u16> {
        self.stream.write_all(request).await?;
        match self.head().await? {
            (status, Framing::Chunked) => Ok(status),
            (status, Framing::Length(_)) => bail!("the answer ({status}) is no stream"),
        }
    }

    /// One chunk of a chunked body (RFC 9112, 7.1), `None` at its end.
    pub async fn chunk(&mut self) -> Result<Option<Vec<u8>>> {
        let end = self.find(b"\r\n").await?;
        let size = std::str::from_utf8(&self.buffer[..end])?;
        let size = usize::from_str_radix(size.split(';').next().unwrap_or("").trim(), 16)?;
        self.buffer.drain(..end + 2);
        while self.buffer.len() < size + 2 {
            self.fill().await?;
        }
        let chunk = self.buffer[..size].to_vec();
        self.buffer.drain(..size + 2);
        Ok((size > 0).then_some(chunk))
    }

    async fn head(&mut self) -> Result<(u16, Framing)> {
        let end = self.find(b"\r\n\r\n").await?;
        let head = std::str::from_utf8(&self.buffer[..end])?;
        let status = head.split(' ').nth(1).context("no status")?.parse()?;
        let mut framing = Framing::Length(0);
        for line in head.lines().skip(1) {
            let Some((name, value)) = line.split_once(':') else { continue };
            if name.eq_ignore_ascii_case("content-length") {
                framing = Framing::Length(value.trim().parse()?);
            } else if name.eq_ignore_ascii_case("transfer-encoding") {
                framing = Framing::Chunked;
            }
        }
        self.buffer.drain(..end + 4);
        Ok((status, framing))
    }

    async fn find(&mut self, needle: &[u8]) -> Result<usize> {
        loop {
            if let Some(at) = memmem::find(&self.buffer, needle) {
                return Ok(at);
            }
            self.fill().await?;
        }
    }

    async fn fill(&mut self) -> Result<()> {
        self.buffer.reserve(64 << 10);
        if self.stream.read_buf(&mut self.buffer).await? == 0 {
            bail!("the server closed the connection");
        }
        Ok(())
    }
}

enum Framing {
    Length(usize),
    Chunked,
}
