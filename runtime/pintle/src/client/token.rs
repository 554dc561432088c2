//! `pintle token`: join tokens are Kubernetes bootstrap tokens, Secrets of type
//! `bootstrap.kubernetes.io/token` in kube-system.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use bytes::Bytes;
use http::Method;
use pintle_node_link::JoinToken;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use super::http::{Client, is_not_found};
use crate::cli::{TokenAction, TokenCommand};
use crate::server::tokens;

const SECRETS: &str = "/api/v1/namespaces/kube-system/secrets";

pub async fn run(command: TokenCommand) -> Result<()> {
    match command.action {
        TokenAction::Create { ttl, connection } => {
            let client = Client::connect(&connection)?;
            let token = tokens::Token::generate();
            let expires = SystemTime::now() + Duration::from_secs(ttl);
            let expires = expires.duration_since(UNIX_EPOCH)?.as_millis() as i64;
            let secret = serde_json::to_vec(&token.secret_object(expires))?;
            let headers = [("content-type", "application/json")];
            client.json(Method::POST, SECRETS, &headers, Bytes::from(secret)).await?;
            let ca = CertificateDer::from_pem_slice(client.ca_pem())
                .context("the CA certificate in the kubeconfig is no PEM")?;
            println!("{}", JoinToken::new(&ca, &token.id, &token.secret));
        }
        TokenAction::List { connection } => {
            let client = Client::connect(&connection)?;
            let path = format!("{SECRETS}?fieldSelector=type%3D{}", tokens::SECRET_TYPE);
            let list = client.get(&path).await?;
            println!("{:<10}{:<24}DESCRIPTION", "ID", "EXPIRES");
            for secret in list["items"].as_array().context("the answer has no items")? {
                let field = |name: &str| tokens::data(secret, name).unwrap_or_default();
                println!(
                    "{:<10}{:<24}{}",
                    field("token-id"),
                    field("expiration"),
                    field("description")
                );
            }
        }
        TokenAction::Revoke { id, connection } => {
            let client = Client::connect(&connection)?;
            let id = id_of(&id);
            let path = format!("{SECRETS}/{}", tokens::secret_name(id));
            match client.json(Method::DELETE, &path, &[], Bytes::new()).await {
                Ok(_) => println!("token {id} revoked"),
                Err(error) if is_not_found(&error) => {
                    anyhow::bail!("there is no token {id:?}; see `pintle token list`")
                }
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

/// The id of a token that is given whole, as `token create` printed it, or by id.
fn id_of(text: &str) -> &str {
    let token = text.rsplit_once("::").map_or(text, |(_, token)| token);
    token.split_once('.').map_or(token, |(id, _)| id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_known_by_its_id_or_whole() {
        let check = |text: &str, expect: &str| assert_eq!(id_of(text), expect);
        check("egsixo", "egsixo");
        check("egsixo.15nudc0bw0pnpag1", "egsixo");
        check("74f5e565::egsixo.15nudc0bw0pnpag1", "egsixo");
    }
}
