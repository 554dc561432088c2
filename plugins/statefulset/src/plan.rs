//! The decision: a StatefulSet and its pods in, actions out.

use std::collections::{BTreeMap, BTreeSet};

use pintle_sdk::prelude::*;
use pintle_sdk::revisions::{History, Revision};
use pintle_sdk::workload::{self, Availability};

use crate::claims::{self, ClaimTemplate};
use crate::identity::{self, first_ordinal, new_pod, ordinal, pod_name, revision_of};
use crate::rolling::{self, Bounds, Member};
use crate::status::{self, Counts};

/// Actions in one step; the rest follows when these are seen.
const MOST_AT_ONCE: usize = 1000;

/// `pods` are the owned ones and those that match the selector; `refusal` is what
/// the last try met.
pub fn plan(
    context: &Context,
    lister: &dyn Lister,
    set: &Typed<StatefulSet>,
    templates: &[ClaimTemplate],
    pods: Vec<Typed<Pod>>,
    refusal: Option<String>,
) -> Result<Outcome, Error> {
    let mut outcome = Outcome::done();
    let going = set.metadata.is_being_deleted();
    let by_name = |pod: &Pod| ordinal(set, &pod.metadata.name).is_some();
    let pods = workload::claim(set, &set.spec.selector, going, pods, by_name, &mut outcome);
    if going {
        return Ok(outcome);
    }
    let collisions = set.status.collision_count;
    let history = History::update(lister, set, &set.spec.template, collisions, &mut outcome)?;
    let place = outcome.actions.len();
    let mut work = Work::new(context, lister, set, templates, &pods, &history, outcome);
    work.refusal = refusal;
    work.run()?;
    let Work { mut outcome, current, update, deleted, .. } = work;
    let judged =
        pods.iter().map(|pod| (&**pod, Availability::of(context, pod, set.spec.min_ready_seconds)));
    for (_, availability) in judged.clone() {
        if let Availability::ReadyFor(wait) = availability {
            outcome.requeue_after(wait);
        }
    }
    let stays =
        |pod: &Pod| !pod.metadata.is_being_deleted() && !deleted.contains(&pod.metadata.uid);
    let counts = Counts::of(judged, stays, &current.name, &update.name);
    if let Some(patch) = status::patch(set, counts, &current.name, &update.name) {
        // Before new pods: when those are refused the status is written all the same.
        outcome.actions.insert(place, patch.into());
    }
    let is_live = |name: &str| {
        name == current.name
            || name == update.name
            || pods.iter().any(|pod| revision_of(pod) == name)
    };
    let limit = set.spec.revision_history_limit.unwrap_or(10);
    history.truncate(set, limit, is_live, &mut outcome);
    Ok(outcome)
}

struct Work<'a> {
    context: &'a Context,
    lister: &'a dyn Lister,
    set: &'a Typed<StatefulSet>,
    templates: &'a [ClaimTemplate],
    /// Pods with a number that the set wants.
    replicas: BTreeMap<i64, &'a Typed<Pod>>,
    /// Pods with a number beyond, highest first.
    condemned: Vec<(i64, &'a Typed<Pod>)>,
    /// The lowest number whose pod does not work.
    first_unhealthy: Option<i64>,
    current: Revision,
    update: Revision,
    /// Uids of the pods that are deleted now.
    deleted: BTreeSet<String>,
    /// Said of the first pod that is made.
    refusal: Option<String>,
    outcome: Outcome,
}

/// Whether later pods may be looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    GoOn,
    Wait,
}

impl<'a> Work<'a> {
    fn new(
        context: &'a Context,
        lister: &'a dyn Lister,
        set: &'a Typed<StatefulSet>,
        templates: &'a [ClaimTemplate],
        pods: &'a [Typed<Pod>],
        history: &History,
        outcome: Outcome,
    ) -> Self {
        let start = first_ordinal(set);
        let wanted = start..start.saturating_add(set.spec.replicas.unwrap_or(1));
        let mut replicas = BTreeMap::new();
        let mut condemned = Vec::new();
        for pod in pods {
            match ordinal(set, &pod.reference.name) {
                Some(number) if wanted.contains(&number) => {
                    replicas.insert(number, pod);
                }
                Some(number) => condemned.push((number, pod)),
                None => {}
            }
        }
        condemned.sort_by_key(|(number, _)| std::cmp::Reverse(*number));
        let members = replicas.iter().map(|(&number, &pod)| (number, pod));
        let unhealthy = members
            .chain(condemned.iter().copied())
            .filter(|(_, pod)| !is_healthy(context, set, pod))
            .map(|(number, _)| number);
        let first_unhealthy = unhealthy.min();
        let update = history.newest().clone();
        let current = history.named(&set.status.current_revision).unwrap_or(&update).clone();
        let deleted = BTreeSet::new();
        Work {
            context,
            lister,
            set,
            templates,
            replicas,
            condemned,
            first_unhealthy,
            current,
            update,
            deleted,
            refusal: None,
            outcome,
        }
    }

    fn run(&mut self) -> Result<(), Error> {
        let in_order = self.set.spec.pod_management_policy != "Parallel";
        let start = first_ordinal(self.set);
        let end = start.saturating_add(self.set.spec.replicas.unwrap_or(1));
        for number in start..end {
            if self.keep(number, in_order)? == Step::Wait && in_order {
                return Ok(());
            }
            if self.outcome.actions.len() >= MOST_AT_ONCE {
                return Ok(());
            }
        }
        for (number, pod) in std::mem::take(&mut self.condemned) {
            if self.condemn(number, pod, in_order)? == Step::Wait && in_order {
                return Ok(());
            }
            if self.outcome.actions.len() >= MOST_AT_ONCE {
                return Ok(());
            }
        }
        self.update();
        Ok(())
    }

