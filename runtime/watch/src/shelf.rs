//! All there is of one resource: its current objects, its ring, its watched topics.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    ops::Bound,
    sync::Arc,
    time::Duration,
};

use pintle_storage::Revision;
use tokio::sync::Notify;

use crate::{
    event::Event,
    label::{LabelIndex, Labels, Slot},
    object::Object,
    parse::Plan,
    ring::{Bounds, Position, Ring},
    topic::{self, Topic},
    watcher::Gone,
};

pub(crate) type Key = Arc<str>;

/// Objects of an indexed value, by key.
pub(crate) type Members = BTreeMap<Key, Arc<Object>>;

#[derive(Debug)]
pub(crate) struct Shelf {
    pub(crate) objects: BTreeMap<Key, Arc<Object>>,
    /// Per indexed field: value to members.
    members: Vec<HashMap<Box<str>, Members>>,
    pub(crate) labels: LabelIndex,
    slots: Slots,
    pub(crate) ring: Ring,
    channels: Channels,
}

/// Objects by number; numbers of objects that are gone are given again.
#[derive(Debug, Default)]
struct Slots {
    objects: Vec<Option<Arc<Object>>>,
    free: Vec<Slot>,
}

/// The topics somebody watches. `All` needs no positions: it is the ring.
#[derive(Debug)]
struct Channels {
    all: Arc<Notify>,
    namespaces: ByValue,
    names: ByValue,
    /// Per indexed field: value to channel.
    fields: Vec<ByValue>,
}

/// Channels by namespace, by name or by a field's value.
type ByValue = HashMap<Box<str>, Channel>;

/// A watched topic: where its events lie in the ring, and whom to wake.
#[derive(Debug)]
struct Channel {
    positions: VecDeque<Position>,
    /// Positions of events before this were never noted.
    complete_from: Position,
    /// The last position that was let go of.
    missed: Option<Position>,
    watchers: usize,
    wake: Arc<Notify>,
}

/// Whom to wake after the locks are released, each once per batch.
#[derive(Debug, Default)]
pub(crate) struct Wakes(Vec<Arc<Notify>>);

impl Wakes {
    fn add(&mut self, wake: &Arc<Notify>) {
        // Events of one topic tend to follow each other; the rest is a cheap extra call.
        if !self.0.last().is_some_and(|last| Arc::ptr_eq(last, wake)) {
            self.0.push(Arc::clone(wake));
        }
    }

    pub(crate) fn wake(mut self) {
        self.0.sort_unstable_by_key(|wake| Arc::as_ptr(wake).addr());
        self.0.dedup_by(|a, b| Arc::ptr_eq(a, b));
        for wake in self.0 {
            wake.notify_waiters();
        }
    }
}

impl Shelf {
    pub(crate) fn new(plan: &Plan) -> Self {
        Self {
            objects: BTreeMap::new(),
            members: plan.fields.iter().map(|_| HashMap::new()).collect(),
            labels: LabelIndex::default(),
            slots: Slots::default(),
            ring: Ring::new(),
            channels: Channels {
                all: Arc::default(),
                namespaces: HashMap::new(),
                names: HashMap::new(),
                fields: plan.fields.iter().map(|_| HashMap::new()).collect(),
            },
        }
    }

    /// Replaces or removes the current object; returns the one before.
    pub(crate) fn set(&mut self, key: &Key, object: Option<&Arc<Object>>) -> Option<Arc<Object>> {
        let previous = match object {
            Some(object) => self.objects.insert(Arc::clone(key), Arc::clone(object)),
            None => self.objects.remove(key),
        };
        self.label(previous.as_ref(), object);
        for (slot, values) in self.members.iter_mut().enumerate() {
            let old = previous.as_ref().map(|object| &object.indexed()[slot]);
            let new = object.map(|object| &object.indexed()[slot]);
            if let Some(old) = old
                && new != Some(old)
                && let Some(members) = values.get_mut(old)
            {
                members.remove(key);
                if members.is_empty() {
                    values.remove(old);
                }
            }
            if let (Some(new), Some(object)) = (new, object) {
                let members = match values.get_mut(new) {
                    Some(members) => members,
                    None => values.entry(new.clone()).or_default(),
                };
                members.insert(Arc::clone(key), Arc::clone(object));
            }
        }
        previous
    }

