//! A world with controllers at work in it.

mod member;
mod schedule;
mod submit;
mod work;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Deref, DerefMut};

use pintle_sdk::controller::Controller;
use pintle_sdk::{Action, ObjectRef};
use serde_json::Value;

use crate::desk::Desk;
use crate::faults::Faults;
use crate::gate::Gate;
use crate::journal::Journal;
use crate::subject::{self, AdmissionSubject, ControllerSubject, SchedulerSubject, Subject};
use crate::world::{Refused, World};
use member::Member;

/// What a run did.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Run {
    /// How many calls it took.
    pub reconciles: usize,
    /// What was asked for, in order.
    pub actions: Vec<Action>,
    /// How many of them were performed, events apart.
    pub performed: usize,
    /// What was not performed, and why.
    pub refused: Vec<Refused>,
}

impl Run {
    fn add(&mut self, other: Run) {
        self.reconciles += other.reconciles;
        self.actions.extend(other.actions);
        self.performed += other.performed;
        self.refused.extend(other.refused);
    }
}

/// A world with controllers at work in it. Dereferences to its [`World`].
///
/// ```
/// use pintle_sdk::prelude::*;
/// use pintle_sdk_testing::Cluster;
/// use pintle_sdk_testing::objects::config_map;
///
/// /// Stamps every ConfigMap.
/// struct Stamper;
///
/// impl Controller for Stamper {
///     type Config = NoConfig;
///     fn new(_: NoConfig) -> Result<Self, String> {
///         Ok(Stamper)
///     }
///     fn describe(&self) -> Description {
///         Description::new(pintle_sdk::manifest!()).watch(Watch::of(CONFIG_MAP))
///     }
///     fn reconcile(&self, _: &Context, lister: &dyn Lister, request: &Request) -> Result<Outcome, Error> {
///         Ok(match request.read::<ConfigMap>(lister)? {
///             Some(map) if !map.metadata.labels.contains_key("stamped") => {
///                 Outcome::of(Patch::label(&map, "stamped", Some("yes")))
///             }
///             _ => Outcome::done(),
///         })
///     }
/// }
///
/// let mut cluster = Cluster::new().with::<Stamper>(serde_json::json!({}));
/// let map = cluster.create(config_map("m"));
/// assert_eq!(cluster.settle().actions.len(), 1);
/// assert_eq!(cluster.object(&map).unwrap()["metadata"]["labels"]["stamped"], "yes");
/// assert!(cluster.restart().actions.is_empty());
/// ```
#[derive(Default)]
pub struct Cluster {
    world: World,
    members: Vec<Member>,
    gates: Vec<Gate>,
    desk: Option<Desk>,
    faults: Option<Faults>,
    stall: Option<Stall>,
    journal: Journal,
}

/// Watches that tell nothing for a while.
struct Stall {
    /// What they told last; reads see this.
    view: World,
    /// For so many more calls.
    left: usize,
    /// Keys that wrote something, by controller: they wait until it is told.
    waiting: BTreeSet<(usize, ObjectRef)>,
}

impl Deref for Cluster {
    type Target = World;
    fn deref(&self) -> &World {
        &self.world
    }
}

impl DerefMut for Cluster {
    fn deref_mut(&mut self) -> &mut World {
        &mut self.world
    }
}

impl Cluster {
    /// Without any object or controller.
    pub fn new() -> Self {
        Cluster { world: World::new(), ..Cluster::default() }
    }

    /// With the objects of `world`, as at the start of a host: everything is
    /// looked at.
    pub fn of(world: World) -> Self {
        let mut world = world;
        world.take_changes();
        world.announce_all();
        Cluster { world, ..Cluster::default() }
    }

