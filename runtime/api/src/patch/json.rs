//! RFC 6902, with JSON pointers of RFC 6901.

use serde_json::Value;

use super::{MAX_COPIED_VALUES, MAX_JSON_PATCH_OPERATIONS, MAX_NESTING, PatchError, nesting};

/// Applies the operations in order.
pub fn json_patch(target: &mut Value, patch: &Value) -> Result<(), PatchError> {
    let operations =
        patch.as_array().ok_or_else(|| malformed("a JSON patch is a list of operations"))?;
    if operations.len() > MAX_JSON_PATCH_OPERATIONS {
        return Err(PatchError::TooManyOperations(operations.len()));
    }
    let mut moved = 0;
    for operation in operations {
        apply(target, operation, &mut moved)?;
    }
    Ok(())
}

fn apply(target: &mut Value, operation: &Value, moved: &mut usize) -> Result<(), PatchError> {
    let text = |name: &str| operation.get(name).and_then(Value::as_str);
    let path_of = |name: &str| {
        let text = text(name)
            .ok_or_else(|| malformed(&format!("operation {operation} has no string {name:?}")))?;
        Pointer::parse(text)
    };
    let value = || {
        operation
            .get("value")
            .cloned()
            .ok_or_else(|| malformed(&format!("operation {operation} has no \"value\"")))
    };
    match text("op") {
        Some("add") => add(target, &path_of("path")?, value()?, "add"),
        Some("remove") => remove(target, &path_of("path")?, "remove").map(drop),
        Some("replace") => {
            let path = path_of("path")?;
            let place = path.find_mut(target).ok_or_else(|| missing("replace", &path))?;
            *place = value()?;
            Ok(())
        }
        Some("move") => {
            let (from, path) = (path_of("from")?, path_of("path")?);
            if path.is_below(&from) {
                return Err(PatchError::DoesNotApply {
                    operation: "move",
                    reason: format!("{:?} lies inside {:?}", path.text, from.text),
                });
            }
            let value = remove(target, &from, "move")?;
            charge(moved, &value)?;
            add(target, &path, value, "move")
        }
        Some("copy") => {
            let (from, path) = (path_of("from")?, path_of("path")?);
            let value = from.find(target).ok_or_else(|| missing("copy", &from))?;
            charge(moved, value)?;
            let value = value.clone();
            add(target, &path, value, "copy")
        }
        Some("test") => {
            let path = path_of("path")?;
            // A missing value equals null.
            let expected = operation.get("value").unwrap_or(&Value::Null);
            match path.find(target).unwrap_or(&Value::Null) == expected {
                true => Ok(()),
                false => Err(PatchError::TestFailed { path: path.text.to_owned() }),
            }
        }
        Some(other) => Err(malformed(&format!("unexpected kind of operation: {other:?}"))),
        None => Err(malformed(&format!("operation {operation} has no \"op\""))),
    }
}

struct Pointer<'a> {
    text: &'a str,
    steps: Vec<String>,
}

impl<'a> Pointer<'a> {
    fn parse(text: &'a str) -> Result<Self, PatchError> {
        let steps = match text.strip_prefix('/') {
            Some(rest) => {
                rest.split('/').map(|step| step.replace("~1", "/").replace("~0", "~")).collect()
            }
            None if text.is_empty() => Vec::new(),
            None => return Err(malformed(&format!("path {text:?} does not start with a slash"))),
        };
        Ok(Self { text, steps })
    }

    fn is_below(&self, other: &Self) -> bool {
        self.steps.len() > other.steps.len() && self.steps.starts_with(&other.steps)
    }

    fn find<'v>(&self, value: &'v Value) -> Option<&'v Value> {
        self.steps.iter().try_fold(value, |value, step| match value {
            Value::Object(entries) => entries.get(step),
            Value::Array(items) => items.get(index(step)?),
            _ => None,
        })
    }

    fn find_mut<'v>(&self, value: &'v mut Value) -> Option<&'v mut Value> {
        descend(value, &self.steps)
    }

    /// What holds the value, and the last step to it; `None` for the whole document.
    fn parent<'v>(&self, value: &'v mut Value) -> Option<Option<(&'v mut Value, &str)>> {
        match self.steps.split_last() {
            None => Some(None),
            Some((last, steps)) => Some(Some((descend(value, steps)?, last))),
        }
    }
}

