//! Pod templates: when two are the same, and the hash that names a ReplicaSet.

use pintle_sdk::names::encode_hash;
use serde_json::Value;

pub const HASH_LABEL: &str = "pod-template-hash";

/// Are two templates the same, but for the hash label? Fields that are `null`
/// count as absent.
pub fn same(a: &Value, b: &Value) -> bool {
    digest(a) == digest(b) && canonical(a) == canonical(b)
}

/// Names the ReplicaSet of a template. `collision_count` gives another name
/// when the first is taken by another template.
pub fn hash(template: &Value, collision_count: Option<i64>) -> String {
    let mut hash = digest(template);
    for byte in collision_count.into_iter().flat_map(i64::to_le_bytes) {
        hash = step(hash, byte);
    }
    encode_hash((hash ^ (hash >> 32)) as u32)
}

fn digest(template: &Value) -> u64 {
    canonical(template).bytes().fold(0xcbf2_9ce4_8422_2325, step)
}

/// FNV-1a.
fn step(hash: u64, byte: u8) -> u64 {
    (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
}

/// JSON with sorted keys, without nulls, hash label and empty label maps.
fn canonical(template: &Value) -> String {
    let mut text = String::new();
    write(&mut text, template, &mut Vec::new());
    text
}

fn write<'a>(text: &mut String, value: &'a Value, path: &mut Vec<&'a str>) {
    match value {
        Value::Object(fields) => {
            let mut keys: Vec<&String> = fields.keys().collect();
            keys.sort_unstable();
            text.push('{');
            for key in keys {
                let field = &fields[key];
                path.push(key);
                if !is_absent(path, field) {
                    text.push_str(key);
                    text.push('\u{1f}');
                    write(text, field, path);
                    text.push('\u{1e}');
                }
                path.pop();
            }
            text.push('}');
        }
        Value::Array(items) => {
            text.push('[');
            for item in items {
                write(text, item, path);
                text.push('\u{1e}');
            }
            text.push(']');
        }
        Value::String(string) => {
            text.push('"');
            text.push_str(string);
        }
        other => text.push_str(&other.to_string()),
    }
}

fn is_absent(path: &[&str], value: &Value) -> bool {
    match (path, value) {
        (_, Value::Null) => true,
        (["metadata", "labels", HASH_LABEL], _) => true,
        (["metadata", "labels" | "annotations"], Value::Object(map)) => {
            map.keys().all(|key| key == HASH_LABEL)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_hash_label_and_nulls_do_not_matter() {
        fn check(a: Value, b: Value, equal: bool) {
            assert_eq!(same(&a, &b), equal, "{a} {b}");
            assert_eq!(hash(&a, None) == hash(&b, None), equal, "{a} {b}");
        }
        let template = json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c"}]}});
        let mut hashed = template.clone();
        hashed["metadata"]["labels"][HASH_LABEL] = json!("abc");
        hashed["metadata"]["creationTimestamp"] = Value::Null;
        check(template.clone(), hashed, true);
        let mut other = template.clone();
        other["spec"]["containers"][0]["image"] = json!("web:2");
        check(template.clone(), other, false);
        check(json!({"spec": {"a": "1"}}), json!({"spec": {"a": 1}}), false);
        check(
            json!({"spec": {"volumes": [{"emptyDir": {}}]}}),
            json!({"spec": {"volumes": [{}]}}),
            false,
        );
        check(json!({"spec": {"a": ["x", "y"]}}), json!({"spec": {"a": ["xy"]}}), false);
    }

    #[test]
    fn a_collision_gives_another_name() {
        let template = json!({"spec": {}});
        assert_ne!(hash(&template, None), hash(&template, Some(1)));
        assert_ne!(hash(&template, Some(1)), hash(&template, Some(2)));
        assert!(hash(&template, None).len() <= 10);
    }
}
