//! What the API server said when it refused an action: why the last plan for an
//! object was not performed to its end.
//!
//! A controller never sees the answer to an action; a conflict brings the key back
//! and the next decision is made from what is true then. But who asks for pods
//! that a quota forbids is to say so, in an Event or a condition:
//!
//! ```
//! use pintle_sdk::prelude::*;
//!
//! fn complain(lister: &dyn Lister, request: &Request, set: &Typed<ReplicaSet>, outcome: &mut Outcome) {
//!     if let Some(message) = request.refusal(lister) {
//!         outcome.push(Event::warning(set, "FailedCreate", format!("Error creating: {message}")));
//!     }
//! }
//! ```
//!
//! The host answers from its own memory of this controller's last try: conflicts
//! do not count, success forgets it, and so does a restart of the host.

use pintle_api::meta::ObjectMeta;
use serde::Deserialize;

use crate::controller::Request;
use crate::lister::Lister;
use crate::object::{KindRef, ObjectRef};

/// Read with [`Request::refusal`]; a controller needs to be granted `get` on it. No
/// object of this kind is stored: the host makes it up for the one who asks.
pub const REFUSAL: KindRef = KindRef::new("plugins.pintle.dev", "v1alpha1", "Refusal");

/// Why the last try was not performed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Refusal {
    /// Where it is: see [`place`].
    pub metadata: ObjectMeta,
    /// The API server's words, `pods "web-x" is forbidden: exceeded quota: ...`.
    pub message: String,
}
crate::resource!(Refusal, REFUSAL);

/// Where the refusal of the last plan for an object is read: `replicaset.web`, in
/// its namespace.
pub fn place(of: &ObjectRef) -> ObjectRef {
    let kind = of.kind.kind.to_ascii_lowercase();
    REFUSAL.named(of.namespace.as_str(), format!("{kind}.{}", of.name))
}

impl Request {
    /// What the API server said when it refused the last plan for this object;
    /// none when that was performed, or met no more than a conflict.
    pub fn refusal(&self, lister: &dyn Lister) -> Option<String> {
        // The first try has nothing to look back on.
        if self.attempt == 0 {
            return None;
        }
        let found = lister.get(&place(&self.reference))?;
        found.parse::<Refusal>().ok().map(|refusal| refusal.message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{NODE, REPLICA_SET};

    #[test]
    fn places() {
        fn check(of: ObjectRef, namespace: &str, name: &str) {
            assert_eq!(place(&of), REFUSAL.named(namespace, name));
        }
        check(REPLICA_SET.named("shop", "web"), "shop", "replicaset.web");
        check(NODE.named("", "n1"), "", "node.n1");
    }
}
