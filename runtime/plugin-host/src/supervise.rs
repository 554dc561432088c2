//! What becomes of a plugin that misbehaves, and what the world is told of it.
//!
//! A faulty call is a strike. Within the rollback window of a swap the previous
//! version takes over at the first strike and decides the same input again.
//! Otherwise the instance is rebuilt and the input retried later; so many
//! strikes in a row and the plugin is stopped, alone.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::artifact::Digest;
use crate::bindings::types::Manifest;
use crate::metrics::Metrics;
use crate::plugin::RolloutSpec;
use crate::sandbox::Fault;

const DEFAULT_WINDOW: Duration = Duration::from_secs(60);
const DEFAULT_MAX_STRIKES: u32 = 5;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rollout {
    pub window: Duration,
    pub max_strikes: u32,
}

impl Rollout {
    pub fn from_spec(spec: &RolloutSpec) -> Self {
        Self {
            window: spec.window_seconds.map_or(DEFAULT_WINDOW, Duration::from_secs),
            max_strikes: spec.max_strikes.unwrap_or(DEFAULT_MAX_STRIKES).max(1),
        }
    }
}

/// Which version, as people and programs name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Version {
    pub digest: Digest,
    pub version: String,
    pub needs: Vec<crate::plugin::GrantRule>,
}

impl Version {
    pub fn new(digest: &Digest, manifest: &Manifest) -> Self {
        Self {
            digest: digest.clone(),
            version: manifest.version.clone(),
            needs: crate::grants::Grants::of_manifest(manifest).rules().to_vec(),
        }
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum Standing {
    #[default]
    Running,
    RolledBack {
        reason: &'static str,
        message: String,
        from: Option<Digest>,
    },
    Failed {
        reason: &'static str,
        message: String,
    },
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Report {
    pub standing: Standing,
    pub active: Option<Version>,
    pub previous: Option<Version>,
    /// In a row.
    pub strikes: u32,
    /// The latest thing that went wrong without ending anything.
    pub last_error: Option<(&'static str, String)>,
}

/// One plugin's record, written by whoever runs it and read by the manager.
pub(crate) struct Health {
    report: Mutex<Report>,
    metrics: Arc<Metrics>,
    /// What was rolled back, in another life of the server, to the version that
    /// is about to be activated.
    rolled_back_from: Mutex<Option<Digest>>,
    /// Tells the manager that the report says something new.
    changed: Box<dyn Fn() + Send + Sync>,
}

/// What to do after a strike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Remedy {
    /// The previous version takes over, now and with the same input.
    RollBack,
    /// A fresh instance of the same version; the input comes again later.
    Rebuild,
    /// Stop this plugin.
    Stop,
}

impl Health {
    pub fn new(metrics: Arc<Metrics>, changed: Box<dyn Fn() + Send + Sync>) -> Arc<Self> {
        Arc::new(Self {
            report: Mutex::default(),
            metrics,
            rolled_back_from: Mutex::default(),
            changed,
        })
    }

    pub fn read(&self) -> Report {
        self.report.lock().clone()
    }

    /// A call went well.
    pub fn good(&self) {
        let mut report = self.report.lock();
        if report.strikes > 0 {
            report.strikes = 0;
            drop(report);
            (self.changed)();
        }
    }

    /// A call went wrong without a fault: an error text, a rejected action.
    pub fn trouble(&self, reason: &'static str, message: String) {
        let mut report = self.report.lock();
        let trouble = Some((reason, message));
        if report.last_error != trouble {
            report.last_error = trouble;
            drop(report);
            (self.changed)();
        }
    }

    /// A version decides from now on.
    pub fn activated(&self, active: Version, previous: Option<Version>, pause: Duration) {
        let mut report = self.report.lock();
        let swapped = report.active.is_some();
        let standing = match self.rolled_back_from.lock().take() {
            None => Standing::Running,
            Some(from) => Standing::RolledBack {
                reason: "RolledBack",
                message: format!(
                    "{from} was rolled back to {} before this server started; \
                     it gets another try when the spec changes",
                    active.digest
                ),
                from: Some(from),
            },
        };
        *report = Report { standing, active: Some(active), previous, ..Report::default() };
        drop(report);
        if swapped {
            self.metrics.swap(pause);
        }
        (self.changed)();
    }

    /// What is activated next was rolled back to before the server started.
    pub fn expect_rolled_back(&self, from: Option<Digest>) {
        *self.rolled_back_from.lock() = from;
    }

    /// Nothing decides any more, because nothing should.
    pub fn unloaded(&self) {
        *self.report.lock() = Report::default();
        (self.changed)();
    }

    /// The rollback window is over.
    pub fn previous_dropped(&self) {
        self.report.lock().previous = None;
        (self.changed)();
    }

    /// Counts a strike and says what follows from it.
    pub fn strike(&self, fault: &Fault, can_roll_back: bool, rollout: &Rollout) -> Remedy {
        self.metrics.strike(fault);
        let mut report = self.report.lock();
        report.strikes = report.strikes.saturating_add(1);
        let remedy = if can_roll_back {
            Remedy::RollBack
        } else if report.strikes >= rollout.max_strikes {
            report.standing = Standing::Failed {
                reason: fault.reason(),
                message: format!(
                    "stopped after {} faulty calls in a row; the last: {fault}",
                    report.strikes
                ),
            };
            Remedy::Stop
        } else {
            report.last_error = Some((fault.reason(), fault.to_string()));
            Remedy::Rebuild
        };
        drop(report);
        (self.changed)();
        remedy
    }

    /// The previous version decides again.
    pub fn rolled_back(&self, to: Version, fault: &Fault, pause: Duration) {
        let mut report = self.report.lock();
        let from = report.active.take().map(|version| version.digest);
        let what = from.as_ref().map_or_else(String::new, |digest| format!("{digest} "));
        let message = format!("{what}was rolled back to {}: {fault}", to.digest);
        *report = Report {
            standing: Standing::RolledBack { reason: fault.reason(), message, from },
            active: Some(to),
            ..Report::default()
        };
        drop(report);
        self.metrics.swap(pause);
        (self.changed)();
    }
}

/// The version before the active one, kept warm until the window is over.
pub(crate) struct Previous<L> {
    pub live: L,
    pub until: Instant,
}

/// Takes the previous version if its window is still open.
pub(crate) fn take_warm<L>(previous: &mut Option<Previous<L>>, now: Instant) -> Option<L> {
    previous.take().filter(|previous| previous.until > now).map(|previous| previous.live)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strikes_roll_back_first_then_rebuild_then_stop() {
        let health = Health::new(Arc::default(), Box::new(|| {}));
        let rollout = Rollout { window: DEFAULT_WINDOW, max_strikes: 3 };
        let fault = Fault::OutOfFuel(7);
        assert_eq!(health.strike(&fault, true, &rollout), Remedy::RollBack);
        health.good();
        assert_eq!(health.strike(&fault, false, &rollout), Remedy::Rebuild);
        assert_eq!(health.strike(&fault, false, &rollout), Remedy::Rebuild);
        health.good();
        assert_eq!(health.read().strikes, 0, "only strikes in a row count");
        for expect in [Remedy::Rebuild, Remedy::Rebuild, Remedy::Stop] {
            assert_eq!(health.strike(&fault, false, &rollout), expect);
        }
        let Standing::Failed { reason, message } = health.read().standing else {
            panic!("not failed")
        };
        assert_eq!(reason, "OutOfFuel");
        assert!(message.contains("3 faulty calls in a row"), "{message}");
    }
}
