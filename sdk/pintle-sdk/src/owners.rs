//! Owner references between a controller's object and what it manages.

use pintle_api::meta::OwnerReference;
use serde_json::{Value, json};

use crate::action::Patch;
use crate::lister::Typed;
use crate::object::{ObjectRef, Resource};

/// The reference that makes `owner` the controller of an object.
pub fn controller_reference<T>(owner: &Typed<T>) -> OwnerReference {
    reference_to(&owner.reference, &owner.uid)
}

/// The same for an object of which only the place and the uid are known.
pub fn reference_to(owner: &ObjectRef, uid: &str) -> OwnerReference {
    OwnerReference {
        api_version: owner.kind.api_version(),
        kind: owner.kind.kind.clone().into_owned(),
        name: owner.name.clone(),
        uid: uid.to_owned(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

/// Makes `owner` the controller of an object that has none. A plain reference
/// to it that is there already becomes the controlling one.
pub fn adopt<T: Resource, O>(child: &Typed<T>, owner: &Typed<O>) -> Patch {
    let mine = controller_reference(owner);
    let others = child.metadata().owner_references.iter().filter(|known| known.uid != owner.uid);
    replace(child, &others.chain([&mine]).collect::<Vec<_>>())
}

/// Takes every reference to this uid off an object.
pub fn release<T: Resource>(child: &Typed<T>, owner_uid: &str) -> Patch {
    replace(
        child,
        &child
            .metadata()
            .owner_references
            .iter()
            .filter(|known| known.uid != owner_uid)
            .collect::<Vec<_>>(),
    )
}

/// Replaces the list, and only the one that was looked at.
fn replace<T>(child: &Typed<T>, owners: &[&OwnerReference]) -> Patch {
    let owners = if owners.is_empty() { Value::Null } else { json!(owners) };
    Patch::merge(child, &json!({"metadata": {"uid": child.uid, "ownerReferences": owners}}))
        .at(child.revision)
}