    fn label(&mut self, previous: Option<&Arc<Object>>, object: Option<&Arc<Object>>) {
        let slot = match previous {
            Some(previous) => previous.slot(),
            None if object.is_none() => return,
            None => self.slots.take(),
        };
        let none = Labels::default();
        self.labels.replace(
            slot,
            previous.map_or(&none, |object| &object.meta.labels),
            object.map_or(&none, |object| &object.meta.labels),
        );
        self.slots.put(slot, object);
    }

    pub(crate) fn in_slot(&self, slot: Slot) -> Option<&Arc<Object>> {
        self.slots.objects.get(slot as usize)?.as_ref()
    }

    /// Objects with a value of an indexed field, in key order.
    pub(crate) fn with_field(&self, slot: usize, value: &str) -> Option<&Members> {
        self.members[slot].get(value)
    }

    /// Appends an event and notes its position with the watched topics it concerns.
    pub(crate) fn push(&mut self, now: Duration, key: &Key, event: Arc<Event>, wakes: &mut Wakes) {
        let position = self.ring.push(now, Arc::clone(&event));
        let base = self.ring.base();
        let channels = &mut self.channels;
        wakes.add(&channels.all);
        let mut note = |channel: Option<&mut Channel>| {
            if let Some(channel) = channel {
                channel.push(position, base);
                wakes.add(&channel.wake);
            }
        };
        if !channels.namespaces.is_empty() {
            note(channels.namespaces.get_mut(&event.object.meta.namespace));
        }
        if !channels.names.is_empty() {
            note(channels.names.get_mut(key.as_ref()));
        }
        for (slot, values) in channels.fields.iter_mut().enumerate() {
            if values.is_empty() {
                continue;
            }
            let new = &event.object.indexed()[slot];
            note(values.get_mut(new));
            if let Some(old) = event.previous.as_ref().map(|object| &object.indexed()[slot])
                && old != new
            {
                note(values.get_mut(old));
            }
        }
    }

    pub(crate) fn trim(&mut self, now: Duration, bounds: Bounds) {
        self.ring.trim(now, bounds);
    }

    /// Current objects of a topic, in key order.
    pub(crate) fn list(&self, topic: &Topic, plan: &Plan) -> Vec<Arc<Object>> {
        match topic {
            Topic::All => self.objects.values().cloned().collect(),
            Topic::Namespace(namespace) => {
                self.namespace(namespace).map(|(_, object)| Arc::clone(object)).collect()
            }
            Topic::Name(namespace, name) => self
                .objects
                .get(topic::key(namespace, name).as_str())
                .cloned()
                .into_iter()
                .collect(),
            Topic::Field(path, value) => match plan.slot(path) {
                Some(slot) => self.members[slot]
                    .get(value)
                    .map(|members| members.values().cloned().collect())
                    .unwrap_or_default(),
                None => {
                    self.objects.values().filter(|object| topic.matches(object)).cloned().collect()
                }
            },
        }
    }

    pub(crate) fn namespace(&self, namespace: &str) -> impl Iterator<Item = (&Key, &Arc<Object>)> {
        // '0' follows '/'.
        let (start, end) = (format!("{namespace}/"), format!("{namespace}0"));
        self.objects
            .range::<str, _>((Bound::Included(start.as_str()), Bound::Excluded(end.as_str())))
    }

    /// Registers a watcher of a topic, for the events from now on. Fields that are not
    /// indexed are watched through the whole resource.
    pub(crate) fn subscribe(&mut self, topic: &Topic, plan: &Plan) -> Arc<Notify> {
        let end = self.ring.end();
        let Some((channels, value)) = self.channels.of(topic, plan) else {
            return Arc::clone(&self.channels.all);
        };
        let channel = channels.entry(value).or_insert_with(|| Channel::new(end));
        channel.watchers += 1;
        Arc::clone(&channel.wake)
    }

    /// Makes a watched topic know its events from a position on, for watchers that resume.
    pub(crate) fn complete(&mut self, topic: &Topic, plan: &Plan, from: Position) {
        let Some((channels, value)) = self.channels.of(topic, plan) else { return };
        let Some(channel) = channels.get_mut(&value) else { return };
        if from >= channel.complete_from {
            return;
        }
        let concerned = |event: &Event| {
            topic.matches(&event.object)
                || event.previous.as_deref().is_some_and(|object| topic.matches(object))
        };
        for position in (from..channel.complete_from).rev() {
            if self.ring.get(position).is_some_and(|event| concerned(event)) {
                channel.positions.push_front(position);
            }
        }
        channel.complete_from = from;
    }

