//! What a table may say instead of a value: a part of an object, a text with `*`.

use serde_json::Value;

/// `*` stands for any text.
pub fn fits(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(first) = parts.next() else { return true };
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else { return rest.is_empty() };
    for part in middle {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

/// Says where `found` is not what is expected. Of objects only the fields that are
/// named count; null stands for absent, and zero may be left out.
pub fn difference(expected: &Value, found: Option<&Value>) -> Option<String> {
    let found = found.unwrap_or(&Value::Null);
    match (expected, found) {
        (Value::Object(fields), _) => fields.iter().find_map(|(name, expected)| {
            let at = difference(expected, found.get(name))?;
            Some(if at.starts_with('.') { format!(".{name}{at}") } else { format!(".{name} {at}") })
        }),
        (Value::Array(list), Value::Array(items)) if list.len() == items.len() => {
            list.iter().zip(items).enumerate().find_map(|(index, (expected, item))| {
                Some(format!("[{index}] {}", difference(expected, Some(item))?))
            })
        }
        (Value::Array(list), Value::Null) if list.is_empty() => None,
        (Value::String(pattern), Value::String(text)) if fits(pattern, text) => None,
        (Value::Number(number), Value::Null) if number.as_i64() == Some(0) => None,
        (expected, found) if expected == found => None,
        (expected, found) => Some(format!("is {found}, not {expected}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn texts_with_gaps() {
        fn check(pattern: &str, text: &str, expect: bool) {
            assert_eq!(fits(pattern, text), expect, "{pattern} {text}");
        }
        check("web", "web", true);
        check("web", "web-1", false);
        check("web-*", "web-1", true);
        check("*", "", true);
        check("Scaled * to *", "Scaled up to 4", true);
        check("Scaled * from *", "Scaled up to 4", false);
        check("a*a", "a", false);
    }

    #[test]
    fn parts_of_objects() {
        fn check(expected: Value, found: Value, expect: Option<&str>) {
            assert_eq!(difference(&expected, Some(&found)).as_deref(), expect);
        }
        check(json!({"a": 1}), json!({"a": 1, "b": 2}), None);
        check(
            json!({"a": {"b": "x*"}}),
            json!({"a": {"b": "y"}}),
            Some(".a.b is \"y\", not \"x*\""),
        );
        check(json!({"a": null, "b": 0}), json!({}), None);
        check(json!({"a": [1]}), json!({"a": [1, 2]}), Some(".a is [1,2], not [1]"));
    }
}
