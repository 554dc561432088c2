//! A world with controllers at work in it.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Deref, DerefMut};

use pintle_sdk::controller::{Controller, Description, Request, Watch};
use pintle_sdk::{Action, Context, Error, Lister, ObjectRef, Outcome};
use serde_json::Value;

use crate::enqueue;
use crate::world::{Change, ChangeKind, Refused, World};

type Reconcile = Box<dyn Fn(&Context, &dyn Lister, &Request) -> Result<Outcome, Error>>;

struct Member {
    description: Description,
    reconcile: Reconcile,
    queue: BTreeSet<(ObjectRef, String)>,
    timers: BTreeMap<(ObjectRef, String), i64>,
}

/// What a run did.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Run {
    pub reconciles: usize,
    pub actions: Vec<Action>,
    pub refused: Vec<Refused>,
}

/// Dereferences to its [`World`].
#[derive(Default)]
pub struct Cluster {
    world: World,
    members: Vec<Member>,
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
    pub fn new() -> Self {
        Cluster { world: World::new(), members: Vec::new() }
    }

    /// Starts a controller; `config` is the JSON of `spec.config`. Panics when
    /// the configuration is refused, for tests.
    pub fn with<C: Controller + 'static>(mut self, config: Value) -> Self {
        let config = pintle_sdk::config::parse(config.to_string().as_bytes());
        let controller = config.and_then(C::new).expect("the configuration is valid");
        self.members.push(Member {
            description: controller.describe(),
            reconcile: Box::new(move |context, lister, request| {
                controller.reconcile(context, lister, request)
            }),
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
        self.settle()
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
        let outcome = (member.reconcile)(&context, &self.world, &request);
        let outcome = outcome.unwrap_or_else(|error| panic!("{}: {error}", request.reference));
        let mut refused = false;
        for action in outcome.actions {
            if let Err(error) = self.world.apply(&action) {
                refused = true;
                run.refused.push(error);
            }
            run.actions.push(action);
        }
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
