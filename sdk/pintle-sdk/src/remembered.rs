//! Answers of the lister that an instance remembers, so that the next call is told
//! only what is different: what crosses is then as much as has changed, not as much
//! as there is.
//!
//! What is remembered never shows in what is decided: [`Remembered::read`] returns
//! what the lister would list at the call's revision, in the order of namespaces and
//! names. A fresh instance begins with the whole, and so does a replay.
//!
//! There is a bound, because an instance's memory has one. Answers that were not
//! asked for the longest time are forgotten first. Of an answer that is larger than
//! the bound by itself, the surplus is set aside: only its names are kept, and each
//! call reads those objects anew. So what crosses is the change and the surplus: it
//! grows by what is beyond the bound, and not at once by all there is.
//!
//! ```
//! use pintle_sdk::prelude::*;
//! use pintle_sdk::remembered::Remembered;
//!
//! #[derive(Default)]
//! struct Plugin {
//!     pods: Remembered<Typed<Pod>>,
//! }
//!
//! fn ready(plugin: &Plugin, lister: &dyn Lister, set: &Typed<ReplicaSet>) -> Result<usize, Error> {
//!     let own = Query::of(POD).owned_by(&*set.uid).fields(&["status.conditions"]);
//!     Ok(plugin.pods.read(lister, &own)?.iter().filter(|pod| pod.is_ready()).count())
//! }
//! ```

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use crate::error::Error;
use crate::lister::{Lister, Query, Typed};
use crate::object::{KindRef, Object, Resource};

/// What is made of an object once and remembered.
pub trait FromObject: Clone {
    /// Reads it.
    fn from_object(object: Object) -> Result<Self, Error>;
}

impl<T: Resource> FromObject for Typed<T> {
    fn from_object(object: Object) -> Result<Self, Error> {
        Typed::try_from(object)
    }
}

/// Objects that are remembered in all, unless said otherwise: some kilobytes each.
const MOST_OBJECTS: usize = 10_000;

/// Namespace and name: a question is about one kind.
type Key = (String, String);

/// Answers to questions of one sort.
pub struct Remembered<T> {
    most: usize,
    answers: RefCell<Answers<T>>,
}

struct Answers<T> {
    of: BTreeMap<Question, Answer<T>>,
    /// Counts the questions, to tell which was not asked for the longest time.
    clock: u64,
}

struct Answer<T> {
    revision: u64,
    asked: u64,
    objects: BTreeMap<Key, T>,
    /// What else belongs to it, and is read anew each time.
    aside: BTreeSet<Key>,
}

#[derive(PartialEq, Eq, PartialOrd, Ord, Clone)]
struct Question {
    kind: Option<KindRef>,
    namespace: Option<String>,
    owner_uid: Option<String>,
    label_selector: Option<String>,
    field: Option<(String, String)>,
    fields: Vec<String>,
}

impl<T> Default for Remembered<T> {
    fn default() -> Self {
        Self::at_most(MOST_OBJECTS)
    }
}

impl<T> Remembered<T> {
    /// Remembers so many objects in all.
    pub fn at_most(most: usize) -> Self {
        let answers = Answers { of: BTreeMap::new(), clock: 0 };
        Self { most, answers: RefCell::new(answers) }
    }
}

impl<T: FromObject> Remembered<T> {
    /// What the lister lists for the query, which names a kind and has no limit.
    pub fn read(&self, lister: &dyn Lister, query: &Query) -> Result<Vec<T>, Error> {
        self.look(lister, query, |objects| objects.values().cloned().collect())
    }

    /// As `read`, shown in place.
    pub fn look<R>(
        &self,
        lister: &dyn Lister,
        query: &Query,
        show: impl FnOnce(&BTreeMap<Key, T>) -> R,
    ) -> Result<R, Error> {
        let mut answers = self.answers.borrow_mut();
        answers.clock += 1;
        let clock = answers.clock;
        let question = Question {
            kind: query.kind.clone(),
            namespace: query.namespace.clone(),
            owner_uid: query.owner_uid.clone(),
            label_selector: query.label_selector.clone(),
            field: query.field.clone(),
            fields: query.fields.clone(),
        };
        // Taken out: what cannot be brought up to date is not kept.
        let known = answers.of.remove(&question);
        let since = known.as_ref().map_or(0, |known| known.revision);
        let told = lister.list_changes(query, since);
        let (mut objects, mut aside) = match known {
            Some(known) if !told.whole => (known.objects, known.aside),
            _ => Default::default(),
        };
        for gone in told.gone {
            let key = (gone.namespace, gone.name);
            objects.remove(&key);
            aside.remove(&key);
        }
        for object in told.objects {
            let key = (object.reference.namespace.clone(), object.reference.name.clone());
            aside.remove(&key);
            objects.insert(key, T::from_object(object)?);
        }
        for key in std::mem::take(&mut aside) {
            if let Some(object) = single(lister, query, &key) {
                objects.insert(key, T::from_object(object)?);
            }
        }
        let shown = show(&objects);
        while objects.len() > self.most {
            aside.extend(objects.pop_last().map(|(key, _)| key));
        }
        let answer = Answer { revision: told.revision, asked: clock, objects, aside };
        answers.of.insert(question, answer);
        answers.forget_beyond(self.most);
        Ok(shown)
    }
}

