//! One plugin's record: who decides, what went wrong, and what to do about it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::{On, Parked, Remedy, Report, Rollout, Standing, Version};
use crate::artifact::Digest;
use crate::metrics::Metrics;
use crate::sandbox::Fault;

/// So many faults of one input and it is parked. More than one, because a
/// fault may come from what surrounds the input and passes.
const INPUT_STRIKES: u32 = 3;

/// Inputs whose strikes are remembered; the count of others begins anew.
const MAX_INPUTS: usize = 4096;

#[derive(Default)]
struct Record {
    report: Report,
    /// Strikes by input.
    inputs: BTreeMap<String, u32>,
    /// Different inputs that faulted since the last good call.
    row: BTreeSet<String>,
    /// Faults without an input since the last good call.
    nameless: u32,
    /// Inputs that the version before this one has faulted on already.
    doubted: BTreeSet<String>,
    /// Parked since somebody asked for news.
    news: Vec<Parked>,
    /// What was rolled back, in another life of the server, to the version that
    /// is about to be activated.
    rolled_back_from: Option<Digest>,
}

/// One plugin's record, written by whoever runs it and read by the manager.
pub(crate) struct Health {
    record: Mutex<Record>,
    metrics: Arc<Metrics>,
    /// Tells the manager that the report says something new.
    changed: Box<dyn Fn() + Send + Sync>,
}

impl Health {
    pub fn new(metrics: Arc<Metrics>, changed: Box<dyn Fn() + Send + Sync>) -> Arc<Self> {
        Arc::new(Self { record: Mutex::default(), metrics, changed })
    }

    pub fn read(&self) -> Report {
        self.record.lock().report.clone()
    }

    /// Inputs that were parked since this was asked before.
    pub fn take_news(&self) -> Vec<Parked> {
        std::mem::take(&mut self.record.lock().news)
    }

    /// A call went well, whatever it was about.
    #[cfg(test)]
    pub fn good(&self) {
        self.good_on(std::iter::empty::<&str>());
    }

    /// A call about these inputs, by id, went well.
    pub fn good_on<S: AsRef<str>>(&self, inputs: impl Iterator<Item = S>) {
        let mut record = self.record.lock();
        if !record.inputs.is_empty() || !record.doubted.is_empty() {
            for input in inputs {
                record.inputs.remove(input.as_ref());
                record.doubted.remove(input.as_ref());
            }
        }
        if record.report.strikes > 0 {
            record.report.strikes = 0;
            record.row.clear();
            record.nameless = 0;
            drop(record);
            (self.changed)();
        }
    }

    /// A call went wrong without a fault: an error text, a rejected action.
    pub fn trouble(&self, reason: &'static str, message: String) {
        let mut record = self.record.lock();
        let trouble = Some((reason, message));
        if record.report.last_error != trouble {
            record.report.last_error = trouble;
            drop(record);
            (self.changed)();
        }
    }

