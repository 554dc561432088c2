//! The decision: a Deployment and its ReplicaSets in, actions out.

use std::cmp::Reverse;

use pintle_sdk::prelude::*;
use serde_json::json;

use crate::proportion::{self, Share};
use crate::rolling::{self, Bounds, Size};
use crate::sets::{self, REVISION, Set};
use crate::status::Progress;

pub fn plan(
    context: &Context,
    lister: &dyn Lister,
    deployment: &Typed<Deployment>,
    sets: Vec<Set>,
    outcome: &mut Outcome,
) -> Result<(), Error> {
    let (new_set, old) = sets::split(deployment, sets);
    let mut rollout = Rollout {
        deployment,
        bounds: Bounds::of(&deployment.spec),
        progress: Progress::new(context, deployment),
        new_set,
        old,
    };
    let mut rolling_out = false;
    if !deployment.metadata.is_being_deleted() {
        rollout.progress.note_pause();
        if deployment.spec.paused || rollout.was_scaled() {
            rollout.sync_revision(outcome);
            rollout.scale(outcome);
            if deployment.spec.paused {
                rollout.trim_history(outcome);
            }
        } else {
            rolling_out = true;
            rollout.roll(lister, outcome)?;
        }
    }
    rollout.finish(rolling_out, outcome);
    Ok(())
}

struct Rollout<'a> {
    deployment: &'a Typed<Deployment>,
    bounds: Bounds,
    progress: Progress<'a>,
    /// The set of the present template.
    new_set: Option<Set>,
    /// All others, oldest first.
    old: Vec<Set>,
}