fn descend<'v>(value: &'v mut Value, steps: &[String]) -> Option<&'v mut Value> {
    steps.iter().try_fold(value, |value, step| match value {
        Value::Object(entries) => entries.get_mut(step),
        Value::Array(items) => items.get_mut(index(step)?),
        _ => None,
    })
}

/// An index has no sign and no leading zero.
fn index(step: &str) -> Option<usize> {
    let plain = step == "0" || !step.starts_with(['0', '+']);
    if plain { step.parse().ok() } else { None }
}

fn add(
    target: &mut Value,
    path: &Pointer<'_>,
    value: Value,
    operation: &'static str,
) -> Result<(), PatchError> {
    if path.steps.len() + nesting(&value) > MAX_NESTING {
        return Err(PatchError::DoesNotApply {
            operation,
            reason: format!("{:?} would be nested deeper than {MAX_NESTING} levels", path.text),
        });
    }
    match path.parent(target).ok_or_else(|| missing(operation, path))? {
        None => *target = value,
        Some((Value::Object(entries), name)) => {
            entries.insert(name.to_owned(), value);
        }
        Some((Value::Array(items), "-")) => items.push(value),
        Some((Value::Array(items), step)) => match index(step) {
            Some(at) if at <= items.len() => items.insert(at, value),
            _ => return Err(missing(operation, path)),
        },
        Some(_) => return Err(missing(operation, path)),
    }
    Ok(())
}

fn remove(
    target: &mut Value,
    path: &Pointer<'_>,
    operation: &'static str,
) -> Result<Value, PatchError> {
    let removed = match path.parent(target).ok_or_else(|| missing(operation, path))? {
        None => Some(target.take()),
        Some((Value::Object(entries), name)) => entries.remove(name),
        Some((Value::Array(items), step)) => {
            index(step).filter(|at| *at < items.len()).map(|at| items.remove(at))
        }
        Some(_) => None,
    };
    removed.ok_or_else(|| missing(operation, path))
}

fn charge(moved: &mut usize, value: &Value) -> Result<(), PatchError> {
    *moved += count(value);
    if *moved > MAX_COPIED_VALUES { Err(PatchError::TooMuchCopied) } else { Ok(()) }
}

fn count(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(count).sum::<usize>(),
        Value::Object(entries) => 1 + entries.values().map(count).sum::<usize>(),
        // Long texts weigh more than their one value.
        Value::String(text) => 1 + text.len() / 64,
        _ => 1,
    }
}

fn malformed(what: &str) -> PatchError {
    PatchError::Malformed(what.to_owned())
}

