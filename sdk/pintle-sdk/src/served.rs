//! Whether the cluster knows a kind at all. An object of a kind that nobody serves is
//! not absent: it cannot be looked for.

use crate::lister::Lister;
use crate::object::KindRef;

/// Read with [`is_served`]; a plugin needs to be granted `get` on it. No object of this
/// kind is stored: the host makes one up for each kind that the cluster does not serve.
pub const UNKNOWN_KIND: KindRef = KindRef::new("plugins.pintle.dev", "v1alpha1", "UnknownKind");

/// Does the cluster serve the kind, in this version?
pub fn is_served(lister: &dyn Lister, kind: &KindRef) -> bool {
    let name = format!("{}/{}", kind.api_version(), kind.kind);
    lister.get(&UNKNOWN_KIND.named("", name)).is_none()
}
