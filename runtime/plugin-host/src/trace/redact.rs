//! The values of Secrets, replaced.
//!
//! What stands below `data` and `stringData` of a Secret becomes text of the
//! same length, derived from the value by HMAC with a key of this recording
//! alone. Equal values stay equal, base64 stays base64, and who has the trace
//! but not the key cannot try values out.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;
use serde_json::Value;

use super::model::{Blob, ContextRecord, DeltaRecord, Input, KindRecord, ObjectRecord, RefRecord};

const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// 64 characters, each as likely as any other.
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

pub(super) struct Redactor {
    key: hmac::Key,
    /// The plugin may make Secrets out of the seed of its calls, so the seed
    /// of the trace has to be another.
    hide_seed: bool,
}

impl Redactor {
    pub fn new(key: &[u8; 32], hide_seed: bool) -> Self {
        Self { key: hmac::Key::new(hmac::HMAC_SHA256, key), hide_seed }
    }

    /// Names the key and says nothing of it.
    pub fn key_id(&self) -> String {
        hex::encode(&hmac::sign(&self.key, b"key id").as_ref()[..8])
    }

    pub fn input(&self, input: &mut Input) {
        match input {
            Input::Reconcile { context, .. }
            | Input::Authorize { context, .. }
            | Input::Rules { context, .. } => self.seed(context, false),
            Input::Sync(deltas) => {
                for delta in deltas {
                    let (DeltaRecord::Upsert(object) | DeltaRecord::Remove(object)) = delta;
                    self.object(object);
                }
            }
            Input::Forget(_) => {}
            Input::Schedule { context, pods } => {
                self.seed(context, false);
                pods.iter_mut().for_each(|pod| self.object(pod));
            }
            Input::Review { context, request } => {
                let secret = is_secret(&request.reference);
                self.seed(context, secret);
                if secret {
                    self.json(&mut request.json);
                    self.json(&mut request.old_json);
                }
            }
            Input::SyncNodes(nodes) => {
                for node in nodes.iter_mut().filter_map(|node| node.node.as_mut()) {
                    self.object(node);
                }
            }
            Input::Filter { context, pod } | Input::Score { context, pod } => {
                self.seed(context, false);
                self.object(pod);
            }
        }
    }

    pub fn object(&self, object: &mut ObjectRecord) {
        if is_secret(&object.reference) {
            self.json(&mut object.json);
        }
    }

    fn seed(&self, context: &mut ContextRecord, always: bool) {
        if self.hide_seed || always {
            let tag = hmac::sign(&self.key, &context.seed.to_le_bytes());
            let mut seed = [0; 8];
            seed.copy_from_slice(&tag.as_ref()[..8]);
            context.seed = u64::from_le_bytes(seed);
        }
    }

    /// Of a Secret, whole or cut down to some fields. What is no JSON object is
    /// no Secret that anybody could read, and goes as a whole.
    fn json(&self, json: &mut Blob) {
        if json.0.is_empty() {
            return;
        }
        match serde_json::from_slice::<Value>(&json.0) {
            Ok(mut secret) if secret.is_object() => {
                self.secret(&mut secret);
                json.0 = secret.to_string().into_bytes();
            }
            _ => json.0 = self.derive(&json.0).into_bytes(),
        }
    }

    fn secret(&self, secret: &mut Value) {
        if let Some(data) = secret.get_mut("data") {
            self.values(data, &|text| match STANDARD.decode(text) {
                Ok(raw) => STANDARD.encode(self.derive(&raw)),
                Err(_) => self.derive(text.as_bytes()),
            });
        }
        if let Some(data) = secret.get_mut("stringData") {
            self.values(data, &|text| self.derive(text.as_bytes()));
        }
        let annotation = secret
            .get_mut("metadata")
            .and_then(|metadata| metadata.get_mut("annotations"))
            .and_then(|annotations| annotations.get_mut(LAST_APPLIED));
        if let Some(Value::String(applied)) = annotation {
            *applied = match serde_json::from_str::<Value>(applied) {
                Ok(mut inner) if inner.is_object() => {
                    self.secret(&mut inner);
                    inner.to_string()
                }
                _ => self.derive(applied.as_bytes()),
            };
        }
    }

    /// Every text below `value`; what has another type there is no valid Secret
    /// and is hidden as well.
    fn values(&self, value: &mut Value, replace: &dyn Fn(&str) -> String) {
        match value {
            Value::Object(fields) => {
                fields.values_mut().for_each(|field| self.values(field, replace));
            }
            Value::Array(items) => {
                items.iter_mut().for_each(|item| self.values(item, replace));
            }
            Value::String(text) => *text = replace(text),
            Value::Null => {}
            Value::Bool(_) | Value::Number(_) => {
                *value = Value::String(self.derive(value.to_string().as_bytes()));
            }
        }
    }

