//! JSON with an eye on duplicate keys, which an ordinary parser swallows.

use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::map::Entry;
use serde_json::{Map, Value};

use crate::patch::MAX_NESTING;

/// Kubernetes stops collecting at this number, too.
const MAX_DUPLICATES: usize = 100;

#[derive(Debug, thiserror::Error)]
#[error("json parse error: {0}")]
pub struct JsonError(#[from] serde_json::Error);

/// The value, and the path of each key that was given twice (the last one
/// counts). Nesting is limited to [`MAX_NESTING`] levels.
pub fn decode_json_strict(bytes: &[u8]) -> Result<(Value, Vec<String>), JsonError> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let decoded = decode_strict(&mut deserializer)?;
    deserializer.end()?;
    Ok(decoded)
}

/// The same from any format that has the values of JSON, such as YAML.
pub fn decode_strict<'de, D>(deserializer: D) -> Result<(Value, Vec<String>), D::Error>
where
    D: Deserializer<'de>,
{
    let mut duplicates = Vec::new();
    let value = Seed { duplicates: &mut duplicates, level: 0 }.deserialize(deserializer)?;
    Ok((value, duplicates))
}

/// Paths are completed on the way out, so that a body without duplicates pays
/// for none.
struct Seed<'a> {
    duplicates: &'a mut Vec<String>,
    level: usize,
}

impl Seed<'_> {
    /// For what is one level further in.
    fn inner<E: de::Error>(&mut self) -> Result<Seed<'_>, E> {
        if self.level == MAX_NESTING {
            return Err(E::custom(format_args!("nested deeper than {MAX_NESTING} levels")));
        }
        Ok(Seed { duplicates: self.duplicates, level: self.level + 1 })
    }

    fn prefix(duplicates: &mut [String], step: &str) {
        for path in duplicates {
            let separator = if path.starts_with('[') { "" } else { "." };
            *path = format!("{step}{separator}{path}");
        }
    }
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut access: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        loop {
            let before = self.duplicates.len();
            let Some(item) = access.next_element_seed(self.inner()?)? else {
                break;
            };
            if self.duplicates.len() > before {
                Seed::prefix(&mut self.duplicates[before..], &format!("[{}]", items.len()));
            }
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut access: A) -> Result<Value, A::Error> {
        let mut entries = Map::new();
        while let Some(key) = access.next_key::<String>()? {
            let before = self.duplicates.len();
            let value = access.next_value_seed(self.inner()?)?;
            if self.duplicates.len() > before {
                Seed::prefix(&mut self.duplicates[before..], &key);
            }
            match entries.entry(key) {
                Entry::Vacant(entry) => {
                    entry.insert(value);
                }
                Entry::Occupied(mut entry) => {
                    if self.duplicates.len() < MAX_DUPLICATES {
                        self.duplicates.push(entry.key().clone());
                    }
                    entry.insert(value);
                }
            }
        }
        Ok(Value::Object(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, value: &str, duplicates: &[&str]) {
        let (found, paths) = decode_json_strict(text.as_bytes()).unwrap();
        assert_eq!(found.to_string(), value);
        assert_eq!(paths, duplicates);
    }

    #[test]
    fn duplicates_are_found_where_they_are() {
        check(
            r#"{"a":1,"b":[true,null,"x",-3,0.5]}"#,
            r#"{"a":1,"b":[true,null,"x",-3,0.5]}"#,
            &[],
        );
        check(r#"{"a":1,"a":2}"#, r#"{"a":2}"#, &["a"]);
        check(
            r#"{"spec":{"containers":[{"name":"a"},{"image":"x","image":"y"}],"bar":1,"bar":1}}"#,
            r#"{"spec":{"bar":1,"containers":[{"name":"a"},{"image":"y"}]}}"#,
            &["spec.containers[1].image", "spec.bar"],
        );
    }

    #[test]
    fn bad_text_is_an_error_with_a_place() {
        for text in ["", "{", "{} x", "\u{1}", "{\"a\":\"\\ud800\"}"] {
            let error = decode_json_strict(text.as_bytes()).unwrap_err().to_string();
            assert!(error.contains("line 1 column"), "{error}");
        }
        let deep = "[".repeat(100_000);
        assert!(
            decode_json_strict(deep.as_bytes())
                .unwrap_err()
                .to_string()
                .contains("nested deeper than 100 levels")
        );
        assert!(decode_json_strict(b"{\"a\":\"\xff\"}").is_err());
    }
}
