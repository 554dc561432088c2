//! Strategic merge: a merge patch that knows from the schema which lists are
//! merged element by element, and that carries directives.
//!
//! `$patch: replace|delete|merge` in an object says what to do with that object
//! (or, in an element of a merged list, with the list or that element).
//! `$retainKeys` names the keys an object keeps. `$setElementOrder/<list>` gives
//! the wanted order of a merged list, `$deleteFromPrimitiveList/<list>` the
//! values to drop from a list of plain values.

use serde_json::{Map, Value};

use super::PatchError;
use super::strategic_list::{self, ListRules};
use crate::schema::{Field, FieldType, MessageId, Schema, Shape};

pub(super) const DIRECTIVE: &str = "$patch";
pub(super) const RETAIN_KEYS: &str = "$retainKeys";
const SET_ELEMENT_ORDER: &str = "$setElementOrder/";
pub(super) const DELETE_FROM_PRIMITIVE_LIST: &str = "$deleteFromPrimitiveList/";

/// Patches an object of a message such as `core.v1.Pod`.
pub fn strategic_merge(target: &mut Value, patch: &Value, message: &str) -> Result<(), PatchError> {
    let schema = Schema::get();
    let id =
        schema.message(message).ok_or_else(|| PatchError::UnknownMessage(message.to_owned()))?;
    match (target, patch) {
        (Value::Object(target), Value::Object(patch)) => {
            Merger { schema }.object(target, patch, Node::Message(id), "the object")
        }
        _ => Err(PatchError::Malformed("a strategic merge patch is a JSON object".to_owned())),
    }
}

/// What is known about an object that is being merged.
#[derive(Clone, Copy)]
pub(super) enum Node {
    Message(MessageId),
    /// Keys are free, the values are messages.
    MapOf(MessageId),
    Opaque,
}

#[derive(Clone, Copy)]
pub(super) struct Merger {
    pub(super) schema: &'static Schema,
}

impl Merger {
    /// `name` is the field that holds the object, for errors.
    pub(super) fn object(
        self,
        target: &mut Map<String, Value>,
        patch: &Map<String, Value>,
        node: Node,
        name: &str,
    ) -> Result<(), PatchError> {
        match patch.get(DIRECTIVE).map(|directive| directive.as_str().unwrap_or_default()) {
            None | Some("merge") => {}
            Some("replace") => {
                *target = inserted_object(patch);
                return Ok(());
            }
            Some("delete") => {
                target.clear();
                return Ok(());
            }
            Some(_) => return Err(unknown_directive(patch, name)),
        }
        retain_keys(target, patch, name)?;
        for (key, change) in patch {
            if key == DIRECTIVE || key == RETAIN_KEYS {
                continue;
            } else if let Some(list) = key.strip_prefix(SET_ELEMENT_ORDER) {
                if !patch.contains_key(list) {
                    self.list(target, None, Some(change), self.field(node, list), list)?;
                }
            } else if let Some(list) = key.strip_prefix(DELETE_FROM_PRIMITIVE_LIST) {
                strategic_list::delete_primitives(target, list, change)?;
            } else {
                let order = patch.get(&format!("{SET_ELEMENT_ORDER}{key}"));
                self.entry(target, key, change, order, node)?;
            }
        }
        Ok(())
    }

    fn entry(
        self,
        target: &mut Map<String, Value>,
        key: &str,
        change: &Value,
        order: Option<&Value>,
        node: Node,
    ) -> Result<(), PatchError> {
        let field = self.field(node, key);
        match (target.get_mut(key), change) {
            (_, Value::Null) => {
                target.remove(key);
            }
            (Some(Value::Object(current)), Value::Object(change)) => {
                if field.is_some_and(|field| field.strategy().replace) {
                    *current = inserted_object(change);
                } else {
                    self.object(current, change, child(node, field), key)?;
                }
            }
            (Some(Value::Array(_)), Value::Array(items)) => {
                self.list(target, Some(items), order, field, key)?;
            }
            (None, Value::Array(items)) if order.is_some() => {
                self.list(target, Some(items), order, field, key)?
            }
            // There is nothing to delete.
            (_, change) if is_deletion(change) => {}
            (_, change) => {
                target.insert(key.to_owned(), inserted(change));
            }
        }
        Ok(())
    }

