//! Pods on which a plugin faulted: alone, or as one of a batch of which nobody
//! knows yet which it was.

use std::time::Instant;

use super::{Pending, State};
use crate::cluster::ObjectHandle;

/// A batch that a plugin faulted on is cut into so many: few of them fault
/// again, which is what costs.
const CUT: usize = 8;

impl Pending {
    /// One group of suspects, or its first `max`.
    pub(super) fn take_suspects(&mut self, max: usize) -> Vec<ObjectHandle> {
        while let Some(mut group) = self.suspects.pop() {
            let rest = group.split_off(group.len().min(max));
            if !rest.is_empty() {
                self.suspects.push(rest);
            }
            let mut taken = Vec::new();
            for uid in group {
                if self.pods.get(&uid).is_some_and(|entry| entry.state == State::Suspect) {
                    taken.extend(self.hand_out(&uid));
                }
            }
            if !taken.is_empty() {
                return taken;
            }
        }
        Vec::new()
    }

    /// The plugin faulted on a batch. A pod that was alone in it waits; of
    /// several, nobody knows which it was: they are tried in smaller groups.
    pub fn faulted(&mut self, uids: &[&str], now: Instant) {
        if let [uid] = uids {
            if let Some(entry) = self.pods.get_mut(*uid) {
                entry.suspect = true;
            }
            return self.failed(uid, now);
        }
        for group in uids.chunks(uids.len().div_ceil(CUT).max(1)) {
            for uid in group {
                self.wait(uid, State::Suspect, now);
            }
            self.suspects.push(group.iter().map(|uid| (*uid).to_owned()).collect());
        }
    }

    /// No fault of theirs: they are decided as soon as something decides.
    pub fn put_back(&mut self, uids: &[&str], now: Instant) {
        uids.iter().for_each(|uid| self.activate(uid, now));
    }

    /// The plugin faults again and again on the pod as it was at `revision`: not
    /// in this form any more. False if it has changed or gone meanwhile.
    pub fn poisonous(&mut self, uid: &str, revision: u64, now: Instant) -> bool {
        let Some(entry) = self.pods.get_mut(uid) else { return false };
        entry.suspect = false;
        entry.attempts = 0;
        if entry.pod.revision() > revision {
            self.activate(uid, now);
            return false;
        }
        entry.state = State::Poisonous { revision };
        true
    }

    /// Another version decides: what the one before faulted on is tried again.
    pub fn trust_all(&mut self, now: Instant) {
        self.suspects.clear();
        let mut apart = Vec::new();
        for (uid, entry) in &mut self.pods {
            entry.suspect = false;
            if matches!(entry.state, State::Suspect | State::Poisonous { .. }) {
                apart.push(uid.clone());
            }
        }
        for uid in apart {
            self.activate(&uid, now);
        }
        self.freed.clear();
    }

    /// Pods that were poisonous, and have changed or gone since this was asked.
    pub fn take_freed(&mut self) -> Vec<String> {
        std::mem::take(&mut self.freed)
    }
}