    /// A version decides from now on.
    pub fn activated(&self, active: Version, previous: Option<Version>, pause: Duration) {
        let mut record = self.record.lock();
        let swapped = record.report.active.is_some();
        let standing = match record.rolled_back_from.take() {
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
        let report = Report { standing, active: Some(active), previous, ..Report::default() };
        // Another version may well decide what this one tripped over.
        *record = Record { report, ..Record::default() };
        drop(record);
        if swapped {
            self.metrics.swap(pause);
        }
        (self.changed)();
    }

    /// What decides is what the spec says, after all.
    pub fn confirmed(&self) {
        let mut record = self.record.lock();
        record.report.standing = Standing::Running;
        record.report.last_error = None;
        drop(record);
        (self.changed)();
    }

    /// What is activated next was rolled back to before the server started.
    pub fn expect_rolled_back(&self, from: Option<Digest>) {
        self.record.lock().rolled_back_from = from;
    }

    /// Nothing decides any more, because nothing should.
    pub fn unloaded(&self) {
        *self.record.lock() = Record::default();
        (self.changed)();
    }

    /// The rollback window is over.
    pub fn previous_dropped(&self) {
        self.record.lock().report.previous = None;
        (self.changed)();
    }

    /// Counts a strike and says what follows from it.
    pub fn strike(
        &self,
        on: On<'_>,
        fault: &Fault,
        can_roll_back: bool,
        rollout: &Rollout,
    ) -> Remedy {
        self.metrics.strike(fault);
        let mut record = self.record.lock();
        let remedy = record.strike(on, fault, can_roll_back, rollout);
        drop(record);
        (self.changed)();
        remedy
    }

    /// The input has changed, or is gone: it is tried again.
    pub fn unparked(&self, id: &str) {
        let mut record = self.record.lock();
        let before = record.report.parked.len();
        record.report.parked.retain(|parked| parked.input.id != id);
        let changed = record.report.parked.len() != before;
        drop(record);
        if changed {
            (self.changed)();
        }
    }

    /// The previous version decides again.
    pub fn rolled_back(&self, to: Version, fault: &Fault, pause: Duration) {
        let mut record = self.record.lock();
        let from = record.report.active.take().map(|version| version.digest);
        let what = from.as_ref().map_or_else(String::new, |digest| format!("{digest} "));
        let message = format!("{what}was rolled back to {}: {fault}", to.digest);
        let report = Report {
            standing: Standing::RolledBack { reason: fault.reason(), message, from },
            active: Some(to),
            ..Report::default()
        };
        let doubted = std::mem::take(&mut record.doubted);
        *record = Record { report, doubted, ..Record::default() };
        drop(record);
        self.metrics.swap(pause);
        self.metrics.rollback(fault.reason());
        (self.changed)();
    }

    /// A version that was only compared is not going to decide.
    pub fn refused(&self, candidate: &Digest, reason: &'static str, why: &str) {
        let mut record = self.record.lock();
        let goes_on = record
            .report
            .active
            .as_ref()
            .map_or_else(String::new, |active| format!("; {} goes on", active.digest));
        let message = format!("{candidate} does not take over: {why}{goes_on}");
        record.report.standing =
            Standing::RolledBack { reason, message, from: Some(candidate.clone()) };
        drop(record);
        self.metrics.rollback(reason);
        (self.changed)();
    }
}

impl Record {
    fn strike(
        &mut self,
        on: On<'_>,
        fault: &Fault,
        can_roll_back: bool,
        rollout: &Rollout,
    ) -> Remedy {
        self.report.strikes = self.report.strikes.saturating_add(1);
        if can_roll_back {
            match on {
                On::Input(input) => self.doubted.extend([input.id.clone()]),
                On::Several(ids) => self.doubted.extend(ids.iter().map(|id| (*id).to_owned())),
                On::Nothing => {}
            }
            return Remedy::RollBack;
        }
        match on {
            On::Input(input) => self.row.extend([input.id.clone()]),
            // What it is about will be found out.
            On::Several(_) => {}
            On::Nothing => self.nameless = self.nameless.saturating_add(1),
        }
        let different = self.nameless as usize + self.row.len();
        if different >= rollout.max_strikes as usize {
            let message = format!(
                "stopped after faults on {different} different inputs in a row; the last: {fault}"
            );
            self.report.standing = Standing::Failed { reason: fault.reason(), message };
            return Remedy::Stop;
        }
        self.report.last_error = Some((fault.reason(), fault.to_string()));
        let On::Input(input) = on else { return Remedy::Rebuild };
        if self.inputs.len() >= MAX_INPUTS {
            self.inputs.pop_first();
        }
        let strikes = self.inputs.entry(input.id.clone()).or_default();
        *strikes += 1;
        if *strikes < INPUT_STRIKES && !self.doubted.contains(&input.id) {
            return Remedy::Rebuild;
        }
        let parked = Parked {
            input: input.clone(),
            strikes: *strikes,
            reason: fault.reason(),
            message: fault.to_string(),
        };
        self.inputs.remove(&input.id);
        self.report.parked.retain(|other| other.input.id != input.id);
        self.report.parked.push(parked.clone());
        self.news.push(parked);
        Remedy::Park
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::action::Target;
    use crate::supervise::{DEFAULT_WINDOW, Input};
    use pintle_api::meta::GroupVersionKind;

    fn input(name: &str) -> Input {
        let kind = GroupVersionKind::new("", "v1", "Pod");
        let object = Target { kind, namespace: "default".into(), name: name.into() };
        Input { id: name.into(), object, uid: name.into() }
    }

    fn health() -> (Arc<Health>, Rollout, Fault) {
        let health = Health::new(Arc::default(), Box::new(|| {}));
        (health, Rollout { window: DEFAULT_WINDOW, max_strikes: 4 }, Fault::OutOfFuel(7))
    }

    #[test]
    fn different_inputs_in_a_row_stop_a_plugin_and_one_good_call_breaks_the_row() {
        let (health, rollout, fault) = health();
        let strike = |on: On<'_>| health.strike(on, &fault, false, &rollout);
        for name in ["a", "b"] {
            assert_eq!(strike(On::Input(&input(name))), Remedy::Rebuild);
        }
        health.good();
        assert_eq!(health.read().strikes, 0);
        for on in [On::Nothing, On::Several(&["x", "y"]), On::Input(&input("c")), On::Nothing] {
            assert_eq!(strike(on), Remedy::Rebuild);
        }
        assert_eq!(strike(On::Input(&input("d"))), Remedy::Stop);
        let Standing::Failed { reason, message } = health.read().standing else {
            panic!("not failed")
        };
        assert_eq!(reason, "OutOfFuel");
        assert!(message.contains("4 different inputs in a row"), "{message}");
    }

    #[test]
    fn one_input_is_parked_and_never_stops_the_plugin() {
        let (health, rollout, fault) = health();
        let poison = input("poison");
        for expect in [Remedy::Rebuild, Remedy::Rebuild, Remedy::Park] {
            assert_eq!(health.strike(On::Input(&poison), &fault, false, &rollout), expect);
        }
        let parked = health.read().parked;
        assert_eq!((parked.len(), parked[0].strikes), (1, 3));
        assert_eq!(health.take_news(), parked);
        assert_eq!(health.take_news(), []);
        health.unparked("poison");
        assert_eq!(health.read().parked, []);
        assert_eq!(health.strike(On::Input(&poison), &fault, false, &rollout), Remedy::Rebuild);
        health.good_on(["poison"].into_iter());
        for expect in [Remedy::Rebuild, Remedy::Rebuild, Remedy::Park] {
            assert_eq!(health.strike(On::Input(&poison), &fault, false, &rollout), expect);
        }
    }

    #[test]
    fn an_input_that_two_versions_fault_on_is_parked_instead_of_rolled_back_again() {
        let (health, rollout, fault) = health();
        let poison = input("poison");
        assert_eq!(health.strike(On::Input(&poison), &fault, true, &rollout), Remedy::RollBack);
        let to = Version {
            digest: Digest::of(b"before"),
            version: String::new(),
            needs: Vec::new(),
            load: 1,
        };
        health.rolled_back(to, &fault, Duration::ZERO);
        assert_eq!(
            health.strike(On::Input(&input("other")), &fault, false, &rollout),
            Remedy::Rebuild
        );
        assert_eq!(health.strike(On::Input(&poison), &fault, false, &rollout), Remedy::Park);
        assert!(matches!(health.read().standing, Standing::RolledBack { .. }));
    }
}
