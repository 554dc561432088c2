//! The store against a model of it: every revision as a whole map.

mod support;

use std::collections::BTreeMap;

use bytes::Bytes;
use pintle_storage::{CommitError, EngineKind, Expect, Op, ReadError, Revision, Store, Txn, Value};
use proptest::prelude::*;
use support::Site;

#[derive(Clone, Debug)]
enum Step {
    Commit { guards: Vec<(u8, Guess)>, ops: BTreeMap<u8, Change> },
    Get { key: u8, back: u64 },
    Range { start: u8, end: u8, back: u64, limit: usize },
    Events { back: u64, max: usize },
    Compact { back: u64 },
    Expire { now: u64 },
    Reclaim,
    Reopen,
}

#[derive(Clone, Debug)]
enum Guess {
    Absent,
    Present,
    /// The key's revision, off by this much.
    Revision(u64),
}

#[derive(Clone, Debug)]
enum Change {
    Put { size: usize, expires: Option<u64> },
    Delete,
}

fn step() -> impl Strategy<Value = Step> {
    let key = 0..12_u8;
    let guess = prop_oneof![
        1 => Just(Guess::Absent),
        1 => Just(Guess::Present),
        4 => (0..2_u64).prop_map(Guess::Revision),
    ];
    let change = prop_oneof![
        3 => (prop_oneof![4 => 0..40_usize, 1 => 5990..12_010_usize], prop::option::of(1..20_u64))
            .prop_map(|(size, expires)| Change::Put { size, expires }),
        1 => Just(Change::Delete),
    ];
    prop_oneof![
        12 => (
            prop::collection::vec((key.clone(), guess), 0..2),
            prop::collection::btree_map(key.clone(), change, 1..4),
        )
            .prop_map(|(guards, ops)| Step::Commit { guards, ops }),
        3 => (key.clone(), 0..12_u64).prop_map(|(key, back)| Step::Get { key, back }),
        3 => (key.clone(), key, 0..12_u64, 0..6_usize)
            .prop_map(|(start, end, back, limit)| Step::Range { start, end, back, limit }),
        2 => (0..12_u64, 1..8_usize).prop_map(|(back, max)| Step::Events { back, max }),
        1 => (0..6_u64).prop_map(|back| Step::Compact { back }),
        1 => (0..20_u64).prop_map(|now| Step::Expire { now }),
        1 => Just(Step::Reclaim),
        1 => Just(Step::Reopen),
    ]
}

#[derive(Clone, Debug, PartialEq)]
struct Entry {
    value: Bytes,
    create: Revision,
    modified: Revision,
    version: u64,
    expires: Option<u64>,
}

type State = BTreeMap<Bytes, Entry>;

struct Model {
    /// By revision; the last is the present.
    states: Vec<State>,
    /// By revision: keys in the order they were touched.
    touched: Vec<Vec<Bytes>>,
    compacted: Revision,
}

fn key(n: u8) -> Bytes {
    Bytes::from(format!("/k/{n:02}"))
}

impl Model {
    fn revision(&self) -> Revision {
        self.states.len() as Revision - 1
    }

    fn now(&self) -> &State {
        self.states.last().unwrap()
    }

    fn back(&self, back: u64) -> Revision {
        self.revision().saturating_sub(back)
    }

    fn push(&mut self, state: State, touched: Vec<Bytes>) {
        if !touched.is_empty() {
            self.states.push(state);
            self.touched.push(touched);
        }
    }

    async fn commit(
        &mut self,
        store: &dyn Store,
        guards: &[(u8, Guess)],
        ops: &BTreeMap<u8, Change>,
    ) {
        let mut txn = Txn::default();
        let mut broken = None;
        for (n, guess) in guards {
            let actual = self.now().get(&key(*n)).map(|entry| entry.modified);
            let (expect, holds) = match guess {
                Guess::Absent => (Expect::Absent, actual.is_none()),
                Guess::Present => (Expect::Present, actual.is_some()),
                Guess::Revision(off) => {
                    let revision = actual.unwrap_or(0) + off;
                    (Expect::ModRevision(revision), actual == Some(revision))
                }
            };
            if !holds && broken.is_none() {
                broken = Some((key(*n), actual));
            }
            txn = txn.guard(key(*n), expect);
        }
        let revision = self.revision() + 1;
        let (mut state, mut touched) = (self.now().clone(), Vec::new());
        for (n, change) in ops {
            let key = key(*n);
            match change {
                Change::Put { size, expires } => {
                    let bytes = Bytes::from(vec![b'v'; *size]);
                    let at = (*size / 2) as u32;
                    let value =
                        [&bytes[..*size / 2], revision.to_string().as_bytes(), &bytes[*size / 2..]]
                            .concat();
                    let before = state.get(&key);
                    let entry = Entry {
                        value: value.into(),
                        create: before.map_or(revision, |entry| entry.create),
                        modified: revision,
                        version: before.map_or(0, |entry| entry.version) + 1,
                        expires: *expires,
                    };
                    state.insert(key.clone(), entry);
                    touched.push(key.clone());
                    let value = Value { bytes, revision_at: Some(at) };
                    txn.ops.push(Op::Put { key, value, expires_at_unix_seconds: *expires });
                }
                Change::Delete => {
                    if state.remove(&key).is_some() {
                        touched.push(key.clone());
                    }
                    txn.ops.push(Op::Delete { key });
                }
            }
        }
        match (store.commit(txn).await, broken) {
            (Err(CommitError::Guard { key, actual }), Some(broken)) => {
                assert_eq!((key, actual), broken);
            }
            (Ok(done), None) => {
                self.push(state, touched);
                assert_eq!(done.revision, self.revision());
            }
            (result, broken) => panic!("{result:?}, broken guard {broken:?}"),
        }
    }

