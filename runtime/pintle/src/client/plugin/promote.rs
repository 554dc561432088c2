//! `pintle plugin promote`: a version that is only compared shall decide.

use anyhow::{Result, bail};
use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};

use super::{PLUGINS, load};
use crate::client::http::Client;

pub async fn run(client: &Client, name: &str) -> Result<()> {
    let path = format!("{PLUGINS}/{name}");
    let plugin = client.get(&path).await?;
    check(name, &plugin)?;
    let headers = [("content-type", "application/json-patch+json")];
    let body = Bytes::from(patch(&plugin).to_string());
    client.json(Method::PATCH, &path, &headers, body).await?;
    load::report(name, &load::settled(client, name).await?)
}

fn check(name: &str, plugin: &Value) -> Result<()> {
    let status = &plugin["status"];
    match status["phase"].as_str().unwrap_or("Pending") {
        "Shadowing" | "Shadowed" => Ok(()),
        phase => bail!(
            "no version of plugin {name} waits beside the one that decides; it is {phase}. \
             A version that was refused gets another try when its spec changes"
        ),
    }
}

/// Only the version that was looked at: a spec that changes meanwhile is another one.
fn patch(plugin: &Value) -> Value {
    json!([
        { "op": "test", "path": "/metadata/generation", "value": plugin["metadata"]["generation"] },
        { "op": "remove", "path": "/spec/rollout/shadow" },
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_waits_can_be_promoted() {
        for (phase, expect) in [
            ("Shadowing", true),
            ("Shadowed", true),
            ("Active", false),
            ("RolledBack", false),
            ("Failed", false),
        ] {
            let plugin = json!({ "status": { "phase": phase } });
            assert_eq!(check("x", &plugin).is_ok(), expect, "{phase}");
        }
    }

    #[test]
    fn another_spec_than_the_one_that_was_looked_at_is_not_promoted() {
        let patch = patch(&json!({ "metadata": { "generation": 3 } }));
        assert_eq!(patch[0], json!({ "op": "test", "path": "/metadata/generation", "value": 3 }));
        assert_eq!(patch[1], json!({ "op": "remove", "path": "/spec/rollout/shadow" }));
    }
}
