//! One pod in, one decision out.

use std::collections::BTreeMap;
use std::rc::Rc;

use pintle_sdk::names::{fnv1a, mix};
use pintle_sdk::scheduler::{Decision, Wake};
use pintle_sdk::{Context, Extensions, Object};

use crate::config::{Profiles, Rule, Settings};
use crate::extensions::{Extended, Opinion};
use crate::mask::Mask;
use crate::neighbours::{self, Neighbours};
use crate::pod::RawPod;
use crate::preemption::{Preemption, Preemptor};
use crate::report::Report;
use crate::score::{INFEASIBLE, best};
use crate::shape::Shape;
use crate::shapes::{Known, Shapes, Stamp};
use crate::total::{Totals, is_simple};
use crate::view::{Placed, Slot, State, View};
use crate::volumes::plan::Plan;

/// How long a nominated pod's claim on a node stands while victims leave.
const NOMINATION_MS: i64 = 120_000;

pub struct Decider {
    pub view: View,
    profiles: Profiles,
    shapes: Shapes,
    extended: Extended,
    totals: Totals,
    /// Pods that wait for victims to leave: priority, and when that is given up.
    nominations: BTreeMap<String, (i32, i64)>,
}

/// What is known of the pod beside its shape.
struct Asker<'a> {
    uid: &'a str,
    pod: &'a RawPod<'a>,
    now_unix_ms: i64,
    salt: u32,
    nominated: Option<Slot>,
}

impl Decider {
    pub fn new(profiles: Profiles) -> Self {
        let mut view = View::new();
        // Kept from the first node on: to read fifty thousand later is too much
        // for one call.
        for (_, settings) in &profiles {
            for constraint in &settings.default_constraints {
                view.tallies.topology(&constraint.topology_key, &[]);
            }
        }
        Decider {
            view,
            profiles,
            shapes: Shapes::default(),
            extended: Extended::default(),
            totals: Totals::default(),
            nominations: BTreeMap::new(),
        }
    }

    /// A node, a pod that is bound, or one of the other kinds that matter.
    pub fn upsert(&mut self, object: &Object) -> Result<(), String> {
        let reference = &object.reference;
        let (namespace, name) = (reference.namespace.as_str(), reference.name.as_str());
        let read = match &*reference.kind.kind {
            "Pod" => return self.upsert_pod(object),
            "Node" => self.view.upsert_node(name, &object.json),
            "Namespace" => self.upsert_namespace(object),
            "PodDisruptionBudget" => self.view.budgets.upsert(namespace, name, &object.json),
            kind => self.view.volumes.upsert(kind, namespace, name, &object.json).map(|_known| ()),
        };
        read.map_err(|error| format!("{reference}: cannot be read: {error}"))
    }

    pub fn remove(&mut self, object: &Object) {
        let reference = &object.reference;
        let (namespace, name) = (reference.namespace.as_str(), reference.name.as_str());
        match &*reference.kind.kind {
            "Pod" => self.forget(&object.uid),
            "Node" => self.view.remove_node(name),
            "Namespace" => self.view.tallies.remove_namespace(name, &self.view.labels),
            "PodDisruptionBudget" => self.view.budgets.remove(namespace, name),
            kind => self.view.volumes.remove(kind, namespace, name),
        }
    }

    fn upsert_namespace(&mut self, object: &Object) -> Result<(), serde_json::Error> {
        let namespace: pintle_sdk::prelude::AnyObject = pintle_sdk::reading::parse(&object.json)?;
        let labels = namespace.metadata.labels.into_iter().collect();
        let View { tallies, labels: of_nodes, .. } = &mut self.view;
        tallies.set_namespace(&object.reference.name, labels, of_nodes);
        Ok(())
    }

    fn upsert_pod(&mut self, object: &Object) -> Result<(), String> {
        let pod = RawPod::read(object)?;
        if pod.is_finished() {
            self.forget(&object.uid);
        } else if !pod.node_name().is_empty() {
            self.nominations.remove(&object.uid);
            let settings = Rc::clone(self.settings(&pod));
            let known = self.shapes.get(&pod, &settings);
            let known = known.map_err(|error| format!("{}: {error}", object.reference))?;
            let placed = Placed {
                slot: self.view.slot(pod.node_name()),
                shape: Rc::clone(&known.shape),
                name: pod.name().into(),
                priority: pod.priority(),
                start_time: pod.status.start_time.as_deref().unwrap_or_default().into(),
                terminating: pod.is_terminating(),
                state: State::Bound,
            };
            self.view.place(&object.uid, placed);
        }
        Ok(())
    }

    /// Those of the profile that the pod names; of the first for other pods,
    /// which are not decided here.
    fn settings(&self, pod: &RawPod<'_>) -> &Rc<Settings> {
        let name = pod.spec.scheduler_name.as_deref().filter(|name| !name.is_empty());
        let name = name.unwrap_or("default-scheduler");
        let own = self.profiles.iter().find(|(known, _)| known == name);
        &own.unwrap_or(&self.profiles[0]).1
    }