fn missing(operation: &'static str, path: &Pointer<'_>) -> PatchError {
    PatchError::DoesNotApply {
        operation,
        reason: format!("doc is missing path: {:?}: missing value", path.text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[track_caller]
    fn check(mut target: Value, patch: Value, expect: Value) {
        json_patch(&mut target, &patch).unwrap();
        assert_eq!(target, expect);
    }

    #[track_caller]
    fn refused(mut target: Value, patch: Value, code: u16, expect: &str) {
        let error = json_patch(&mut target, &patch).unwrap_err();
        assert_eq!((error.code(), error.to_string().as_str()), (code, expect));
    }

    #[test]
    fn operations_do_what_the_rfc_says() {
        let add = |path: &str, value: Value| json!([{"op": "add", "path": path, "value": value}]);
        check(json!({"a": 1}), add("/b", json!(2)), json!({"a": 1, "b": 2}));
        check(json!({"a": 1}), add("/a", json!(2)), json!({"a": 2}));
        check(json!({"a": [1, 3]}), add("/a/1", json!(2)), json!({"a": [1, 2, 3]}));
        check(json!({"a": [1]}), add("/a/-", json!(2)), json!({"a": [1, 2]}));
        check(json!({"a": [1]}), add("/a/1", json!(2)), json!({"a": [1, 2]}));
        check(json!({"a": 1}), add("", json!([])), json!([]));
        check(json!({}), add("/x~1y~0z", json!(1)), json!({"x/y~z": 1}));
        check(json!({"a": [1, 2]}), json!([{"op": "remove", "path": "/a/0"}]), json!({"a": [2]}));
        check(
            json!({"a": 1}),
            json!([{"op": "replace", "path": "/a", "value": null}]),
            json!({"a": null}),
        );
        check(
            json!({"a": {"b": 1}}),
            json!([{"op": "move", "from": "/a/b", "path": "/c"}]),
            json!({"a": {}, "c": 1}),
        );
        check(
            json!({"a": [1]}),
            json!([{"op": "copy", "from": "/a/0", "path": "/a/0"}]),
            json!({"a": [1, 1]}),
        );
        check(
            json!({"a": 1}),
            json!([{"op": "test", "path": "/a", "value": 1}, {"op": "test", "path": "/b", "value": null}]),
            json!({"a": 1}),
        );
    }

    #[test]
    fn refusals_say_why() {
        let missing = |operation: &str, path: &str| {
            format!(
                "{operation} operation does not apply: doc is missing path: {path:?}: missing value"
            )
        };
        refused(json!({}), json!({}), 400, "a JSON patch is a list of operations");
        refused(
            json!({}),
            json!([{"op": "turn", "path": "/a"}]),
            400,
            "unexpected kind of operation: \"turn\"",
        );
        refused(
            json!({}),
            json!([{"op": "remove"}]),
            400,
            "operation {\"op\":\"remove\"} has no string \"path\"",
        );
        refused(
            json!({}),
            json!([{"op": "remove", "path": "a"}]),
            400,
            "path \"a\" does not start with a slash",
        );
        refused(
            json!({}),
            json!([{"op": "add", "path": "/a/b", "value": 1}]),
            422,
            &missing("add", "/a/b"),
        );
        refused(
            json!({}),
            json!([{"op": "replace", "path": "/a", "value": 1}]),
            422,
            &missing("replace", "/a"),
        );
        refused(
            json!({"a": []}),
            json!([{"op": "remove", "path": "/a/0"}]),
            422,
            &missing("remove", "/a/0"),
        );
        refused(
            json!({"a": [1, 2]}),
            json!([{"op": "remove", "path": "/a/01"}]),
            422,
            &missing("remove", "/a/01"),
        );
        refused(
            json!({"a": [1]}),
            json!([{"op": "add", "path": "/a/2", "value": 1}]),
            422,
            &missing("add", "/a/2"),
        );
        refused(
            json!({"a": 1}),
            json!([{"op": "test", "path": "/a", "value": 2}]),
            422,
            "testing value /a failed",
        );
        refused(
            json!({"a": {}}),
            json!([{"op": "move", "from": "/a", "path": "/a/b"}]),
            422,
            "move operation does not apply: \"/a/b\" lies inside \"/a\"",
        );
    }

    #[test]
    fn a_patch_cannot_grow_without_bound() {
        let doubling = vec![json!({"op": "copy", "from": "/x", "path": "/x/-"}); 40];
        let mut target = json!({"x": [1, 2, 3, 4]});
        assert_eq!(
            json_patch(&mut target, &Value::Array(doubling)),
            Err(PatchError::TooMuchCopied)
        );
        let deep: String = "[".repeat(40) + &"]".repeat(40);
        let deep: Value = serde_json::from_str(&deep).unwrap();
        let nested = Value::Array(
            (0..4)
                .map(|n| json!({"op": "add", "path": "/0".repeat(n * 39), "value": deep}))
                .collect(),
        );
        assert_eq!(json_patch(&mut json!([]), &nested).unwrap_err().code(), 422);
        let many = vec![json!({"op": "test", "path": "/a"}); MAX_JSON_PATCH_OPERATIONS + 1];
        assert_eq!(json_patch(&mut target, &Value::Array(many)).unwrap_err().code(), 413);
    }
}
