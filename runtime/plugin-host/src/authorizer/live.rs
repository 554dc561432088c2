//! One version of an authorizer that decides, or did: its instance, and the feed
//! that keeps the instance's view up to date.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use pintle_api::meta::GroupVersionKind;

use super::instance::Instance;
use super::joining::Present;
use super::keeper::Bell;
use crate::bindings::authorizer::AuthorizerPlugin;
use crate::cluster::{Cluster, EventBatch, ListQuery, ObjectHandle};
use crate::convert;
use crate::events::{Hub, Sink, Subscription};
use crate::follow::{AuthorizerTurn, Followers};
use crate::grants::Grants;
use crate::program::{LoadError, Program};
use crate::sandbox::Fault;
use crate::scheduler::{Delta, Feed};
use crate::supervise::Version;

/// So many changes are told at a time.
const MOST_PER_TURN: usize = 250;

/// With so many changes in it the feed is told without waiting for a question.
const LONG_FEED: usize = 2000;

/// A feed that is told too slowly ends here; the instance begins anew with a list.
const LONGEST_FEED: usize = 40_000;

/// The events that concern the instance, until it is told.
struct Intake {
    feed: Feed,
    kinds: Vec<GroupVersionKind>,
    grants: Arc<Grants>,
    bell: Arc<Bell>,
    /// Up to which revision events were delivered; held while some are.
    delivered: Mutex<u64>,
    /// Something is missing in the feed.
    broken: AtomicBool,
}

impl Intake {
    fn takes(&self, object: &ObjectHandle) -> bool {
        self.kinds.contains(object.kind())
            && self.grants.may_read_in(object.kind(), object.namespace())
    }

    fn breaks(&self) {
        self.broken.store(true, Ordering::Release);
        self.feed.take_all();
    }
}

impl Sink for Intake {
    fn observe(&self, batch: &EventBatch) {
        if self.broken.load(Ordering::Acquire) {
            return;
        }
        let mut delivered = self.delivered.lock();
        let mut pushed = false;
        for event in batch.events.iter().filter(|event| self.takes(&event.object)) {
            self.feed.push(event);
            pushed = true;
        }
        *delivered = batch.revision.max(*delivered);
        drop(delivered);
        if !pushed {
            return;
        }
        match self.feed.len() {
            length if length > LONGEST_FEED => self.breaks(),
            length if length > LONG_FEED => self.bell.drain(),
            _ => {}
        }
    }

    fn resync(&self, _: u64) {
        self.breaks();
    }
}

pub(super) struct Live {
    pub instance: Instance,
    intake: Arc<Intake>,
    _subscription: Subscription,
    /// At which revision the instance has had a full list of each kind.
    listed: Vec<(GroupVersionKind, u64)>,
}

/// What the instance is told of.
pub(crate) fn watches(program: &Program<AuthorizerPlugin>) -> Vec<GroupVersionKind> {
    let mut kinds: Vec<GroupVersionKind> = Vec::new();
    for kind in program.description.watches.iter().cloned().map(convert::kind) {
        if !kinds.contains(&kind) {
            kinds.push(kind);
        }
    }
    kinds
}

/// Whether it is granted all that it watches.
pub(crate) fn check(program: &Program<AuthorizerPlugin>) -> Result<(), LoadError> {
    match watches(program).iter().find(|kind| !program.grants.may_watch(Some(kind))) {
        None => Ok(()),
        Some(kind) => Err(LoadError::Description(format!(
            "the authorizer is not granted to watch {}",
            kind.kind
        ))),
    }
}

impl Live {
    /// A fresh instance that knows the present cluster. Its feed is registered
    /// first, so that nothing falls between the lists and the events.
    pub fn start(
        program: Arc<Program<AuthorizerPlugin>>,
        cluster: &dyn Cluster,
        hub: &Arc<Hub>,
        bell: &Arc<Bell>,
    ) -> Result<Self, LoadError> {
        check(&program)?;
        let kinds = watches(&program);
        let sandbox = program.start().map_err(LoadError::Start)?;
        let intake = Arc::new(Intake {
            feed: Feed::default(),
            kinds: kinds.clone(),
            grants: program.grants.clone(),
            bell: bell.clone(),
            delivered: Mutex::default(),
            broken: AtomicBool::new(false),
        });
        let (subscription, delivered) = hub.add(intake.clone());
        {
            let mut known = intake.delivered.lock();
            *known = delivered.max(*known);
        }
        let instance = Instance::new(program, sandbox);
        let mut live = Self { instance, intake, _subscription: subscription, listed: Vec::new() };
        for kind in kinds {
            let query = ListQuery { kind: Some(kind.clone()), ..ListQuery::default() };
            let listing = cluster.list(&query);
            live.intake.feed.listed(&kind, listing.revision);
            let objects = listing.objects.into_iter().filter(|object| live.intake.takes(object));
            let deltas: Vec<Delta> = objects.map(Delta::Upsert).collect();
            live.instance.sync(&deltas).map_err(LoadError::Start)?;
            live.listed.push((kind, listing.revision));
        }
        live.catch_up(None).map_err(LoadError::Start)?;
        Ok(live)
    }

    pub fn program(&self) -> &Arc<Program<AuthorizerPlugin>> {
        &self.instance.program
    }

    pub fn version(&self) -> Version {
        Version::of(&self.instance.program)
    }

    /// Its view cannot be brought up to date: another instance has to begin anew.
    pub fn is_broken(&self) -> bool {
        self.intake.broken.load(Ordering::Acquire)
    }

    /// How many changes it has to be told before it can answer.
    pub fn behind(&self) -> usize {
        self.intake.feed.len()
    }

    /// Tells it, and those who follow it, everything that has happened; whether
    /// anything has.
    pub fn catch_up(&mut self, told: Option<&Followers<AuthorizerTurn>>) -> Result<bool, Fault> {
        let mut any = false;
        while self.catch_up_some(told)? {
            any = true;
        }
        Ok(any)
    }

    /// One turn's worth. False if there was nothing to be told.
    pub fn catch_up_some(
        &mut self,
        told: Option<&Followers<AuthorizerTurn>>,
    ) -> Result<bool, Fault> {
        let deltas = self.intake.feed.take(MOST_PER_TURN);
        if deltas.is_empty() {
            return Ok(false);
        }
        self.instance.sync(&deltas)?;
        if let Some(followers) = told.filter(|followers| !followers.is_empty()) {
            followers.tell(AuthorizerTurn::Sync(deltas.into()));
        }
        Ok(true)
    }

    /// What the instance knows; None if something lies in its feed.
    pub fn present(&self) -> Option<Present> {
        // Held against the event stream, which fills the feed under it.
        let delivered = self.intake.delivered.lock();
        if self.behind() > 0 || self.is_broken() {
            return None;
        }
        let at =
            |(kind, listed): &(GroupVersionKind, u64)| (kind.clone(), (*listed).max(*delivered));
        Some(Present {
            watches: self.listed.iter().map(at).collect(),
            grants: self.program().grants.clone(),
        })
    }
}