    /// Releases whatever the pod takes.
    pub fn forget(&mut self, uid: &str) {
        self.nominations.remove(uid);
        self.view.unplace(uid);
    }

    /// Claims whose pod never came back.
    pub fn expire_nominations(&mut self, now_unix_ms: i64) {
        let expired: Vec<String> = self
            .nominations
            .iter()
            .filter(|(_, (_, until))| *until <= now_unix_ms)
            .map(|(uid, _)| uid.clone())
            .collect();
        for uid in expired {
            self.forget(&uid);
        }
    }

    pub fn decide(
        &mut self,
        context: &Context,
        extensions: &dyn Extensions,
        object: &Object,
    ) -> Decision {
        let pod = match RawPod::read(object) {
            Ok(pod) => pod,
            Err(error) => return Decision::Ignore(error),
        };
        let uid = &object.uid;
        let bound = self.view.pod(uid).is_some_and(|known| known.state == State::Bound);
        if bound || !pod.node_name().is_empty() {
            return Decision::Ignore("already bound".to_owned());
        }
        if pod.is_terminating() || pod.is_finished() {
            return Decision::Ignore("no longer pending".to_owned());
        }
        if pod.spec.scheduling_gates.as_ref().is_some_and(|gates| !gates.is_empty()) {
            return Decision::Ignore(
                "scheduling is blocked due to non-empty scheduling gates".to_owned(),
            );
        }
        let claimed = self.view.pod(uid).map(|known| known.slot);
        let nominated = pod.nominated_node().and_then(|name| self.view.find(name)).or(claimed);
        // Asked again: what was decided before did not come about.
        self.forget(uid);
        let settings = Rc::clone(self.settings(&pod));
        let shape = match self.shapes.get(&pod, &settings) {
            Ok(known) => Rc::clone(&known.shape),
            Err(error) => return Decision::Ignore(format!("{}: {error}", object.reference)),
        };
        // Claims of less important pods do not count.
        let displaced = self.displace(pod.priority());
        let asker = Asker {
            uid,
            pod: &pod,
            now_unix_ms: context.now_unix_ms,
            // Pods that are alike draw different nodes among equals.
            salt: mix(context.seed ^ fnv1a(uid.as_bytes())) as u32,
            nominated,
        };
        let decision = self.decide_shape(&asker, &shape, extensions);
        for (uid, claim) in displaced {
            if self.view.find(&self.view.names[claim.slot]).is_some() {
                self.view.place(&uid, claim);
            }
        }
        decision
    }

    fn displace(&mut self, priority: i32) -> Vec<(String, Placed)> {
        let lower = self.nominations.iter().filter(|(_, (own, _))| *own < priority);
        let lower: Vec<String> = lower.map(|(uid, _)| uid.clone()).collect();
        lower.into_iter().filter_map(|uid| Some((uid.clone(), self.view.unplace(&uid)?))).collect()
    }

    fn decide_shape(
        &mut self,
        asker: &Asker<'_>,
        shape: &Rc<Shape>,
        extensions: &dyn Extensions,
    ) -> Decision {
        let prepared = neighbours::prepare(&mut self.view, shape);
        let opinion = self.extended.opinion(extensions, &self.view, asker.uid);
        let (version, opinion) = opinion.map_or((0, None), |(version, it)| (version, Some(it)));
        let opinion = opinion.as_deref();
        let view = &self.view;
        let known = self.shapes.scored(shape);
        known.scores.refresh(view, shape);
        if shape.node.is_contradictory() && shape.settings.has(Rule::NodeAffinity) {
            return refuse_pod(view, shape, asker, "pod affinity terms conflict");
        }
        let plan = match Plan::of(view, shape) {
            Ok(plan) => plan,
            Err(why) => return refuse_pod(view, shape, asker, &why),
        };
        let neighbours = prepared.as_ref().map(|prepared| Neighbours::of(view, shape, prepared));
        let neighbours = neighbours.filter(|neighbours| !neighbours.is_empty());
        let mask = mask(view, known, plan.as_ref(), neighbours.as_ref(), opinion);
        let mask = mask.as_ref();
        let parts = (mask, prepared.as_ref(), opinion);
        let scores = &known.scores;
        let values = match is_simple(scores, shape, parts.0, parts.1, parts.2) {
            true => scores.values(),
            false => self.totals.compute(view, shape, scores, parts.0, parts.1, parts.2),
        };
        // Where room was made for it, it goes, if it still can.
        let nominated = asker.nominated.filter(|&slot| values[slot] > INFEASIBLE);
        let placed = |slot, state| Placed {
            slot,
            shape: Rc::clone(shape),
            name: asker.pod.name().into(),
            priority: asker.pod.priority(),
            start_time: Box::default(),
            terminating: false,
            state,
        };
        let pod_uid = asker.uid.to_owned();
        if let Some(slot) = nominated.or_else(|| best(values, &view.lots, asker.salt)) {
            let node = view.names[slot].clone();
            self.view.place(asker.uid, placed(slot, State::Assumed));
            return Decision::Bind { pod_uid, node };
        }
        let stamp = Stamp {
            position: view.position(),
            volumes: view.volumes.epoch(),
            tallies: view.tallies.epoch(),
            opinion: version,
        };
        let report = known.report(stamp, || Report::of(view, shape, mask));
        if !shape.settings.has(Rule::DefaultPreemption) {
            return Decision::Unschedulable {
                pod_uid,
                message: report.text.clone(),
                wake_on: report.wake_on,
            };
        }
        let preemptor = Preemptor {
            view,
            shape,
            priority: asker.pod.priority(),
            mask,
            plan: plan.as_ref(),
            neighbours: neighbours.as_ref(),
            opinion,
        };
        let (outcome, wake_on) = match preempt(&preemptor, asker, &report) {
            Ok((slot, victims)) => {
                let until_unix_ms = asker.now_unix_ms + NOMINATION_MS;
                let claim = placed(slot, State::Nominated { until_unix_ms });
                let node = view.names[slot].clone();
                for victim in &victims {
                    self.view.set_terminating(victim);
                }
                self.nominations.insert(pod_uid.clone(), (claim.priority, until_unix_ms));
                self.view.place(asker.uid, claim);
                return Decision::Preempt {
                    pod_uid,
                    node,
                    victims: victims.iter().map(|uid| uid.to_string()).collect(),
                    message: report.text,
                };
            }
            Err(outcome) => outcome,
        };
        Decision::Unschedulable { pod_uid, message: report.with_preemption(&outcome), wake_on }
    }
}

