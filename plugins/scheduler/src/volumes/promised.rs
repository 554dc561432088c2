//! Which volumes are as good as gone.
//!
//! A claim of a class that waits for its first pod gets its volume after that pod
//! got its node. Until then the volume looks free, and a second pod would be sent
//! to the same node for it. So the choice is foreseen here, by the binder's own
//! rule: claims by age, each the smallest volume that does on its pod's node. It is
//! worked out anew from what is known, so that it never depends on how it came to
//! be known.

use std::collections::{BTreeMap, BTreeSet};

use super::Volumes;
use crate::view::{Slot, View};

#[derive(Debug, Default)]
pub(super) struct Promised<'a> {
    volumes: BTreeSet<&'a str>,
    claims: BTreeMap<&'a str, Promise<'a>>,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Promise<'a> {
    /// Where the first pod of the claim runs.
    pub slot: Slot,
    /// `None`: one will be made for it.
    pub volume: Option<&'a str>,
}

impl<'a> Promised<'a> {
    pub fn of(volumes: &'a Volumes, view: &View) -> Self {
        let mut waiting: Vec<_> = volumes
            .awaiting
            .iter()
            .filter_map(|key| {
                let users = volumes.users.get(key)?;
                let slot = users.iter().find_map(|uid| Some(view.pod(uid)?.slot))?;
                Some((&**key, volumes.claims.get(&**key)?, slot))
            })
            .collect();
        waiting.sort_by(|a, b| (&a.1.created, a.0).cmp(&(&b.1.created, b.0)));
        let mut promised = Promised::default();
        for (key, claim, slot) in waiting {
            let free = |name: &str| !promised.volumes.contains(name);
            let volume = volumes.choice(key, claim, &view.names[slot], view.labels(slot), free);
            promised.volumes.extend(volume);
            promised.claims.insert(key, Promise { slot, volume });
        }
        promised
    }

    pub fn is_free(&self, volume: &str) -> bool {
        !self.volumes.contains(volume)
    }

    pub fn to(&self, claim: &str) -> Option<Promise<'a>> {
        self.claims.get(claim).copied()
    }
}