    /// Text of the same length that stands for `raw`.
    fn derive(&self, raw: &[u8]) -> String {
        let mut text = String::with_capacity(raw.len());
        let mut block = 0u64;
        while text.len() < raw.len() {
            let mut context = hmac::Context::with_key(&self.key);
            context.update(b"value");
            context.update(&block.to_le_bytes());
            context.update(raw);
            let tag = context.sign();
            let wanted = raw.len() - text.len();
            text.extend(
                tag.as_ref().iter().take(wanted).map(|byte| ALPHABET[(byte & 63) as usize] as char),
            );
            block += 1;
        }
        text
    }
}

fn is_secret(reference: &RefRecord) -> bool {
    let KindRecord { group, kind, .. } = &reference.kind;
    group.is_empty() && kind == "Secret"
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn redactor() -> Redactor {
        Redactor::new(&[7; 32], false)
    }

    fn redacted(kind: &str, json: &Value) -> Value {
        let kind = KindRecord { group: String::new(), version: "v1".into(), kind: kind.into() };
        let reference = RefRecord { kind, namespace: "a".into(), name: "b".into() };
        let mut object = ObjectRecord {
            reference,
            uid: "u".into(),
            revision: 1,
            json: Blob(json.to_string().into_bytes()),
        };
        redactor().object(&mut object);
        serde_json::from_slice(&object.json.0).unwrap()
    }

    #[test]
    fn only_values_of_secrets_change() {
        let secret = json!({
            "kind": "Secret",
            "metadata": { "name": "b", "labels": { "data": "kept" }, "annotations": {
                LAST_APPLIED: r#"{"kind":"Secret","stringData":{"password":"hunter2"}}"#,
                "other": "kept",
            } },
            "type": "Opaque",
            "data": { "password": STANDARD.encode("hunter2"), "other": "not base64!" },
            "stringData": { "password": "hunter2" },
        });
        let hidden = redacted("Secret", &secret);
        let text = hidden.to_string();
        assert!(!text.contains("hunter2") && !text.contains(&STANDARD.encode("hunter2")), "{text}");
        assert!(!text.contains("not base64"), "{text}");
        assert_eq!(hidden["metadata"]["labels"], secret["metadata"]["labels"]);
        assert_eq!(hidden["metadata"]["annotations"]["other"], "kept");
        assert_eq!(hidden["type"], "Opaque");
        let plain = hidden["stringData"]["password"].as_str().unwrap();
        assert_eq!(plain.len(), 7);
        let decoded = STANDARD.decode(hidden["data"]["password"].as_str().unwrap()).unwrap();
        assert_eq!(decoded, plain.as_bytes(), "one value, one replacement");
        assert!(text.contains(&format!(r#"\"password\":\"{plain}\""#)), "{text}");
        assert_eq!(redacted("ConfigMap", &secret), secret);
    }

    #[test]
    fn a_secret_of_an_impossible_shape_shows_nothing() {
        for secret in [
            json!("hunter2"),
            json!(["hunter2"]),
            json!({"data": "hunter2"}),
            json!({"data": ["hunter2"]}),
            json!({"data": {"a": {"b": "hunter2"}}}),
            json!({"stringData": {"pin": 12_345_678}}),
        ] {
            let kind =
                KindRecord { group: String::new(), version: "v1".into(), kind: "Secret".into() };
            let reference = RefRecord { kind, namespace: "a".into(), name: "b".into() };
            let json = Blob(secret.to_string().into_bytes());
            let mut object = ObjectRecord { reference, uid: String::new(), revision: 1, json };
            redactor().object(&mut object);
            let text = String::from_utf8(object.json.0).unwrap();
            assert!(!text.contains("hunter2") && !text.contains("12345678"), "{secret}: {text}");
        }
    }

    #[test]
    fn the_seed_is_hidden_where_it_may_become_a_secret() {
        let context = ContextRecord { now_unix_ms: 1, seed: 42, revision: 3 };
        let mut seen = Vec::new();
        for hide in [false, true] {
            let mut input = Input::Schedule { context, pods: Vec::new() };
            Redactor::new(&[7; 32], hide).input(&mut input);
            seen.push(input.context().unwrap().seed);
        }
        assert_eq!(seen[0], 42);
        assert_ne!(seen[1], 42);
    }

    proptest! {
        #[test]
        fn values_keep_length_equality_and_encoding(a in any::<Vec<u8>>(), b in any::<Vec<u8>>()) {
            let redactor = redactor();
            let (hidden_a, hidden_b) = (redactor.derive(&a), redactor.derive(&b));
            prop_assert_eq!(hidden_a.len(), a.len());
            prop_assert_eq!(&hidden_a, &redactor.derive(&a));
            if a.len() > 8 && a != b {
                prop_assert_ne!(&hidden_a, &hidden_b);
            }
            let encoded = STANDARD.encode(&a);
            let hidden = redacted("Secret", &json!({"data": {"a": encoded}}));
            let hidden = hidden["data"]["a"].as_str().unwrap();
            prop_assert_eq!(hidden.len(), encoded.len());
            prop_assert!(STANDARD.decode(hidden).is_ok());
        }
    }
}
