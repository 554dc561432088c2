//! What every request of one sort may carry: query parameters and bodies.
//! Does not know kinds or paths.

use serde_json::{Map, Value, json};

pub const JSON: &str = "application/json";
pub const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";

pub fn request_body(schema: Value, types: &[&str]) -> Value {
    let content: Map<_, _> =
        types.iter().map(|ty| ((*ty).to_owned(), json!({ "schema": schema }))).collect();
    json!({"required": true, "content": content})
}

pub fn optional_body(schema: Value) -> Value {
    json!({"content": {JSON: {"schema": schema}, PROTOBUF: {"schema": schema}}})
}

pub fn query(name: &str, ty: &str, description: &str) -> Value {
    json!({"name": name, "in": "query", "description": description, "schema": {"type": ty, "uniqueItems": true}})
}

pub fn pretty() -> Value {
    query("pretty", "string", "\"true\" asks for indented output.")
}

pub fn dry_run() -> Value {
    query("dryRun", "string", "\"All\" runs every stage of the request and stores nothing.")
}

pub fn write_parameters() -> Vec<Value> {
    vec![
        pretty(),
        dry_run(),
        query("fieldManager", "string", "The name under which the change is recorded."),
        query(
            "fieldValidation",
            "string",
            "What becomes of unknown and duplicate fields: Strict refuses the request, Warn reports them, Ignore drops them.",
        ),
    ]
}

pub fn delete_parameters() -> Vec<Value> {
    vec![
        pretty(),
        dry_run(),
        query(
            "gracePeriodSeconds",
            "integer",
            "Seconds the object has to end by itself; 0 deletes it at once.",
        ),
        query("orphanDependents", "boolean", "Replaced by propagationPolicy."),
        query(
            "propagationPolicy",
            "string",
            "What becomes of dependents: Orphan, Background or Foreground.",
        ),
    ]
}

pub fn list_parameters() -> Vec<Value> {
    vec![
        pretty(),
        query(
            "allowWatchBookmarks",
            "boolean",
            "Send bookmark events with the current resource version.",
        ),
        query("continue", "string", "The continue token of the page before."),
        query("fieldSelector", "string", "Only objects whose fields match."),
        query("labelSelector", "string", "Only objects whose labels match."),
        query("limit", "integer", "At most this many objects per page."),
        query(
            "resourceVersion",
            "string",
            "The version the list is at, or the watch starts after.",
        ),
        query(
            "resourceVersionMatch",
            "string",
            "How resourceVersion is meant: Exact or NotOlderThan.",
        ),
        query("sendInitialEvents", "boolean", "Begin a watch with the current objects."),
        query("timeoutSeconds", "integer", "End the request after this time."),
        query("watch", "boolean", "Stream changes instead of listing."),
    ]
}
