//! A real registry (Debian's `docker-registry`) in a folder that goes away with
//! it, and a proxy before it that loses connections when it is told to.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tempfile::TempDir;

use crate::command;

/// User and password of [`Login::Basic`].
pub const USER: (&str, &str) = ("user", "secret");
/// Bcrypt of the password, as `htpasswd -B` makes it.
const HTPASSWD: &str = "user:$2y$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a\n";

/// Why there is no registry to test with; `None` when there is one.
pub fn cannot_run_registry() -> Option<String> {
    command::find("docker-registry")
        .is_none()
        .then(|| "docker-registry is not installed; `apt-get install docker-registry`".to_owned())
}

/// Returns from the test with a line that says why, where there is no registry.
#[macro_export]
macro_rules! require_registry {
    () => {
        if let Some(why) = $crate::registry::cannot_run_registry() {
            eprintln!("SKIPPED: {why}");
            return;
        }
    };
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Login {
    None,
    Basic,
}

/// Ends with its value; what it holds goes with it unless it is taken along.
pub struct Registry {
    child: Child,
    directory: TempDir,
    pub address: SocketAddr,
}

impl Registry {
    /// At a free port of the loopback device of this thread's network namespace.
    pub fn start(login: Login) -> Self {
        Self::start_with(login, None)
    }

    /// With TLS, when a certificate and its key (PEM files) are given.
    pub fn start_with(login: Login, tls: Option<(&Path, &Path)>) -> Self {
        let directory =
            tempfile::Builder::new().prefix("pintle-registry-").tempdir().expect("a temp dir");
        let data = directory.path().join("data");
        let mut config = format!(
            "version: 0.1\nlog: {{level: info}}\nstorage: {{filesystem: {{rootdirectory: {}}}, delete: {{enabled: true}}}}\n\
             http:\n  addr: 127.0.0.1:0\n",
            data.display()
        );
        if let Some((certificate, key)) = tls {
            let (certificate, key) = (certificate.display(), key.display());
            config.push_str(&format!("  tls: {{certificate: {certificate}, key: {key}}}\n"));
        }
        if login == Login::Basic {
            let htpasswd = directory.path().join("htpasswd");
            fs::write(&htpasswd, HTPASSWD).expect("the temp dir is writable");
            config.push_str(&format!(
                "auth: {{htpasswd: {{realm: test, path: {}}}}}\n",
                htpasswd.display()
            ));
        }
        let file = directory.path().join("config.yml");
        fs::write(&file, config).expect("the temp dir is writable");
        let program = command::find("docker-registry").expect("it was looked for before");
        let mut child = Command::new(program)
            .arg("serve")
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the registry starts");
        let mut log = BufReader::new(child.stderr.take().expect("stderr is piped"));
        let mut said = String::new();
        let address = loop {
            let mut line = String::new();
            let read = log.read_line(&mut line).expect("the log is text");
            if read == 0 {
                let _ = child.kill();
                let _ = child.wait();
                panic!("the registry does not start:\n{said}");
            }
            if let Some(at) = line.split("listening on ").nth(1) {
                let end = at.find([',', '"']).unwrap_or(at.len());
                break at[..end].trim().parse().expect("it listens at an address");
            }
            said.push_str(&line);
        };
        // A full pipe would stop it.
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        Self { child, directory, address }
    }

    /// `127.0.0.1:port/repository:tag`
    pub fn reference(&self, rest: &str) -> String {
        format!("{}/{rest}", self.address)
    }

    /// Where the bytes of a blob lie.
    pub fn blob_file(&self, digest: &str) -> PathBuf {
        let hex = digest.trim_start_matches("sha256:");
        self.directory
            .path()
            .join("data/docker/registry/v2/blobs/sha256")
            .join(&hex[..2])
            .join(hex)
            .join("data")
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What becomes of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    Forward,
    /// Closed after so many bytes of the answer.
    Cut(usize),
    /// Held open after so many bytes of the answer, until the client goes.
    Stall(usize),
    /// Answered here, with this head and body.
    Answer(String),
}

type Rule = dyn Fn(&str) -> Fate + Send + Sync;

/// Passes each connection, which carries one request, on to `upstream`, or does
/// what the rule says of the request's head.
pub struct Proxy {
    pub address: SocketAddr,
    ended: Arc<AtomicBool>,
}

impl Proxy {
    /// In the network namespace of this thread.
    pub fn start(
        upstream: SocketAddr,
        rule: impl Fn(&str) -> Fate + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("a listener has an address");
        let ended = Arc::new(AtomicBool::new(false));
        let (stop, rule): (_, Arc<Rule>) = (ended.clone(), Arc::new(rule));
        std::thread::spawn(move || {
            for client in listener.incoming() {
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                let rule = rule.clone();
                if let Ok(client) = client {
                    // Whoever cuts connections is not surprised by cut ones.
                    std::thread::spawn(move || pass(client, upstream, &*rule));
                }
            }
        });
        Self { address, ended }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        // The listener looks after each connection.
        let _ = TcpStream::connect(self.address);
    }
}

fn pass(mut client: TcpStream, upstream: SocketAddr, rule: &Rule) -> std::io::Result<()> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if client.read(&mut byte)? == 0 {
            return Ok(());
        }
        head.push(byte[0]);
    }
    let fate = rule(&String::from_utf8_lossy(&head));
    if let Fate::Answer(text) = &fate {
        return client.write_all(text.as_bytes());
    }
    let mut server = TcpStream::connect(upstream)?;
    server.write_all(&head)?;
    let (mut from_client, mut to_server) = (client.try_clone()?, server.try_clone()?);
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut from_client, &mut to_server);
        let _ = to_server.shutdown(std::net::Shutdown::Write);
    });
    let most = match fate {
        Fate::Cut(most) | Fate::Stall(most) => most,
        _ => usize::MAX,
    };
    let mut sent = 0;
    let mut buffer = [0; 4096];
    loop {
        let read = server.read(&mut buffer)?;
        let now = read.min(most - sent);
        client.write_all(&buffer[..now])?;
        sent += now;
        if read == 0 || sent == most {
            break;
        }
    }
    if let Fate::Stall(_) = fate {
        let _ = client.read(&mut byte);
    }
    let _ = server.shutdown(std::net::Shutdown::Both);
    client.shutdown(std::net::Shutdown::Both)
}
