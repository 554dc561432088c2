//! The bytes and the configuration behind a source.

use std::collections::BTreeMap;
use std::fs;

use base64::Engine as _;
use bytes::Bytes;
use serde_json::{Value, json};

use super::Embedded;
use crate::plugin::{PluginSpec, Source};
use crate::program::LoadError;

/// A component's bytes and its configuration.
pub(super) struct Sourced {
    pub component: Bytes,
    pub config: Bytes,
    /// Came with the server, and is trusted as the server is.
    pub is_embedded: bool,
}

pub(super) fn source(
    spec: &PluginSpec,
    embedded: &BTreeMap<String, Embedded>,
) -> Result<Sourced, LoadError> {
    let fail = |message: String| Err(LoadError::Source(message));
    let needs_digest = |what: &str| {
        if spec.digest.is_some() {
            return Ok(());
        }
        Err(LoadError::Source(format!(
            "a plugin from {what} needs spec.digest, so that no other bytes can be run"
        )))
    };
    let (component, defaults) = match &spec.source {
        Source { embedded: Some(source), file: None, inline: None, oci: None } => {
            match embedded.get(&source.name) {
                Some(found) if found.role == spec.role => (found.wasm.clone(), Some(found)),
                Some(found) => {
                    return fail(format!(
                        "the embedded plugin {} plays role {}, not {}",
                        source.name, found.role, spec.role
                    ));
                }
                None => {
                    let known: Vec<&str> = embedded.keys().map(String::as_str).collect();
                    return fail(format!(
                        "no plugin {} is embedded in this server; there are: {}",
                        source.name,
                        known.join(", ")
                    ));
                }
            }
        }
        Source { embedded: None, file: Some(file), inline: None, oci: None } => {
            needs_digest("a file")?;
            match fs::read(&file.path) {
                Ok(bytes) => (Bytes::from(bytes), None),
                Err(error) => {
                    return fail(format!("cannot read {} on the server: {error}", file.path));
                }
            }
        }
        Source { embedded: None, file: None, inline: Some(inline), oci: None } => {
            needs_digest("the object itself")?;
            match base64::engine::general_purpose::STANDARD.decode(inline.data.trim()) {
                Ok(bytes) => (Bytes::from(bytes), None),
                Err(error) => {
                    return fail(format!("spec.source.inline.data is not base64: {error}"));
                }
            }
        }
        _ => {
            return fail(
                "spec.source must name exactly one of embedded, file, inline and oci".to_owned(),
            );
        }
    };
    let config = config(defaults, spec.config.as_ref())?;
    Ok(Sourced { component, config, is_embedded: spec.source.embedded.is_some() })
}

/// `own` laid over what the embedded plugin brings along.
pub(super) fn config(embedded: Option<&Embedded>, own: Option<&Value>) -> Result<Bytes, LoadError> {
    let defaults = embedded.map(|embedded| &embedded.config).filter(|config| !config.is_null());
    let mut config = defaults.cloned().unwrap_or_else(|| json!({}));
    if let Some(own) = own {
        json_patch::merge(&mut config, own);
    }
    if !config.is_object() {
        return Err(LoadError::Config("spec.config must be an object".to_owned()));
    }
    Ok(Bytes::from(config.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugin::Role;

    fn spec(value: Value) -> PluginSpec {
        serde_json::from_value(value).unwrap()
    }

    fn known() -> BTreeMap<String, Embedded> {
        let plugin = Embedded {
            name: "a".into(),
            role: Role::Controller,
            wasm: Bytes::from_static(b"wasm"),
            config: json!({"x": 1, "y": {"z": 2}}),
            reviews: Vec::new(),
        };
        BTreeMap::from([("a".to_owned(), plugin)])
    }

    #[test]
    fn sources_that_cannot_be_used_say_why() {
        fn check(value: Value, expect: &str) {
            let error = source(&spec(value), &known()).err().unwrap();
            assert!(error.to_string().contains(expect), "{error}");
        }
        check(json!({"role": "Controller", "source": {}}), "exactly one");
        check(json!({"role": "Controller", "source": {"embedded": {"name": "b"}}}), "there are: a");
        check(
            json!({"role": "Admission", "source": {"embedded": {"name": "a"}}}),
            "plays role Controller",
        );
        check(
            json!({"role": "Controller", "source": {"file": {"path": "/x"}}}),
            "needs spec.digest",
        );
        check(
            json!({"role": "Controller", "digest": "d", "source": {"file": {"path": "/absent.wasm"}}}),
            "cannot read",
        );
        check(
            json!({"role": "Controller", "digest": "d", "source": {"inline": {"data": "?"}}}),
            "not base64",
        );
        check(
            json!({"role": "Controller", "source": {"embedded": {"name": "a"}}, "config": 3}),
            "must be an object",
        );
    }

    #[test]
    fn configuration_is_laid_over_the_defaults() {
        let value = json!({"role": "Controller", "source": {"embedded": {"name": "a"}}, "config": {"y": {"z": 3}}});
        let sourced = source(&spec(value), &known()).unwrap();
        assert_eq!(
            serde_json::from_slice::<Value>(&sourced.config).unwrap(),
            json!({"x": 1, "y": {"z": 3}})
        );
    }
}
