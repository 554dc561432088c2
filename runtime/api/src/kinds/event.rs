//! `Event`: something that happened to an object, reported twice.
//!
//! The core group's shape is the stored one; `events.k8s.io` renames some
//! fields and is converted on the way in and out.

use serde_json::{Value, json};

use super::json::{remove, set, str_at};
use super::{Alias, Resource, SelectableField};

/// An hour, Kubernetes' default.
const TTL_SECONDS: u64 = 3600;

pub(super) const CORE_ROW: Resource = Resource {
    kind: "Event",
    plural: "events",
    singular: "event",
    short_names: &["ev"],
    selectable: &[
        SelectableField::new("involvedObject.kind", "/involvedObject/kind"),
        SelectableField::new("involvedObject.namespace", "/involvedObject/namespace"),
        SelectableField::new("involvedObject.name", "/involvedObject/name"),
        SelectableField::new("involvedObject.uid", "/involvedObject/uid").indexed(),
        SelectableField::new("involvedObject.apiVersion", "/involvedObject/apiVersion"),
        SelectableField::new("involvedObject.resourceVersion", "/involvedObject/resourceVersion"),
        SelectableField::new("involvedObject.fieldPath", "/involvedObject/fieldPath"),
        SelectableField::new("reason", "/reason"),
        SelectableField::new("reportingComponent", "/reportingComponent"),
        SelectableField::new("source", "/source/component").computed(source),
        SelectableField::new("type", "/type"),
    ],
    schema: "core.v1.Event",
    ttl_seconds: Some(TTL_SECONDS),
    ..Resource::BASE
};

pub(super) const EVENTS_ROW: Resource = Resource {
    group: "events.k8s.io",
    schema: "events.v1.Event",
    alias: Some(Alias { group: "", plural: "events", to_storage, from_storage }),
    ..CORE_ROW
};

fn source(object: &Value) -> &str {
    match str_at(object, &["source", "component"]) {
        "" => str_at(object, &["reportingComponent"]),
        component => component,
    }
}

/// `events.k8s.io` name and core name of the fields that differ.
const RENAMED: [(&str, &str); 7] = [
    ("regarding", "involvedObject"),
    ("note", "message"),
    ("reportingController", "reportingComponent"),
    ("deprecatedSource", "source"),
    ("deprecatedFirstTimestamp", "firstTimestamp"),
    ("deprecatedLastTimestamp", "lastTimestamp"),
    ("deprecatedCount", "count"),
];

fn to_storage(object: &mut Value) {
    for (events, core) in RENAMED {
        rename(object, events, core);
    }
    set(object, "apiVersion", "v1");
}

fn from_storage(object: &mut Value) {
    for (events, core) in RENAMED {
        rename(object, core, events);
    }
    set(object, "apiVersion", "events.k8s.io/v1");
    if object.get("eventTime").is_none() {
        set(object, "eventTime", json!(null));
    }
}

fn rename(object: &mut Value, from: &str, to: &str) {
    if let Some(value) = object.get_mut(from).map(Value::take) {
        remove(object, from);
        set(object, to, value);
    }
}