    async fn expire(&mut self, store: &dyn Store, now: u64) {
        let mut due: Vec<_> = self
            .now()
            .iter()
            .filter(|(_, entry)| entry.expires.is_some_and(|at| at <= now))
            .map(|(key, entry)| (entry.modified, key.clone()))
            .collect();
        due.sort();
        assert_eq!(store.expire(now).await.unwrap(), due.len());
        for (_, key) in due {
            let mut state = self.now().clone();
            state.remove(&key);
            self.push(state, vec![key]);
        }
    }

    fn check(&self, key: &Bytes, entry: &Entry, record: &pintle_storage::Record) {
        assert_eq!(record.key, key);
        assert_eq!(record.value, entry.value);
        assert_eq!(
            (record.create_revision, record.mod_revision, record.version),
            (entry.create, entry.modified, entry.version)
        );
    }

    /// Whether a read at a revision was refused for the right reason.
    fn refused<T>(&self, at: Revision, result: &Result<T, ReadError>) -> bool {
        match result {
            Err(ReadError::Compacted { requested, oldest }) => {
                assert_eq!((*requested, *oldest), (at, self.compacted));
                assert!(at < self.compacted);
                true
            }
            Err(other) => panic!("{other}"),
            Ok(_) => {
                assert!(at >= self.compacted, "{at} has been compacted");
                false
            }
        }
    }

    async fn range(&self, store: &dyn Store, bounds: (u8, u8), at: Revision, limit: usize) {
        let (start, end) = (key(bounds.0), key(bounds.1));
        let page = store.range(&start, &end, Some(at), limit).await;
        if self.refused(at, &page) {
            return;
        }
        let page = page.unwrap();
        let state = &self.states[at as usize];
        let all: Vec<_> = state.iter().filter(|(key, _)| (&start..&end).contains(key)).collect();
        let take = if limit == 0 { all.len() } else { limit.min(all.len()) };
        assert_eq!(page.records.len(), take);
        assert_eq!((page.more, page.revision), (take < all.len(), at));
        for ((key, entry), record) in all.into_iter().zip(&page.records) {
            self.check(key, entry, record);
        }
    }

    async fn events(&self, store: &dyn Store, after: Revision, max: usize) {
        let events = store.events(b"/k/", after, max).await;
        if self.refused(after, &events) {
            return;
        }
        let mut events = events.unwrap().into_iter();
        let mut seen = 0;
        for revision in after + 1..=self.revision() {
            if seen >= max {
                break;
            }
            for key in &self.touched[revision as usize] {
                let event = events.next().expect("an event for every change");
                assert_eq!((&event.key, event.revision), (key, revision));
                match self.states[revision as usize].get(key) {
                    Some(entry) => self.check(key, entry, &event.record.unwrap()),
                    None => assert_eq!(event.record, None),
                }
                seen += 1;
            }
        }
        assert!(events.next().is_none());
    }
}

async fn play(site: &Site, steps: Vec<Step>) {
    let mut store = site.open();
    let mut model = Model { states: vec![State::new()], touched: vec![Vec::new()], compacted: 0 };
    for step in steps {
        match step {
            Step::Commit { guards, ops } => model.commit(&*store, &guards, &ops).await,
            Step::Get { key: n, back } => {
                let at = model.back(back);
                let record = store.get(&key(n), Some(at)).await;
                if !model.refused(at, &record) {
                    match (record.unwrap(), model.states[at as usize].get(&key(n))) {
                        (None, None) => {}
                        (Some(record), Some(entry)) => model.check(&key(n), entry, &record),
                        (record, entry) => panic!("{record:?}, not {entry:?}"),
                    }
                }
            }
            Step::Range { start, end, back, limit } => {
                model.range(&*store, (start, end), model.back(back), limit).await;
            }
            Step::Events { back, max } => model.events(&*store, model.back(back), max).await,
            Step::Compact { back } => {
                let upto = model.back(back);
                store.compact(upto).await.unwrap();
                model.compacted = model.compacted.max(upto);
            }
            Step::Expire { now } => model.expire(&*store, now).await,
            Step::Reclaim => assert!(store.reclaim().await.unwrap().is_some()),
            Step::Reopen => {
                drop(store);
                store = site.open();
            }
        }
        assert_eq!(store.revision(), model.revision());
        assert_eq!(store.compacted(), model.compacted);
        let next = model.now().values().filter_map(|entry| entry.expires).min();
        assert_eq!(store.next_expiry(), next);
    }
    model.range(&*store, (0, 99), model.revision(), 0).await;
    model.events(&*store, model.compacted, usize::MAX).await;
}

fn check(kind: EngineKind, steps: Vec<Step>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(play(&Site::new(kind), steps));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn sled_behaves_like_the_model(steps in prop::collection::vec(step(), 1..120)) {
        check(EngineKind::Sled, steps);
    }

    #[test]
    fn redb_behaves_like_the_model(steps in prop::collection::vec(step(), 1..120)) {
        check(EngineKind::Redb, steps);
    }
}