impl Rollout<'_> {
    fn all(&self) -> impl Iterator<Item = &Set> {
        self.new_set.iter().chain(&self.old)
    }

    fn total(&self) -> i64 {
        self.all().map(|set| set.replicas).sum()
    }

    /// Do active sets still carry another wish than the Deployment's?
    fn was_scaled(&self) -> bool {
        self.all()
            .filter(|set| set.replicas > 0)
            .any(|set| set.desired().is_some_and(|desired| desired != self.bounds.desired))
    }

    /// The new set gets the highest revision, the Deployment shows it.
    fn sync_revision(&mut self, outcome: &mut Outcome) {
        let revision = self.old.iter().map(Set::revision).max().unwrap_or(0) + 1;
        let Some(set) = &mut self.new_set else { return };
        set.make_newest(self.deployment, revision);
        let revision = set.revision();
        let name = set.name().to_owned();
        self.show_revision(revision, outcome);
        self.progress.note_found(&name);
    }

    fn show_revision(&self, revision: i64, outcome: &mut Outcome) {
        let revision = revision.to_string();
        if self.deployment.metadata.annotations.get(REVISION) != Some(&revision) {
            let body = json!({"metadata": {"uid": self.deployment.uid, "annotations": {REVISION: revision}}});
            outcome.push(Patch::merge(self.deployment, &body));
        }
    }

    fn roll(&mut self, lister: &dyn Lister, outcome: &mut Outcome) -> Result<(), Error> {
        let recreate = rolling::is_recreate(&self.deployment.spec);
        if recreate {
            self.sync_revision(outcome);
            if self.shrink(&vec![0; self.old.len()], outcome) || self.old_pods_run(lister)? {
                return Ok(());
            }
        }
        if self.new_set.is_none() {
            self.create(lister, outcome);
            return Ok(());
        }
        if !recreate {
            self.sync_revision(outcome);
        }
        if self.grow(outcome) {
            return Ok(());
        }
        if !recreate {
            let size = |set: &Set| Size { replicas: set.replicas, available: set.available() };
            let old: Vec<Size> = self.old.iter().map(size).collect();
            if let Some(new_set) = self.new_set.as_ref().map(size)
                && self.shrink(&rolling::shrink_old(&self.bounds, &old, new_set), outcome)
            {
                return Ok(());
            }
        }
        let counts = self.progress.counts(self.new_set.as_ref(), &self.old);
        if self.progress.is_complete(&counts, &self.bounds) {
            self.trim_history(outcome);
        }
        Ok(())
    }

    /// A set for a template that no set has yet.
    fn create(&mut self, lister: &dyn Lister, outcome: &mut Outcome) {
        let revision = self.old.iter().map(Set::revision).max().unwrap_or(0) + 1;
        let replicas = self.bounds.new_set_size(0, self.total());
        let (name, set) = sets::new_set(self.deployment, replicas, revision, &self.bounds);
        let namespace = &self.deployment.reference.namespace;
        if lister.get(&REPLICA_SET.named(namespace, &name)).is_some() {
            // Somebody else's, or another template with the same hash.
            self.progress.collision_count = Some(self.progress.collision_count.unwrap_or(0) + 1);
            return;
        }
        outcome.push(Create::new(REPLICA_SET, namespace, &set));
        if replicas > 0 {
            let note = format!("Scaled up replica set {name} from 0 to {replicas}");
            outcome.push(Event::normal(self.deployment, "ScalingReplicaSet", note).action("Scale"));
        }
        self.show_revision(revision, outcome);
        self.progress.note_created(&name);
    }

    fn grow(&mut self, outcome: &mut Outcome) -> bool {
        let total = self.total();
        let recreate = rolling::is_recreate(&self.deployment.spec);
        let Some(set) = &mut self.new_set else { return false };
        let size = match recreate {
            true => self.bounds.desired,
            false => self.bounds.new_set_size(set.replicas, total),
        };
        let grown = size != set.replicas;
        if grown {
            set.resize(self.deployment, size, &self.bounds, outcome);
        }
        grown
    }

    fn shrink(&mut self, sizes: &[i64], outcome: &mut Outcome) -> bool {
        let mut shrunk = false;
        for (set, &size) in self.old.iter_mut().zip(sizes) {
            if set.replicas != size {
                set.resize(self.deployment, size, &self.bounds, outcome);
                shrunk = true;
            }
        }
        shrunk
    }

    /// Recreate: new pods only when every old one has ended.
    fn old_pods_run(&self, lister: &dyn Lister) -> Result<bool, Error> {
        let namespace = &self.deployment.reference.namespace;
        for set in &self.old {
            if set.object.status.replicas > 0 {
                return Ok(true);
            }
            let pods = lister.read_all::<Pod>(
                Query::any_kind()
                    .namespace(namespace)
                    .owned_by(&set.object.uid)
                    .fields(&["status.phase"]),
            )?;
            if pods.iter().any(|pod| !pod.is_finished()) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Gives the sets the sizes that the Deployment's new size means for them.
    fn scale(&mut self, outcome: &mut Outcome) {
        let (deployment, bounds) = (self.deployment, self.bounds);
        let mut sets: Vec<&mut Set> = self.old.iter_mut().chain(&mut self.new_set).collect();
        let active = sets.iter().filter(|set| set.replicas > 0).count();
        if active <= 1 {
            // The only active one, else the new one, else the latest.
            let index = sets.iter().position(|set| set.replicas > 0).or(sets.len().checked_sub(1));
            if let Some(index) = index {
                sets[index].resize(deployment, bounds.desired, &bounds, outcome);
            }
            return;
        }
        let saturated = self.new_set.as_ref().is_some_and(|set| {
            set.desired() == Some(bounds.desired)
                && set.replicas == bounds.desired
                && set.available() == bounds.desired
        });
        if saturated {
            self.shrink(&vec![0; self.old.len()], outcome);
            return;
        }
        if rolling::is_recreate(&deployment.spec) {
            return;
        }
        let mut sets: Vec<&mut Set> =
            self.old.iter_mut().chain(&mut self.new_set).filter(|set| set.replicas > 0).collect();
        let total: i64 = sets.iter().map(|set| set.replicas).sum();
        let allowed = if bounds.desired > 0 { bounds.most() } else { 0 };
        // What rounding leaves over goes to the largest set; among equals to the
        // newest when growing, to the oldest when shrinking.
        sets.sort_unstable_by(|a, b| {
            let age = a.age_key().cmp(&b.age_key());
            Reverse(a.replicas).cmp(&Reverse(b.replicas)).then(if allowed > total {
                age.reverse()
            } else {
                age
            })
        });
        let known = deployment.status.replicas;
        let share = |set: &&mut Set| Share {
            replicas: set.replicas,
            sized_for: set.max_replicas().unwrap_or(known),
        };
        let shares: Vec<Share> = sets.iter().map(share).collect();
        let sizes = proportion::scale(&shares, allowed, bounds.desired);
        for (set, size) in sets.into_iter().zip(sizes) {
            set.resize(deployment, size, &bounds, outcome);
        }
    }

    /// Deletes old sets beyond `revisionHistoryLimit`, lowest revision first.
    fn trim_history(&mut self, outcome: &mut Outcome) {
        let Some(limit) = self
            .deployment
            .spec
            .revision_history_limit
            .and_then(|limit| usize::try_from(limit).ok())
        else {
            return;
        };
        let mut alive: Vec<&Set> =
            self.old.iter().filter(|set| !set.object.metadata.is_being_deleted()).collect();
        let Some(excess) = alive.len().checked_sub(limit) else { return };
        alive.sort_unstable_by_key(|set| (set.revision(), set.age_key()));
        for set in &alive[..excess] {
            let object = &set.object;
            let idle =
                object.status.replicas == 0 && object.spec.replicas == Some(0) && set.replicas == 0;
            if idle && object.metadata.generation <= object.status.observed_generation {
                outcome.push(Delete::new(object).uid(&object.uid));
            }
        }
    }

    fn finish(mut self, rolling_out: bool, outcome: &mut Outcome) {
        let counts = self.progress.counts(self.new_set.as_ref(), &self.old);
        self.progress.note_availability(&counts, &self.bounds);
        if rolling_out {
            let new_set = self.new_set.as_ref();
            self.progress.note_progress(&counts, &self.bounds, new_set, &self.old, outcome);
        }
        for set in self.all() {
            set.flush(outcome);
        }
        self.progress.flush(counts, outcome);
    }
}
