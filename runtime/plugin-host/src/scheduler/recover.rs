//! What a scheduler's thread does about a fault: the version before takes over,
//! or a fresh instance, or nobody.

use std::time::{Duration, Instant};

use super::live::Live;
use super::worker::{Worker, pace};
use crate::cluster::ObjectHandle;
use crate::program::LoadError;
use crate::sandbox::Fault;
use crate::supervise::{On, Remedy, Rollout, take_warm};

/// What becomes of pods after a fault.
pub(super) enum After {
    /// Another version decides them now.
    Again,
    /// They come again later.
    Later,
    /// It was one, and is left alone.
    Park,
}

impl Worker {
    pub(super) fn refuse(&mut self, refused: &Live, fault: &Fault, pause: Duration) {
        tracing::warn!(plugin = self.shared.identity.name(), %fault, "a new scheduler failed before it decided anything");
        match &self.live {
            Some(live) => {
                let version = live.version();
                self.shared.health.activated(refused.version(), None, Duration::ZERO);
                self.shared.health.rolled_back(version, fault, pause);
            }
            None => {
                let rollout = *self.shared.rollout.lock();
                let at_once = Rollout { max_strikes: 1, ..rollout };
                self.shared.health.strike(On::Nothing, fault, false, &at_once);
            }
        }
    }

    /// Until they change, which they may have done since they were asked about.
    pub(super) fn leave_alone(&self, pods: &[ObjectHandle]) {
        for pod in pods {
            let now = Instant::now();
            let mut inbox = self.shared.inbox.lock();
            let left = inbox.pending.poisonous(pod.uid(), pod.revision(), now);
            drop(inbox);
            if !left {
                self.shared.health.unparked(pod.uid());
            }
        }
    }

    pub(super) fn strike(&mut self, on: On<'_>, fault: &Fault) -> After {
        tracing::warn!(plugin = self.shared.identity.name(), %fault, "a scheduler misbehaved");
        let started = Instant::now();
        let rollout = *self.shared.rollout.lock();
        let mut warm = take_warm(&mut self.previous, started);
        match self.shared.health.strike(on, fault, warm.is_some(), &rollout) {
            Remedy::RollBack => {
                let Some(mut warm) = warm.take() else { return After::Later };
                let assumed = self.assumed();
                let fed = warm.instance.assume(&assumed).and_then(|()| warm.catch_up(None));
                let version = warm.version();
                let names = warm.program().description.scheduler_names.clone();
                self.put(warm);
                self.pace = pace();
                self.shared.health.rolled_back(version, fault, started.elapsed());
                self.shared.inbox.lock().pending.trust_all(Instant::now());
                if let Err(fault) = fed {
                    return self.strike(On::Nothing, &fault);
                }
                self.answer_to(names);
                After::Again
            }
            Remedy::Rebuild => {
                self.rebuild();
                After::Later
            }
            Remedy::Park => {
                self.rebuild();
                After::Park
            }
            Remedy::Stop => {
                self.stop();
                After::Later
            }
        }
    }

    /// The same version in a fresh instance that replays the cluster.
    pub(super) fn rebuild(&mut self) {
        let rollout = *self.shared.rollout.lock();
        while let Some(live) = self.live.take() {
            let assumed = self.assumed();
            let fresh = match Live::start(live.program().clone(), &self.shared) {
                Ok(mut fresh) => fresh
                    .instance
                    .assume(&assumed)
                    .and_then(|()| fresh.catch_up(None))
                    .map(|()| fresh),
                Err(LoadError::Start(fault)) => Err(fault),
                Err(error) => Err(Fault::BadReply(error.to_string())),
            };
            match fresh {
                Ok(fresh) => {
                    self.put(fresh);
                    return;
                }
                Err(fault) => {
                    let remedy = self.shared.health.strike(On::Nothing, &fault, false, &rollout);
                    if remedy == Remedy::Stop {
                        self.stop();
                    } else {
                        self.live = Some(live);
                    }
                }
            }
        }
    }

    pub(super) fn stop(&mut self) {
        self.live = None;
        self.shared.active.store(None);
        self.shared.followers.interrupt();
    }
}
