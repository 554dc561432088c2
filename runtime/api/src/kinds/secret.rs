//! `Secret`: like a ConfigMap, always bytes, with types that demand keys.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use super::config_map::{MAX_BYTES, config_key, decoded_len, sealed};
use super::json::{age_cell, bool_at, default_str, name_cell, object_at, set, str_at, value_at};
use super::validation::Check;
use super::{Column, Hooks, Resource, SelectableField};
use crate::status::FieldError;

pub(super) const ROW: Resource = Resource {
    kind: "Secret",
    plural: "secrets",
    singular: "secret",
    columns: &[
        Column::NAME,
        Column::string("Type").help("Used to facilitate programmatic handling of secret data."),
        Column::string("Data").help("Data contains the secret data."),
        Column::AGE,
    ],
    selectable: &[SelectableField::new("type", "/type")],
    schema: "core.v1.Secret",
    hooks: Hooks {
        cells: |object, now| {
            let count = object_at(object, &["data"]).map_or(0, Map::len);
            vec![
                name_cell(object),
                str_at(object, &["type"]).into(),
                count.into(),
                age_cell(object, now),
            ]
        },
        default,
        validate,
        ..Hooks::PLAIN
    },
    ..Resource::BASE
};

fn default(object: &mut Value) {
    default_str(object, "type", "Opaque");
    fold_string_data(object);
}

/// `stringData` is only for writing: it is stored as `data`.
fn fold_string_data(object: &mut Value) {
    let plain = match object.get("stringData") {
        Some(Value::Object(map)) if map.values().all(Value::is_string) => map.clone(),
        Some(Value::Null) => Map::new(),
        _ => return,
    };
    let mut data = object_at(object, &["data"]).cloned().unwrap_or_default();
    for (key, value) in plain {
        data.insert(key, STANDARD.encode(value.as_str().unwrap_or_default()).into());
    }
    super::json::remove(object, "stringData");
    if !data.is_empty() {
        set(object, "data", data);
    }
}

/// The keys that a type demands: any one of each group.
fn demanded(kind: &str) -> &'static [&'static str] {
    match kind {
        "kubernetes.io/dockercfg" => &[".dockercfg"],
        "kubernetes.io/dockerconfigjson" => &[".dockerconfigjson"],
        "kubernetes.io/ssh-auth" => &["ssh-privatekey"],
        "kubernetes.io/tls" => &["tls.crt", "tls.key"],
        _ => &[],
    }
}

fn validate(object: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut check = Check::new(&mut errors, "");
    let mut size = 0;
    for (key, value) in object_at(object, &["data"]).into_iter().flatten() {
        config_key(&mut check, "data", key);
        size += decoded_len(&mut check, "data", key, value);
    }
    if size > MAX_BYTES {
        check.errors().push(FieldError::too_long("data", MAX_BYTES));
    }
    let kind = str_at(object, &["type"]);
    for key in demanded(kind) {
        if value_at(object, &["data", key]).is_null() {
            check.required(&format!("data[{key}]"), "");
        }
    }
    if kind == "kubernetes.io/basic-auth"
        && ["username", "password"].iter().all(|key| value_at(object, &["data", key]).is_null())
    {
        check.required("data[username]", "");
        check.required("data[password]", "");
    }
    if kind == "kubernetes.io/service-account-token"
        && str_at(object, &["metadata", "annotations", "kubernetes.io/service-account.name"])
            .is_empty()
    {
        check.required("metadata.annotations[kubernetes.io/service-account.name]", "");
    }
    if let Some(old) = old {
        check.immutable(object, old, "type");
        if bool_at(old, &["immutable"]) {
            sealed(&mut check, object, old, &["data"]);
        }
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::expect_errors;
    use serde_json::json;

    #[test]
    fn plain_text_becomes_data() {
        let mut secret = json!({"data": {"a": "MQ==", "b": "Mg=="}, "stringData": {"b": "x"}});
        default(&mut secret);
        assert_eq!(secret, json!({"type": "Opaque", "data": {"a": "MQ==", "b": "eA=="}}));
    }

    #[test]
    fn rules() {
        fn check(secret: Value, old: Option<Value>, expect: &[&str]) {
            expect_errors(&validate(&secret, old.as_ref()), expect);
        }
        check(json!({"type": "Opaque", "data": {"a": "MQ=="}}), None, &[]);
        check(json!({"data": {"a": "no base64"}}), None, &["data[a]: Invalid value"]);
        check(
            json!({"type": "kubernetes.io/tls", "data": {"tls.crt": ""}}),
            None,
            &["data[tls.key]: Required value"],
        );
        check(
            json!({"type": "kubernetes.io/basic-auth"}),
            None,
            &["data[username]: Required value", "data[password]: Required value"],
        );
        check(
            json!({"type": "Opaque"}),
            Some(json!({"type": "x/y"})),
            &[r#"type: Invalid value: "Opaque": field is immutable"#],
        );
    }
}
