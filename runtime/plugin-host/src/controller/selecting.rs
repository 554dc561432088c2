//! Which objects of a kind select a given one by its labels: the selectors of
//! all of them, kept parsed.

use std::collections::{BTreeMap, HashMap};

use pintle_api::selector::LabelSelector;
use serde_json::Value;

use crate::cluster::{Object, ObjectHandle};
use crate::fields;

pub(crate) struct Selecting {
    /// Where the label map or label selector is, `spec.selector`.
    path: String,
    namespaces: HashMap<String, HashMap<String, Entry>>,
}

struct Entry {
    uid: String,
    selector: Selector,
}

enum Selector {
    /// All of these labels, as a Service has it and most workloads.
    Map(BTreeMap<String, String>),
    /// A metav1.LabelSelector with expressions.
    Expression(LabelSelector),
}

impl Selecting {
    pub fn new(path: String) -> Self {
        Self { path, namespaces: HashMap::new() }
    }

    pub fn replace(&mut self, objects: &[ObjectHandle]) {
        self.namespaces.clear();
        for object in objects {
            self.put(&**object);
        }
    }

    pub fn put(&mut self, object: &dyn Object) {
        let selector = fields::raw(object.json(), &self.path).and_then(parse);
        let Some(selector) = selector else { return self.remove(object) };
        self.namespaces
            .entry(object.namespace().to_owned())
            .or_default()
            .insert(object.name().to_owned(), Entry { uid: object.uid().to_owned(), selector });
    }

    pub fn remove(&mut self, object: &dyn Object) {
        if let Some(names) = self.namespaces.get_mut(object.namespace()) {
            names.remove(object.name());
            if names.is_empty() {
                self.namespaces.remove(object.namespace());
            }
        }
    }

    /// Names and uids of those that select the object as it is or as it was.
    pub fn matching(
        &self,
        object: &dyn Object,
        previous: Option<&dyn Object>,
        mut found: impl FnMut(&str, &str),
    ) {
        let Some(names) = self.namespaces.get(object.namespace()) else { return };
        for (name, entry) in names {
            if entry.selector.selects(object)
                || previous.is_some_and(|previous| entry.selector.selects(previous))
            {
                found(name, &entry.uid);
            }
        }
    }
}

/// None without a selector. An empty one selects everything, as that of a
/// disruption budget does.
fn parse(text: &str) -> Option<Selector> {
    let value: Value = serde_json::from_str(text).ok()?;
    let map = value.as_object()?;
    let labels = match map.get("matchLabels") {
        Some(Value::Object(labels)) if map.len() == 1 => labels,
        _ => map,
    };
    if labels.values().all(Value::is_string) {
        let labels = labels
            .iter()
            .map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_owned()));
        return Some(Selector::Map(labels.collect()));
    }
    LabelSelector::from_json(&value).ok().map(Selector::Expression)
}

impl Selector {
    fn selects(&self, object: &dyn Object) -> bool {
        match self {
            Self::Map(labels) => labels.iter().all(|(key, value)| object.label(key) == Some(value)),
            Self::Expression(selector) => selector.matches(|key| object.label(key)),
        }
    }
}
