//! Logins: the challenge of a registry, and what answers it.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{Method, Uri};
use parking_lot::Mutex;
use serde::Deserialize;

use super::error::RegistryError;
use super::transport::{Request, Transport};
use crate::credentials::{Credentials, Login};
use crate::reference::Reference;

const MAX_TOKEN_BYTES: u64 = 64 << 10;

/// What one wants to do.
pub(super) struct Scope<'a> {
    pub reference: &'a Reference,
    pub write: bool,
}

impl Scope<'_> {
    fn text(&self) -> String {
        let verbs = if self.write { "pull,push" } else { "pull" };
        format!("repository:{}:{verbs}", self.reference.repository)
    }
}

pub(super) struct Auth {
    credentials: Credentials,
    /// Headers that were accepted, by registry and scope.
    known: Mutex<BTreeMap<(String, String), String>>,
}

impl Auth {
    pub fn new(credentials: Credentials) -> Self {
        Self { credentials, known: Mutex::default() }
    }

    pub fn known(&self, scope: &Scope<'_>) -> Option<String> {
        let key = (scope.reference.registry.clone(), scope.text());
        self.known.lock().get(&key).cloned()
    }

    /// A header that answers `challenge`; None when there is nothing better to
    /// say than was said before.
    pub async fn answer(
        &self,
        transport: &Transport,
        scope: &Scope<'_>,
        challenge: &str,
    ) -> Result<Option<String>, RegistryError> {
        let registry = &scope.reference.registry;
        let login = {
            let (credentials, registry) = (self.credentials.clone(), registry.clone());
            // A credential helper is another program.
            let asked = tokio::task::spawn_blocking(move || credentials.login(&registry)).await;
            asked.map_err(|error| RegistryError::Malformed {
                registry: scope.reference.registry.clone(),
                what: "credentials",
                problem: error.to_string(),
            })??
        };
        let Some(challenge) = Challenge::parse(challenge) else { return Ok(None) };
        let header = match (challenge, login) {
            (Challenge::Basic, Some(Login::Basic { username, password })) => {
                basic(&username, &password)
            }
            (Challenge::Basic, _) => return Ok(None),
            (Challenge::Bearer { realm, service }, login) => {
                token(transport, scope, &realm, &service, login).await?
            }
        };
        let key = (registry.clone(), scope.text());
        let before = self.known.lock().insert(key, header.clone());
        Ok((before.as_ref() != Some(&header)).then_some(header))
    }
}

fn basic(username: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{username}:{password}")))
}

async fn token(
    transport: &Transport,
    scope: &Scope<'_>,
    realm: &str,
    service: &str,
    login: Option<Login>,
) -> Result<String, RegistryError> {
    #[derive(Deserialize)]
    struct Token {
        #[serde(default)]
        token: String,
        #[serde(default)]
        access_token: String,
    }
    let malformed = |problem: String| RegistryError::Malformed {
        registry: scope.reference.registry.clone(),
        what: "a login challenge",
        problem,
    };
    let wanted = format!("service={}&scope={}", escape(service), escape(&scope.text()));
    let parse = |text: String| {
        text.parse::<Uri>().map_err(|error| malformed(format!("realm {realm:?}: {error}")))
    };
    let request = match login {
        Some(Login::IdentityToken(identity)) => Request {
            method: Method::POST,
            uri: parse(realm.to_owned())?,
            headers: vec![("content-type", "application/x-www-form-urlencoded".to_owned())],
            body: Bytes::from(format!(
                "grant_type=refresh_token&client_id=pintle&{wanted}&refresh_token={}",
                escape(&identity)
            )),
            authorization: None,
        },
        login => {
            let separator = if realm.contains('?') { '&' } else { '?' };
            Request {
                method: Method::GET,
                uri: parse(format!("{realm}{separator}{wanted}"))?,
                headers: Vec::new(),
                body: Bytes::new(),
                authorization: login.and_then(|login| match login {
                    Login::Basic { username, password } => Some(basic(&username, &password)),
                    Login::IdentityToken(_) => None,
                }),
            }
        }
    };
    let answer = transport.send(&request).await?;
    if !answer.status().is_success() {
        return Err(answer.refusal(&format!("a token for {}", scope.reference.name())).await);
    }
    let body = answer.body("a token", MAX_TOKEN_BYTES).await?;
    let token: Token =
        serde_json::from_slice(&body).map_err(|error| malformed(error.to_string()))?;
    match (token.token, token.access_token) {
        (first, second) if first.is_empty() && second.is_empty() => {
            Err(malformed("the token service gives no token".to_owned()))
        }
        (first, second) => Ok(format!("Bearer {}", if first.is_empty() { second } else { first })),
    }
}

/// For a query or a form.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                escaped.push(char::from(byte));
            }
            _ => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}

#[derive(Debug, PartialEq, Eq)]
enum Challenge {
    Basic,
    Bearer { realm: String, service: String },
}

impl Challenge {
    /// `Bearer realm="https://…",service="…",scope="…"`
    fn parse(text: &str) -> Option<Self> {
        let (scheme, rest) = text.trim().split_once(' ').unwrap_or((text.trim(), ""));
        if scheme.eq_ignore_ascii_case("basic") {
            return Some(Self::Basic);
        }
        if !scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        let (mut realm, mut service) = (None, String::new());
        let mut rest = rest.trim();
        while let Some((name, after)) = rest.split_once('=') {
            let (value, next) = match after.strip_prefix('"') {
                Some(quoted) => quoted.split_once('"')?,
                None => after.split_once(',').unwrap_or((after, "")),
            };
            match name.trim().to_ascii_lowercase().as_str() {
                "realm" => realm = Some(value.to_owned()),
                "service" => value.clone_into(&mut service),
                _ => {}
            }
            rest = next.trim_start().trim_start_matches(',').trim_start();
        }
        Some(Self::Bearer { realm: realm?, service })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn challenges_are_read() {
        let check = |text: &str, expect: Option<Challenge>| {
            assert_eq!(Challenge::parse(text), expect, "{text}");
        };
        let bearer = |realm: &str, service: &str| {
            Some(Challenge::Bearer { realm: realm.into(), service: service.into() })
        };
        check("Basic realm=\"x\"", Some(Challenge::Basic));
        check(
            "Bearer realm=\"https://a.example/token\",service=\"r\",scope=\"repository:a/b:pull,push\"",
            bearer("https://a.example/token", "r"),
        );
        check("bearer service=r, realm=\"https://a\"", bearer("https://a", "r"));
        check("Bearer service=\"r\"", None);
        check("Bearer realm=\"unfinished", None);
        check("Negotiate", None);
        check("", None);
    }

    #[test]
    fn queries_are_escaped() {
        assert_eq!(escape("repository:a/b:pull,push"), "repository%3Aa%2Fb%3Apull%2Cpush");
    }

    proptest! {
        #[test]
        fn no_challenge_panics(text in ".{0,80}") {
            let _ = Challenge::parse(&text);
        }
    }
}
