//! Join tokens, in the form of Kubernetes' bootstrap tokens: a Secret of type
//! `bootstrap.kubernetes.io/token` named `bootstrap-token-<id>` in kube-system.
//! A token admits one node and is deleted by that.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use pintle_api::kinds::Registry;
use pintle_api::time;
use pintle_apiserver::verbs::{DeleteOptions, Preconditions};
use pintle_apiserver::{ApiServer, User};
use pintle_watch::Object;
use ring::rand::{SecureRandom, SystemRandom};
use serde_json::{Value, json};
use subtle::ConstantTimeEq;

pub const SECRET_TYPE: &str = "bootstrap.kubernetes.io/token";
const NAMESPACE: &str = "kube-system";

/// Lengths as in Kubernetes: `[a-z0-9]{6}.[a-z0-9]{16}`.
pub struct Token {
    pub id: String,
    pub secret: String,
}

impl Token {
    pub fn generate() -> Self {
        Self { id: random(6), secret: random(16) }
    }

    pub fn secret_object(&self, expires_unix_ms: i64) -> Value {
        json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "type": SECRET_TYPE,
            "metadata": {"name": secret_name(&self.id), "namespace": NAMESPACE},
            "stringData": {
                "token-id": self.id,
                "token-secret": self.secret,
                "expiration": time::format_seconds(expires_unix_ms),
                "usage-bootstrap-authentication": "true",
                "description": "lets one node join",
            },
        })
    }
}

pub fn secret_name(id: &str) -> String {
    format!("bootstrap-token-{id}")
}

/// A field of a token's Secret.
pub fn data(secret: &Value, field: &str) -> Option<String> {
    let bytes = STANDARD.decode(secret["data"][field].as_str()?).ok()?;
    String::from_utf8(bytes).ok()
}

/// One answer for all reasons but expiry: who guesses learns nothing.
const USELESS: &str =
    "the join token is unknown or used; make a new one with `pintle token create`";

/// Checks a token without using it up.
pub fn check(
    api: &ApiServer,
    id: &str,
    secret: &str,
    now_unix_ms: i64,
) -> Result<Arc<Object>, String> {
    let row = Registry::builtin().by_kind("", "v1", "Secret").ok_or(USELESS)?;
    let name = secret_name(id);
    let object = api.verbs().get(row, NAMESPACE, &name).map_err(|_| USELESS)?;
    let stored = object.parse();
    if stored["type"] != SECRET_TYPE {
        return Err(USELESS.into());
    }
    let expected = data(&stored, "token-secret").unwrap_or_default();
    if expected.is_empty() || !bool::from(expected.as_bytes().ct_eq(secret.as_bytes())) {
        return Err(USELESS.into());
    }
    let expires = data(&stored, "expiration").and_then(|text| time::parse(&text));
    if expires.is_some_and(|expires| expires <= now_unix_ms) {
        return Err("the join token has expired; make a new one with `pintle token create`".into());
    }
    Ok(object)
}

/// Uses a checked token up. Of two nodes with one token, one gets in.
pub async fn use_up(api: &ApiServer, token: &Object) -> Result<(), String> {
    let row = Registry::builtin().by_kind("", "v1", "Secret").ok_or(USELESS)?;
    let options = DeleteOptions {
        preconditions: Preconditions {
            uid: Some(token.meta.uid.to_string()),
            resource_version: Some(token.revision.to_string()),
        },
        ..DeleteOptions::default()
    };
    let user = User::system("system:pintle:node-link");
    match api.verbs().delete(&user, row, NAMESPACE, &token.meta.name, &options).await {
        Ok(_) => Ok(()),
        Err(error) if error.is_not_found() || error.is_conflict() => Err(USELESS.into()),
        Err(error) => Err(format!("the join token cannot be checked now: {}", error.message())),
    }
}

fn random(length: usize) -> String {
    const ALPHABET: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";
    let rng = SystemRandom::new();
    let mut text = String::with_capacity(length);
    while text.len() < length {
        let mut bytes = [0u8; 32];
        // The kernel's generator does not fail once it is seeded.
        rng.fill(&mut bytes).expect("the kernel's random number generator works");
        // 252 is the largest multiple of 36 in a byte: no letter is favoured.
        let letters = bytes.iter().filter(|b| **b < 252).map(|b| ALPHABET[usize::from(b % 36)]);
        text.extend(letters.take(length - text.len()).map(char::from));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_have_kubernetes_form_and_differ() {
        let (a, b) = (Token::generate(), Token::generate());
        let fits = |text: &str, length: usize| {
            text.len() == length
                && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
        };
        assert!(fits(&a.id, 6) && fits(&a.secret, 16));
        assert_ne!(a.secret, b.secret);
        assert_eq!(a.secret_object(0)["metadata"]["name"], secret_name(&a.id));
    }
}
