//! `Event`: something that happened to an object, served in two shapes.
//!
//! The core group's shape is the stored one; `events.k8s.io` renames some
//! fields and is converted on the way in and out.

use serde_json::{Value, json};

use super::json::{age, int_at, name_cell, remove, set, str_at, value_at};
use super::validation::Check;
use super::{Alias, Column, Hooks, Resource, SelectableField};
use crate::status::FieldError;

/// An hour, Kubernetes' default.
const TTL_SECONDS: u64 = 3600;

pub(super) const CORE_ROW: Resource = Resource {
    kind: "Event",
    plural: "events",
    singular: "event",
    short_names: &["ev"],
    columns: &[
        Column::string("Last Seen")
            .help("The time at which the most recent occurrence of this event was recorded."),
        Column::string("Type")
            .help("Type of this event (Normal, Warning), new types could be added in the future"),
        Column::string("Reason").help(
            "A short, machine understandable string that gives the reason for the transition.",
        ),
        Column::string("Object").help("The object that this event is about."),
        Column::string("Subobject").wide().help("The part of the object that this event is about."),
        Column::string("Source").wide().help("The component reporting this event."),
        Column::string("Message")
            .help("A human-readable description of the status of this operation."),
        Column::string("First Seen").wide().help("The time at which the event was first recorded."),
        Column::string("Count").wide().help("The number of times this event has occurred."),
        Column { priority: 1, ..Column::NAME },
    ],
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
        SelectableField::new("source", "/source/component").computed(component),
        SelectableField::new("type", "/type"),
    ],
    schema: "core.v1.Event",
    ttl_seconds: Some(TTL_SECONDS),
    hooks: Hooks { cells, validate, ..Hooks::PLAIN },
    ..Resource::BASE
};

pub(super) const EVENTS_ROW: Resource = Resource {
    group: "events.k8s.io",
    schema: "events.v1.Event",
    // Read from the stored shape.
    selectable: &[
        SelectableField::new("regarding.kind", "/involvedObject/kind"),
        SelectableField::new("regarding.namespace", "/involvedObject/namespace"),
        SelectableField::new("regarding.name", "/involvedObject/name"),
        SelectableField::new("regarding.uid", "/involvedObject/uid").indexed(),
        SelectableField::new("regarding.apiVersion", "/involvedObject/apiVersion"),
        SelectableField::new("regarding.resourceVersion", "/involvedObject/resourceVersion"),
        SelectableField::new("regarding.fieldPath", "/involvedObject/fieldPath"),
        SelectableField::new("reason", "/reason"),
        SelectableField::new("reportingController", "/reportingComponent").computed(component),
        SelectableField::new("type", "/type"),
    ],
    alias: Some(Alias { group: "", plural: "events", to_storage, from_storage }),
    ..CORE_ROW
};

/// The component that reported, under its old or its new name.
fn component(event: &Value) -> &str {
    match str_at(event, &["source", "component"]) {
        "" => str_at(event, &["reportingComponent"]),
        component => component,
    }
}

fn cells(event: &Value, now_ms: i64) -> Vec<Value> {
    let since = |path: &[&str]| match str_at(event, path) {
        "" => None,
        time => Some(age(time, now_ms)),
    };
    let first = since(&["firstTimestamp"])
        .or_else(|| since(&["eventTime"]))
        .unwrap_or_else(|| "<unknown>".to_owned());
    let mut last = since(&["lastTimestamp"]).unwrap_or_else(|| first.clone());
    let mut count = int_at(event, &["count"]).max(1);
    if value_at(event, &["series"]).is_object() {
        last = since(&["series", "lastObservedTime"]).unwrap_or_else(|| "<unknown>".to_owned());
        count = int_at(event, &["series", "count"]);
    }
    let object = value_at(event, &["involvedObject"]);
    let kind = str_at(object, &["kind"]).to_lowercase();
    let target = match str_at(object, &["name"]) {
        "" => kind,
        name => format!("{kind}/{name}"),
    };
    vec![
        last.into(),
        str_at(event, &["type"]).into(),
        str_at(event, &["reason"]).into(),
        target.into(),
        str_at(object, &["fieldPath"]).into(),
        source(event).into(),
        str_at(event, &["message"]).trim().into(),
        first.into(),
        count.into(),
        name_cell(event),
    ]
}

/// `component, instance`
fn source(event: &Value) -> String {
    let instance = match str_at(event, &["source", "host"]) {
        "" => str_at(event, &["reportingInstance"]),
        host => host,
    };
    match instance {
        "" => component(event).to_owned(),
        instance => format!("{}, {instance}", component(event)),
    }
}

