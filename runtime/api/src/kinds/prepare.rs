//! What every kind has in common before it is written: who may change which
//! part of an object.

use serde_json::{Map, Value, json};

use super::Resource;
use super::json::{child, remove, set, value_at};

/// Metadata that only the server writes.
const SERVER_META: [&str; 4] =
    ["creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation"];

pub(super) fn create(row: &Resource, object: &mut Value) {
    if row.has_status() && !row.status_on_create {
        remove(object, "status");
    }
    if let Some(meta) = child(object, "metadata") {
        for field in ["deletionTimestamp", "deletionGracePeriodSeconds", "generation", "selfLink"] {
            remove(meta, field);
        }
        if row.spec_generation {
            set(meta, "generation", 1);
        }
        if !row.is_namespaced() {
            remove(meta, "namespace");
        }
    }
}

pub(super) fn update(row: &Resource, object: &mut Value, old: &Value) {
    if row.has_status() {
        carry(object, old, "status");
    }
    keep_server_meta(object, old);
}

pub(super) fn status(row: &Resource, object: &mut Value, old: &Value) {
    let status = object.get("status").cloned();
    let sent = value_at(object, &["metadata"]).clone();
    let mut result = old.clone();
    match status {
        Some(status) => set(&mut result, "status", status),
        None => remove(&mut result, "status"),
    }
    // The version sent along is still needed for the optimistic lock, and the
    // field owners are the writer's business.
    let mut taken = vec!["resourceVersion", "managedFields"];
    if row.status_writes_labels {
        taken.extend(["labels", "annotations"]);
    }
    if let Some(meta) = child(&mut result, "metadata") {
        for field in taken {
            carry(meta, &sent, field);
        }
    }
    *object = result;
}

/// Counts a change of anything but metadata and status.
pub(super) fn generation(row: &Resource, object: &mut Value, old: &Value) {
    if !row.spec_generation {
        return;
    }
    let was = super::json::int_at(old, &["metadata", "generation"]);
    let next = if desired_differs(object, old) { was + 1 } else { was.max(1) };
    if let Some(meta) = child(object, "metadata") {
        set(meta, "generation", next);
    }
}

fn desired_differs(object: &Value, old: &Value) -> bool {
    let empty = Map::new();
    let (new, old) = (object.as_object().unwrap_or(&empty), old.as_object().unwrap_or(&empty));
    let counted = |key: &str| !matches!(key, "metadata" | "status" | "apiVersion" | "kind");
    new.iter().any(|(key, value)| counted(key) && old.get(key) != Some(value))
        || old.keys().any(|key| counted(key) && !new.contains_key(key))
}

fn keep_server_meta(object: &mut Value, old: &Value) {
    let old_meta = value_at(old, &["metadata"]);
    let Some(meta) = child(object, "metadata") else { return };
    for field in SERVER_META {
        carry(meta, old_meta, field);
    }
    for field in ["uid", "name", "namespace"] {
        if meta.get(field).and_then(Value::as_str).unwrap_or_default().is_empty() {
            carry(meta, old_meta, field);
        }
    }
    remove(meta, "selfLink");
}

/// Makes a field of `to` what it is in `from`, absent included.
fn carry(to: &mut Value, from: &Value, field: &str) {
    match from.get(field) {
        Some(Value::Null) | None => remove(to, field),
        Some(value) => set(to, field, value.clone()),
    }
}

/// Marks an object for deletion: what a graceful or finalized delete writes.
pub fn mark_deleted(object: &mut Value, timestamp: &str, grace_seconds: i64) {
    if let Some(meta) = child(object, "metadata") {
        // Asking for the end is a change of what is desired.
        let generation = super::json::int_at(meta, &["generation"]);
        if generation > 0 {
            set(meta, "generation", generation + 1);
        }
        set(meta, "deletionTimestamp", timestamp);
        set(meta, "deletionGracePeriodSeconds", json!(grace_seconds));
    }
}
