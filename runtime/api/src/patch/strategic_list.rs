//! Lists under strategic merge: which elements belong together, and in which
//! order the result stands.
//!
//! The order follows the patch for the elements it names and the object for all
//! others. Where the two meet, an element of the object goes before the first
//! patched one that stood behind it.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value};

use super::PatchError;
use super::strategic::{DIRECTIVE, Merger, Node, inserted, unknown_directive};
use crate::schema::{Field, FieldType};

pub struct ListRules<'a> {
    pub merger: Merger,
    pub name: &'a str,
    pub field: &'static Field,
    pub element: Node,
}

/// An element's identity as text, so that it can be hashed.
type Identity = String;

impl ListRules<'_> {
    pub fn merge(
        &self,
        current: Vec<Value>,
        patch: &[Value],
        order: Option<&[Value]>,
    ) -> Result<Vec<Value>, PatchError> {
        let key = match self.field.ty {
            FieldType::Message(_) => match self.field.merge_key() {
                Some(key) => Some(key),
                None => return Ok(patch.iter().map(inserted).collect()),
            },
            _ => None,
        };
        let server_order = self.identities(&current, key, false)?;
        let (merged, named) = match key {
            Some(key) => self.objects(current, patch, key)?,
            None => primitives(current, patch),
        };
        let wanted = match order {
            None => named,
            Some(order) => {
                let wanted = self.identities(order, key, true)?;
                self.check_order(&named, &wanted)?;
                wanted
            }
        };
        Ok(arrange(merged, &wanted, &server_order, |item| identity(item, key)))
    }

    /// Elements with the same merge key are merged, the others of the patch are
    /// added. Also returns the identities the patch names.
    fn objects(
        &self,
        current: Vec<Value>,
        patch: &[Value],
        key: &str,
    ) -> Result<(Vec<Value>, Vec<Identity>), PatchError> {
        let (mut deleted, mut replace) = (HashSet::new(), false);
        let mut changes: Vec<(Identity, &Map<String, Value>)> = Vec::new();
        for item in patch {
            let Value::Object(change) = item else {
                return Err(PatchError::Malformed(format!(
                    "an element of {} is not an object",
                    self.name
                )));
            };
            match change.get(DIRECTIVE).map(|directive| directive.as_str().unwrap_or_default()) {
                None | Some("merge") => changes.push((self.required_identity(item, key)?, change)),
                Some("delete") => {
                    deleted.insert(self.required_identity(item, key)?);
                }
                // The directive may stand alone or in an element of the new list.
                Some("replace") => {
                    replace = true;
                    if change.len() > 1 {
                        changes.push((self.required_identity(item, key)?, change));
                    }
                }
                Some(_) => return Err(unknown_directive(change, self.name)),
            }
        }
        let named: Vec<_> = changes.iter().map(|(identity, _)| identity.clone()).collect();
        let mut merged = current;
        merged.retain(|item| {
            !replace && identity(item, Some(key)).is_none_or(|found| !deleted.contains(&found))
        });

        let mut places: HashMap<Identity, Vec<usize>> = HashMap::new();
        for (at, item) in merged.iter().enumerate() {
            if let Some(found) = identity(item, Some(key)) {
                places.entry(found).or_default().push(at);
            }
        }
        let mut claimed = vec![false; merged.len()];
        for (identity, change) in changes {
            let candidates = places.entry(identity).or_default();
            match self.choose(&merged, &claimed, candidates, change) {
                Some(at) => {
                    claimed[at] = true;
                    if let Value::Object(target) = &mut merged[at] {
                        self.merger.object(target, change, self.element, self.name)?;
                    }
                }
                None => {
                    candidates.push(merged.len());
                    claimed.push(true);
                    merged.push(inserted(&Value::Object(change.clone())));
                }
            }
        }
        Ok((merged, named))
    }

    /// Which element a change is for. The merge key alone decides while that is
    /// clear. Ports share a number between protocols, so when several elements
    /// have the key, or the only one was changed by this patch already, all keys
    /// of the list count.
    fn choose(
        &self,
        merged: &[Value],
        claimed: &[bool],
        candidates: &[usize],
        change: &Map<String, Value>,
    ) -> Option<usize> {
        if let [only] = candidates
            && !claimed[*only]
        {
            return Some(*only);
        }
        let same = |at: usize| {
            self.field
                .list_keys()
                .all(|key| self.value(merged[at].get(key), key) == self.value(change.get(key), key))
        };
        let several_keys = self.field.list_keys().nth(1).is_some();
        if several_keys {
            let exact = candidates.iter().copied().find(|at| same(*at));
            return exact.or_else(|| candidates.iter().copied().find(|at| !claimed[*at]));
        }
        candidates.first().copied()
    }

    /// A key's value, or the text of its default: a port without protocol is TCP.
    fn value(&self, value: Option<&Value>, key: &str) -> Option<String> {
        if let Some(value) = value {
            return Some(value.to_string());
        }
        match self.element {
            Node::Message(id) => self.merger.schema.field(id, key)?.default().map(str::to_owned),
            _ => None,
        }
    }

    fn required_identity(&self, item: &Value, key: &str) -> Result<Identity, PatchError> {
        identity(item, Some(key)).ok_or_else(|| PatchError::NoMergeKey {
            element: item.to_string(),
            key: key.to_owned(),
        })
    }

    fn identities(
        &self,
        items: &[Value],
        key: Option<&str>,
        strict: bool,
    ) -> Result<Vec<Identity>, PatchError> {
        let mut found = Vec::with_capacity(items.len());
        for item in items {
            match (identity(item, key), key) {
                (Some(identity), _) => found.push(identity),
                (None, Some(key)) if strict => {
                    return Err(PatchError::NoMergeKey {
                        element: item.to_string(),
                        key: key.to_owned(),
                    });
                }
                // An element without its key has no place of its own.
                _ => found.push(String::new()),
            }
        }
        Ok(found)
    }

    /// What a patch adds or changes must stand in the order it asks for.
    fn check_order(&self, named: &[Identity], wanted: &[Identity]) -> Result<(), PatchError> {
        let mut rest = wanted.iter();
        if named.iter().all(|identity| rest.any(|candidate| candidate == identity)) {
            return Ok(());
        }
        Err(PatchError::OrderMismatch {
            patch: format!("[{}]", named.join(" ")),
            order: format!("[{}]", wanted.join(" ")),
        })
    }
}

