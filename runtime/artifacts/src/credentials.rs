//! Who one is to a registry: the `config.json` that docker, podman and
//! Secrets of type `kubernetes.io/dockerconfigjson` share.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    #[error("the credentials cannot be read from {path}")]
    Read {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("the credentials in {place} are not a docker config.json")]
    Syntax {
        place: String,
        #[source]
        source: serde_json::Error,
    },
    #[error("the credentials of {registry} are no base64 of user:password")]
    Encoding { registry: String },
    #[error("the credential helper {program} gives nothing for {registry}: {problem}")]
    Helper { program: String, registry: String, problem: String },
}

/// What is shown to one registry.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Login {
    Basic {
        username: String,
        password: String,
    },
    /// Exchanged for a token where the registry issues them.
    IdentityToken(String),
}

#[derive(Deserialize, Default, Clone)]
#[serde(rename_all = "camelCase", default)]
struct DockerConfig {
    auths: BTreeMap<String, Entry>,
    cred_helpers: BTreeMap<String, String>,
    creds_store: String,
}

#[derive(Deserialize, Default, Clone)]
#[serde(default)]
struct Entry {
    auth: String,
    username: String,
    password: String,
    identitytoken: String,
}

#[derive(Default, Clone)]
pub struct Credentials {
    config: DockerConfig,
    /// Programs may be asked: never on behalf of somebody else.
    helpers: bool,
}

impl Credentials {
    /// Without any: public artifacts can be pulled.
    pub fn anonymous() -> Self {
        Self::default()
    }

    /// The text of a `config.json`; `place` says whose, in errors.
    pub fn from_docker_config(text: &[u8], place: &str) -> Result<Self, CredentialsError> {
        let config = serde_json::from_slice(text)
            .map_err(|source| CredentialsError::Syntax { place: place.to_owned(), source })?;
        Ok(Self { config, helpers: false })
    }

    /// Those of whoever runs this program: `$DOCKER_CONFIG/config.json`, or the
    /// one in `~/.docker`; none when there is no such file.
    pub fn of_user() -> Result<Self, CredentialsError> {
        let directory = std::env::var_os("DOCKER_CONFIG")
            .map(PathBuf::from)
            .or_else(|| std::env::home_dir().map(|home| home.join(".docker")));
        let Some(path) = directory.map(|directory| directory.join("config.json")) else {
            return Ok(Self::anonymous());
        };
        match std::fs::read(&path) {
            Ok(text) => {
                let found = Self::from_docker_config(&text, &path.display().to_string())?;
                Ok(Self { helpers: true, ..found })
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::anonymous()),
            Err(source) => Err(CredentialsError::Read { path, source }),
        }
    }

    /// May run a credential helper, and then blocks.
    pub(crate) fn login(&self, registry: &str) -> Result<Option<Login>, CredentialsError> {
        if self.helpers {
            let of_registry = self.config.cred_helpers.get(registry);
            let helper = of_registry.or(Some(&self.config.creds_store)).filter(|h| !h.is_empty());
            if let Some(helper) = helper {
                return ask_helper(helper, registry);
            }
        }
        let found = self.config.auths.iter().find(|(key, _)| host_of(key) == canonical(registry));
        let Some((_, entry)) = found else { return Ok(None) };
        if !entry.identitytoken.is_empty() {
            return Ok(Some(Login::IdentityToken(entry.identitytoken.clone())));
        }
        if !entry.username.is_empty() {
            let (username, password) = (entry.username.clone(), entry.password.clone());
            return Ok(Some(Login::Basic { username, password }));
        }
        if entry.auth.is_empty() {
            return Ok(None);
        }
        let broken = || CredentialsError::Encoding { registry: registry.to_owned() };
        let bytes = STANDARD.decode(entry.auth.trim()).map_err(|_| broken())?;
        let text = String::from_utf8(bytes).map_err(|_| broken())?;
        // Some tools fill up with zero bytes.
        let (username, password) =
            text.trim_end_matches('\0').split_once(':').ok_or_else(broken)?;
        Ok(Some(Login::Basic { username: username.to_owned(), password: password.to_owned() }))
    }
}

/// `https://index.docker.io/v1/` is how docker writes its own registry.
fn host_of(key: &str) -> &str {
    let rest = key.trim_start_matches("https://").trim_start_matches("http://");
    canonical(rest.split('/').next().unwrap_or(rest))
}

fn canonical(host: &str) -> &str {
    match host {
        "index.docker.io" | "registry-1.docker.io" => "docker.io",
        other => other,
    }
}

/// The protocol of docker's credential helpers: the host goes in, JSON comes out.
fn ask_helper(helper: &str, registry: &str) -> Result<Option<Login>, CredentialsError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Answer {
        username: String,
        secret: String,
    }
    let program = format!("docker-credential-{helper}");
    let failed = |problem: String| CredentialsError::Helper {
        program: program.clone(),
        registry: registry.to_owned(),
        problem,
    };
    let run = || {
        let mut child = Command::new(&program)
            .arg("get")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(registry.as_bytes())?;
        }
        child.wait_with_output()
    };
    let output = run().map_err(|error| failed(error.to_string()))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stdout);
        // What it says of registries where one has not logged in.
        if said.contains("credentials not found") {
            return Ok(None);
        }
        return Err(failed(said.trim().to_owned()));
    }
    let answer: Answer =
        serde_json::from_slice(&output.stdout).map_err(|error| failed(error.to_string()))?;
    Ok(Some(match answer.username.as_str() {
        "<token>" => Login::IdentityToken(answer.secret),
        _ => Login::Basic { username: answer.username, password: answer.secret },
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logins_are_found_by_host() {
        let text = br#"{"auths": {
            "r.example:5000": {"auth": "dTpw"},
            "https://index.docker.io/v1/": {"username": "a", "password": "b"},
            "t.example": {"identitytoken": "x"},
            "broken.example": {"auth": "dXA="},
            "empty.example": {}
        }, "credsStore": "must-not-be-run"}"#;
        let credentials = Credentials::from_docker_config(text, "a test").unwrap();
        let check = |registry: &str, expect: Option<(&str, &str)>| {
            let expect = expect.map(|(username, password)| match username {
                "" => Login::IdentityToken(password.to_owned()),
                _ => Login::Basic { username: username.into(), password: password.into() },
            });
            assert!(credentials.login(registry).unwrap() == expect, "{registry}");
        };
        check("r.example:5000", Some(("u", "p")));
        check("r.example", None);
        check("docker.io", Some(("a", "b")));
        check("t.example", Some(("", "x")));
        check("empty.example", None);
        let error = credentials.login("broken.example").err().unwrap().to_string();
        assert!(error.contains("broken.example"), "{error}");
        let error = Credentials::from_docker_config(b"no", "Secret a/b").err().unwrap().to_string();
        assert!(error.contains("Secret a/b"), "{error}");
    }
}
