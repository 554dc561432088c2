//! Watchers against a model that remembers everything: any mixture of writes, polls, drops,
//! resumptions and compactions, over rings far too small for it.

mod support;

use std::{collections::BTreeMap, sync::Arc};

use pintle_storage::Op;
use pintle_watch::{Event, EventKind, From, Gone, Options, Topic, Watcher};
use proptest::prelude::*;
use support::*;

#[derive(Clone, Debug)]
enum Step {
    /// Name to node; `None` deletes.
    Commit(BTreeMap<(u8, u8), Option<u8>>),
    Node,
    Watch {
        topic: u8,
        from: u8,
    },
    Poll(usize),
    /// Drop the watcher and begin another where it was.
    Resume(usize),
    Drop(usize),
    Compact {
        back: u64,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let names = (0..2_u8, 0..4_u8);
    let nodes = prop_oneof![3 => (0..3_u8).prop_map(Some), 1 => Just(None)];
    prop_oneof![
        10 => prop::collection::btree_map(names, nodes, 1..4).prop_map(Step::Commit),
        1 => Just(Step::Node),
        3 => (0..6_u8, 0..6_u8).prop_map(|(topic, from)| Step::Watch { topic, from }),
        8 => any::<usize>().prop_map(Step::Poll),
        3 => any::<usize>().prop_map(Step::Resume),
        1 => any::<usize>().prop_map(Step::Drop),
        1 => (0..5_u64).prop_map(|back| Step::Compact { back }),
    ]
}

/// Name within the pods: namespace and name. Value: node and the revision that wrote it.
type State = BTreeMap<String, (String, u64)>;

/// One event as it must be seen.
#[derive(Clone, Debug, PartialEq)]
struct Seen {
    revision: u64,
    kind: EventKind,
    name: String,
    node: String,
    previous: Option<(String, u64)>,
}

fn seen(event: &Event) -> Seen {
    let object = &event.object;
    assert_eq!(object.parse()["metadata"]["resourceVersion"], event.revision.to_string());
    let node = |object: &pintle_watch::Object| object.field("spec.nodeName").unwrap().to_owned();
    Seen {
        revision: event.revision,
        kind: event.kind,
        name: format!("{}/{}", object.namespace(), object.name()),
        node: node(object),
        previous: event.previous.as_ref().map(|old| (node(old), old.revision)),
    }
}

struct Model {
    states: Vec<State>,
    events: Vec<Vec<Seen>>,
}

impl Model {
    fn revision(&self) -> u64 {
        self.states.len() as u64 - 1
    }

    fn commit(&mut self, changes: &BTreeMap<(u8, u8), Option<u8>>) -> Vec<Op> {
        let revision = self.revision() + 1;
        let (mut state, mut events, mut ops) =
            (self.states.last().unwrap().clone(), vec![], vec![]);
        for ((namespace, name), node) in changes {
            let (namespace, name) = (format!("ns{namespace}"), format!("p{name}"));
            let full = format!("{namespace}/{name}");
            let previous = state.get(&full).cloned();
            match node {
                Some(node) => {
                    let node = format!("n{node}");
                    ops.push(pod(&namespace, &name, &node));
                    state.insert(full.clone(), (node.clone(), revision));
                    let kind =
                        if previous.is_some() { EventKind::Modified } else { EventKind::Added };
                    events.push(Seen { revision, kind, name: full, node, previous });
                }
                None => {
                    ops.push(delete(&pod_key(&namespace, &name)));
                    if let Some((node, _)) = state.remove(&full) {
                        let kind = EventKind::Deleted;
                        events.push(Seen { revision, kind, name: full, node, previous });
                    }
                }
            }
        }
        if !events.is_empty() {
            self.states.push(state);
            self.events.push(events);
        }
        ops
    }

