//! Bodies into JSON trees, and back for clients that want another encoding.

use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use hyper::body::SizeHint;
use pintle_api::meta::GroupVersionKind;
use pintle_api::status::StatusError;
use pintle_api::{protobuf, schema, yaml};
use serde_json::Value;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

use super::negotiate::{self, Encoding};
use crate::body::{Body, ReadBodyError};

/// The largest request body, the same as kube-apiserver's.
pub const MAX_BODY_BYTES: usize = 3 * 1024 * 1024;

/// All bodies being worked on together. Decoded they take a multiple of this.
pub const MAX_BODIES_BYTES: usize = 64 * 1024 * 1024;
/// The unit in which bodies are counted, so that counts fit a semaphore.
const BODY_UNIT_BYTES: usize = 1024;

/// What all bodies together may take.
pub fn body_budget() -> Semaphore {
    Semaphore::new(MAX_BODIES_BYTES / BODY_UNIT_BYTES)
}

/// Waits until there is room for a body. One of unknown length counts as the
/// largest. Requests without a body never wait.
pub async fn admit_body(budget: &Semaphore, size: SizeHint) -> Option<SemaphorePermit<'_>> {
    let bytes =
        size.upper().map_or(MAX_BODY_BYTES, |upper| upper.min(MAX_BODY_BYTES as u64) as usize);
    if bytes == 0 {
        return None;
    }
    // The budget is never closed, so there is always a permit to wait for.
    budget.acquire_many(bytes.div_ceil(BODY_UNIT_BYTES) as u32).await.ok()
}

/// A body as decoded.
#[derive(Debug)]
pub struct Decoded {
    pub value: Value,
    /// Paths of keys that were given twice.
    pub duplicates: Vec<String>,
}

/// A client that takes longer to send a body is stuck or means harm.
const BODY_TIMEOUT: Duration = Duration::from_secs(60);

pub async fn read(body: Body) -> Result<Bytes, StatusError> {
    let Ok(read) = timeout(BODY_TIMEOUT, body.read_all(MAX_BODY_BYTES)).await else {
        return Err(StatusError::timeout("the request body did not arrive in time", 1));
    };
    read.map_err(|error| match error {
        ReadBodyError::TooLarge => {
            StatusError::request_entity_too_large(&format!("limit is {MAX_BODY_BYTES}"))
        }
        ReadBodyError::Broken(_) => StatusError::bad_request("the request body could not be read"),
    })
}

/// Decodes the object in a body. `expected` is its kind if it does not say.
pub fn object(
    headers: &HeaderMap,
    body: &[u8],
    expected: &GroupVersionKind,
) -> Result<Decoded, StatusError> {
    let encoding = negotiate::body_encoding(headers)?;
    if body.is_empty() {
        return Err(StatusError::bad_request("the request body is empty, an object is expected"));
    }
    match encoding {
        Encoding::Json => json(body),
        Encoding::Yaml => yaml(body),
        Encoding::Protobuf => {
            let (_, value) = protobuf::decode_as(expected, body)
                .map_err(|error| StatusError::bad_request(error.to_string()))?;
            Ok(Decoded { value, duplicates: Vec::new() })
        }
    }
}

fn json(body: &[u8]) -> Result<Decoded, StatusError> {
    let (value, duplicates) = schema::decode_json_strict(body)
        .map_err(|error| StatusError::bad_request(format!("couldn't get version/kind; {error}")))?;
    Ok(Decoded { value, duplicates })
}

/// Aliases multiply: what they expand to is bounded by the parser to a multiple
/// of the document, and so the document is bounded here.
const MAX_ALIASED_YAML_BYTES: usize = 16 * 1024;

/// Whether a YAML text has something that looks like an anchor and something
/// that looks like an alias. Text in quotes may look so, too.
fn may_use_aliases(body: &[u8]) -> bool {
    let starts = |mark: u8| {
        memchr::memchr_iter(mark, body).any(|at| {
            let before = at.checked_sub(1).map_or(b' ', |before| body[before]);
            let after = body.get(at + 1).copied().unwrap_or_default();
            matches!(before, b' ' | b'\t' | b'\n' | b'[' | b',' | b'{')
                && (after.is_ascii_alphanumeric() || after == b'_')
        })
    };
    starts(b'&') && starts(b'*')
}

