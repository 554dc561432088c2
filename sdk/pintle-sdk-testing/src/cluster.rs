//! A world with controllers at work in it.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Deref, DerefMut};

use pintle_sdk::controller::{Controller, Description, Request, Watch};
use pintle_sdk::names::Random;
use pintle_sdk::{Action, ObjectRef};
use serde_json::Value;

use crate::enqueue;
use crate::subject::{self, ControllerSubject, Subject};
use crate::world::{Change, ChangeKind, Refused, World};

struct Member {
    description: Description,
    controller: Box<dyn ControllerSubject>,
    queue: BTreeSet<(ObjectRef, String)>,
    timers: BTreeMap<(ObjectRef, String), i64>,
}

/// What a run did.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Run {
    /// How many calls it took.
    pub reconciles: usize,
    /// What was asked for, in order.
    pub actions: Vec<Action>,
    /// What was not performed, and why.
    pub refused: Vec<Refused>,
}

/// Misfortune, drawn from a seed: an action meets a conflict, or the host ends
/// between two actions and starts again.
struct Faults {
    random: Random,
    left: usize,
}

enum Fate {
    Performed,
    Conflict,
    Crash,
}

impl Faults {
    /// About every third action is hit until all faults have happened.
    fn draw(&mut self) -> Fate {
        if self.left == 0 {
            return Fate::Performed;
        }
        let fate = match self.random.next_u64() % 6 {
            0 => Fate::Conflict,
            1 => Fate::Crash,
            _ => return Fate::Performed,
        };
        self.left -= 1;
        fate
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
    faults: Option<Faults>,
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
        Cluster { world: World::new(), members: Vec::new(), faults: None }
    }

    /// With the objects of `world`, as at the start of a host: everything is
    /// looked at.
    pub fn of(world: World) -> Self {
        let mut world = world;
        world.take_changes();
        let mut cluster = Cluster { world: World::new(), members: Vec::new(), faults: None };
        let present = world.snapshot();
        cluster.world = world;
        cluster.world.announce(present);
        cluster
    }

    /// Starts a controller; `config` is the JSON of `spec.config`. Panics when
    /// the configuration is refused, for tests.
    pub fn with<C: Controller + 'static>(self, config: Value) -> Self {
        self.with_subject(&subject::controller::<C>(), config)
    }

    /// Until `count` faults have happened, actions meet conflicts, and the host
    /// ends between two actions and starts again; drawn from `seed`.
    pub fn with_faults(mut self, seed: u64, count: usize) -> Self {
        self.faults = Some(Faults { random: Random::new(seed), left: count });
        self
    }

    /// Starts a controller, whatever it is made of.
    pub fn with_subject(mut self, subject: &Subject<dyn ControllerSubject>, config: Value) -> Self {
        let controller = subject.start(&config);
        self.members.push(Member {
            description: controller.describe(),
            controller,
            queue: BTreeSet::new(),
            timers: BTreeMap::new(),
        });
        self
    }

    /// Lets every controller work until nothing is queued. Panics when that
    /// does not happen within `limit` reconciles, or when one fails.
    pub fn settle_within(&mut self, limit: usize) -> Run {
        let mut run = Run::default();
        loop {
            self.deliver();
            let next = self.members.iter_mut().enumerate().find_map(|(index, member)| {
                let key = member.queue.pop_first()?;
                member.timers.remove(&key);
                Some((index, key))
            });
            let Some((index, key)) = next else { return run };
            run.reconciles += 1;
            assert!(
                run.reconciles <= limit,
                "does not come to rest; last: {key:?} {:#?}",
                run.actions.last()
            );
            self.reconcile(index, key, &mut run);
        }
    }

    /// As [`Cluster::settle_within`], within 10 000 reconciles.
    pub fn settle(&mut self) -> Run {
        self.settle_within(10_000)
    }

    /// Lets time pass, with what controllers asked to be woken for on the way.
    pub fn advance(&mut self, milliseconds: i64) -> Run {
        let end = self.world.now_unix_ms + milliseconds;
        let mut run = self.settle();
        loop {
            let due = self.members.iter().flat_map(|member| member.timers.values()).min().copied();
            let Some(due) = due.filter(|due| *due <= end) else { break };
            self.world.now_unix_ms = self.world.now_unix_ms.max(due);
            let now = self.world.now_unix_ms;
            for member in &mut self.members {
                let ripe: Vec<_> = member
                    .timers
                    .iter()
                    .filter(|(_, due)| **due <= now)
                    .map(|(key, _)| key.clone())
                    .collect();
                for key in ripe {
                    member.timers.remove(&key);
                    member.queue.insert(key);
                }
            }
            let next = self.settle();
            run.reconciles += next.reconciles;
            run.actions.extend(next.actions);
            run.refused.extend(next.refused);
        }
        self.world.now_unix_ms = end;
        run
    }

    /// Reconciles everything again, as after a restart of the host; at rest,
    /// this must decide nothing.
    pub fn restart(&mut self) -> Run {
        self.deliver();
        self.enqueue_present();
        self.settle()
    }

    fn enqueue_present(&mut self) {
        let present: Vec<Change> = self
            .world
            .snapshot()
            .into_iter()
            .map(|(reference, object)| Change {
                kind: ChangeKind::Added,
                reference,
                previous: None,
                object,
            })
            .collect();
        for member in &mut self.members {
            enqueue_all(member, &present, &self.world);
        }
    }

    fn deliver(&mut self) {
        let changes = self.world.take_changes();
        for member in &mut self.members {
            enqueue_all(member, &changes, &self.world);
        }
    }

    fn reconcile(&mut self, index: usize, key: (ObjectRef, String), run: &mut Run) {
        let context = self.world.context();
        let member = &mut self.members[index];
        let request = Request { reference: key.0.clone(), uid: key.1.clone(), attempt: 0 };
        let outcome = member.controller.reconcile(&context, &self.world, &request);
        let outcome = outcome.unwrap_or_else(|error| panic!("{}: {error}", request.reference));
        let mut refused = false;
        for action in outcome.actions {
            let fate = self.faults.as_mut().map_or(Fate::Performed, Faults::draw);
            let result = match fate {
                Fate::Performed => self.world.apply(&action),
                Fate::Conflict => {
                    let target = action.target().unwrap_or(&key.0).clone();
                    Err(Refused::Conflict(target))
                }
                Fate::Crash => {
                    self.deliver();
                    self.enqueue_present();
                    return;
                }
            };
            if let Err(error) = result {
                refused = true;
                run.refused.push(error);
            }
            run.actions.push(action);
        }
        let member = &mut self.members[index];
        if let Some(wait) = outcome.requeue_after_ms {
            let due =
                self.world.now_unix_ms.saturating_add(i64::try_from(wait).unwrap_or(i64::MAX));
            member.timers.insert(key.clone(), due);
        }
        if refused {
            member.queue.insert(key);
        }
    }
}

fn enqueue_all(member: &mut Member, changes: &[Change], world: &World) {
    for change in changes {
        for watch in &member.description.watches {
            let watch: &Watch = watch;
            for (reference, uid) in enqueue::keys(watch, change, world) {
                // One key, whatever triggered it; the latest uid that is known.
                if uid.is_empty() && member.queue.iter().any(|(known, _)| *known == reference) {
                    continue;
                }
                member.queue.insert((reference, uid));
            }
        }
    }
}
