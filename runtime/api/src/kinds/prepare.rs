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

pub(super) fn finalize(object: &mut Value, old: &Value) {
    let finalizers = value_at(object, &["spec", "finalizers"]).clone();
    let sent = value_at(object, &["metadata"]).clone();
    let mut result = old.clone();
    if let Some(spec) = child(&mut result, "spec") {
        match finalizers {
            Value::Null => remove(spec, "finalizers"),
            finalizers => set(spec, "finalizers", finalizers),
        }
    }
    if let Some(meta) = child(&mut result, "metadata") {
        carry(meta, &sent, "resourceVersion");
    }
    *object = result;
}

pub(super) fn approval(object: &mut Value, old: &Value) {
    let conditions = value_at(object, &["status", "conditions"]).clone();
    let sent = value_at(object, &["metadata"]).clone();
    let mut result = old.clone();
    if let Some(status) = child(&mut result, "status") {
        match conditions {
            Value::Null => remove(status, "conditions"),
            conditions => set(status, "conditions", conditions),
        }
    }
    if let Some(meta) = child(&mut result, "metadata") {
        carry(meta, &sent, "resourceVersion");
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

#[cfg(test)]
mod tests {
    use super::super::{CreateMeta, Registry, fill_create_meta};
    use super::*;

    fn row(group: &str, plural: &str) -> &'static Resource {
        Registry::builtin().by_plural(group, "v1", plural).unwrap()
    }

    #[test]
    fn a_create_drops_what_clients_may_not_set() {
        let mut pod = json!({"metadata": {"name": "p", "generation": 7, "deletionTimestamp": "x", "selfLink": "y"},
            "spec": {"containers": []}, "status": {"phase": "Running"}});
        row("", "pods").prepare_create(&mut pod);
        assert_eq!(pod["metadata"], json!({"name": "p", "generation": 1}));
        assert_eq!(pod["status"], json!({"phase": "Pending", "qosClass": "BestEffort"}));
        let mut node = json!({"metadata": {"name": "n", "namespace": "x"}, "status": {"capacity": {"cpu": "1"}}});
        row("", "nodes").prepare_create(&mut node);
        assert_eq!(node, json!({"metadata": {"name": "n"}, "status": {"capacity": {"cpu": "1"}}}));
        let mut plain = json!({"metadata": {"name": "c"}, "data": {"a": "b"}});
        row("", "configmaps").prepare_create(&mut plain);
        assert_eq!(plain, json!({"metadata": {"name": "c"}, "data": {"a": "b"}}));
    }

    #[test]
    fn an_update_keeps_status_and_counts_generation() {
        let old = json!({"metadata": {"name": "d", "namespace": "n", "uid": "u", "generation": 3, "creationTimestamp": "t"},
            "spec": {"replicas": 1}, "status": {"replicas": 1}});
        let row = row("apps", "deployments");
        let mut same = json!({"metadata": {"name": "d", "labels": {"a": "b"}, "generation": 99}, "spec": {"replicas": 1}});
        row.prepare_update(&mut same, &old);
        assert_eq!(
            same["metadata"],
            json!({"name": "d", "namespace": "n", "uid": "u", "generation": 3, "creationTimestamp": "t", "labels": {"a": "b"}})
        );
        assert_eq!(same["status"], old["status"]);
        let mut more =
            json!({"metadata": {"name": "d"}, "spec": {"replicas": 2}, "status": {"replicas": 9}});
        row.prepare_update(&mut more, &old);
        assert_eq!((&more["metadata"]["generation"], &more["status"]), (&json!(4), &old["status"]));
    }

    #[test]
    fn a_status_update_changes_only_status() {
        let old = json!({"metadata": {"name": "d", "uid": "u", "labels": {"a": "b"}, "resourceVersion": "5"}, "spec": {"replicas": 1}});
        let mut new = json!({"metadata": {"name": "d", "labels": {"x": "y"}, "resourceVersion": "4"},
            "spec": {"replicas": 9}, "status": {"replicas": 1}});
        let mut node = new.clone();
        row("apps", "deployments").prepare_status(&mut new, &old, 0);
        assert_eq!(
            new,
            json!({"metadata": {"name": "d", "uid": "u", "labels": {"a": "b"}, "resourceVersion": "4"},
                "spec": {"replicas": 1}, "status": {"replicas": 1}})
        );
        row("", "nodes").prepare_status(&mut node, &old, 0);
        assert_eq!(node["metadata"]["labels"], json!({"x": "y"}));
    }

    #[test]
    fn finalizing_changes_only_the_finalizers() {
        let old = json!({"metadata": {"name": "n", "resourceVersion": "5"}, "spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Terminating"}});
        let mut new = json!({"metadata": {"name": "n"}, "spec": {"finalizers": []}});
        row("", "namespaces").prepare_finalize(&mut new, &old);
        assert_eq!(
            new,
            json!({"metadata": {"name": "n"}, "spec": {"finalizers": []}, "status": {"phase": "Terminating"}})
        );
    }

    #[test]
    fn a_deletion_is_marked_once_and_counted() {
        let mut pod = json!({"metadata": {"name": "p", "generation": 1}});
        mark_deleted(&mut pod, "2026-01-02T03:04:05Z", 30);
        assert_eq!(
            pod["metadata"],
            json!({"name": "p", "generation": 2, "deletionTimestamp": "2026-01-02T03:04:05Z", "deletionGracePeriodSeconds": 30})
        );
    }

    #[test]
    fn a_namespace_is_born_active() {
        let mut namespace = json!({"metadata": {"name": "n"}, "status": {"phase": "Terminating"}});
        let row = row("", "namespaces");
        row.apply_defaults(&mut namespace);
        row.prepare_create(&mut namespace);
        let with = CreateMeta { uid: "u", now_ms: 0, namespace: "", name_suffix: "" };
        fill_create_meta(&mut namespace, with);
        row.check(&namespace, None).unwrap();
        assert_eq!(
            namespace,
            json!({"apiVersion": "v1", "kind": "Namespace",
                "metadata": {"name": "n", "uid": "u", "creationTimestamp": "1970-01-01T00:00:00Z", "labels": {"kubernetes.io/metadata.name": "n"}},
                "spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"}})
        );
    }
}
