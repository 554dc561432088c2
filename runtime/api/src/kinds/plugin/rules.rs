//! What is well formed. Whether a component can be loaded and what it imports
//! is found out by the plugin host.

use base64::Engine as _;
use serde_json::Value;

use super::super::json::{is_set, items, str_at, value_at};
use super::super::validation::Check;
use crate::names;
use crate::status::FieldError;

const ROLES: &[&str] =
    &["Admission", "Authorizer", "CNI", "Controller", "Scheduler", "SchedulerExtension"];

const SOURCES: [&str; 4] = ["embedded", "file", "inline", "oci"];

const VERBS: &[&str] = &[
    "*",
    "bind",
    "create",
    "delete",
    "deletecollection",
    "event",
    "evict",
    "get",
    "list",
    "patch",
    "update",
    "watch",
];

pub(super) fn validate(plugin: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let spec = value_at(plugin, &["spec"]);
    let mut check = Check::new(&mut errors, "spec");
    if str_at(spec, &["role"]).is_empty() {
        check.required("role", "");
    } else {
        check.one_of(spec, "role", ROLES);
    }
    source(spec, &mut check);
    if let Some(digest) = spec.get("digest").and_then(Value::as_str)
        && !is_digest(digest)
    {
        check.invalid(
            "digest",
            digest,
            "must be 'sha256:' followed by 64 lower case hexadecimal digits",
        );
    }
    grants(spec, &mut check);
    let mut budgets = check.field("budgets");
    for field in
        ["fuelPerCall", "memoryBytes", "deadlineMilliseconds", "cpuMillicores", "maxInstances"]
    {
        positive(value_at(spec, &["budgets"]), field, &mut budgets);
    }
    let mut rollout = check.field("rollout");
    rollout.not_negative(value_at(spec, &["rollout"]), "windowSeconds");
    positive(value_at(spec, &["rollout"]), "maxStrikes", &mut rollout);
    let shadow = value_at(spec, &["rollout", "shadow"]);
    if shadow.is_object() {
        if str_at(spec, &["role"]) == "CNI" {
            rollout.forbidden(
                "shadow",
                "nodes run plugins of role CNI for themselves; there is nothing to compare with",
            );
        }
        let mut check = rollout.field("shadow");
        positive(shadow, "decisions", &mut check);
        check.one_of(shadow, "then", &["Promote", "Stop"]);
        if let Some(percent) = shadow.get("maxDivergencePercent").and_then(Value::as_f64)
            && !(0.0..=100.0).contains(&percent)
        {
            check.invalid("maxDivergencePercent", percent, "must lie between 0 and 100");
        }
    }
    positive(spec, "weight", &mut check);
    check.one_of(spec, "failurePolicy", &["Fail", "Ignore"]);
    if let Some(old) = old {
        check.immutable(spec, value_at(old, &["spec"]), "role");
    }
    errors
}

fn source(spec: &Value, check: &mut Check<'_>) {
    let source = value_at(spec, &["source"]);
    let given: Vec<&str> = SOURCES.into_iter().filter(|kind| is_set(source, kind)).collect();
    let one = match given.as_slice() {
        [] => {
            check.required("source", "must specify one of: `embedded`, `file`, `inline` or `oci`");
            return;
        }
        [one] => *one,
        [_, rest @ ..] => {
            for kind in rest {
                check.field("source").forbidden(kind, "may not specify more than 1 source");
            }
            return;
        }
    };
    let mut inner = check.field("source");
    let mut inner = inner.field(one);
    let body = &source[one];
    match one {
        "embedded" => match str_at(body, &["name"]) {
            "" => inner.required("name", ""),
            _ => inner.syntax(body, "name", names::dns_subdomain),
        },
        "file" => match str_at(body, &["path"]) {
            "" => inner.required("path", ""),
            path if !path.starts_with('/') => {
                inner.invalid("path", path, "must be an absolute path")
            }
            path if path.split('/').any(|part| part == "..") => {
                inner.invalid("path", path, "must not contain '..'");
            }
            _ => {}
        },
        "oci" => {
            if str_at(body, &["reference"]).is_empty() {
                inner.required("reference", "");
            }
        }
        _ => match str_at(body, &["data"]) {
            "" => inner.required("data", ""),
            data => {
                if let Err(error) = base64::engine::general_purpose::STANDARD.decode(data) {
                    // The data itself would drown the message.
                    inner.invalid("data", "<base64>", format!("must be base64: {error}"));
                }
            }
        },
    }
    // The reference of an artifact may carry the digest of its manifest.
    let pinned = str_at(body, &["reference"]).contains("@sha256:");
    if one != "embedded" && !pinned && str_at(spec, &["digest"]).is_empty() {
        check.required(
            "digest",
            "must be specified unless the source is `embedded` or an `oci` reference with a digest",
        );
    }
}

