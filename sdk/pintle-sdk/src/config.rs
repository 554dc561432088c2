//! `spec.config` of the Plugin object, read into the plugin's own type.
//!
//! A role's trait names the type as `Config`; it is read before `new` is called.
//! Let unknown keys be refused and absent ones have defaults:
//!
//! ```
//! #[derive(serde::Deserialize)]
//! #[serde(rename_all = "camelCase", deny_unknown_fields, default)]
//! struct Config {
//!     max_replicas: u32,
//! }
//!
//! impl Default for Config {
//!     fn default() -> Self {
//!         Config { max_replicas: 10 }
//!     }
//! }
//!
//! let config: Config = pintle_sdk::config::parse(b"{}").unwrap();
//! assert_eq!(config.max_replicas, 10);
//! let error = pintle_sdk::config::parse::<Config>(br#"{"maxReplicas": "many"}"#);
//! assert_eq!(
//!     error.err().unwrap(),
//!     "spec.config.maxReplicas: invalid type: string \"many\", expected u32"
//! );
//! ```
//!
//! A plugin without configuration has `type Config = NoConfig`.

use serde::Deserialize;
use serde::de::DeserializeOwned;

/// For plugins that take no configuration; any key is refused.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoConfig {}

/// No configuration at all reads like `{}`. The error names the field, as a
/// person wrote it, and what is wrong with it.
pub fn parse<T: DeserializeOwned>(json: &[u8]) -> Result<T, String> {
    let json = if json.is_empty() { b"{}" } else { json };
    crate::reading::parse_with_path(json).map_err(|error| {
        let path = error.path().to_string();
        let separator = if path == "." { "" } else { "." };
        let path = if path == "." { "" } else { &path };
        format!("spec.config{separator}{path}: {}", without_position(&error.inner().to_string()))
    })
}

/// The person wrote YAML; lines and columns of the JSON made from it mislead.
fn without_position(message: &str) -> &str {
    message.rsplit_once(" at line ").map_or(message, |(text, _)| text)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[derive(Debug, Default, Deserialize)]
    #[serde(rename_all = "camelCase", deny_unknown_fields, default)]
    #[allow(dead_code)]
    struct Config {
        weights: BTreeMap<String, u8>,
        node_names: Vec<String>,
    }

    #[test]
    fn errors_name_the_field_as_it_was_written() {
        fn check(json: &str, expect: &str) {
            assert_eq!(parse::<Config>(json.as_bytes()).unwrap_err(), expect);
        }
        check(
            r#"{"weights":{"a":300}}"#,
            "spec.config.weights.a: invalid value: integer `300`, expected u8",
        );
        check(
            r#"{"nodeNames":["a",1]}"#,
            "spec.config.nodeNames[1]: invalid type: integer `1`, expected a string",
        );
        check(
            r#"{"weihgts":{}}"#,
            "spec.config.weihgts: unknown field `weihgts`, expected `weights` or `nodeNames`",
        );
        check("7", "spec.config: invalid type: integer `7`, expected struct Config");
        assert!(parse::<Config>(b"").unwrap().weights.is_empty());
        assert_eq!(parse::<NoConfig>(b"{}"), Ok(NoConfig {}));
        assert!(parse::<NoConfig>(br#"{"a":1}"#).is_err());
    }
}
