//! The HTTPS API of a server under test, as the administrator or as whom one
//! impersonates. Blocking: a flow of work is a thread.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use serde_json::{Value, json};

/// Where a server is and who we are there, from its kubeconfig.
#[derive(Clone)]
pub struct Access {
    address: String,
    tls: Arc<ClientConfig>,
}

/// One connection that is kept. Every method panics when the server does not
/// answer: whatever is swapped, it has to.
pub struct Api {
    access: Access,
    stream: BufReader<StreamOwned<ClientConnection, TcpStream>>,
    /// Name and groups of the user in whose name requests are made.
    acting: Option<(String, Vec<String>)>,
}

/// Status and body of an answer.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub body: Value,
}

impl Answer {
    pub fn is_ok(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The body, if the request was done.
    pub fn ok(self) -> Value {
        assert!(self.is_ok(), "{}: {}", self.status, self.body);
        self.body
    }

    /// Nothing, if the request was done as `check` wants it.
    pub fn holds(&self, check: impl Fn(&Value) -> bool) -> Result<(), String> {
        if self.is_ok() && check(&self.body) {
            Ok(())
        } else {
            Err(format!("{}: {}", self.status, self.body))
        }
    }

    /// Nothing, if the request was forbidden in words with `part` in them.
    pub fn is_refused(&self, part: &str) -> Result<(), String> {
        let message = self.body["message"].as_str().unwrap_or_default();
        if self.status == 403 && message.contains(part) {
            Ok(())
        } else {
            Err(format!("{part:?} is not in {}: {}", self.status, self.body))
        }
    }
}

impl Access {
    pub fn from_kubeconfig(path: &Path) -> Self {
        let text = std::fs::read_to_string(path).expect("the kubeconfig can be read");
        let config: Value = serde_yaml_ng::from_str(&text).expect("a kubeconfig is YAML");
        let text = |pointer: &str| {
            let value = config.pointer(pointer).and_then(Value::as_str);
            value.unwrap_or_else(|| panic!("the kubeconfig has no {pointer}")).to_owned()
        };
        let pem = |pointer: &str| STANDARD.decode(text(pointer)).expect("base64");
        let server = text("/clusters/0/cluster/server");
        let mut roots = RootCertStore::empty();
        let ca = pem("/clusters/0/cluster/certificate-authority-data");
        roots.add(CertificateDer::from_pem_slice(&ca).expect("PEM")).expect("a certificate");
        let chain = pem("/users/0/user/client-certificate-data");
        let chain = CertificateDer::from_pem_slice(&chain).expect("PEM");
        let key = pem("/users/0/user/client-key-data");
        let key = PrivateKeyDer::from_pem_slice(&key).expect("PEM");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("TLS 1.3")
            .with_root_certificates(roots)
            .with_client_auth_cert(vec![chain], key)
            .expect("a key that fits");
        let address = server.strip_prefix("https://").expect("https").to_owned();
        Self { address, tls: Arc::new(tls) }
    }

    pub fn connect(&self) -> Api {
        let tcp = TcpStream::connect(&self.address).expect("the server listens");
        tcp.set_nodelay(true).expect("a socket");
        let name = ServerName::try_from("localhost").expect("a name");
        let tls = ClientConnection::new(self.tls.clone(), name).expect("a TLS session");
        let stream = BufReader::new(StreamOwned::new(tls, tcp));
        Api { access: self.clone(), stream, acting: None }
    }
}

impl Api {
    /// Another connection as the administrator.
    pub fn another(&self) -> Api {
        self.access.connect()
    }

    /// Requests are made in the name of this user until [`Api::as_admin`].
    pub fn act_as(&mut self, user: &str, groups: &[&str]) -> &mut Self {
        let groups = groups.iter().map(|&group| group.to_owned()).collect();
        self.acting = Some((user.to_owned(), groups));
        self
    }

    pub fn as_admin(&mut self) -> &mut Self {
        self.acting = None;
        self
    }

    pub fn get(&mut self, path: &str) -> Answer {
        self.call("GET", path, "", "")
    }

    pub fn create(&mut self, path: &str, object: &Value) -> Answer {
        self.call("POST", path, "application/json", &object.to_string())
    }

    pub fn replace(&mut self, path: &str, object: &Value) -> Answer {
        self.call("PUT", path, "application/json", &object.to_string())
    }

    pub fn merge(&mut self, path: &str, patch: &Value) -> Answer {
        self.call("PATCH", path, "application/merge-patch+json", &patch.to_string())
    }

