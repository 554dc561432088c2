//! What a controller's thread does about a fault: the version before takes over,
//! or a fresh instance, or nobody.

use std::time::Instant;

use super::queue::{Verdict, Work};
use super::worker::{Worker, request};
use crate::cluster::ObjectHandle;
use crate::convert;
use crate::sandbox::Fault;
use crate::supervise::{Input, On, Remedy, take_warm};

/// What becomes of an input after a fault.
pub(super) enum After {
    /// Another version decides it now.
    Again,
    /// It comes again later.
    Hold,
    Park,
}

impl Worker {
    /// Leaves the key alone until its object changes, which it may have done
    /// since the plugin looked at it.
    pub(super) fn park(&self, work: &Work, seen: u64) {
        let key = &work.key;
        let revision = |object: Option<ObjectHandle>| object.map(|object| object.revision());
        let cluster = &self.shared.cluster;
        let present = revision(cluster.get(&key.kind, &key.namespace, &key.name));
        let then = cluster
            .pinned(seen)
            .and_then(|snapshot| snapshot.get(&key.kind, &key.namespace, &key.name));
        if then.map(revision) != Ok(present) {
            self.shared.health.unparked(&key.id());
            return self.finish(work, Verdict::Hold);
        }
        self.finish(work, Verdict::Park);
    }

    /// `asked`: about this work. If not, it did not even start.
    pub(super) fn strike(&mut self, work: &Work, asked: bool, fault: &Fault) -> After {
        tracing::warn!(
            plugin = self.shared.identity.name(),
            kind = %work.key.kind.kind, namespace = work.key.namespace, name = work.key.name, %fault,
            "a controller misbehaved"
        );
        let started = Instant::now();
        let mut warm = take_warm(&mut self.previous, started);
        let input = Input {
            id: work.key.id(),
            object: convert::target(request(work).ref_),
            uid: work.uid.clone(),
        };
        let rollout = *self.shared.rollout.lock();
        let on = if asked { On::Input(&input) } else { On::Nothing };
        match self.shared.health.strike(on, fault, warm.is_some(), &rollout) {
            Remedy::RollBack => {
                let Some(warm) = warm.take() else { return After::Hold };
                let version = warm.version();
                self.shared.mapping.store(warm.mapping.clone());
                self.shared.active.store(Some(warm.program.clone()));
                self.live = Some(warm);
                self.shared.health.rolled_back(version, fault, started.elapsed());
                self.shared.inbox.lock().queue.unpark_all(Instant::now());
                self.shared.enqueue_present();
                After::Again
            }
            Remedy::Rebuild => {
                self.drop_instance();
                After::Hold
            }
            Remedy::Park => {
                self.drop_instance();
                After::Park
            }
            Remedy::Stop => {
                self.live = None;
                self.shared.active.store(None);
                After::Hold
            }
        }
    }

    /// The same version goes on, in a fresh instance.
    pub(super) fn drop_instance(&mut self) {
        if let Some(live) = &mut self.live {
            live.drop_instance();
        }
    }
}
