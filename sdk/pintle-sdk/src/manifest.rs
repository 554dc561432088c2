//! What a plugin says of itself before it is given anything to decide.

use crate::object::KindRef;

/// Every kind of every group, in a grant.
pub const EVERY_KIND: KindRef = KindRef::new("*", "*", "*");

/// One kind and the verbs a plugin asks for on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// Which kind; [`EVERY_KIND`] for all.
    pub kind: KindRef,
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `bind`;
    /// a subresource behind a slash: `patch/status`.
    pub verbs: Vec<String>,
    /// Shown to the person who approves it.
    pub reason: String,
}

/// Name, version and needs of a plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// A short name, as in `kubectl get plugins`.
    pub name: String,
    /// The plugin's own version, for people.
    pub version: String,
    /// What it needs to be granted.
    pub needs: Vec<Grant>,
}

impl Manifest {
    /// A plugin that needs nothing yet; see [`manifest!`](crate::manifest!).
    pub fn new(name: &str, version: &str) -> Self {
        Manifest { name: name.to_owned(), version: version.to_owned(), needs: Vec::new() }
    }

    /// Asks for verbs on a kind; the reason is shown to the person who approves it.
    pub fn needs(mut self, kind: KindRef, verbs: &[&str], reason: &str) -> Self {
        let verbs = verbs.iter().map(|&verb| verb.to_owned()).collect();
        self.needs.push(Grant { kind, verbs, reason: reason.to_owned() });
        self
    }
}

/// A [`Manifest`] with the name and the version of the crate that it is in.
///
/// ```
/// let manifest = pintle_sdk::manifest!();
/// assert_eq!(manifest.name, env!("CARGO_PKG_NAME"));
/// ```
#[macro_export]
macro_rules! manifest {
    () => {
        $crate::manifest::Manifest::new(
            ::core::env!("CARGO_PKG_NAME"),
            ::core::env!("CARGO_PKG_VERSION"),
        )
    };
}