    pub(crate) fn unsubscribe(&mut self, topic: &Topic, plan: &Plan) {
        if let Some((channels, value)) = self.channels.of(topic, plan)
            && let Some(channel) = channels.get_mut(&value)
        {
            channel.watchers -= 1;
            if channel.watchers == 0 {
                channels.remove(&value);
            }
        }
    }

    /// Moves a cursor over the topic's next events: at most `limit` of them and the rest of
    /// the last one's revision. Returns whether the cursor has reached the end.
    pub(crate) fn take(
        &self,
        topic: &Topic,
        plan: &Plan,
        cursor: &mut Position,
        floor: Revision,
        limit: usize,
        taken: &mut Vec<Arc<Event>>,
    ) -> Result<bool, Gone> {
        let mut push = |event: &Arc<Event>, cursor: &mut Position, at: Position| {
            let full = taken.len() >= limit;
            if full && taken.last().is_none_or(|last| last.revision != event.revision) {
                return false;
            }
            *cursor = at + 1;
            if event.revision > floor {
                taken.push(Arc::clone(event));
            }
            true
        };
        match self.channels.get(topic, plan) {
            None => {
                if *cursor < self.ring.base() {
                    return Err(Gone);
                }
                while let Some(event) = self.ring.get(*cursor) {
                    let at = *cursor;
                    if !push(event, cursor, at) {
                        return Ok(false);
                    }
                }
            }
            Some(channel) => {
                if channel.missed.is_some_and(|missed| missed >= *cursor) {
                    return Err(Gone);
                }
                let from = channel.positions.partition_point(|position| position < cursor);
                for position in channel.positions.range(from..) {
                    let event = self.ring.get(*position).ok_or(Gone)?;
                    if !push(event, cursor, *position) {
                        return Ok(false);
                    }
                }
                *cursor = self.ring.end();
            }
        }
        Ok(true)
    }

    /// Whether a cursor has nothing before it.
    pub(crate) fn is_drained(&self, topic: &Topic, plan: &Plan, cursor: Position) -> bool {
        match self.channels.get(topic, plan) {
            None => cursor >= self.ring.end(),
            Some(channel) => channel.positions.back().is_none_or(|last| *last < cursor),
        }
    }
}

impl Slots {
    fn take(&mut self) -> Slot {
        self.free.pop().unwrap_or_else(|| {
            self.objects.push(None);
            // Four thousand million objects of a kind do not fit into memory.
            (self.objects.len() - 1) as Slot
        })
    }

    fn put(&mut self, slot: Slot, object: Option<&Arc<Object>>) {
        let Some(place) = self.objects.get_mut(slot as usize) else { return };
        match object {
            Some(object) => object.put_into(slot),
            None => self.free.push(slot),
        }
        *place = object.cloned();
    }
}

impl Channels {
    fn of(&mut self, topic: &Topic, plan: &Plan) -> Option<(&mut ByValue, Box<str>)> {
        match topic {
            Topic::All => None,
            Topic::Namespace(namespace) => Some((&mut self.namespaces, namespace.clone())),
            Topic::Name(namespace, name) => {
                Some((&mut self.names, topic::key(namespace, name).into()))
            }
            Topic::Field(path, value) => {
                plan.slot(path).map(|slot| (&mut self.fields[slot], value.clone()))
            }
        }
    }

    fn get(&self, topic: &Topic, plan: &Plan) -> Option<&Channel> {
        match topic {
            Topic::All => None,
            Topic::Namespace(namespace) => self.namespaces.get(namespace),
            Topic::Name(namespace, name) => self.names.get(topic::key(namespace, name).as_str()),
            Topic::Field(path, value) => self.fields[plan.slot(path)?].get(value),
        }
    }
}

impl Channel {
    fn new(complete_from: Position) -> Self {
        Self {
            positions: VecDeque::new(),
            complete_from,
            missed: None,
            watchers: 0,
            wake: Arc::default(),
        }
    }

    /// Notes a position and forgets those the ring has forgotten.
    fn push(&mut self, position: Position, base: Position) {
        while let Some(first) = self.positions.front()
            && *first < base
        {
            self.missed = self.positions.pop_front();
        }
        self.positions.push_back(position);
    }
}