fn validate(event: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut check = Check::new(&mut errors, "");
    let namespace = str_at(event, &["metadata", "namespace"]);
    let about = str_at(event, &["involvedObject", "namespace"]);
    // Events about cluster-scoped objects live in the default namespace, or
    // where their reporter lives.
    let fits = match about {
        "" => matches!(namespace, "" | "default" | "kube-system"),
        about => about == namespace,
    };
    if !fits {
        check.invalid("involvedObject.namespace", about, "does not match event.namespace");
    }
    // Only the newer API sets `eventTime`, and it is strict.
    let strict = !str_at(event, &["eventTime"]).is_empty();
    if strict && old.is_none() {
        for field in ["reportingInstance", "action", "reason"] {
            let value = str_at(event, &[field]);
            if value.is_empty() {
                check.required(field, "");
            } else if value.len() > 128 {
                check.invalid(field, value, "can have at most 128 characters");
            }
        }
        if str_at(event, &["reportingComponent"]).is_empty() {
            check.required("reportingController", "");
        }
        let message = str_at(event, &["message"]);
        if message.len() > 1024 {
            check.invalid("message", message, "can have at most 1024 characters");
        }
        if !matches!(str_at(event, &["type"]), "Normal" | "Warning") {
            let kind = str_at(event, &["type"]);
            check.invalid("type", kind, format!("has invalid value: {kind}"));
        }
    }
    errors
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

fn to_storage(event: &mut Value) {
    for (events, core) in RENAMED {
        rename(event, events, core);
    }
    set(event, "apiVersion", "v1");
}

fn from_storage(event: &mut Value) {
    for (events, core) in RENAMED {
        rename(event, core, events);
    }
    set(event, "apiVersion", "events.k8s.io/v1");
    if event.get("eventTime").is_none() {
        set(event, "eventTime", json!(null));
    }
}

fn rename(object: &mut Value, from: &str, to: &str) {
    if let Some(value) = object.get_mut(from).map(Value::take) {
        remove(object, from);
        set(object, to, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_767_323_045_000; // 2026-01-02T03:04:05Z

    #[test]
    fn shapes_convert_both_ways() {
        let newer = json!({"apiVersion": "events.k8s.io/v1", "kind": "Event", "eventTime": "2026-01-02T03:04:05.000000Z",
            "regarding": {"kind": "Pod", "name": "p"}, "note": "hello", "reportingController": "pintle.dev/x",
            "deprecatedCount": 2, "reason": "R"});
        let mut event = newer.clone();
        to_storage(&mut event);
        assert_eq!(
            (&event["involvedObject"]["name"], &event["message"], &event["count"]),
            (&json!("p"), &json!("hello"), &json!(2))
        );
        assert_eq!(event["apiVersion"], "v1");
        from_storage(&mut event);
        assert_eq!(event, newer);
    }

    #[test]
    fn printed_row() {
        let event = json!({"metadata": {"name": "e"}, "type": "Normal", "reason": "Started", "message": "up \n", "count": 3,
            "firstTimestamp": "2026-01-02T03:00:05Z", "lastTimestamp": "2026-01-02T03:04:00Z",
            "involvedObject": {"kind": "Pod", "name": "p", "fieldPath": "spec.containers{c}"},
            "source": {"component": "agent", "host": "n1"}});
        assert_eq!(
            cells(&event, NOW),
            *json!([
                "5s",
                "Normal",
                "Started",
                "pod/p",
                "spec.containers{c}",
                "agent, n1",
                "up",
                "4m",
                3,
                "e"
            ])
            .as_array()
            .unwrap()
        );
        let series = json!({"eventTime": "2026-01-02T03:03:05.000000Z", "series": {"count": 9, "lastObservedTime": "2026-01-02T03:04:04.000000Z"}});
        let cells = cells(&series, NOW);
        assert_eq!((&cells[0], &cells[7], &cells[8]), (&json!("1s"), &json!("60s"), &json!(9)));
    }

    #[test]
    fn rules() {
        fn check(event: Value, expect: &[&str]) {
            let found: Vec<String> =
                validate(&event, None).iter().map(ToString::to_string).collect();
            assert_eq!(found, expect);
        }
        check(json!({"metadata": {"namespace": "a"}, "involvedObject": {"namespace": "a"}}), &[]);
        check(
            json!({"metadata": {"namespace": "default"}, "involvedObject": {"kind": "Node"}}),
            &[],
        );
        check(
            json!({"metadata": {"namespace": "a"}, "involvedObject": {"namespace": "b"}}),
            &[r#"involvedObject.namespace: Invalid value: "b": does not match event.namespace"#],
        );
        check(
            json!({"metadata": {"namespace": "default"}, "eventTime": "2026-01-02T03:04:05.000000Z", "reportingComponent": "c",
                "reportingInstance": "i", "reason": "R", "type": "Normal"}),
            &["action: Required value"],
        );
    }
}
