//! What a swap writes into a Plugin object, and what it remembers of the version
//! that decided until then.

use anyhow::Result;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::remembered;

/// Of all annotations of an object, names and values, as Kubernetes counts them.
const MAX_ANNOTATION_BYTES: usize = 256 << 10;

/// Where a swap remembers what it replaced, for `rollback`.
pub const PREVIOUS: &str = "plugins.pintle.dev/previous-source";

/// What a swap changes of a Plugin's spec.
#[derive(Serialize, Deserialize)]
pub struct Version {
    pub source: Value,
    #[serde(default)]
    pub digest: Value,
    #[serde(default)]
    pub grants: Value,
    #[serde(default)]
    pub signature: Value,
    #[serde(default)]
    pub config: Value,
    #[serde(default)]
    pub weight: Value,
    #[serde(default)]
    pub verification: Value,
}

impl Version {
    pub fn of(plugin: &Value) -> Self {
        let field = |name: &str| plugin["spec"][name].clone();
        Self {
            source: field("source"),
            digest: field("digest"),
            grants: field("grants"),
            signature: field("signature"),
            config: field("config"),
            weight: field("weight"),
            verification: field("verification"),
        }
    }
}

/// The patch that brings in `next` if the object is still as it was `before`.
pub fn change(before: &Value, next: &Version) -> Result<Value> {
    // Exactly one kind of source may stay, so the others are taken out.
    let mut source = json!({"embedded": null, "file": null, "inline": null, "oci": null});
    for (kind, value) in next.source.as_object().into_iter().flatten() {
        source[kind] = replacing(&before["spec"]["source"][kind], value);
    }
    // What is larger than the annotations have room for is not remembered.
    let others = before["metadata"]["annotations"].as_object().into_iter().flatten();
    let used: usize = others
        .filter(|(name, _)| *name != PREVIOUS)
        .map(|(name, value)| name.len() + value.as_str().map_or(0, str::len))
        .sum();
    let known = &before["metadata"]["annotations"][PREVIOUS];
    let remembered = if known.is_string() && !decides(before) {
        // Nobody wants to go back to what was refused or stopped.
        known.clone()
    } else {
        let remembered = remembered::remember(&Version::of(before))?;
        let fits = used + PREVIOUS.len() + remembered.len() <= MAX_ANNOTATION_BYTES;
        if fits { json!(remembered) } else { Value::Null }
    };
    Ok(json!({
        "metadata": {
            "resourceVersion": before["metadata"]["resourceVersion"],
            "annotations": {PREVIOUS: remembered},
        },
        "spec": {
            "source": source,
            "digest": next.digest,
            "grants": next.grants,
            "signature": next.signature,
            "config": replacing(&before["spec"]["config"], &next.config),
            "weight": next.weight,
            "verification": next.verification,
        },
    }))
}

/// Whether the version of the spec is the one that decides.
fn decides(plugin: &Value) -> bool {
    matches!(plugin["status"]["phase"].as_str(), None | Some("Active" | "Suspended"))
}

/// A merge patch leaves what it does not speak of: this one removes what is not
/// in `next`.
fn replacing(before: &Value, next: &Value) -> Value {
    let (Value::Object(old), Value::Object(new)) = (before, next) else { return next.clone() };
    let gone =
        old.keys().filter(|key| !new.contains_key(*key)).map(|key| (key.clone(), Value::Null));
    let stays = new.iter().map(|(key, value)| (key.clone(), replacing(&before[key], value)));
    Value::Object(gone.chain(stays).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_leaves_one_source_and_remembers_the_version_before() {
        let before = json!({
            "metadata": {"resourceVersion": "7", "annotations": {"a": "b"}},
            "spec": {"source": {"embedded": {"name": "scheduler"}}, "grants": null,
                "config": {"gone": 1, "kept": {"old": 1}}},
        });
        let next = Version {
            source: json!({"inline": {"data": "AA=="}}),
            digest: json!("sha256:1"),
            grants: json!([]),
            signature: Value::Null,
            config: json!({"kept": {"new": 1}}),
            weight: Value::Null,
            verification: Value::Null,
        };
        let change = change(&before, &next).unwrap();
        assert_eq!(change["metadata"]["resourceVersion"], "7", "refused if it changes meanwhile");
        let source =
            json!({"embedded": null, "file": null, "oci": null, "inline": {"data": "AA=="}});
        assert_eq!(
            change["spec"],
            json!({
                "source": source, "digest": "sha256:1", "grants": [], "signature": null,
                "config": {"gone": null, "kept": {"old": null, "new": 1}},
                "weight": null, "verification": null,
            })
        );
        let remembered = change["metadata"]["annotations"][PREVIOUS].as_str().unwrap();
        let remembered = remembered::recall(remembered).unwrap();
        assert_eq!(remembered.source, before["spec"]["source"]);
    }

    #[test]
    fn what_does_not_decide_is_not_gone_back_to() {
        let next = Version {
            source: json!({"embedded": {"name": "scheduler"}}),
            digest: Value::Null,
            grants: Value::Null,
            signature: Value::Null,
            config: Value::Null,
            weight: Value::Null,
            verification: Value::Null,
        };
        let check = |phase: &str, known: Option<&str>, keeps: bool| {
            let before = json!({
                "metadata": {"annotations": {PREVIOUS: known}},
                "spec": {"source": {"inline": {"data": "AA=="}}},
                "status": {"phase": phase},
            });
            let change = change(&before, &next).unwrap();
            let kept = change["metadata"]["annotations"][PREVIOUS].as_str() == known;
            assert_eq!(kept, keeps, "{phase}");
        };
        check("Active", Some("good"), false);
        check("Suspended", Some("good"), false);
        for phase in ["Rejected", "RolledBack", "Shadowing", "Shadowed", "Failed", "Loading"] {
            check(phase, Some("good"), true);
            check(phase, None, false);
        }
    }
}