    /// The list `key` of `target`, merged when the schema says so, or replaced.
    fn list(
        self,
        target: &mut Map<String, Value>,
        patch: Option<&Vec<Value>>,
        order: Option<&Value>,
        field: Option<&'static Field>,
        key: &str,
    ) -> Result<(), PatchError> {
        let order = match order {
            None | Some(Value::Null) => None,
            Some(Value::Array(order)) => Some(order.as_slice()),
            Some(_) => {
                return Err(PatchError::Malformed(format!(
                    "{SET_ELEMENT_ORDER}{key} is not a list"
                )));
            }
        };
        let current = match target.get_mut(key) {
            Some(Value::Array(current)) => Some(std::mem::take(current)),
            Some(_) => return Ok(()),
            None => None,
        };
        if current.is_none() && patch.is_none() {
            return Ok(());
        }
        let merged = match (field, patch) {
            (Some(field), patch) if field.strategy().merge => {
                let element = match field.ty {
                    FieldType::Message(id) => Node::Message(id),
                    _ => Node::Opaque,
                };
                let rules = ListRules { merger: self, name: key, field, element };
                rules.merge(current.unwrap_or_default(), patch.map_or(&[], Vec::as_slice), order)?
            }
            (_, Some(items)) => inserted_items(items),
            (_, None) => current.unwrap_or_default(),
        };
        target.insert(key.to_owned(), Value::Array(merged));
        Ok(())
    }

    pub(super) fn field(self, node: Node, key: &str) -> Option<&'static Field> {
        match node {
            Node::Message(id) => self.schema.field(id, key),
            Node::MapOf(_) | Node::Opaque => None,
        }
    }
}

pub(super) fn child(node: Node, field: Option<&Field>) -> Node {
    match (node, field) {
        (Node::MapOf(id), _) => Node::Message(id),
        (_, Some(Field { ty: FieldType::Message(id), shape: Shape::Map, .. })) => Node::MapOf(*id),
        (_, Some(Field { ty: FieldType::Message(id), .. })) => Node::Message(*id),
        _ => Node::Opaque,
    }
}

fn retain_keys(
    target: &mut Map<String, Value>,
    patch: &Map<String, Value>,
    name: &str,
) -> Result<(), PatchError> {
    let Some(keys) = patch.get(RETAIN_KEYS) else { return Ok(()) };
    let keys: Option<Vec<&str>> =
        keys.as_array().and_then(|keys| keys.iter().map(Value::as_str).collect());
    let Some(keys) = keys else {
        return Err(PatchError::Malformed(format!(
            "{RETAIN_KEYS} of {name} is not a list of strings"
        )));
    };
    let set = |(key, change): (&String, &Value)| {
        change.is_null() || key.starts_with('$') || keys.contains(&key.as_str())
    };
    if !patch.iter().all(set) {
        return Err(PatchError::RetainKeys { path: name.to_owned() });
    }
    target.retain(|key, _| keys.contains(&key.as_str()));
    Ok(())
}

pub(super) fn unknown_directive(patch: &Map<String, Value>, name: &str) -> PatchError {
    let directive = patch.get(DIRECTIVE).map(ToString::to_string).unwrap_or_default();
    PatchError::UnknownDirective { directive, path: name.to_owned() }
}

/// A part of the patch that meets nothing in the object: taken as it is, but
/// without its nulls and directives.
pub(super) fn inserted(value: &Value) -> Value {
    match value {
        Value::Object(entries) => Value::Object(inserted_object(entries)),
        Value::Array(items) => Value::Array(inserted_items(items)),
        other => other.clone(),
    }
}

fn inserted_object(entries: &Map<String, Value>) -> Map<String, Value> {
    entries
        .iter()
        .filter(|(key, value)| !value.is_null() && !is_directive(key) && !is_deletion(value))
        .map(|(key, value)| (key.clone(), inserted(value)))
        .collect()
}

fn inserted_items(items: &[Value]) -> Vec<Value> {
    // An element that only says that the list is replaced has said so.
    let says_replace = |item: &Value| {
        let directive = item.get(DIRECTIVE).and_then(Value::as_str);
        directive == Some("replace") && item.as_object().is_some_and(|entries| entries.len() == 1)
    };
    items.iter().filter(|item| !is_deletion(item) && !says_replace(item)).map(inserted).collect()
}

fn is_deletion(value: &Value) -> bool {
    value.get(DIRECTIVE).and_then(Value::as_str) == Some("delete")
}

fn is_directive(key: &str) -> bool {
    key == DIRECTIVE
        || key == RETAIN_KEYS
        || key.starts_with(SET_ELEMENT_ORDER)
        || key.starts_with(DELETE_FROM_PRIMITIVE_LIST)
}
