//! `Plugin`: a WebAssembly component that decides.
//!
//! The rules here are those of form; whether a component can be loaded and what
//! it imports is found out by the plugin host, which writes the status.

mod rules;

use serde_json::Value;

use super::json::{age_cell, default_int, int_at, is_set, name_cell, set, str_at, value_at};
use super::{Column, Connect, Hooks, Resource, Scope, Subresource};

use rules::validate;

const ROLLBACK_WINDOW_SECONDS: i64 = 60;
const MAX_STRIKES: i64 = 5;
/// Of a digest, what tells it from others at a glance.
const SHOWN_DIGITS: usize = 12;

/// What a candidate decided otherwise than the active version.
static DIVERGENCES: Connect =
    Connect { name: "divergences", content_type: "application/json", parameters: &[] };

/// What the plugin is given and answers, from now on.
static TRACE: Connect = Connect {
    name: "trace",
    content_type: "application/octet-stream",
    parameters: &[
        ("seconds", "integer", "Ends the recording after so long; without it the client does."),
        ("secrets", "boolean", "Record the values of Secrets as they are."),
        ("component", "boolean", "Record the component as well; true when not given."),
    ],
};

pub(super) const ROW: Resource = Resource {
    group: "plugins.pintle.dev",
    version: "v1alpha1",
    kind: "Plugin",
    plural: "plugins",
    singular: "plugin",
    scope: Scope::Cluster,
    subresources: &[
        Subresource::Status,
        Subresource::Connect(&DIVERGENCES),
        Subresource::Connect(&TRACE),
    ],
    columns: &[
        Column::NAME,
        Column::string("Role").help("What the plugin decides."),
        Column::string("Phase").help("Whether the plugin is loaded and deciding."),
        Column::string("Digest").help("The start of the digest of the component that is active."),
        Column::integer("Calls").help("How often the plugin was asked since it was loaded."),
        Column::string("P99").help("The time within which 99 of 100 calls are answered."),
        Column::integer("Strikes").help("Faulty calls in a row."),
        Column::string("Agreed").help("Decisions that the compared version made as well."),
        Column::string("Diverged").help("Decisions that the compared version made otherwise."),
        Column::AGE,
    ],
    schema: "plugins.v1alpha1.Plugin",
    spec_generation: true,
    hooks: Hooks { cells, default, validate, ..Hooks::PLAIN },
    ..Resource::BASE
};

fn cells(plugin: &Value, now_ms: i64) -> Vec<Value> {
    let status = value_at(plugin, &["status"]);
    let digest = match str_at(status, &["activeDigest"]) {
        "" => str_at(plugin, &["spec", "digest"]),
        active => active,
    };
    let phase = match str_at(status, &["phase"]) {
        "" => "Pending",
        phase => phase,
    };
    vec![
        name_cell(plugin),
        str_at(plugin, &["spec", "role"]).into(),
        phase.into(),
        short_digest(digest).into(),
        int_at(status, &["calls"]).into(),
        latency(int_at(status, &["p99Microseconds"])).into(),
        int_at(status, &["strikes"]).into(),
        compared(status, "agreements"),
        compared(status, "divergences"),
        age_cell(plugin, now_ms),
    ]
}

/// A count of the comparison, where there is or was one.
fn compared(status: &Value, count: &str) -> Value {
    let shadow = value_at(status, &["shadow"]);
    if shadow.is_object() { int_at(shadow, &[count]).to_string().into() } else { "<none>".into() }
}

fn short_digest(digest: &str) -> &str {
    let hex = digest.strip_prefix("sha256:").unwrap_or(digest);
    match hex {
        "" => "<none>",
        hex => hex.get(..SHOWN_DIGITS).unwrap_or(hex),
    }
}

fn latency(microseconds: i64) -> String {
    match microseconds {
        ..=0 => "<none>".to_owned(),
        us @ ..1000 => format!("{us}µs"),
        us @ ..1_000_000 => format!("{}.{}ms", us / 1000, us / 100 % 10),
        us => format!("{}.{}s", us / 1_000_000, us / 100_000 % 10),
    }
}

fn default(plugin: &mut Value) {
    if let Some(rollout) = plugin
        .get_mut("spec")
        .and_then(|spec| spec.get_mut("rollout"))
        .filter(|rollout| rollout.is_object())
    {
        if !is_set(rollout, "windowSeconds") {
            set(rollout, "windowSeconds", ROLLBACK_WINDOW_SECONDS);
        }
        default_int(rollout, "maxStrikes", MAX_STRIKES);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const DIGEST: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[test]
    fn printed_row() {
        let plugin = json!({"metadata": {"name": "s"}, "spec": {"role": "Scheduler"},
            "status": {"phase": "Active", "activeDigest": DIGEST, "calls": 7, "p99Microseconds": 2345, "strikes": 1}});
        assert_eq!(
            cells(&plugin, 0),
            *json!([
                "s",
                "Scheduler",
                "Active",
                "0123456789ab",
                7,
                "2.3ms",
                1,
                "<none>",
                "<none>",
                "<unknown>"
            ])
            .as_array()
            .unwrap()
        );
        let shadow = json!({"status": {"shadow": {"agreements": 41, "divergences": 2}}});
        assert_eq!(cells(&shadow, 0)[7..9], *json!(["41", "2"]).as_array().unwrap());
        assert_eq!(
            cells(&json!({}), 0)[2..6],
            *json!(["Pending", "<none>", 0, "<none>"]).as_array().unwrap()
        );
    }
}
