//! What a watcher can subscribe to without seeing anything else.

use std::cmp::Ordering;

use crate::object::Object;

/// A subset of a resource for which the bus keeps event positions, so that watching it
/// costs nothing while it is quiet. Narrower selections are predicates on top.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Topic {
    All,
    Namespace(Box<str>),
    /// Namespace (empty for cluster-scoped objects) and name.
    Name(Box<str>, Box<str>),
    /// An indexed field, such as `spec.nodeName`, and its value. An object that leaves the
    /// topic is an event of the topic.
    Field(Box<str>, Box<str>),
}

impl Topic {
    pub fn namespace(namespace: &str) -> Self {
        Self::Namespace(namespace.into())
    }

    pub fn name(namespace: &str, name: &str) -> Self {
        Self::Name(namespace.into(), name.into())
    }

    pub fn field(path: &str, value: &str) -> Self {
        Self::Field(path.into(), value.into())
    }

    /// Whether an object belongs to the topic; the predicate for
    /// [`crate::Event::for_selector`] when the topic is all that is selected by.
    pub fn matches(&self, object: &Object) -> bool {
        match self {
            Self::All => true,
            Self::Namespace(namespace) => object.meta.namespace == *namespace,
            Self::Name(namespace, name) => {
                object.meta.name == *name && object.meta.namespace == *namespace
            }
            Self::Field(path, value) => object.field(path) == Some(value),
        }
    }
}

/// The order of keys, without making them.
pub(crate) fn compare(a: &Object, b: &Object) -> Ordering {
    if a.meta.namespace == b.meta.namespace {
        return a.meta.name.cmp(&b.meta.name);
    }
    fn parts(object: &Object) -> impl Iterator<Item = u8> {
        let namespace = object.meta.namespace.as_bytes();
        let slash: &[u8] = if namespace.is_empty() { b"" } else { b"/" };
        [namespace, slash, object.meta.name.as_bytes()].into_iter().flatten().copied()
    }
    parts(a).cmp(parts(b))
}

/// The key of an object within its resource: the store's key without the resource's
/// prefix, so that both iterate in the same order.
pub(crate) fn key(namespace: &str, name: &str) -> String {
    if namespace.is_empty() { name.to_owned() } else { format!("{namespace}/{name}") }
}