    fn expected(&self, topic: &Topic, after: u64) -> Vec<Seen> {
        let concerned = |event: &&Seen| match topic {
            Topic::All => true,
            Topic::Namespace(namespace) => event.name.starts_with(&format!("{namespace}/")),
            Topic::Name(namespace, name) => event.name == format!("{namespace}/{name}"),
            Topic::Field(_, node) => {
                *event.node == **node
                    || event.previous.as_ref().is_some_and(|(old, _)| **old == **node)
            }
        };
        self.events[after as usize + 1..].iter().flatten().filter(concerned).cloned().collect()
    }
}

fn topic(n: u8) -> Topic {
    match n {
        0 => Topic::All,
        1 => Topic::namespace("ns1"),
        2 => Topic::name("ns0", "p0"),
        3 => Topic::name("ns1", "p2"),
        n => Topic::field("spec.nodeName", &format!("n{}", n - 4)),
    }
}

struct Live {
    topic: Topic,
    watcher: Watcher,
    /// Everything up to here was seen.
    at: u64,
}

/// Begins a watch; if that is refused, from the list.
fn begin(world: &World, model: &Model, topic: Topic, from: From) -> Live {
    let (bus, pods) = (&world.bus, world.pods);
    let watcher = match bus.watch(pods, topic.clone(), from) {
        Ok(watcher) => watcher,
        Err(Gone) => {
            let From::After(after) = from else { panic!("a watch of the present was refused") };
            assert!(after < world.store.compacted(), "refused without reason");
            bus.watch(pods, topic.clone(), From::Initial).unwrap()
        }
    };
    let at = watcher.revision();
    if from == From::Initial {
        let listed: Vec<_> =
            watcher.initial.iter().map(|o| format!("{}/{}", o.namespace(), o.name())).collect();
        let matches = |(name, (node, _)): (&String, &(String, u64))| {
            let (namespace, short) = name.split_once('/').unwrap();
            let belongs = match &topic {
                Topic::All => true,
                Topic::Namespace(only) => **only == *namespace,
                Topic::Name(ns, only) => **ns == *namespace && **only == *short,
                Topic::Field(_, only) => **only == **node,
            };
            belongs.then(|| name.clone())
        };
        let expect: Vec<_> = model.states[at as usize].iter().filter_map(matches).collect();
        assert_eq!(listed, expect);
    }
    let at = if let From::After(after) = from
        && watcher.initial.is_empty()
        && at <= after
    {
        after
    } else {
        at
    };
    Live { topic, watcher, at }
}

/// Reads everything that is there. Falls back to the list when the ring was too small.
async fn poll(world: &World, model: &Model, live: &mut Live) {
    let expect = model.expected(&live.topic, live.at);
    let mut got: Vec<Seen> = Vec::new();
    while got.len() < expect.len() {
        match live.watcher.next().await {
            Ok(events) => {
                let events: Vec<_> = events.iter().map(|event: &Arc<Event>| seen(event)).collect();
                // A revision comes in one piece.
                let next = expect.get(got.len() + events.len());
                assert!(next.is_none_or(|next| Some(next.revision) != events.last().map(|e| e.revision)));
                got.extend(events);
            }
            Err(Gone) => {
                assert!(expect.starts_with(&got));
                // The ring holds five of these events.
                assert!(model.expected(&Topic::All, live.at).len() > 4, "given up too early");
                *live = begin(world, model, live.topic.clone(), From::Initial);
                return;
            }
        }
    }
    assert_eq!(got, expect);
    // Nothing more; also a watcher that only had to cross the history is through by then.
    let more = live.watcher.try_next().unwrap();
    assert!(more.is_empty(), "{more:?}");
    live.at = model.revision();
}

async fn play(steps: Vec<Step>) {
    let world = world(Options { ring_bytes: 4500, ..Options::default() }).await;
    let mut model = Model { states: vec![State::new()], events: vec![Vec::new()] };
    let mut lives: Vec<Live> = Vec::new();
    for step in steps {
        match step {
            Step::Commit(changes) => {
                let ops = model.commit(&changes);
                world.store.commit(txn(ops)).await.unwrap();
            }
            Step::Node => {
                world.store.commit(txn([node("n")])).await.unwrap();
                model.states.push(model.states.last().unwrap().clone());
                model.events.push(Vec::new());
            }
            Step::Watch { topic: n, from } => {
                let from = match from {
                    0 => From::Now,
                    1 => From::Initial,
                    back => From::After(model.revision().saturating_sub(u64::from(back) * 3)),
                };
                if lives.len() < 8 {
                    lives.push(begin(&world, &model, topic(n), from));
                }
            }
            Step::Poll(n) if !lives.is_empty() => {
                let n = n % lives.len();
                poll(&world, &model, &mut lives[n]).await;
            }
            Step::Resume(n) if !lives.is_empty() => {
                let n = n % lives.len();
                let Live { topic, at, watcher } = lives.swap_remove(n);
                drop(watcher);
                lives.push(begin(&world, &model, topic, From::After(at)));
            }
            Step::Drop(n) if !lives.is_empty() => {
                let n = n % lives.len();
                lives.swap_remove(n);
            }
            Step::Compact { back } => {
                let upto = model.revision().saturating_sub(back);
                world.store.compact(upto).await.unwrap();
            }
            Step::Poll(_) | Step::Resume(_) | Step::Drop(_) => {}
        }
        assert_eq!(world.bus.revision(), model.revision());
    }
    for live in &mut lives {
        poll(&world, &model, live).await;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn watchers_see_everything_once_and_in_order(steps in prop::collection::vec(step(), 1..150)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(play(steps));
    }
}

/// The same under real concurrency: writers write, watchers keep dying and resuming, and in
/// the end each has seen exactly what the store's history says.
#[test]
fn nothing_is_missed_or_seen_twice_while_everyone_runs() {
    const WRITERS: usize = 4;
    const WRITES: usize = 150;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build().unwrap();
    runtime.block_on(async {
        let world = Arc::new(world(Options { ring_bytes: 60_000, ..Options::default() }).await);
        let last = (WRITERS * WRITES) as u64;
        let watchers: Vec<_> = (0..12)
            .map(|n| {
                let world = Arc::clone(&world);
                let topic = topic(n % 6);
                tokio::spawn(async move {
                    let (mut at, mut all) = (0, Vec::new());
                    // Each life ends after a different number of events.
                    for life in 1.. {
                        let from = From::After(at);
                        let Ok(mut watcher) = world.bus.watch(world.pods, topic.clone(), from)
                        else {
                            panic!("nothing was compacted")
                        };
                        let mut progress = world.bus.progress();
                        let mut left = life * usize::from(n + 3);
                        while left > 0 {
                            tokio::select! {
                                events = watcher.next() => match events {
                                    Ok(events) => {
                                        left = left.saturating_sub(events.len());
                                        all.extend(events.iter().map(|event| seen(event)));
                                    }
                                    // Overtaken by the ring: resume from the history.
                                    Err(Gone) => break,
                                },
                                _ = progress.changed() => {}
                            }
                            at = watcher.revision();
                            if at >= last {
                                return (topic, all);
                            }
                        }
                        at = all.last().map_or(at, |event: &Seen| at.max(event.revision));
                    }
                    unreachable!("the writers end");
                })
            })
            .collect();
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let world = Arc::clone(&world);
                tokio::spawn(async move {
                    for n in 0..WRITES {
                        let (namespace, name) = (format!("ns{}", n % 2), format!("p{writer}"));
                        let node = format!("n{}", n % 3);
                        world.store.commit(txn([pod(&namespace, &name, &node)])).await.unwrap();
                    }
                })
            })
            .collect();
        for writer in writers {
            writer.await.unwrap();
        }
        let history = world.store.events(b"/registry/pods/", 0, usize::MAX).await.unwrap();
        for watcher in watchers {
            let (topic, all) = watcher.await.unwrap();
            let revisions: Vec<_> = all.iter().map(|event| event.revision).collect();
            let mut before: BTreeMap<&[u8], String> = BTreeMap::new();
            let mut expect = Vec::new();
            for event in &history {
                let (_, namespace, name) =
                    world.bus.registry().by_key(std::str::from_utf8(&event.key).unwrap()).unwrap();
                let json: serde_json::Value =
                    serde_json::from_slice(&event.record.as_ref().unwrap().value).unwrap();
                let node = json["spec"]["nodeName"].as_str().unwrap().to_owned();
                let old = before.insert(&event.key, node.clone());
                let concerned = match &topic {
                    Topic::All => true,
                    Topic::Namespace(only) => **only == *namespace,
                    Topic::Name(ns, only) => **ns == *namespace && **only == *name,
                    Topic::Field(_, only) => {
                        **only == *node || old.is_some_and(|old| **only == *old)
                    }
                };
                if concerned {
                    expect.push(event.revision);
                }
            }
            assert_eq!(revisions, expect, "{topic:?}");
        }
    });
}