fn is_digest(text: &str) -> bool {
    text.strip_prefix("sha256:").is_some_and(|hex| {
        hex.len() == 64 && hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    })
}

fn grants(spec: &Value, check: &mut Check<'_>) {
    for (index, grant) in items(spec, &["grants"]).iter().enumerate() {
        let mut check = check.item("grants", index);
        for field in ["apiGroups", "kinds", "verbs"] {
            if items(grant, &[field]).is_empty() {
                check.required(field, "");
            }
        }
        for (place, verb) in items(grant, &["verbs"]).iter().enumerate() {
            let text = verb.as_str().unwrap_or_default();
            let (verb, subresource) = text.split_once('/').unwrap_or((text, "*"));
            if !VERBS.contains(&verb) || subresource.is_empty() {
                check.not_supported(&format!("verbs[{place}]"), text, VERBS);
            }
        }
        for (place, namespace) in items(grant, &["namespaces"]).iter().enumerate() {
            let text = namespace.as_str().unwrap_or_default();
            if text != "*"
                && let Some(message) = names::dns_label(text)
            {
                check.invalid(&format!("namespaces[{place}]"), text, message);
            }
        }
    }
}

fn positive(object: &Value, field: &str, check: &mut Check<'_>) {
    if let Some(value) = object.get(field).and_then(Value::as_i64)
        && value <= 0
    {
        check.invalid(field, value, "must be greater than 0");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::expect_errors;
    use serde_json::json;

    const DIGEST: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    fn check(change: Value, expect: &[&str]) {
        let mut spec = json!({"role": "Scheduler", "source": {"embedded": {"name": "scheduler"}}});
        for (key, value) in change.as_object().unwrap() {
            spec[key] = value.clone();
        }
        expect_errors(&validate(&json!({ "spec": spec }), None), expect);
    }

    #[test]
    fn rules() {
        check(json!({}), &[]);
        check(
            json!({"role": "king"}),
            &[r#"spec.role: Unsupported value: "king": supported values: "Admission""#],
        );
        check(json!({"role": null}), &["spec.role: Required value"]);
        check(json!({"source": {}}), &["spec.source: Required value: must specify one of"]);
        check(
            json!({"source": {"embedded": {"name": "a"}, "inline": {"data": "AA=="}}}),
            &["spec.source.inline: Forbidden: may not specify more than 1 source"],
        );
        check(json!({"source": {"file": {"path": "/a.wasm"}}, "digest": DIGEST}), &[]);
        check(json!({"source": {"file": {"path": "/a.wasm"}}}), &["spec.digest: Required value"]);
        check(
            json!({"source": {"file": {"path": "a.wasm"}}, "digest": DIGEST}),
            &[r#"spec.source.file.path: Invalid value: "a.wasm": must be an absolute path"#],
        );
        check(
            json!({"source": {"inline": {"data": "?"}}, "digest": DIGEST}),
            &[r#"spec.source.inline.data: Invalid value: "<base64>": must be base64"#],
        );
        check(
            json!({"digest": "sha256:AB"}),
            &[r#"spec.digest: Invalid value: "sha256:AB": must be 'sha256:'"#],
        );
        check(
            json!({"budgets": {"fuelPerCall": 0}}),
            &["spec.budgets.fuelPerCall: Invalid value: 0: must be greater than 0"],
        );
        check(
            json!({"grants": [{"apiGroups": [""], "kinds": ["Pod"], "verbs": ["get", "patch/status", "steal"], "namespaces": ["*"]}]}),
            &[r#"spec.grants[0].verbs[2]: Unsupported value: "steal""#],
        );
        let shadow = |fields: Value| json!({ "rollout": { "shadow": fields } });
        check(shadow(json!({"decisions": 10, "maxDivergencePercent": 2.5, "then": "Stop"})), &[]);
        check(
            shadow(json!({"decisions": 0})),
            &["spec.rollout.shadow.decisions: Invalid value: 0: must be greater than 0"],
        );
        check(
            shadow(json!({"maxDivergencePercent": 101})),
            &["spec.rollout.shadow.maxDivergencePercent: Invalid value"],
        );
        check(
            json!({"role": "CNI", "rollout": {"shadow": {"decisions": 10}}}),
            &["spec.rollout.shadow: Forbidden: nodes run plugins of role CNI"],
        );
        check(
            json!({"grants": [{"apiGroups": [""], "verbs": ["get"]}]}),
            &["spec.grants[0].kinds: Required value"],
        );
    }

    #[test]
    fn the_role_stays() {
        let old = json!({"spec": {"role": "CNI", "source": {"embedded": {"name": "a"}}}});
        let mut new = old.clone();
        new["spec"]["role"] = "Scheduler".into();
        assert_eq!(
            validate(&new, Some(&old))[0].to_string(),
            r#"spec.role: Invalid value: "Scheduler": field is immutable"#
        );
    }
}
