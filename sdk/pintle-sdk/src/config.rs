//! `spec.config` of the Plugin object, read into the plugin's own type.

use serde::de::DeserializeOwned;

/// No configuration at all reads like `{}`.
pub fn parse<T: DeserializeOwned>(json: &[u8]) -> Result<T, String> {
    let json = if json.is_empty() { b"{}" } else { json };
    serde_json::from_slice(json).map_err(|error| format!("spec.config: {error}"))
}
