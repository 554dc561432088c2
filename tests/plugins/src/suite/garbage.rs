//! Objects as nobody should have written them.

use serde_json::{Value, json};

/// Which object it is, is not spoiled: that is another object.
const IDENTITY: [&[&str]; 7] = [
    &["apiVersion"],
    &["kind"],
    &["metadata"],
    &["metadata", "name"],
    &["metadata", "namespace"],
    &["metadata", "uid"],
    &["metadata", "resourceVersion"],
];

/// Below this nothing is spoiled by itself.
const DEPTH: usize = 9;

/// The object with each of its fields spoiled in turn: absent, null, of another
/// type, empty, extreme, and double; and the object on its way out.
pub fn mutants(object: &Value) -> Vec<Value> {
    let mut mutants = Vec::new();
    for path in paths(object) {
        for spoil in SPOILS {
            let mut mutant = object.clone();
            if spoil_at(&mut mutant, &path, *spoil) {
                mutants.push(mutant);
            }
        }
    }
    let mut leaving = object.clone();
    leaving["metadata"]["deletionTimestamp"] = json!("2025-12-31T23:59:59Z");
    leaving["metadata"]["deletionGracePeriodSeconds"] = json!(30);
    mutants.push(leaving.clone());
    for finalizer in ["foregroundDeletion", "orphan", "example.com/held"] {
        leaving["metadata"]["finalizers"] = json!([finalizer]);
        mutants.push(leaving.clone());
    }
    let mut successor = object.clone();
    successor["metadata"]["uid"] = json!("another-uid");
    mutants.push(successor);
    mutants
}

type Spoil = fn(&Value) -> Option<Value>;

/// What becomes of a value; None: nothing that it is not already.
const SPOILS: &[Spoil] = &[
    |value| (!value.is_null()).then_some(Value::Null),
    |value| Some(if value.is_string() { json!(7) } else { json!("garbage") }),
    |value| match value {
        Value::String(_) => Some(json!("")),
        Value::Number(_) => Some(json!(-1)),
        Value::Array(_) => Some(json!([])),
        Value::Object(_) => Some(json!({})),
        Value::Bool(value) => Some(json!(!value)),
        Value::Null => None,
    },
    |value| match value {
        Value::String(_) => Some(json!("\u{fffd}/../%00 \u{1f9ed}".repeat(40))),
        Value::Number(_) => Some(json!(i64::MAX)),
        Value::Array(list) => Some(list.iter().chain(list).cloned().collect()),
        _ => None,
    },
    |value| match value {
        Value::Number(_) => Some(json!(i64::MIN)),
        Value::String(_) => Some(json!("-9223372036854775808")),
        Value::Array(_) => Some(json!([null, "garbage", {}])),
        _ => None,
    },
];

#[derive(Clone, PartialEq)]
enum Step {
    Field(String),
    Place(usize),
}

/// Of every value in the object, the outer ones first.
fn paths(object: &Value) -> Vec<Vec<Step>> {
    let mut found = Vec::new();
    walk(object, &mut Vec::new(), &mut found);
    found
}

fn walk(value: &Value, path: &mut Vec<Step>, found: &mut Vec<Vec<Step>>) {
    if path.len() >= DEPTH {
        return;
    }
    let steps: Vec<(Step, &Value)> = match value {
        Value::Object(fields) => {
            fields.iter().map(|(name, value)| (Step::Field(name.clone()), value)).collect()
        }
        // The others are like it.
        Value::Array(list) => {
            list.first().map(|first| (Step::Place(0), first)).into_iter().collect()
        }
        _ => return,
    };
    for (step, value) in steps {
        path.push(step);
        if !is_identity(path) {
            found.push(path.clone());
        }
        walk(value, path, found);
        path.pop();
    }
}

fn is_identity(path: &[Step]) -> bool {
    let names: Option<Vec<&str>> = path
        .iter()
        .map(|step| match step {
            Step::Field(name) => Some(name.as_str()),
            Step::Place(_) => None,
        })
        .collect();
    names.is_some_and(|names| IDENTITY.contains(&names.as_slice()))
}

/// False if that changes nothing.
fn spoil_at(object: &mut Value, path: &[Step], spoil: Spoil) -> bool {
    let mut place = object;
    for step in path {
        let inner = match step {
            Step::Field(name) => place.get_mut(name),
            Step::Place(index) => place.get_mut(index),
        };
        let Some(inner) = inner else { return false };
        place = inner;
    }
    match spoil(place) {
        Some(spoiled) if spoiled != *place => {
            *place = spoiled;
            true
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_but_the_identity_is_spoiled() {
        let object = json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "a", "labels": {"app": "x"}}, "spec": {"list": [{"n": 1}]}});
        let mutants = mutants(&object);
        let any = |check: &dyn Fn(&Value) -> bool| mutants.iter().any(check);
        assert!(any(&|one| one["spec"].is_null()));
        assert!(any(&|one| one["spec"]["list"] == json!([])));
        assert!(any(&|one| one["spec"]["list"][0]["n"] == i64::MAX));
        assert!(any(&|one| one["metadata"]["labels"]["app"] == ""));
        assert!(any(&|one| one["metadata"]["deletionTimestamp"].is_string()));
        assert!(mutants.iter().all(|one| one["metadata"]["name"] == "a" && one["kind"] == "Pod"));
    }
}