/// One of the objects that the query lists.
fn single(lister: &dyn Lister, query: &Query, (namespace, name): &Key) -> Option<Object> {
    let kind = query.kind.clone()?;
    let one = Query::of(kind).namespace(&**namespace).field("metadata.name", &**name);
    lister.list(&Query { fields: query.fields.clone(), ..one }).pop()
}

impl<T> Answers<T> {
    fn forget_beyond(&mut self, most: usize) {
        // An empty answer takes its place, too.
        let size = |answer: &Answer<T>| answer.objects.len().max(8);
        let mut sum: usize = self.of.values().map(size).sum();
        while sum > most && self.of.len() > 1 {
            let oldest = self.of.iter().min_by_key(|(_, answer)| answer.asked);
            let Some((question, answer)) = oldest.map(|(q, a)| (q.clone(), size(a))) else {
                return;
            };
            self.of.remove(&question);
            sum -= answer;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use proptest::prelude::*;

    use super::*;
    use crate::lister::Changed;
    use crate::object::{KindRef, ObjectRef};

    const THING: KindRef = KindRef::new("", "v1", "Thing");

    #[derive(Clone, Debug, PartialEq)]
    struct Seen(String, u64);

    impl FromObject for Seen {
        fn from_object(object: Object) -> Result<Self, Error> {
            Ok(Seen(object.reference.name, object.revision))
        }
    }

    /// Every write has a revision; remembers all of them.
    #[derive(Default)]
    struct Past {
        log: RefCell<Vec<(String, bool)>>,
        whole: Cell<bool>,
        carried: Cell<usize>,
    }

    impl Past {
        fn object(&self, name: &str, revision: usize) -> Object {
            Object {
                reference: THING.named("n", name),
                uid: String::new(),
                revision: revision as u64,
                json: Vec::new(),
            }
        }
    }

    impl Lister for Past {
        fn get(&self, _: &ObjectRef) -> Option<Object> {
            None
        }

        fn list(&self, query: &Query) -> Vec<Object> {
            let mut present = BTreeMap::new();
            for (at, (name, is_there)) in self.log.borrow().iter().enumerate() {
                match is_there {
                    true => present.insert(name.clone(), self.object(name, at + 1)),
                    false => present.remove(name),
                };
            }
            let name = query.field.as_ref().map(|(_, name)| name);
            let meant = |object: &Object| name.is_none_or(|name| object.reference.name == *name);
            let objects: Vec<Object> = present.into_values().filter(meant).collect();
            self.carried.set(self.carried.get() + objects.len());
            objects
        }

        fn count(&self, _: &Query) -> u32 {
            0
        }

        fn list_changes(&self, query: &Query, since: u64) -> Changed {
            let revision = self.log.borrow().len() as u64;
            if since == 0 || self.whole.take() {
                let objects = self.list(query);
                return Changed { revision, whole: true, objects, gone: Vec::new() };
            }
            let before = self.carried.get();
            let present = self.list(query);
            let objects: Vec<Object> =
                present.iter().filter(|object| object.revision > since).cloned().collect();
            let log = self.log.borrow();
            let mut gone: Vec<ObjectRef> =
                log[since as usize..].iter().map(|(name, _)| THING.named("n", name)).collect();
            gone.retain(|gone| !present.iter().any(|object| object.reference == *gone));
            self.carried.set(before + objects.len());
            Changed { revision, whole: false, objects, gone }
        }
    }

    proptest! {
        #[test]
        fn what_is_remembered_is_what_is_there(
            steps in proptest::collection::vec((0u8..6, any::<bool>(), 0u8..8), 1..80),
            most in 1usize..12,
        ) {
            let past = Past::default();
            let remembered = Remembered::<Seen>::at_most(most);
            for (name, is_there, then) in steps {
                past.log.borrow_mut().push((name.to_string(), is_there));
                past.whole.set(then == 0);
                if then < 3 {
                    let query = Query::of(THING).namespace(format!("{}", then % 2));
                    let expect: Vec<Seen> =
                        past.list(&query).into_iter().map(|o| Seen::from_object(o).unwrap()).collect();
                    prop_assert_eq!(remembered.read(&past, &query).unwrap(), expect);
                }
            }
        }
    }

    #[test]
    fn only_what_has_changed_is_carried() {
        fn check(most: usize, [whole, nothing, change]: [usize; 3]) {
            let past = Past::default();
            let remembered = Remembered::<Seen>::at_most(most);
            for number in 0..100 {
                past.log.borrow_mut().push((number.to_string(), true));
            }
            let query = Query::of(THING);
            let ask = |expect: usize, carried: usize| {
                past.carried.set(0);
                assert_eq!(remembered.read(&past, &query).unwrap().len(), expect);
                assert_eq!(past.carried.get(), carried, "at most {most}");
            };
            ask(100, whole);
            ask(100, nothing);
            past.log.borrow_mut().push(("7".to_owned(), true));
            past.log.borrow_mut().push(("8".to_owned(), false));
            ask(99, change);
        }
        check(100, [100, 0, 1]);
        // A few beyond the bound cost themselves, and not all of them.
        check(95, [100, 5, 6]);
        check(10, [100, 90, 89]);
    }
}