fn identity(item: &Value, key: Option<&str>) -> Option<Identity> {
    match key {
        Some(key) => item.get(key).map(ToString::to_string),
        None => Some(item.to_string()),
    }
}

/// The union, each value once.
fn primitives(current: Vec<Value>, patch: &[Value]) -> (Vec<Value>, Vec<Identity>) {
    let mut seen = HashSet::new();
    let merged = current
        .into_iter()
        .chain(patch.iter().cloned())
        .filter(|item| seen.insert(item.to_string()))
        .collect();
    (merged, patch.iter().map(ToString::to_string).collect())
}

/// Elements that `wanted` names come in its order, the others in the order they
/// had; the two are merged by comparing places in `server_order`.
fn arrange(
    items: Vec<Value>,
    wanted: &[Identity],
    server_order: &[Identity],
    identity: impl Fn(&Value) -> Option<Identity>,
) -> Vec<Value> {
    let first_places = |order: &[Identity]| {
        let mut places: HashMap<Identity, usize> = HashMap::new();
        for (at, identity) in order.iter().enumerate() {
            places.entry(identity.clone()).or_insert(at);
        }
        places
    };
    let (wanted, server) = (first_places(wanted), first_places(server_order));

    let mut named: Vec<(usize, Option<usize>, Value)> = Vec::new();
    let mut others: Vec<(Option<usize>, Value)> = Vec::new();
    for item in items {
        let identity = identity(&item).unwrap_or_default();
        let server_place = server.get(&identity).copied();
        match wanted.get(&identity) {
            Some(place) => named.push((*place, server_place, item)),
            None => others.push((server_place, item)),
        }
    }
    named.sort_by_key(|(place, ..)| *place);

    let mut arranged = Vec::with_capacity(named.len() + others.len());
    let mut others = others.into_iter().peekable();
    for (_, place, item) in named {
        while let Some((other, _)) = others.peek()
            && let (Some(other), Some(place)) = (other, place)
            && *other < place
        {
            arranged.extend(others.next().map(|(_, item)| item));
        }
        arranged.push(item);
    }
    arranged.extend(others.map(|(_, item)| item));
    arranged
}

/// `$deleteFromPrimitiveList`
pub fn delete_primitives(
    target: &mut Map<String, Value>,
    list: &str,
    values: &Value,
) -> Result<(), PatchError> {
    let values = match values {
        Value::Array(values) => values,
        Value::Null => return Ok(()),
        _ => {
            return Err(PatchError::Malformed(format!(
                "$deleteFromPrimitiveList/{list} is not a list"
            )));
        }
    };
    if let Some(Value::Array(current)) = target.get_mut(list) {
        let values: HashSet<Identity> = values.iter().map(ToString::to_string).collect();
        current.retain(|item| !values.contains(&item.to_string()));
    }
    Ok(())
}
