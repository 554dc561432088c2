//! What can go wrong, per plan, per operation and per scope.

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;

use ipnet::IpNet;

/// A plan was refused or stopped at one of its operations.
#[derive(Debug, thiserror::Error)]
#[error("network operation {index} ({op}) of the plan failed")]
pub struct NetOpError {
    pub index: usize,
    pub op: &'static str,
    #[source]
    pub source: OpError,
}

#[derive(Debug, thiserror::Error)]
pub enum OpError {
    #[error("outside the scope that was granted")]
    Scope(#[source] ScopeError),
    #[error("cannot use network namespace {path}")]
    Netns {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("cannot reach the kernel's routing socket")]
    Socket(#[source] io::Error),
    #[error("no interface named `{0}`")]
    NoLink(String),
    #[error("the kernel refused the request")]
    Kernel(#[source] io::Error),
    #[error("cannot write sysctl {key}")]
    Sysctl {
        key: String,
        #[source]
        source: io::Error,
    },
    #[error("cannot run `nft`, install the nftables package")]
    NftMissing(#[source] io::Error),
    #[error("nft refused table {table}: {message}")]
    Nft { table: String, message: String },
    #[error("the thread that performs network operations is gone")]
    Worker(#[source] io::Error),
}

/// Why an operation is not one that this plugin may ask for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScopeError {
    #[error("`{0}` is not an interface name (1 to 15 characters without `/`, `:` or blanks)")]
    LinkName(String),
    #[error("interface `{link}` does not start with `{prefix}`")]
    LinkPrefix { link: String, prefix: String },
    #[error("address {0} lies in none of the allowed ranges")]
    Address(IpAddr),
    #[error("range {0} lies in none of the allowed ranges")]
    Range(IpNet),
    #[error("path {path} is not directly inside {dir}")]
    NetnsPath { path: PathBuf, dir: PathBuf },
    #[error("sysctl `{0}` is not on the list of allowed keys")]
    SysctlKey(String),
    #[error("sysctl value `{0}` is not a short word of letters, digits, `-` and blanks")]
    SysctlValue(String),
    #[error("table `{table}` does not start with `{prefix}`")]
    TablePrefix { table: String, prefix: String },
    #[error("`{0}` is not one of the table families ip, ip6, inet")]
    TableFamily(String),
    #[error("the table's body leaves its table (unbalanced braces) or includes files")]
    TableBody,
}
