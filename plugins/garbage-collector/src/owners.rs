//! Who owns an object, and whether that owner still counts.

use pintle_sdk::prelude::*;
use pintle_sdk::served::is_served;

pub const FOREGROUND: &str = "foregroundDeletion";
pub const ORPHAN: &str = "orphan";

/// An object of any kind, as far as ownership goes.
#[derive(Debug, Clone)]
pub struct Item {
    pub reference: ObjectRef,
    pub uid: String,
    pub revision: u64,
    pub metadata: ObjectMeta,
}

/// What this plugin looks at in an object, of whatever kind.
const LOOKED_AT: &[&str] =
    &["metadata.ownerReferences", "metadata.finalizers", "metadata.deletionTimestamp"];

/// An object as far as ownership goes.
pub fn look_at(lister: &dyn Lister, reference: &ObjectRef) -> Option<Object> {
    lister.get_fields(reference, LOOKED_AT)
}

impl Item {
    pub fn read(object: Object) -> Result<Self, Error> {
        let AnyObject { metadata } = object.parse()?;
        Ok(Item {
            reference: object.reference,
            uid: object.uid,
            revision: object.revision,
            metadata,
        })
    }

    pub fn has_finalizer(&self, finalizer: &str) -> bool {
        self.metadata.finalizers.iter().any(|known| known == finalizer)
    }

    /// Goes only after the dependents that block it.
    pub fn waits_for_dependents(&self) -> bool {
        self.metadata.is_being_deleted() && self.has_finalizer(FOREGROUND)
    }

    /// Does this object hold back the deletion of the owner with that uid?
    pub fn blocks(&self, owner_uid: &str) -> bool {
        let mut owners = self.metadata.owner_references.iter();
        owners.any(|owner| owner.uid == owner_uid && owner.block_owner_deletion == Some(true))
    }
}

pub fn dependents(lister: &dyn Lister, uid: &str) -> Result<Vec<Item>, Error> {
    let owned = lister.list_fields(&Query::any_kind().owned_by(uid), LOOKED_AT);
    owned.into_iter().map(Item::read).collect()
}

/// What an object's owner references come to.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Owners {
    /// At least one owner is there and stays.
    pub solid: bool,
    /// References to owners that are gone.
    pub dangling: Vec<String>,
    /// References to owners that wait for this object to go.
    pub waiting: Vec<String>,
}

pub fn classify(lister: &dyn Lister, item: &Item) -> Result<Owners, Error> {
    let mut owners = Owners::default();
    for reference in &item.metadata.owner_references {
        match find(lister, &item.reference.namespace, reference)? {
            // Nobody can tell whether that one is there: nothing is lost by waiting.
            None if !is_served(lister, &kind_of(reference)) => owners.solid = true,
            None => owners.dangling.push(reference.uid.clone()),
            Some(owner)
                if owner.waits_for_dependents() && reference.block_owner_deletion == Some(true) =>
            {
                owners.waiting.push(reference.uid.clone());
            }
            Some(_) => owners.solid = true,
        }
    }
    Ok(owners)
}

/// The owner that a reference means: in the dependent's namespace or cluster-scoped.
fn find(
    lister: &dyn Lister,
    namespace: &str,
    reference: &OwnerReference,
) -> Result<Option<Item>, Error> {
    let kind = kind_of(reference);
    let of_uid = |object: Object| if object.uid == reference.uid { Some(object) } else { None };
    let mut places = vec![namespace];
    if !namespace.is_empty() {
        places.push("");
    }
    for place in places {
        let named = kind.named(place, reference.name.clone());
        if let Some(owner) = look_at(lister, &named).and_then(of_uid) {
            return Item::read(owner).map(Some);
        }
    }
    if namespace.is_empty() {
        // A namespaced owner of a cluster-scoped object is not allowed, but it
        // exists: nothing may be deleted because of such a mistake.
        let found = lister.list(&Query::of(kind).metadata_only()).into_iter().find_map(of_uid);
        if let Some(owner) = found.and_then(|owner| look_at(lister, &owner.reference)) {
            return Item::read(owner).map(Some);
        }
    }
    Ok(None)
}

fn kind_of(reference: &OwnerReference) -> KindRef {
    KindRef::parse(&reference.api_version, &reference.kind)
}

#[cfg(test)]
mod tests {
    use pintle_sdk::served::UNKNOWN_KIND;

    use super::*;

    /// An empty cluster that does not serve `example.com/v1/Thing`.
    struct Empty;

    impl Lister for Empty {
        fn get(&self, reference: &ObjectRef) -> Option<Object> {
            (*reference == UNKNOWN_KIND.named("", "example.com/v1/Thing")).then(|| Object {
                reference: reference.clone(),
                uid: String::new(),
                revision: 0,
                json: b"{}".to_vec(),
            })
        }
        fn list(&self, _: &Query) -> Vec<Object> {
            Vec::new()
        }
        fn count(&self, _: &Query) -> u32 {
            0
        }
    }

    #[test]
    fn an_owner_of_a_kind_that_nobody_serves_is_not_gone() {
        fn check(api_version: &str, kind: &str, solid: bool) {
            let owner = OwnerReference {
                api_version: api_version.to_owned(),
                kind: kind.to_owned(),
                name: "x".to_owned(),
                uid: "u".to_owned(),
                ..OwnerReference::default()
            };
            let metadata = ObjectMeta { owner_references: vec![owner], ..ObjectMeta::default() };
            let reference = POD.named("default", "p");
            let item = Item { reference, uid: "p".to_owned(), revision: 1, metadata };
            let owners = classify(&Empty, &item).unwrap();
            assert_eq!((owners.solid, owners.dangling.is_empty()), (solid, solid), "{kind}");
        }
        check("example.com/v1", "Thing", true);
        check("v1", "ConfigMap", false);
    }
}
