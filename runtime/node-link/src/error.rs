//! What can go wrong on a link, in words for the person who runs the node.

use std::io;

/// A join token that cannot be used as it was given.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum TokenError {
    #[error(
        "the join token must look like <sha256 of the CA>::<id>.<secret>; print a fresh one with `pintle token create`"
    )]
    Malformed,
    #[error("the CA hash in the join token must be 64 hexadecimal digits, it has {0} characters")]
    HashLength(usize),
}

/// Why a session could not be opened, or why a request on it did not complete.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    #[error("cannot use UDP address {address}")]
    Socket {
        address: std::net::SocketAddr,
        #[source]
        source: io::Error,
    },
    #[error("the server's address {0:?} cannot be resolved")]
    Resolve(String),
    #[error("TLS setup failed")]
    Tls(#[source] rustls::Error),
    #[error("the certificate or key cannot be read: {0}")]
    Certificate(String),
    #[error("no session with the server at {address}")]
    Connect {
        address: String,
        #[source]
        source: quinn::ConnectionError,
    },
    #[error(
        "the server's CA has hash {actual}, the join token asks for {expected}: this is another cluster, or somebody is in between"
    )]
    WrongCa { expected: String, actual: String },
    #[error("the server refused: {0}")]
    Refused(String),
    #[error("the session ended")]
    Closed(#[source] quinn::ConnectionError),
    #[error("not connected to the server")]
    Disconnected,
    #[error("the stream broke")]
    Stream(#[source] io::Error),
    #[error("a frame of {0} bytes is over the limit of {limit} bytes", limit = crate::MAX_FRAME_BYTES)]
    FrameTooLarge(usize),
    #[error("the peer sent something that is not part of the protocol: {0}")]
    Protocol(String),
    #[error("the answer is over the limit of {0} bytes")]
    BodyTooLarge(usize),
    #[error(
        "{} is that of node {found:?}, not of {asked:?}: start it as {found:?} again, or end it with `pintle reset` and let {asked:?} join",
        dir.display()
    )]
    OtherNode { dir: std::path::PathBuf, found: String, asked: String },
    #[error("node {0:?} has no session with this server")]
    NoSuchNode(String),
    #[error("{path} cannot be written or read")]
    File {
        path: std::path::PathBuf,
        #[source]
        source: io::Error,
    },
}
