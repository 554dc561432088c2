//! Reads of the past against a model that remembers every state.

mod support;

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use pintle_api::{kinds::ResourceId, selector::LabelSelector};
use pintle_storage::Op;
use pintle_watch::{Bus, Object, Options, Pinned, Query, RevisionGone, Topic};
use proptest::prelude::*;
use support::*;

/// One object as the model knows it.
#[derive(Clone, Debug, PartialEq)]
struct Thing {
    node: u8,
    label: u8,
    /// 0: none.
    owner: u8,
    revision: u64,
}

/// Plural, namespace and name, which sort as the bus's lists do.
type Place = (&'static str, String);
type State = BTreeMap<Place, Thing>;

const KINDS: [&str; 3] = ["configmaps", "nodes", "pods"];

fn place(kind: u8, namespace: u8, name: u8) -> Place {
    match KINDS[usize::from(kind)] {
        "nodes" => ("nodes", format!("x{name}")),
        // '-' sorts before '/', so that the order of keys is not that of namespaces.
        kind => (kind, format!("{}/x{name}", ["a", "a-b"][usize::from(namespace)])),
    }
}

fn put((kind, full): &Place, thing: &Thing) -> Op {
    let (namespace, name) = full.split_once('/').unwrap_or(("", full));
    let owners = match thing.owner {
        0 => String::new(),
        n => format!(r#","ownerReferences":[{{"uid":"u{n}"}},{{"uid":"everyone"}}]"#),
    };
    let meta = format!(
        r#","name":"{name}","namespace":"{namespace}","labels":{{"l":"{}","of":"{kind}","own":"{name}"}}{owners}"#,
        thing.label
    );
    object(
        &format!("/registry/{kind}/{full}"),
        &meta,
        &format!(r#","spec":{{"nodeName":"n{}"}}"#, thing.node),
    )
}

/// `None` deletes.
type Commit = BTreeMap<(u8, u8, u8), Option<(u8, u8, u8)>>;

fn commit() -> impl Strategy<Value = Commit> {
    // Nodes have no namespace.
    let places = (0..3_u8, 0..2_u8, 0..3_u8)
        .prop_map(|(kind, namespace, name)| (kind, if kind == 1 { 0 } else { namespace }, name));
    let things = prop_oneof![
        3 => (0..2_u8, 0..3_u8, 0..3_u8).prop_map(Some),
        2 => Just(None),
    ];
    prop::collection::btree_map(places, things, 1..4)
}

fn apply(state: &State, commit: &Commit) -> (State, Vec<Op>) {
    let (mut next, mut ops) = (state.clone(), Vec::new());
    for ((kind, namespace, name), thing) in commit {
        let place = place(*kind, *namespace, *name);
        match thing {
            Some((node, label, owner)) => {
                let thing = Thing { node: *node, label: *label, owner: *owner, revision: 0 };
                ops.push(put(&place, &thing));
                next.insert(place, thing);
            }
            None => {
                ops.push(delete(&format!("/registry/{}/{}", place.0, place.1)));
                next.remove(&place);
            }
        }
    }
    (next, ops)
}

fn ids(bus: &Bus) -> Vec<(&'static str, ResourceId)> {
    let id = |plural| bus.registry().by_plural("", "v1", plural).unwrap().id;
    let mut ids: Vec<_> = KINDS.iter().map(|kind| (*kind, id(kind))).collect();
    ids.sort_by_key(|(_, id)| *id);
    ids
}

fn seen(bus: &Bus, object: &Object) -> (Place, Thing) {
    let digit = |text: Option<&str>| text.and_then(|t| t[t.len() - 1..].parse().ok()).unwrap_or(0);
    let kind = KINDS.iter().find(|kind| bus.registry().get(object.resource).plural == **kind);
    let full = match object.namespace() {
        "" => object.name().to_owned(),
        namespace => format!("{namespace}/{}", object.name()),
    };
    let json = object.parse();
    let thing = Thing {
        node: digit(json["spec"]["nodeName"].as_str()),
        label: digit(object.label("l")),
        owner: object.meta.owners.first().map_or(0, |owner| digit(Some(&owner.uid))),
        revision: object.revision,
    };
    assert_eq!(json["metadata"]["resourceVersion"], object.revision.to_string());
    ((kind.unwrap(), full), thing)
}

/// Everything that can be asked, with the model's answer.
fn check(bus: &Bus, pinned: &Pinned<'_>, state: &State) -> Result<(), RevisionGone> {
    let ids = ids(bus);
    let shown = |objects: Vec<Arc<Object>>| -> Vec<(Place, Thing)> {
        objects.iter().map(|object| seen(bus, object)).collect()
    };
    let expect = |wanted: &dyn Fn(&Place, &Thing) -> bool| -> Vec<(Place, Thing)> {
        let of = |kind: &'static str| {
            state
                .iter()
                .filter(move |((of, _), _)| *of == kind)
                .map(|(p, t)| (p.clone(), t.clone()))
        };
        ids.iter().flat_map(|(kind, _)| of(kind)).filter(|(p, t)| wanted(p, t)).collect()
    };
    for (kind, id) in &ids {
        assert_eq!(shown(pinned.list(*id, None)?), expect(&|(of, _), _| of == kind));
        for namespace in ["a", "a-b"] {
            let prefix = format!("{namespace}/");
            assert_eq!(
                shown(pinned.list(*id, Some(namespace))?),
                expect(&|(of, full), _| of == kind && full.starts_with(&prefix))
            );
        }
        for selector in ["l=1", "l in (0,2)", "l!=1", "own=x1,l=2", "of,own in (x0,x2)", "l=9"] {
            let labels = LabelSelector::parse(selector).unwrap();
            let wanted = |(of, full): &Place, thing: &Thing| {
                let (label, own) = (thing.label.to_string(), &full[full.len() - 2..]);
                of == kind
                    && labels.matches(|key| match key {
                        "l" => Some(label.as_str()),
                        "own" => Some(own),
                        "of" => Some(kind),
                        _ => None,
                    })
            };
            let expect = expect(&wanted);
            assert_eq!(shown(pinned.labelled(*id, &labels)?), expect, "{selector}");
            let query = Query { labels: Some(&labels), limit: 1, ..Query::of(*id) };
            assert_eq!(shown(pinned.select(&query)?), expect[..expect.len().min(1)]);
        }
        let owned = Query { resource: Some(*id), ..Query::owned_by("everyone") };
        assert_eq!(
            shown(pinned.select(&owned)?),
            expect(&|(of, _), thing| of == kind && thing.owner > 0)
        );
        for n in 0..3 {
            for namespace in 0..2 {
                let kind = KINDS.iter().position(|known| known == kind).unwrap() as u8;
                let place = place(kind, namespace, n);
                let (namespace, name) = place.1.split_once('/').unwrap_or(("", &place.1));
                let found = pinned.get(*id, namespace, name)?;
                let found = found.map(|object| seen(bus, &object).1);
                assert_eq!(found.as_ref(), state.get(&place), "{place:?}");
                let named = Query { field: Some(("metadata.name", name)), ..Query::of(*id) };
                let named = shown(pinned.select(&Query { namespace: Some(namespace), ..named })?);
                assert_eq!(named.first().map(|(_, thing)| thing), state.get(&place), "{place:?}");
            }
        }
    }
    let pods = ids.iter().find(|(kind, _)| *kind == "pods").unwrap().1;
    for node in 0..2 {
        let topic = Topic::field("spec.nodeName", &format!("n{node}"));
        let wanted = |(of, _): &Place, thing: &Thing| *of == "pods" && thing.node == node;
        assert_eq!(shown(pinned.list_topic(pods, &topic)?), expect(&wanted));
    }
    for owner in 1..3 {
        let found = pinned.owned_by(&format!("u{owner}"))?;
        assert_eq!(shown(found), expect(&|_, thing| thing.owner == owner));
    }
    let in_a = |(_, full): &Place, _: &Thing| full.starts_with("a/");
    assert_eq!(shown(pinned.by_namespace("a")?), expect(&in_a));
    Ok(())
}

/// Whoever remembers an answer and is told what has changed knows the present one.
fn follow(bus: &Bus, since: u64) -> Result<(), RevisionGone> {
    let pinned = bus.at(bus.revision()).unwrap();
    let labels = ["l=1", "l!=2"].map(|selector| LabelSelector::parse(selector).unwrap());
    for (_, id) in ids(bus) {
        let of = Query::of(id);
        for query in [
            of,
            Query { labels: Some(&labels[0]), ..of },
            Query { labels: Some(&labels[1]), namespace: Some("a"), ..of },
            Query { owner_uid: Some("u1"), ..of },
        ] {
            let remember = |objects: Vec<Arc<Object>>| -> BTreeMap<Place, Thing> {
                objects.iter().map(|object| seen(bus, object)).collect()
            };
            let mut known = remember(bus.at(since)?.select(&query)?);
            let changes = pinned.changes(&query, id, since)?;
            for gone in &changes.gone {
                known.remove(&seen(bus, gone).0);
            }
            assert!(changes.changed.iter().all(|object| object.revision > since));
            known.extend(remember(changes.changed));
            assert_eq!(known, remember(pinned.select(&query)?), "since {since}");
        }
    }
    Ok(())
}

async fn play(commits: Vec<Commit>, options: Options, must_hold: bool) {
    let world = world(options).await;
    let mut states = vec![State::new()];
    for commit in &commits {
        let (mut next, ops) = apply(states.last().unwrap(), commit);
        let before = world.bus.revision();
        world.store.commit(txn(ops)).await.unwrap();
        let revision = world.bus.revision();
        if revision == before {
            continue;
        }
        for (place, thing) in &mut next {
            if commit.iter().any(|((kind, ns, name), thing)| {
                thing.is_some() && self::place(*kind, *ns, *name) == *place
            }) {
                thing.revision = revision;
            }
        }
        assert_eq!(revision, states.len() as u64);
        states.push(next);
        for (revision, state) in states.iter().enumerate() {
            let pinned = world.bus.at(revision as u64).unwrap();
            let held = check(&world.bus, &pinned, state);
            assert!(held.is_ok() || !must_hold, "{revision} is gone");
            let held = follow(&world.bus, revision as u64);
            assert!(held.is_ok() || !must_hold, "what followed {revision} is gone");
        }
        assert_eq!(world.bus.at(revision + 1).err(), Some(RevisionGone { revision: revision + 1 }));
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(3).enable_all().build().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_read_equals_the_model_at_its_revision(commits in prop::collection::vec(commit(), 1..25)) {
        runtime().block_on(play(commits, Options::default(), true));
    }

    /// Rings for a handful of events: an answer is right or an error, never wrong.
    #[test]
    fn a_revision_that_left_the_ring_is_an_error(commits in prop::collection::vec(commit(), 10..25)) {
        runtime().block_on(play(commits, Options { ring_bytes: 4000, ..Options::default() }, false));
    }
}

/// The same while writers go on: each reader pins what it knows and reads it again and again.
#[test]
fn a_pinned_revision_stands_still_while_writers_go_on() {
    const WRITES: u8 = 120;
    runtime().block_on(async {
        let world = Arc::new(world(Options::default()).await);
        let done = Arc::new(AtomicBool::new(false));
        // State by revision, known before it is written.
        let mut states = vec![State::new()];
        let mut commits = Vec::new();
        for n in 0..WRITES {
            let thing = (n % 5 != 4).then_some((n % 2, n % 3, n % 3));
            let commit = Commit::from([
                ((n % 3, n % 2, n / 2 % 3), thing),
                // Something that always changes, so that every commit has a revision.
                ((2, 0, 0), Some((n % 2, n / 3 % 3, 1))),
            ]);
            let (mut next, ops) = apply(states.last().unwrap(), &commit);
            for (place, thing) in &mut next {
                let written = |((kind, ns, name), thing): (&(u8, u8, u8), &Option<_>)| {
                    thing.is_some() && self::place(*kind, *ns, *name) == *place
                };
                if commit.iter().any(written) {
                    thing.revision = states.len() as u64;
                }
            }
            states.push(next);
            commits.push(ops);
        }
        let states = Arc::new(states);
        let readers: Vec<_> = (0..2)
            .map(|_| {
                let (world, done, states) =
                    (Arc::clone(&world), Arc::clone(&done), Arc::clone(&states));
                tokio::task::spawn_blocking(move || {
                    let mut checks = 0;
                    while !done.load(Ordering::Relaxed) || checks == 0 {
                        let revision = world.bus.revision();
                        let pinned = world.bus.at(revision).unwrap();
                        for _ in 0..3 {
                            check(&world.bus, &pinned, &states[revision as usize]).unwrap();
                        }
                        checks += 1;
                    }
                    checks
                })
            })
            .collect();
        for ops in commits {
            world.store.commit(txn(ops)).await.unwrap();
        }
        done.store(true, Ordering::Relaxed);
        for reader in readers {
            assert!(reader.await.unwrap() > 0);
        }
    });
}

#[tokio::test]
async fn what_left_the_ring_or_has_not_come_is_named() {
    let world = world(Options { ring_bytes: 1600, ..Options::default() }).await;
    for n in 0..20 {
        world.store.commit(txn([pod("a", "x", &format!("n{}", n % 2))])).await.unwrap();
    }
    let gone = |revision| Some(RevisionGone { revision });
    let pinned = world.bus.at(1).unwrap();
    assert_eq!(pinned.list(world.pods, None).err(), gone(1));
    assert_eq!(pinned.get(world.pods, "a", "x").err(), gone(1));
    assert_eq!(pinned.by_namespace("a").err(), gone(1));
    // Nodes have had no events: their past is as good as their present.
    assert!(pinned.list(world.nodes, None).unwrap().is_empty());
    assert_eq!(world.bus.at(21).err(), gone(21));
    let before = world.bus.at(19).unwrap().get(world.pods, "a", "x").unwrap().unwrap();
    assert_eq!((before.revision, before.field("spec.nodeName")), (19, Some("n0")));
}