    fn availability(&self, pod: &Pod) -> Availability {
        Availability::of(self.context, pod, self.set.spec.min_ready_seconds)
    }

    fn is_healthy(&self, pod: &Pod) -> bool {
        is_healthy(self.context, self.set, pod)
    }

    /// Creates, replaces or repairs the pod of a number.
    fn keep(&mut self, number: i64, in_order: bool) -> Result<Step, Error> {
        let Some(pod) = self.replicas.get(&number).copied() else {
            if claims::ensure(self.lister, self.set, self.templates, number, &mut self.outcome)? {
                self.create(number);
            }
            return Ok(Step::Wait);
        };
        if pod.is_finished() {
            if !pod.metadata.is_being_deleted() {
                let (reason, how) = match pod.status.phase.as_str() {
                    "Failed" => ("RecreatingFailedPod", "failed"),
                    _ => ("RecreatingTerminatedPod", "terminated"),
                };
                let set = &self.set.reference;
                let note = format!(
                    "StatefulSet {}/{} is recreating {how} Pod {}",
                    set.namespace, set.name, pod.reference.name
                );
                self.outcome.push(Event::warning(self.set, reason, note).action("Delete"));
                self.delete(pod);
            }
            return Ok(Step::Wait);
        }
        if pod.metadata.is_being_deleted() {
            return Ok(Step::Wait);
        }
        if matches!(pod.status.phase.as_str(), "Pending" | "") {
            claims::ensure(self.lister, self.set, self.templates, number, &mut self.outcome)?;
        }
        if let Some(patch) = identity::repair(self.set, pod, number) {
            self.outcome.push(patch);
        }
        claims::follow_policy(
            self.lister,
            self.set,
            self.templates,
            pod,
            number,
            false,
            &mut self.outcome,
        )?;
        Ok(if in_order && !self.is_healthy(pod) { Step::Wait } else { Step::GoOn })
    }

    fn create(&mut self, number: i64) {
        let revision = if self.keeps_template(number) { &self.current } else { &self.update };
        let pod = new_pod(self.set, self.templates, revision, number);
        if let Some(message) = self.refusal.take() {
            let (pod, set) = (pod_name(self.set, number), &self.set.reference.name);
            let note = format!("create Pod {pod} in StatefulSet {set} failed error: {message}");
            self.outcome.push(Event::warning(self.set, "FailedCreate", note).action("Create"));
        }
        self.outcome.push(Create::new(POD, &self.set.reference.namespace, &pod));
        let note = format!(
            "create Pod {} in StatefulSet {} successful",
            pod_name(self.set, number),
            self.set.reference.name
        );
        self.outcome.push(Event::normal(self.set, "SuccessfulCreate", note).action("Create"));
    }

    /// Whether a new pod of this number is made from the template before.
    fn keeps_template(&self, number: i64) -> bool {
        let Some(bounds) = Bounds::of(self.set) else { return false };
        let partitioned = self
            .set
            .spec
            .update_strategy
            .rolling_update
            .as_ref()
            .is_some_and(|rolling| rolling.partition.is_some());
        if partitioned {
            number < first_ordinal(self.set) + bounds.partition
        } else {
            number < first_ordinal(self.set) + self.set.status.current_replicas
        }
    }

    fn condemn(&mut self, number: i64, pod: &'a Typed<Pod>, in_order: bool) -> Result<Step, Error> {
        if pod.metadata.is_being_deleted() {
            return Ok(Step::Wait);
        }
        // One that does not work goes only if all below it do: else whoever repairs
        // the set would lose pods from under their hands.
        let is_first = self.first_unhealthy.is_none_or(|first| first == number);
        if in_order && !self.is_healthy(pod) && !is_first {
            return Ok(Step::Wait);
        }
        claims::follow_policy(
            self.lister,
            self.set,
            self.templates,
            pod,
            number,
            true,
            &mut self.outcome,
        )?;
        self.delete(pod);
        Ok(Step::Wait)
    }

    fn delete(&mut self, pod: &Typed<Pod>) {
        self.deleted.insert(pod.uid.clone());
        self.outcome.push(Delete::this(pod));
        let note = format!(
            "delete Pod {} in StatefulSet {} successful",
            pod.reference.name, self.set.reference.name
        );
        self.outcome.push(Event::normal(self.set, "SuccessfulDelete", note).action("Delete"));
    }

    fn update(&mut self) {
        let Some(bounds) = Bounds::of(self.set) else { return };
        let members: Vec<Member<'a>> = self
            .replicas
            .iter()
            .map(|(&ordinal, &pod)| Member { ordinal, pod, availability: self.availability(pod) })
            .collect();
        let missing = self.set.spec.replicas.unwrap_or(1) > members.len() as i64;
        if missing {
            return; // they come first
        }
        let start = first_ordinal(self.set);
        for pod in rolling::victims(&members, start, bounds, &self.update.name) {
            self.delete(pod);
        }
    }
}

fn is_healthy(context: &Context, set: &StatefulSet, pod: &Pod) -> bool {
    let availability = Availability::of(context, pod, set.spec.min_ready_seconds);
    pod.status.phase == "Running"
        && availability == Availability::Available
        && !pod.metadata.is_being_deleted()
}
