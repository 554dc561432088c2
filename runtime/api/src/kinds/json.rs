//! Reading and filling JSON objects without surprises: every accessor answers
//! for absent and mistyped fields too.

use serde_json::{Map, Value, json};

use crate::time;

static NULL: Value = Value::Null;

/// The value at a path, `Null` where any step is missing.
pub fn value_at<'a>(object: &'a Value, path: &[&str]) -> &'a Value {
    path.iter().try_fold(object, |value, step| value.get(*step)).unwrap_or(&NULL)
}

/// The string at a path, empty where it is missing or no string.
pub fn str_at<'a>(object: &'a Value, path: &[&str]) -> &'a str {
    value_at(object, path).as_str().unwrap_or_default()
}

/// The map at a path, if there is one.
pub fn object_at<'a>(object: &'a Value, path: &[&str]) -> Option<&'a Map<String, Value>> {
    value_at(object, path).as_object()
}

pub(super) fn int_at(object: &Value, path: &[&str]) -> i64 {
    value_at(object, path).as_i64().unwrap_or_default()
}

pub(super) fn bool_at(object: &Value, path: &[&str]) -> bool {
    value_at(object, path).as_bool().unwrap_or_default()
}

/// The items of a list, none where it is missing.
pub(super) fn items<'a>(object: &'a Value, path: &[&str]) -> &'a [Value] {
    value_at(object, path).as_array().map_or(&[], Vec::as_slice)
}

pub(super) fn items_mut<'a>(
    object: &'a mut Value,
    field: &str,
) -> impl Iterator<Item = &'a mut Value> {
    object.get_mut(field).and_then(Value::as_array_mut).into_iter().flatten()
}

/// Keys may contain dots but field names never do.
pub(super) fn value_at_dotted<'a>(
    object: &'a Value,
    path: &str,
    separator: char,
) -> Option<&'a Value> {
    path.split(separator).try_fold(object, |value, step| value.get(step))
}

pub(super) fn is_set(object: &Value, field: &str) -> bool {
    !matches!(object.get(field), None | Some(Value::Null))
}

/// Sets a field of an object that is absent or null.
pub(super) fn default_to(object: &mut Value, field: &str, value: impl Into<Value>) {
    if !is_set(object, field) {
        set(object, field, value);
    }
}

/// As [`default_to`], and the empty string counts as absent, as in Go.
pub(super) fn default_str(object: &mut Value, field: &str, value: &str) {
    if str_at(object, &[field]).is_empty() {
        default_or_replace_empty(object, field, value);
    }
}

fn default_or_replace_empty(object: &mut Value, field: &str, value: &str) {
    match object.get(field) {
        None | Some(Value::Null | Value::String(_)) => set(object, field, value),
        // A mistyped value stays, so that validation can show it.
        Some(_) => {}
    }
}

/// As [`default_to`], and zero counts as absent, as in Go.
pub(super) fn default_int(object: &mut Value, field: &str, value: i64) {
    if !is_set(object, field) || object[field].as_i64() == Some(0) {
        set(object, field, value);
    }
}

pub(super) fn set(object: &mut Value, field: &str, value: impl Into<Value>) {
    if let Some(map) = object.as_object_mut() {
        map.insert(field.to_owned(), value.into());
    }
}

pub(super) fn remove(object: &mut Value, field: &str) {
    if let Some(map) = object.as_object_mut() {
        map.remove(field);
    }
}

/// A child object, made when absent or null. `None` when it is something else.
pub(super) fn child<'a>(object: &'a mut Value, field: &str) -> Option<&'a mut Value> {
    let map = object.as_object_mut()?;
    let value = map.entry(field).or_insert(Value::Null);
    if value.is_null() {
        *value = json!({});
    }
    value.is_object().then_some(value)
}

pub(super) fn name_cell(object: &Value) -> Value {
    str_at(object, &["metadata", "name"]).into()
}

pub(super) fn age_cell(object: &Value, now_ms: i64) -> Value {
    age(str_at(object, &["metadata", "creationTimestamp"]), now_ms).into()
}

/// Time since an RFC 3339 timestamp, as printed.
pub(super) fn age(timestamp: &str, now_ms: i64) -> String {
    match time::parse(timestamp) {
        Some(then) => time::human_duration(now_ms - then),
        None => "<unknown>".to_owned(),
    }
}

/// Text, or `<none>` when there is none.
pub(super) fn or_none(text: &str) -> Value {
    if text.is_empty() { "<none>".into() } else { text.into() }
}

/// `key=value,key=value`, or `<none>`.
pub(super) fn labels_cell(labels: &Value) -> Value {
    let Some(map) = labels.as_object().filter(|map| !map.is_empty()) else {
        return "<none>".into();
    };
    let pairs: Vec<String> = map
        .iter()
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
        .collect();
    pairs.join(",").into()
}
