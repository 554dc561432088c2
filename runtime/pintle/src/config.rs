//! Settings: flags over environment over the configuration file over defaults.
//!
//! One struct is read from both the command line and the file, so a setting has
//! one name everywhere: `--data-dir`, `PINTLE_DATA_DIR`, `data-dir = "…"`.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use clap::{Args, ValueEnum};
use pintle_api::cidr::Cidr;
use pintle_api::names;
use pintle_storage::EngineKind;
use serde::Deserialize;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Storage {
    /// Faster with few writers; larger files.
    Sled,
    /// Compact files.
    Redb,
}

impl From<Storage> for EngineKind {
    fn from(storage: Storage) -> Self {
        match storage {
            Storage::Sled => EngineKind::Sled,
            Storage::Redb => EngineKind::Redb,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    Text,
    Json,
}

/// As given: what is absent falls through to the next layer.
#[derive(Debug, Clone, Default, Args, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Settings {
    /// Directory of all state [default: /var/lib/pintle]
    #[arg(long, env = "PINTLE_DATA_DIR", value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Format of the log on standard error [default: text]
    #[arg(long, env = "PINTLE_LOG_FORMAT", value_name = "FORMAT")]
    pub log_format: Option<LogFormat>,
    /// What to log, as `level` or `target=level,…` [default: info]
    #[arg(long, env = "PINTLE_LOG", value_name = "FILTER")]
    pub log: Option<String>,
    /// Public keys (PEM files); every plugin that is not built into pintle must be signed with one
    #[arg(long, env = "PINTLE_PLUGIN_PUBLIC_KEYS", value_name = "FILE", value_delimiter = ',')]
    pub plugin_public_keys: Option<Vec<PathBuf>>,

    /// Address of the HTTPS API [default: 0.0.0.0:6443]
    #[arg(long, env = "PINTLE_LISTEN", value_name = "ADDR:PORT", help_heading = "Server")]
    pub listen: Option<SocketAddr>,
    /// UDP address at which nodes connect over QUIC [default: 0.0.0.0:6444]
    #[arg(long, env = "PINTLE_NODE_LISTEN", value_name = "ADDR:PORT", help_heading = "Server")]
    pub node_listen: Option<SocketAddr>,
    /// Where the administrator's kubeconfig is written [default: DATA-DIR/admin.kubeconfig]
    #[arg(long, env = "PINTLE_KUBECONFIG", value_name = "FILE", help_heading = "Server")]
    pub kubeconfig: Option<PathBuf>,
    /// Storage engine of a new data directory [default: sled]
    #[arg(long, env = "PINTLE_STORAGE", help_heading = "Server")]
    pub storage: Option<Storage>,
    /// Further names or addresses that the API's certificate is valid for
    #[arg(
        long,
        env = "PINTLE_TLS_SAN",
        value_name = "NAME",
        value_delimiter = ',',
        help_heading = "Server"
    )]
    pub tls_san: Option<Vec<String>>,
    /// Addresses of all pods; every node gets a part [default: 10.244.0.0/16]
    #[arg(long, env = "PINTLE_CLUSTER_CIDR", value_name = "CIDR", help_heading = "Server")]
    pub cluster_cidr: Option<String>,
    /// Addresses of services: one range, or one of each IP family [default: 10.96.0.0/16]
    #[arg(
        long,
        env = "PINTLE_SERVICE_CIDR",
        value_name = "CIDR",
        value_delimiter = ',',
        help_heading = "Server"
    )]
    pub service_cidr: Option<Vec<String>>,

    /// Name of this node [default: the host's name]
    #[arg(long, env = "PINTLE_NODE_NAME", value_name = "NAME", help_heading = "Node")]
    pub node_name: Option<String>,
    /// Address at which other nodes reach this one [default: found by its route to the server]
    #[arg(long, env = "PINTLE_NODE_IP", value_name = "ADDR", help_heading = "Node")]
    pub node_ip: Option<IpAddr>,
    /// Labels of this node, `key=value,…`
    #[arg(
        long,
        env = "PINTLE_NODE_LABELS",
        value_name = "K=V",
        value_delimiter = ',',
        help_heading = "Node"
    )]
    pub node_labels: Option<Vec<String>>,
    /// Server to join, `host:port` of its node address
    #[arg(long, env = "PINTLE_SERVER", value_name = "HOST:PORT", help_heading = "Node")]
    pub server: Option<String>,
    /// Join token from `pintle token create`; needed once
    #[arg(
        long,
        env = "PINTLE_JOIN",
        value_name = "TOKEN",
        hide_env_values = true,
        help_heading = "Node"
    )]
    pub join: Option<String>,
    /// The pod supervisor [default: pintle-shim beside this program]
    #[arg(long, env = "PINTLE_SHIM", value_name = "FILE", help_heading = "Node")]
    pub shim: Option<PathBuf>,
    /// The OCI runtime [default: the first that is installed of runc, crun, youki]
    #[arg(long, env = "PINTLE_OCI_RUNTIME", value_name = "PROGRAM", help_heading = "Node")]
    pub oci_runtime: Option<PathBuf>,
}

