//! The cluster as one call sees it. Of claims, volumes and the pods that use
//! them an instance remembers what it was told, so that a call carries what has
//! changed and not all there is.

use std::collections::BTreeMap;

use pintle_sdk::lister::METADATA;
use pintle_sdk::prelude::*;
use pintle_sdk::remembered::Remembered;

use crate::pods::User;

type Claim = Typed<PersistentVolumeClaim>;
type Volume = Typed<PersistentVolume>;

/// A few hundred bytes each, so more of them than of whole objects.
const MOST_USERS: usize = 50_000;

/// What is remembered from call to call.
pub struct Known {
    claims: Remembered<Claim>,
    volumes: Remembered<Volume>,
    users: Remembered<User>,
}

impl Default for Known {
    fn default() -> Self {
        Known {
            claims: Remembered::default(),
            volumes: Remembered::default(),
            users: Remembered::at_most(MOST_USERS),
        }
    }
}

/// What a call decides on.
#[derive(Clone, Copy)]
pub struct Seen<'a> {
    pub lister: &'a dyn Lister,
    pub known: &'a Known,
}

impl Seen<'_> {
    /// The claims that are meant, by namespace and name.
    pub fn claims(&self, meant: impl Fn(&Claim) -> bool) -> Result<Vec<Claim>, Error> {
        let query = whole(PERSISTENT_VOLUME_CLAIM);
        self.known.claims.look(self.lister, &query, |all| filtered(all, meant))
    }

    /// The volumes that are meant, by name.
    pub fn volumes(&self, meant: impl Fn(&Volume) -> bool) -> Result<Vec<Volume>, Error> {
        self.look_at_volumes(|all| filtered(all, meant))
    }

    /// All volumes, shown in place; nothing else may be asked about volumes meanwhile.
    pub fn look_at_volumes<R>(
        &self,
        show: impl FnOnce(&BTreeMap<(String, String), Volume>) -> R,
    ) -> Result<R, Error> {
        self.known.volumes.look(self.lister, &whole(PERSISTENT_VOLUME), show)
    }

    /// The nodes of the pods that use a claim; pods without a node do not count.
    pub fn nodes_of_users(&self, claim: &Claim) -> Result<Vec<String>, Error> {
        let namespace = claim.reference.namespace.as_str();
        let query = Query::of(POD).namespace(namespace).fields(User::FIELDS);
        self.known.users.look(self.lister, &query, |users| {
            let users = users.values().filter(|user| user.uses(&claim.reference.name));
            users.filter_map(|user| user.node.clone()).collect()
        })
    }
}

/// Without the notes on who wrote which field.
fn whole(kind: KindRef) -> Query {
    Query::of(kind).fields(METADATA).fields(&["spec", "status"])
}

fn filtered<T: Clone>(all: &BTreeMap<(String, String), T>, meant: impl Fn(&T) -> bool) -> Vec<T> {
    all.values().filter(|object| meant(object)).cloned().collect()
}