fn yaml(body: &[u8]) -> Result<Decoded, StatusError> {
    if body.len() > MAX_ALIASED_YAML_BYTES && may_use_aliases(body) {
        return Err(StatusError::bad_request(format!(
            "YAML bodies with anchors and aliases are limited to {MAX_ALIASED_YAML_BYTES} bytes, send JSON or YAML without them"
        )));
    }
    let deserializer = serde_yaml_ng::Deserializer::from_slice(body);
    let (value, duplicates) = schema::decode_strict(deserializer)
        .map_err(|error| StatusError::bad_request(format!("yaml parse error: {error}")))?;
    Ok(Decoded { value, duplicates })
}

/// Encodes an answer for clients that do not take JSON.
pub fn encode_as(value: &Value, encoding: Encoding) -> Result<Bytes, StatusError> {
    match encoding {
        Encoding::Json => serde_json::to_vec(value).map(Bytes::from).map_err(StatusError::internal),
        Encoding::Yaml => Ok(yaml::to_string(value).into()),
        Encoding::Protobuf => {
            let text = |field: &str| value.get(field).and_then(Value::as_str).unwrap_or_default();
            let gvk = GroupVersionKind::parse(text("apiVersion"), text("kind"));
            protobuf::encode(&gvk, value)
                .map(Bytes::from)
                .map_err(|_| StatusError::not_acceptable(&[negotiate::JSON, negotiate::YAML]))
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use http::header::CONTENT_TYPE;

    use super::*;

    #[test]
    fn what_is_printed_as_yaml_is_read_back() {
        let object = serde_json::json!({
            "kind": "ConfigMap", "apiVersion": "v1",
            "data": {"a": "yes", "b": "1_000", "c": "- x", "d": "one\n\n  two: 2\n\n",
                "e": "a: b #c", "f": "\u{1b}[2J\u{85}", "8080": "1e3", "": "", "null": " "},
            "list": [[1, [true, null]], {"a": [{}, []]}, "x\ny"],
        });
        let text = encode_as(&object, Encoding::Yaml).unwrap();
        assert_eq!(yaml(&text).unwrap().value, object, "{}", String::from_utf8_lossy(&text));
    }

    #[test]
    fn yaml_aliases_do_not_multiply_without_bound() {
        let mut bomb = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x]\n");
        for level in 1..12 {
            let aliases = vec![format!("*a{}", level - 1); 9].join(",");
            bomb.push_str(&format!("a{level}: &a{level} [{aliases}]\n"));
        }
        let error = yaml(bomb.as_bytes()).unwrap_err();
        assert!(error.to_string().contains("repetition limit"), "{error}");
        let long = format!("{bomb}z: {}\n", "y".repeat(MAX_ALIASED_YAML_BYTES));
        let error = yaml(long.as_bytes()).unwrap_err();
        assert!(error.to_string().contains("anchors and aliases"), "{error}");
        let script = format!(
            "data: |\n  ls *.txt && rm -f a* & \n  {}\n",
            "y".repeat(MAX_ALIASED_YAML_BYTES)
        );
        assert!(yaml(script.as_bytes()).is_ok());
    }

    #[test]
    fn json_and_yaml_become_the_same_tree() {
        let pod = GroupVersionKind::new("", "v1", "Pod");
        let check = |content_type: &'static str, body: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
            object(&headers, body.as_bytes(), &pod)
        };
        let from_json = check("application/json", r#"{"metadata":{"name":"a"}}"#).unwrap();
        let from_yaml = check("application/yaml", "metadata:\n  name: a\n").unwrap();
        assert_eq!(from_json.value, from_yaml.value);
        let twice = check("application/json", r#"{"metadata":{"name":"a","name":"b"}}"#).unwrap();
        assert_eq!(twice.duplicates, ["metadata.name"]);
        for (content_type, body, code) in [
            ("application/json", "{", 400),
            ("application/json", "", 400),
            ("application/yaml", "a: [", 400),
            ("application/vnd.kubernetes.protobuf", "junk", 400),
            ("text/plain", "{}", 415),
        ] {
            assert_eq!(
                check(content_type, body).unwrap_err().code(),
                code,
                "{content_type} {body}"
            );
        }
    }
}