macro_rules! lay_over {
    ($top:ident, $below:ident, $($field:ident),+ $(,)?) => {
        Settings { $($field: $top.$field.or($below.$field)),+ }
    };
}

impl Settings {
    /// These settings, completed from the file if one is given.
    pub fn with_file(self, file: Option<&Path>) -> Result<Self> {
        let Some(file) = file else { return Ok(self) };
        let text = std::fs::read_to_string(file)
            .with_context(|| format!("cannot read the configuration file {}", file.display()))?;
        let below: Settings = toml::from_str(&text)
            .with_context(|| format!("the configuration file {} is not valid", file.display()))?;
        let top = self;
        Ok(lay_over!(
            top,
            below,
            data_dir,
            log_format,
            log,
            plugin_public_keys,
            listen,
            node_listen,
            kubeconfig,
            storage,
            tls_san,
            cluster_cidr,
            service_cidr,
            node_name,
            node_ip,
            node_labels,
            server,
            join,
            shim,
            oci_runtime,
        ))
    }

    pub fn data_dir(&self) -> PathBuf {
        data_dir(self.data_dir.as_deref())
    }

    pub fn listen(&self) -> SocketAddr {
        self.listen.unwrap_or_else(|| SocketAddr::from(([0, 0, 0, 0], 6443)))
    }

    pub fn node_listen(&self) -> SocketAddr {
        self.node_listen.unwrap_or_else(|| SocketAddr::from(([0, 0, 0, 0], 6444)))
    }

    pub fn cluster_cidr(&self) -> &str {
        self.cluster_cidr.as_deref().unwrap_or("10.244.0.0/16")
    }

    pub fn kubeconfig(&self) -> PathBuf {
        self.kubeconfig.clone().unwrap_or_else(|| self.data_dir().join("admin.kubeconfig"))
    }

    pub fn node_name(&self) -> Result<String> {
        let name = match &self.node_name {
            Some(name) => name.clone(),
            None => nix::unistd::gethostname()
                .context("the host's name cannot be read; give --node-name")?
                .to_string_lossy()
                .to_lowercase(),
        };
        match names::dns_subdomain(&name) {
            None => Ok(name),
            Some(problem) => bail!("{name:?} cannot be a node's name: {problem}"),
        }
    }

    pub fn node_labels(&self) -> Result<Vec<(String, String)>> {
        self.node_labels
            .iter()
            .flatten()
            .map(|label| {
                let (key, value) = label
                    .split_once('=')
                    .with_context(|| format!("node label {label:?} must look like key=value"))?;
                match names::qualified_name(key).or_else(|| names::label_value(value)) {
                    None => Ok((key.to_owned(), value.to_owned())),
                    Some(problem) => bail!("node label {label:?} is not valid: {problem}"),
                }
            })
            .collect()
    }

    /// What the server would trip over long after its start.
    pub fn check_server(&self) -> Result<()> {
        let range = self.cluster_cidr();
        ensure!(
            is_range(range),
            "--cluster-cidr {range:?} is not a range of addresses such as 10.244.0.0/16"
        );
        if let Ok(pods) = range.parse::<Cidr>()
            && let Some(both) =
                self.service_cidr()?.iter().find(|one| one.covers(&pods) || pods.covers(one))
        {
            bail!("--service-cidr {both} and --cluster-cidr {pods} have addresses in common");
        }
        for name in self.tls_san.iter().flatten() {
            let host = name.strip_prefix("*.").unwrap_or(name);
            let known = host.parse::<IpAddr>().is_ok() || names::dns_subdomain(host).is_none();
            ensure!(known, "--tls-san {name:?} is neither a DNS name nor an address");
        }
        self.check_keys()
    }

    /// What the node would trip over long after its start.
    pub fn check_node(&self) -> Result<()> {
        self.node_name()?;
        self.node_labels()?;
        self.check_keys()?;
        self.shim().map(drop)
    }

