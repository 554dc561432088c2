//! The part of a kubeconfig that names a server and a client certificate.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use crate::cli::Connection;

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Kubeconfig {
    #[serde(default)]
    clusters: Vec<NamedCluster>,
    #[serde(default)]
    users: Vec<NamedUser>,
    #[serde(default)]
    contexts: Vec<NamedContext>,
    #[serde(default)]
    current_context: String,
}

#[derive(Deserialize)]
struct NamedCluster {
    name: String,
    cluster: Cluster,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Cluster {
    server: String,
    certificate_authority_data: Option<String>,
    certificate_authority: Option<PathBuf>,
}

#[derive(Deserialize)]
struct NamedUser {
    name: String,
    user: User,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct User {
    client_certificate_data: Option<String>,
    client_certificate: Option<PathBuf>,
    client_key_data: Option<String>,
    client_key: Option<PathBuf>,
}

#[derive(Deserialize)]
struct NamedContext {
    name: String,
    context: Context_,
}

#[derive(Deserialize)]
struct Context_ {
    cluster: String,
    user: String,
    namespace: Option<String>,
}

/// Where the server is and who we are there.
pub struct Credentials {
    /// `host:port`.
    pub address: String,
    pub host: String,
    pub ca_pem: Vec<u8>,
    pub certificate_pem: Vec<u8>,
    pub key_pem: Vec<u8>,
    pub namespace: Option<String>,
}

/// The file to use: what was asked for, else what is found.
fn locate(connection: &Connection) -> Result<PathBuf> {
    if let Some(file) = &connection.kubeconfig {
        return Ok(file.clone());
    }
    if connection.data_dir.is_none()
        && let Some(list) = std::env::var_os("KUBECONFIG")
        && let Some(file) = std::env::split_paths(&list).find(|file| file.is_file())
    {
        return Ok(file);
    }
    let data_dir = connection.data_dir.clone().unwrap_or_else(|| "/var/lib/pintle".into());
    let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    let places = [data_dir.join("admin.kubeconfig"), home.join(".kube/config")];
    places.iter().find(|file| file.is_file()).cloned().with_context(|| {
        let [own, home] = places.map(|file| file.display().to_string());
        format!(
            "no kubeconfig found, neither {own} nor {home}; start a cluster with `pintle up`, or \
             name the file with --kubeconfig"
        )
    })
}

pub fn load(connection: &Connection) -> Result<Credentials> {
    let file = locate(connection)?;
    let text = std::fs::read_to_string(&file)
        .with_context(|| format!("cannot read the kubeconfig {}", file.display()))?;
    parse(&text, file.parent().unwrap_or(Path::new(".")))
        .with_context(|| format!("the kubeconfig {} cannot be used", file.display()))
}

fn parse(text: &str, dir: &Path) -> Result<Credentials> {
    let config: Kubeconfig = serde_yaml_ng::from_str(text)?;
    ensure!(!config.current_context.is_empty(), "it has no current-context");
    let context = config
        .contexts
        .iter()
        .find(|c| c.name == config.current_context)
        .map(|c| &c.context)
        .with_context(|| format!("it has no context {:?}", config.current_context))?;
    let cluster = config
        .clusters
        .iter()
        .find(|c| c.name == context.cluster)
        .map(|c| &c.cluster)
        .with_context(|| format!("it has no cluster {:?}", context.cluster))?;
    let user = config
        .users
        .iter()
        .find(|u| u.name == context.user)
        .map(|u| &u.user)
        .with_context(|| format!("it has no user {:?}", context.user))?;
    let Some(rest) = cluster.server.strip_prefix("https://") else {
        bail!("the server {:?} must start with https://", cluster.server);
    };
    let uri: http::Uri = cluster.server.parse().context("the server's address is no URL")?;
    let host = uri.host().context("the server's address has no host")?;
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let address = if uri.port().is_some() {
        rest.trim_end_matches('/').to_owned()
    } else {
        format!("{}:443", rest.trim_end_matches('/'))
    };
    Ok(Credentials {
        address,
        host,
        ca_pem: pem(
            "certificate-authority",
            &cluster.certificate_authority_data,
            &cluster.certificate_authority,
            dir,
        )?,
        certificate_pem: pem(
            "client-certificate",
            &user.client_certificate_data,
            &user.client_certificate,
            dir,
        )?,
        key_pem: pem("client-key", &user.client_key_data, &user.client_key, dir)?,
        namespace: context.namespace.clone(),
    })
}

fn pem(what: &str, data: &Option<String>, file: &Option<PathBuf>, dir: &Path) -> Result<Vec<u8>> {
    if let Some(data) = data {
        return STANDARD.decode(data).with_context(|| format!("{what}-data is no base64"));
    }
    let file = file.as_ref().with_context(|| format!("it has neither {what} nor {what}-data"))?;
    let file = dir.join(file);
    std::fs::read(&file).with_context(|| format!("cannot read {}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named() {
        let check = |text: &str, expect: &str| {
            let error = format!("{:#}", parse(text, Path::new(".")).err().unwrap());
            assert!(error.contains(expect), "{error}");
        };
        check("current-context: a", "no context \"a\"");
        let contexts =
            "current-context: a\ncontexts: [{name: a, context: {cluster: c, user: u}}]\n";
        check(contexts, "no cluster \"c\"");
        let cluster = "clusters: [{name: c, cluster: {server: 'http://x'}}]\n";
        check(&format!("{contexts}{cluster}"), "no user \"u\"");
        let user = "users: [{name: u, user: {}}]\n";
        check(&format!("{contexts}{cluster}{user}"), "https://");
    }
}