/// Something about the pod, not about any node, keeps it waiting.
fn refuse_pod(view: &View, shape: &Shape, asker: &Asker<'_>, why: &str) -> Decision {
    let report = Report::of_pod(view, why);
    let message = match shape.settings.has(Rule::DefaultPreemption) {
        true if !asker.pod.may_preempt() => report.with_preemption(NEVER),
        true => report.with_preemption(&report.no_victims(&BTreeMap::new())),
        false => report.text.clone(),
    };
    Decision::Unschedulable { pod_uid: asker.uid.to_owned(), message, wake_on: report.wake_on }
}

const NEVER: &str = "not eligible due to preemptionPolicy=Never.";
const LEAVING: &str = "not eligible due to a terminating pod on the nominated node.";

/// The node and those who leave it, or the words for why nobody does and what
/// to wait for.
type Preempted = Result<(Slot, Vec<Rc<str>>), (String, Wake)>;

fn preempt(preemptor: &Preemptor<'_>, asker: &Asker<'_>, report: &Report) -> Preempted {
    let wake_on = report.wake_on;
    if !asker.pod.may_preempt() {
        return Err((NEVER.to_owned(), wake_on));
    }
    let view = preemptor.view;
    let leaves = |slot: Slot| {
        view.on(slot).any(|(_, pod)| pod.terminating && pod.priority < preemptor.priority)
    };
    let wait = Wake { pod_removed: true, ..wake_on };
    if asker.nominated.is_some_and(leaves) {
        return Err((LEAVING.to_owned(), wait));
    }
    let nobody_is_lower = view.lowest_priority() >= Some(preemptor.priority);
    if report.resolvable == 0 || view.lowest_priority().is_none() || nobody_is_lower {
        let nobody = ("No preemption victims found for incoming pod".to_owned(), report.resolvable);
        let tried = (report.resolvable > 0).then_some(nobody).into_iter().collect();
        return Err((report.no_victims(&tried), wake_on));
    }
    match preemptor.find(asker.salt) {
        Preemption::Victims { slot, pods } => Ok((slot, pods)),
        Preemption::Wait => Err((LEAVING.to_owned(), wait)),
        Preemption::None(tried) => Err((report.no_victims(&tried), wake_on)),
    }
}

/// What forbids nodes that have room: claims, rules between pods, extensions.
fn mask(
    view: &View,
    known: &Known,
    plan: Option<&Plan<'_>>,
    neighbours: Option<&Neighbours<'_>>,
    opinion: Option<&Opinion>,
) -> Option<Mask> {
    let opinion = opinion.filter(|opinion| !opinion.rejections.is_empty());
    if plan.is_none() && neighbours.is_none() && opinion.is_none() {
        return None;
    }
    let mut mask = Mask::open(view.len());
    if let Some(plan) = plan {
        for (slot, value) in known.scores.values().iter().enumerate() {
            if *value > INFEASIBLE
                && let Some(reason) = plan.failure(view, slot, &[])
            {
                let code = mask.code(reason);
                mask.forbid_one(slot, code);
            }
        }
    }
    if let Some(neighbours) = neighbours {
        neighbours.apply(&mut mask);
    }
    for (reason, slots) in opinion.into_iter().flat_map(|opinion| &opinion.rejections) {
        let code = mask.code(crate::filter::Reason::Extension(Rc::clone(reason)));
        for &slot in slots {
            mask.forbid_one(slot, code);
        }
    }
    Some(mask)
}
