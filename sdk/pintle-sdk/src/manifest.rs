//! What a plugin says of itself before it is given anything to decide.

use crate::object::KindRef;

/// Every kind of every group, in a grant.
pub const EVERY_KIND: KindRef = KindRef::new("*", "*", "*");

/// One kind and the verbs a plugin asks for on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    pub kind: KindRef,
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `bind`;
    /// a subresource behind a slash: `patch/status`.
    pub verbs: Vec<String>,
    /// Shown to the person who approves it.
    pub reason: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    pub name: String,
    pub version: String,
    pub needs: Vec<Grant>,
}

impl Manifest {
    pub fn new(name: &str, version: &str) -> Self {
        Manifest { name: name.to_owned(), version: version.to_owned(), needs: Vec::new() }
    }

    pub fn needs(mut self, kind: KindRef, verbs: &[&str], reason: &str) -> Self {
        let verbs = verbs.iter().map(|&verb| verb.to_owned()).collect();
        self.needs.push(Grant { kind, verbs, reason: reason.to_owned() });
        self
    }
}
