//! Three-way apply: from what a file said last time and what it says now to the
//! strategic merge patch that makes an object so.
//!
//! What the file no longer says is taken out; what the object has besides was
//! never the file's and stays. The patch names everything that the file says,
//! changed or not: the server finds out what differs.

use serde_json::{Map, Value, json};

use super::PatchError;
use super::strategic::{DELETE_FROM_PRIMITIVE_LIST, DIRECTIVE, Merger, Node, RETAIN_KEYS, child};
use crate::schema::{Field, FieldType, Schema};

/// `before` is `{}` for an object that was never applied.
pub fn three_way(before: &Value, now: &Value, message: &str) -> Result<Value, PatchError> {
    let schema = Schema::get();
    let id =
        schema.message(message).ok_or_else(|| PatchError::UnknownMessage(message.to_owned()))?;
    let (Value::Object(before), Value::Object(now)) = (before, now) else {
        return Err(PatchError::Malformed("what is applied is a JSON object".to_owned()));
    };
    Ok(Value::Object(object(Merger { schema }, before, now, Node::Message(id))))
}

fn object(
    merger: Merger,
    before: &Map<String, Value>,
    now: &Map<String, Value>,
    node: Node,
) -> Map<String, Value> {
    let mut patch = Map::new();
    for key in before.keys().filter(|key| !now.contains_key(*key)) {
        patch.insert(key.clone(), Value::Null);
    }
    let nothing_of_it = Map::new();
    for (key, value) in now {
        let field = merger.field(node, key);
        let merged = field.is_some_and(|field| field.strategy().merge);
        let change = match (before.get(key), value) {
            (before, Value::Object(now)) => {
                let before = before.and_then(Value::as_object).unwrap_or(&nothing_of_it);
                let mut change = object(merger, before, now, child(node, field));
                if field.is_some_and(|field| field.strategy().retain_keys) {
                    change.insert(RETAIN_KEYS.to_owned(), now.keys().cloned().collect());
                }
                Value::Object(change)
            }
            (before, Value::Array(now)) if merged => {
                let before = before.and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
                match field.and_then(|field| Some((field, field.merge_key()?))) {
                    Some((field, merge_key)) => {
                        elements(merger, before, now, field, merge_key).into()
                    }
                    None => {
                        let gone: Vec<Value> =
                            before.iter().filter(|item| !now.contains(item)).cloned().collect();
                        if !gone.is_empty() {
                            let directive = format!("{DELETE_FROM_PRIMITIVE_LIST}{key}");
                            patch.insert(directive, gone.into());
                        }
                        value.clone()
                    }
                }
            }
            (_, value) => value.clone(),
        };
        patch.insert(key.clone(), change);
    }
    patch
}

/// The elements of a list that is merged by `merge_key`.
fn elements(
    merger: Merger,
    before: &[Value],
    now: &[Value],
    field: &Field,
    merge_key: &str,
) -> Vec<Value> {
    let node = match field.ty {
        FieldType::Message(id) => Node::Message(id),
        _ => Node::Opaque,
    };
    let same =
        |a: &Value, b: &Value| a.get(merge_key).is_some() && a.get(merge_key) == b.get(merge_key);
    let nothing_of_it = Map::new();
    let mut changes: Vec<Value> = now
        .iter()
        .map(|item| {
            let Value::Object(element) = item else { return item.clone() };
            let before = before.iter().find(|old| same(old, item)).and_then(Value::as_object);
            let mut change = object(merger, before.unwrap_or(&nothing_of_it), element, node);
            if field.strategy().retain_keys {
                change.insert(RETAIN_KEYS.to_owned(), element.keys().cloned().collect());
            }
            Value::Object(change)
        })
        .collect();
    for old in before {
        if !now.iter().any(|item| same(old, item))
            && let Some(identity) = old.get(merge_key)
        {
            changes.push(json!({ DIRECTIVE: "delete", merge_key: identity }));
        }
    }
    changes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::patch::strategic_merge;

    /// Applies `now` to `live`, which was made from `before` and then changed by others.
    fn check(message: &str, before: Value, now: Value, mut live: Value, expect: Value) {
        let patch = three_way(&before, &now, message).unwrap();
        strategic_merge(&mut live, &patch, message).unwrap();
        assert_eq!(live, expect, "{patch}");
        // Applying it once more changes nothing.
        let patch = three_way(&now, &now, message).unwrap();
        strategic_merge(&mut live, &patch, message).unwrap();
        assert_eq!(live, expect, "{patch}");
    }

    #[test]
    fn what_the_file_no_longer_says_goes_and_what_others_said_stays() {
        check(
            "core.v1.ConfigMap",
            json!({"metadata": {"labels": {"a": "1", "b": "1"}}, "data": {"x": "1", "y": "1"}}),
            json!({"metadata": {"labels": {"a": "2"}}}),
            json!({"metadata": {"labels": {"a": "1", "b": "1", "theirs": "1"}, "uid": "u"},
                "data": {"x": "1", "y": "1"}}),
            json!({"metadata": {"labels": {"a": "2", "theirs": "1"}, "uid": "u"}}),
        );
    }

    #[test]
    fn elements_of_lists_are_found_by_their_keys() {
        let container = |env: Value| json!({"name": "c", "image": "i", "env": env});
        check(
            "core.v1.Pod",
            json!({"spec": {"containers": [
                container(json!([{"name": "A", "value": "1"}, {"name": "B", "value": "1"}])),
                {"name": "gone", "image": "i"}]}}),
            json!({"spec": {"containers": [
                container(json!([{"name": "A", "value": "2"}, {"name": "C", "value": "1"}]))]}}),
            json!({"spec": {"containers": [
                {"name": "c", "image": "i", "imagePullPolicy": "Always",
                    "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "1"}]},
                {"name": "gone", "image": "i"},
                {"name": "injected", "image": "j"}]}}),
            json!({"spec": {"containers": [
                {"name": "c", "image": "i", "imagePullPolicy": "Always",
                    "env": [{"name": "A", "value": "2"}, {"name": "C", "value": "1"}]},
                {"name": "injected", "image": "j"}]}}),
        );
    }

    #[test]
    fn lists_of_words_lose_only_the_words_of_the_file() {
        check(
            "core.v1.ConfigMap",
            json!({"metadata": {"finalizers": ["a/1", "a/2"]}}),
            json!({"metadata": {"finalizers": ["a/2"]}}),
            json!({"metadata": {"finalizers": ["a/1", "a/2", "theirs/1"]}}),
            json!({"metadata": {"finalizers": ["a/2", "theirs/1"]}}),
        );
    }

    #[test]
    fn a_union_keeps_only_what_the_file_says() {
        // The defaults of the strategy before would contradict the new one.
        check(
            "apps.v1.Deployment",
            json!({}),
            json!({"spec": {"strategy": {"type": "Recreate"}}}),
            json!({"spec": {"strategy": {"type": "RollingUpdate",
                "rollingUpdate": {"maxSurge": "25%"}}}}),
            json!({"spec": {"strategy": {"type": "Recreate"}}}),
        );
        check(
            "core.v1.Pod",
            json!({"spec": {"volumes": [{"name": "v", "emptyDir": {}}]}}),
            json!({"spec": {"volumes": [{"name": "v", "hostPath": {"path": "/x"}}]}}),
            json!({"spec": {"volumes": [{"name": "v", "emptyDir": {}}]}}),
            json!({"spec": {"volumes": [{"name": "v", "hostPath": {"path": "/x"}}]}}),
        );
    }
}
