//! `pintle plugin inspect`: everything about a component that can be known
//! without loading it.

use std::path::PathBuf;

use anyhow::Result;
use pintle_artifacts::signature::{Subject, verify};
use pintle_plugin_host::inspect::{Inspection, inspect};
use pintle_plugin_host::plugin::GrantRule;
use serde_json::{Value, json};

use super::component::{Component, Named};
use super::keys;

pub async fn run(named: &str, insecure: bool, keys: &[PathBuf], as_json: bool) -> Result<()> {
    let keys = keys::read_public(keys)?;
    let component = Component::of(&Named::parse(named)?, insecure).await?;
    let inspection = inspect(&component.bytes)?;
    let signed = signed(&component, &keys);
    if as_json {
        println!("{:#}", document(&component, &inspection, &signed));
    } else {
        print!("{}", text(&component, &inspection, &signed));
    }
    Ok(())
}

/// In words.
fn signed(component: &Component, keys: &[String]) -> String {
    let subject = Subject { component: &component.bytes, manifest: component.manifest.as_ref() };
    match (component.signatures.len(), keys.is_empty()) {
        (0, _) => "none".to_owned(),
        (count, true) => format!("{count}, not checked (give --public-key)"),
        (count, false) => match verify(keys, subject, &component.signatures) {
            Ok(()) => format!("{count}, one is by a given key"),
            Err(error) => format!("{count}, not accepted: {error}"),
        },
    }
}

fn document(component: &Component, inspection: &Inspection, signed: &str) -> Value {
    let mut document = json!({
        "digest": inspection.digest,
        "size": inspection.size,
        "role": inspection.role,
        "imports": inspection.imports,
        "exports": inspection.exports,
        "artifact": component.manifest.as_ref().map(ToString::to_string),
        "signatures": signed,
    });
    match &inspection.described {
        Ok(said) => {
            document["name"] = json!(said.name);
            document["version"] = json!(said.version);
            document["needs"] = json!(said.needs);
            document["looksAt"] = json!(said.looks_at);
            document["config"] = json!(said.settings);
        }
        Err(problem) => {
            document["problem"] = json!({"reason": problem.reason, "message": problem.message});
        }
    }
    document
}

fn text(component: &Component, inspection: &Inspection, signed: &str) -> String {
    let mut text = String::new();
    let mut line = |name: &str, values: &[String]| {
        let nothing = ["-".to_owned()];
        let values = if values.is_empty() { &nothing } else { values };
        for (at, value) in values.iter().enumerate() {
            let name = if at == 0 { name } else { "" };
            // What a component says must not drive the terminal.
            let value: String = value.chars().filter(|c| !c.is_control()).collect();
            text.push_str(&format!("{name:<11}{value}\n"));
        }
    };
    if let Ok(said) = &inspection.described {
        line("name", &[format!("{} {}", said.name, said.version)]);
    }
    let role = inspection.role.map_or("-".to_owned(), |role| role.to_string());
    line("role", &[role]);
    line("digest", std::slice::from_ref(&inspection.digest));
    if let Some(manifest) = &component.manifest {
        line("artifact", &[manifest.to_string()]);
    }
    line("size", &[format!("{} bytes", inspection.size)]);
    line("signatures", &[signed.to_owned()]);
    line("exports", &inspection.exports);
    line("imports", &inspection.imports);
    match &inspection.described {
        Ok(said) => {
            line("looks at", &said.looks_at);
            line("needs", &said.needs.iter().map(need).collect::<Vec<_>>());
            line("config", &said.settings);
        }
        Err(problem) => {
            line("problem", &[format!("{} ({})", problem.message, problem.reason)]);
        }
    }
    text
}

/// `Pod: get, list (binds pods)`
fn need(rule: &GrantRule) -> String {
    let group = rule.api_groups.join(", ");
    let kinds = match (rule.kinds.join(", "), group.as_str()) {
        (kinds, "" | "*") => kinds,
        (kinds, group) => format!("{kinds}.{group}"),
    };
    let why = if rule.reason.is_empty() { String::new() } else { format!(" ({})", rule.reason) };
    format!("{kinds}: {}{why}", rule.verbs.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::embedded;

    #[test]
    fn a_component_is_shown_whole() {
        let bytes = embedded::component("node-ipam").unwrap();
        let component = Component {
            bytes: bytes.into(),
            manifest: None,
            signatures: Vec::new(),
            package: None,
            file: None,
        };
        let inspection = inspect(bytes).unwrap();
        let text = text(&component, &inspection, "none");
        for expect in [
            "name       node-ipam",
            "role       Controller",
            "digest     sha256:",
            "signatures none",
            "exports    pintle:plugin/controller@0.1.0",
            "needs      Node: get, list, watch, patch",
            "config     clusterCIDR\n           nodeMaskSize",
        ] {
            assert!(text.contains(expect), "{expect} in\n{text}");
        }
        let document = document(&component, &inspection, "none");
        assert_eq!(document["role"], "Controller");
        assert_eq!(document["config"], json!(["clusterCIDR", "nodeMaskSize"]));
    }
}