    fn check_keys(&self) -> Result<()> {
        crate::sources::read_public_keys(self.plugin_public_keys.as_deref().unwrap_or_default())
            .map(drop)
            .context("--plugin-public-keys")
    }

    pub fn shim(&self) -> Result<PathBuf> {
        if let Some(shim) = &self.shim {
            ensure!(shim.is_file(), "--shim {} is no file", shim.display());
            return Ok(shim.clone());
        }
        let own = std::env::current_exe().context("cannot tell where this program lies")?;
        let shim = own.with_file_name("pintle-shim");
        ensure!(
            shim.is_file(),
            "{} is missing; it is built together with pintle, or name another place with --shim",
            shim.display()
        );
        Ok(shim)
    }
}

/// `10.244.0.0/16`
fn is_range(text: &str) -> bool {
    let Some((address, prefix)) = text.split_once('/') else { return false };
    match (address.parse::<IpAddr>(), prefix.parse::<u8>()) {
        (Ok(IpAddr::V4(_)), Ok(prefix)) => prefix <= 32,
        (Ok(IpAddr::V6(_)), Ok(prefix)) => prefix <= 128,
        _ => false,
    }
}

/// Absolute: runc and the shims are started in directories of their own, and are
/// told of files below it.
pub fn data_dir(asked: Option<&Path>) -> PathBuf {
    let dir = asked.unwrap_or(Path::new("/var/lib/pintle"));
    std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> Result<Settings> {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("pintle.toml");
        std::fs::write(&path, text)?;
        let flags = Settings { node_name: Some("from-flag".into()), ..Settings::default() };
        flags.with_file(Some(&path))
    }

    #[test]
    fn flags_win_over_the_file_and_the_file_over_defaults() {
        let settings = file("data-dir = '/x'\nnode-name = 'from-file'\nstorage = 'redb'").unwrap();
        assert_eq!(settings.data_dir(), Path::new("/x"));
        assert_eq!(settings.node_name().unwrap(), "from-flag");
        assert_eq!(settings.storage, Some(Storage::Redb));
        assert_eq!(settings.listen().port(), 6443);
        assert_eq!(settings.kubeconfig(), Path::new("/x/admin.kubeconfig"));
    }

    #[test]
    fn the_data_directory_is_absolute() {
        let here = std::env::current_dir().unwrap();
        assert_eq!(data_dir(Some(Path::new("./state"))), here.join("state"));
        assert_eq!(data_dir(Some(Path::new("/x"))), Path::new("/x"));
        assert_eq!(data_dir(None), Path::new("/var/lib/pintle"));
    }

    #[test]
    fn unknown_keys_and_wrong_types_are_errors_that_name_them() {
        let check = |text: &str, expect: &str| {
            let error = format!("{:#}", file(text).unwrap_err());
            assert!(error.contains(expect), "{error}");
        };
        check("dataa-dir = '/x'", "dataa-dir");
        check("listen = 'nowhere'", "listen");
        check("storage = 'etcdd'", "etcdd");
    }

    #[test]
    fn what_cannot_work_is_said_before_the_start() {
        let check = |settings: Settings, expect: &str| {
            let error = settings.check_server().and_then(|()| settings.check_node()).unwrap_err();
            assert!(error.to_string().contains(expect), "{error}");
        };
        let some = |text: &str| Some(text.to_owned());
        let list = |text: &str| Some(vec![text.to_owned()]);
        let none = Settings::default;
        check(Settings { cluster_cidr: some("bad"), ..none() }, "--cluster-cidr \"bad\"");
        check(Settings { cluster_cidr: some("10.0.0.0/33"), ..none() }, "--cluster-cidr");
        check(Settings { service_cidr: list("bad"), ..none() }, "--service-cidr \"bad\"");
        check(Settings { service_cidr: list("10.244.8.0/24"), ..none() }, "addresses in common");
        check(Settings { tls_san: list("bad name"), ..none() }, "--tls-san \"bad name\"");
        check(Settings { node_name: some("Bad_Name"), ..none() }, "cannot be a node's name");
        check(Settings { node_labels: list("bad key=1"), ..none() }, "node label \"bad key=1\"");
        check(Settings { node_labels: list("key"), ..none() }, "must look like key=value");
        check(Settings { shim: Some("/nonexistent/x".into()), ..none() }, "--shim /nonexistent/x");
        for name in ["example.org", "*.example.org", "192.0.2.1", "2001:db8::1"] {
            Settings { tls_san: list(name), ..none() }.check_server().unwrap();
        }
    }
}