    pub fn delete(&mut self, path: &str) -> Answer {
        let options = json!({"apiVersion": "v1", "kind": "DeleteOptions",
            "propagationPolicy": "Background"});
        self.call("DELETE", path, "application/json", &options.to_string())
    }

    fn call(&mut self, method: &str, path: &str, kind: &str, body: &str) -> Answer {
        self.send(method, path, kind, body);
        let (status, length) = self.head();
        let bytes = match length {
            Some(length) => {
                let mut bytes = vec![0; length];
                self.stream.read_exact(&mut bytes).expect("the server answers");
                bytes
            }
            None => {
                let mut bytes = Vec::new();
                while let Some(chunk) = self.chunk().expect("the server answers") {
                    bytes.extend(chunk);
                }
                bytes
            }
        };
        let text = || Value::String(String::from_utf8_lossy(&bytes).into_owned());
        Answer { status, body: serde_json::from_slice(&bytes).unwrap_or_else(|_| text()) }
    }

    /// Events of a watch, until `see` has enough or the connection is cut by the
    /// handle that [`Api::cutter`] gave.
    pub fn watch(mut self, path: &str, mut see: impl FnMut(&str, &Value) -> bool) {
        let separator = if path.contains('?') { '&' } else { '?' };
        self.send("GET", &format!("{path}{separator}watch=true"), "", "");
        let (status, length) = self.head();
        assert_eq!((status, length), (200, None), "{path} is watched");
        let mut rest = Vec::new();
        while let Ok(Some(chunk)) = self.chunk() {
            rest.extend(chunk);
            while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = rest.drain(..=end).collect();
                let event: Value = serde_json::from_slice(&line).expect("an event is JSON");
                let kind = event["type"].as_str().unwrap_or_default();
                assert_ne!(kind, "ERROR", "{path}: {event}");
                if see(kind, &event["object"]) {
                    return;
                }
            }
        }
    }

    /// A stream of bytes to its end. `begun` is called before the first of them.
    pub fn read_all(mut self, path: &str, begun: impl FnOnce()) -> Vec<u8> {
        self.send("GET", path, "", "");
        let (status, length) = self.head();
        assert_eq!((status, length), (200, None), "{path} is a stream");
        begun();
        let mut bytes = Vec::new();
        while let Ok(Some(chunk)) = self.chunk() {
            bytes.extend(chunk);
        }
        bytes
    }

    /// Ends whatever is read from this connection.
    pub fn cutter(&self) -> impl FnOnce() + Send + 'static {
        let socket = self.stream.get_ref().sock.try_clone().expect("a socket");
        move || drop(socket.shutdown(Shutdown::Both))
    }

    fn send(&mut self, method: &str, path: &str, kind: &str, body: &str) {
        let mut request = format!(
            "{method} {path} HTTP/1.1\r\nhost: {}\r\naccept: application/json\r\n",
            self.access.address
        );
        if !kind.is_empty() {
            request += &format!("content-type: {kind}\r\ncontent-length: {}\r\n", body.len());
        }
        if let Some((user, groups)) = &self.acting {
            request += &format!("impersonate-user: {user}\r\n");
            groups.iter().for_each(|group| request += &format!("impersonate-group: {group}\r\n"));
        }
        request += &format!("\r\n{body}");
        let stream = self.stream.get_mut();
        stream.write_all(request.as_bytes()).and_then(|()| stream.flush()).expect("it is read");
    }

    /// Status, and the length of a body that is not chunked.
    fn head(&mut self) -> (u16, Option<usize>) {
        let line = self.line().expect("the server answers");
        let status = line.split(' ').nth(1).and_then(|word| word.parse().ok());
        let status = status.unwrap_or_else(|| panic!("{line:?} is no status"));
        let mut length = Some(0);
        loop {
            let line = self.line().expect("the server answers").to_ascii_lowercase();
            match line.split_once(": ") {
                None => return (status, length),
                Some(("content-length", value)) => length = value.parse().ok(),
                Some(("transfer-encoding", "chunked")) => length = None,
                Some(_) => {}
            }
        }
    }

    fn line(&mut self) -> std::io::Result<String> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        Ok(line.trim_end().to_owned())
    }

    /// One chunk of a chunked body (RFC 9112, 7.1), None at its end.
    fn chunk(&mut self) -> std::io::Result<Option<Vec<u8>>> {
        let line = self.line()?;
        let size = line.split(';').next().unwrap_or_default();
        let size = usize::from_str_radix(size.trim(), 16).map_err(std::io::Error::other)?;
        let mut bytes = vec![0; size + 2];
        self.stream.read_exact(&mut bytes)?;
        bytes.truncate(size);
        Ok((size > 0).then_some(bytes))
    }
}