    /// Starts a controller; `config` is the JSON of `spec.config`. Panics when
    /// the configuration is refused, for tests.
    pub fn with<C: Controller + 'static>(self, config: Value) -> Self {
        self.with_subject(&subject::controller::<C>(), config)
    }

    /// Until `count` faults have happened, actions meet conflicts, and the host
    /// ends between two actions and starts again; drawn from `seed`.
    pub fn with_faults(mut self, seed: u64, count: usize) -> Self {
        self.faults = Some(Faults::few_kinds(seed, count));
        self
    }

    /// Until `count` faults have happened, everything that may happen to a host
    /// does, drawn from `seed`: actions meet conflicts, or are performed and their
    /// answer is lost; the host ends between two actions and starts again; an
    /// instance is lost with its answer; watches tell nothing for a while; the
    /// clock jumps. Which controller is called next is drawn too.
    pub fn with_all_faults(mut self, seed: u64, count: usize) -> Self {
        self.faults = Some(Faults::all_kinds(seed, count));
        self
    }

    /// From now on nothing goes wrong any more.
    pub fn end_faults(&mut self) {
        if let Some(faults) = &mut self.faults {
            faults.end();
        }
    }

    /// Starts a controller, whatever it is made of.
    pub fn with_subject(mut self, subject: &Subject<dyn ControllerSubject>, config: Value) -> Self {
        self.members.push(Member::start(subject, config));
        self
    }

    /// Puts an admission plugin in front of everything that controllers and
    /// [`Cluster::submit`] ask for, behind those that are there.
    pub fn with_admission(
        mut self,
        subject: &Subject<dyn AdmissionSubject>,
        config: Value,
    ) -> Self {
        self.gates.push(Gate::of(subject, config));
        self
    }

    /// Starts a scheduler; [`Cluster::schedule`] asks it.
    pub fn with_scheduler(
        mut self,
        subject: &Subject<dyn SchedulerSubject>,
        config: Value,
    ) -> Self {
        let mut desk = Desk::of(subject, config);
        desk.restart(&self.world);
        self.desk = Some(desk);
        self
    }

    /// A number that stands for everything that controllers, the scheduler and
    /// [`Cluster::submit`] have done so far, refusals included.
    pub fn history_hash(&self) -> u64 {
        self.journal.hash()
    }

    /// From now on [`Cluster::history`] has every line, not the last ones alone.
    pub fn keep_history(mut self) -> Self {
        self.journal.keep_all();
        self
    }

    /// What was done last, the newest at the end.
    pub fn history(&self) -> impl Iterator<Item = &str> {
        self.journal.lines()
    }

    /// Notes something else that happened.
    pub fn note(&mut self, line: impl Into<String>) {
        self.journal.note(line.into());
    }

    /// Lets time pass, with what controllers asked to be woken for on the way.
    pub fn advance(&mut self, milliseconds: i64) -> Run {
        let mut left = milliseconds;
        let mut run = self.settle();
        // The clock may be set meanwhile: what is left is counted apart from it.
        while let Some(due) = self.next_due().filter(|due| due - self.world.now_unix_ms <= left) {
            let step = (due - self.world.now_unix_ms).max(0);
            left -= step;
            self.world.now_unix_ms += step;
            let now = self.world.now_unix_ms;
            for member in &mut self.members {
                member.wake(now);
            }
            run.add(self.settle());
        }
        self.world.now_unix_ms += left;
        run
    }

    /// When a controller wants to look at something again even if nothing happens.
    pub fn next_due(&self) -> Option<i64> {
        self.members.iter().filter_map(Member::next_due).min()
    }

    /// As after a crash of the host: fresh instances, nothing remembered but what
    /// is stored, everything looked at again.
    pub fn crash(&mut self) {
        self.stall = None;
        self.world.take_changes();
        let present = self.world.present();
        for member in &mut self.members {
            member.restart();
            member.tell(&present, &self.world);
        }
        for gate in &mut self.gates {
            gate.restart();
        }
        if let Some(desk) = &mut self.desk {
            desk.restart(&self.world);
        }
    }

    /// What controllers read: the present, or what watches told last.
    fn view(&self) -> &World {
        self.stall.as_ref().map_or(&self.world, |stall| &stall.view)
    }

    /// Tells everybody what happened, unless watches are stalled.
    fn deliver(&mut self) {
        if self.stall.is_some() {
            return;
        }
        let changes = self.world.take_changes();
        for member in &mut self.members {
            member.tell(&changes, &self.world);
        }
        if let Some(desk) = &mut self.desk {
            desk.tell(&changes);
        }
    }
}

/// By key: what is to be done, or when.
type Keys<T> = BTreeMap<(ObjectRef, String), T>;
