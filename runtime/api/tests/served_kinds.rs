//! The table of kinds and the schema tell the same story.

use std::path::Path;

use pintle_api::kinds::Registry;
use pintle_api::schema::{Schema, check, normalize};
use pintle_api::{meta::GroupVersionKind, protobuf};
use serde_json::{Value, json};

fn golden(name: &str) -> Option<Value> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let text = std::fs::read(folder.join(format!("{name}.json"))).ok()?;
    serde_json::from_slice(&text).ok()
}

#[test]
fn every_row_has_its_messages() {
    let schema = Schema::get();
    for row in Registry::builtin().iter() {
        let id = schema.message(row.schema).unwrap_or_else(|| panic!("no message {}", row.schema));
        assert_eq!(schema.kind(row.group, row.version, row.kind), Some(id), "{row}");
        let list = schema.kind(row.group, row.version, row.list_kind());
        assert!(list.is_some(), "no message for {}", row.list_kind());
        let has_status = schema.field(id, "status").is_some();
        assert!(has_status || !row.has_status(), "{row} serves a status it does not have");
        for subresource in row.subresources {
            if let Some((group, version, kind)) = subresource.body() {
                assert!(schema.kind(group, version, kind).is_some(), "no message for {kind}");
            }
        }
    }
}

/// What the rows write into objects are fields of the right names and types.
#[test]
fn defaults_pass_the_field_check() {
    for row in Registry::builtin().iter() {
        let group = if row.group.is_empty() { "core" } else { row.group };
        let sample = golden(&format!("{group}.{}.{}", row.version, row.kind));
        for mut object in [Some(json!({"metadata": {}, "spec": {}})), sample].into_iter().flatten()
        {
            if Schema::get()
                .message(row.schema)
                .is_some_and(|id| Schema::get().field(id, "spec").is_none())
            {
                object.as_object_mut().unwrap().remove("spec");
            }
            row.apply_defaults(&mut object);
            row.prepare_create(&mut object);
            assert_eq!(check(row.schema, &object), [], "{row}: {object}");
            let gvk = GroupVersionKind::new(row.group, row.version, row.kind);
            protobuf::encode(&gvk, &object).unwrap_or_else(|error| panic!("{row}: {error}"));
        }
    }
}

/// Whole objects keep every field.
#[test]
fn normalizing_a_whole_object_loses_nothing() {
    for row in Registry::builtin().iter() {
        let group = if row.group.is_empty() { "core" } else { row.group };
        let Some(object) = golden(&format!("{group}.{}.{}", row.version, row.kind)) else {
            continue;
        };
        let mut normalized = object.clone();
        normalize(row.schema, &mut normalized);
        assert_eq!(normalized, object, "{row}");
    }
}

#[test]
fn a_whole_plugin_passes() {
    let grant = json!({"apiGroups": [""], "kinds": ["Pod"], "verbs": ["bind"],
        "namespaces": ["default"], "reason": "places pods"});
    let plugin = json!({
        "apiVersion": "plugins.pintle.dev/v1alpha1",
        "kind": "Plugin",
        "metadata": {"name": "scheduler"},
        "spec": {
            "role": "Scheduler",
            "source": {"inline": {"data": "AGFzbQ=="}},
            "digest": "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            "config": {"weights": {"balanced": 1}, "list": [null, true, 1.5]},
            "grants": [grant],
            "budgets": {"fuelPerCall": 1, "memoryBytes": 2, "deadlineMilliseconds": 3},
            "priority": 1,
            "suspended": true,
            "rollout": {"windowSeconds": 60, "maxStrikes": 3},
        },
        "status": {"phase": "Active", "calls": 1, "needs": [grant],
            "lastTransitionTime": "2026-01-02T03:04:05Z"},
    });
    assert_eq!(check("plugins.v1alpha1.Plugin", &plugin), []);
    let mut normalized = plugin.clone();
    normalize("plugins.v1alpha1.Plugin", &mut normalized);
    assert_eq!(normalized, plugin);
    let gvk = GroupVersionKind::new("plugins.pintle.dev", "v1alpha1", "Plugin");
    let body = protobuf::encode(&gvk, &plugin).unwrap();
    assert_eq!(protobuf::decode(&body).unwrap(), (gvk, plugin));
}
