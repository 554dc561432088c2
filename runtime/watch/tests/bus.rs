//! The bus over a real store, story by story.

mod support;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use pintle_api::kinds::Registry;
use pintle_storage::Txn;
use pintle_watch::{Bus, EventKind, From, Gone, LoadError, Options, Topic};
use support::*;

/// Room for two small events per resource.
fn small_ring() -> Options {
    Options { ring_bytes: 1600, ..Options::default() }
}

#[tokio::test]
async fn a_write_is_listed_and_watched() {
    let world = world(Options::default()).await;
    let (store, bus, pods) = (&world.store, &world.bus, world.pods);
    let mut all = bus.watch(pods, Topic::All, From::Now).unwrap();
    let mut everything = bus.watch_all(From::Initial).unwrap();
    store.commit(txn([pod("a", "x", "")])).await.unwrap();
    store.commit(txn([pod("a", "x", "n1")])).await.unwrap();
    // Whoever was answered finds the write.
    assert_eq!(bus.revision(), 2);
    let object = bus.get(pods, "a", "x").unwrap();
    assert_eq!((object.revision, object.create_revision), (2, 1));
    assert_eq!(object.field("spec.nodeName"), Some("n1"));
    assert_eq!(object.field("spec.restartPolicy"), Some(""));
    assert_eq!(object.field("metadata.name"), Some("x"));
    assert_eq!(object.field("spec.nothing"), None);
    store.commit(txn([delete(&pod_key("a", "x"))])).await.unwrap();
    assert!(bus.get(pods, "a", "x").is_none());
    let expect =
        [(1, "ADDED"), (2, "MODIFIED"), (3, "DELETED")].map(|(n, k)| (n, k, "a/x".to_owned()));
    let events = all.next().await.unwrap();
    assert_eq!(shape(&events), expect);
    assert_eq!(shape(&everything.next().await.unwrap()), expect);
    let line = events[2].json();
    let json: serde_json::Value = serde_json::from_slice(&line).unwrap();
    assert_eq!((&json["type"], line.last()), (&"DELETED".into(), Some(&b'\n')));
    assert_eq!(json["object"]["metadata"]["resourceVersion"], "3");
    assert_eq!(json["object"]["spec"]["nodeName"], "n1");
}

#[tokio::test]
async fn lists_are_in_the_order_of_the_store() {
    let world = world(Options::default()).await;
    let (store, bus, pods) = (&world.store, &world.bus, world.pods);
    // '-' sorts before '/': whole namespaces would be in the other order.
    for (namespace, name) in [("a", "x"), ("a-b", "x"), ("a", "y"), ("b", "x")] {
        store.commit(txn([pod(namespace, name, namespace)])).await.unwrap();
    }
    let names = |objects: Vec<Arc<pintle_watch::Object>>| {
        objects.iter().map(|o| format!("{}/{}", o.namespace(), o.name())).collect::<Vec<_>>()
    };
    let listing = bus.list(pods, None);
    assert_eq!(listing.revision, 4);
    assert_eq!(names(listing.objects), ["a-b/x", "a/x", "a/y", "b/x"]);
    assert_eq!(names(bus.list(pods, Some("a")).objects), ["a/x", "a/y"]);
    assert!(bus.list(pods, Some("")).objects.is_empty());
    let topic = |topic| names(bus.list_topic(pods, &topic).objects);
    assert_eq!(topic(Topic::field("spec.nodeName", "a-b")), ["a-b/x"]);
    assert_eq!(topic(Topic::field("spec.nodeName", "c")), [""; 0]);
    assert_eq!(topic(Topic::field("spec.restartPolicy", "")).len(), 4);
    assert_eq!(topic(Topic::name("a", "y")), ["a/y"]);
    assert_eq!(names(bus.by_namespace("a")), ["a/x", "a/y"]);
    assert_eq!(bus.count(pods), 4);
}

#[tokio::test]
async fn an_object_that_starts_or_stops_matching_comes_and_goes() {
    let world = world(Options::default()).await;
    let (store, bus, pods) = (&world.store, &world.bus, world.pods);
    let topic = Topic::field("spec.nodeName", "n1");
    let mut watcher = bus.watch(pods, topic.clone(), From::Now).unwrap();
    for node in ["", "n1", "n1", "n2", "n1"] {
        store.commit(txn([pod("a", "x", node)])).await.unwrap();
    }
    store.commit(txn([pod("a", "other", "n2")])).await.unwrap();
    store.commit(txn([delete(&pod_key("a", "x"))])).await.unwrap();
    let events = watcher.next().await.unwrap();
    let seen: Vec<_> = events
        .iter()
        .filter_map(|event| event.for_selector(|object| topic.matches(object)))
        .map(|(kind, object)| {
            let json = object.parse();
            let version = json["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
            (kind, version, json["spec"]["nodeName"].as_str().unwrap().to_owned())
        })
        .collect();
    use EventKind::*;
    let expect = [(Added, "2"), (Modified, "3"), (Deleted, "4"), (Added, "5"), (Deleted, "7")];
    // Also the ones that left are shown as they were when they matched.
    assert_eq!(seen, expect.map(|(kind, version)| (kind, version.to_owned(), "n1".to_owned())));
    // The event at revision 4 as everyone else sees it.
    assert_eq!(events[2].kind, Modified);
}

#[tokio::test]
async fn a_transaction_is_seen_whole() {
    let world = world(Options::default()).await;
    let (store, bus) = (&world.store, &world.bus);
    let kinds = [world.nodes, world.pods];
    let mut both = bus.watch_kinds(&kinds, From::Now).unwrap();
    let mut nodes = bus.watch(world.nodes, Topic::name("", "n1"), From::Now).unwrap();
    let ops = [pod("a", "x", "n1"), node("n1"), pod("a", "y", "n1")];
    let ops = [ops.as_slice(), &[delete("/elsewhere")]].concat();
    store.commit(txn(ops)).await.unwrap();
    let mut seen = shape(&both.next().await.unwrap());
    seen.sort();
    let expect = ["/n1", "a/x", "a/y"].map(|name| (1, "ADDED", name.to_owned()));
    assert_eq!(seen, expect);
    assert_eq!(shape(&nodes.next().await.unwrap()), expect[..1]);
    // What no resource owns moves the revision and nothing else.
    store.commit(Txn::put("/elsewhere", pintle_storage::Value::plain("x"))).await.unwrap();
    assert!(both.try_next().unwrap().is_empty());
    assert_eq!((both.revision(), nodes.revision(), bus.revision()), (2, 2, 2));
}

#[tokio::test]
async fn a_watch_resumes_from_the_ring_or_from_the_stores_history() {
    let world = world(small_ring()).await;
    let (store, bus, pods) = (&world.store, &world.bus, world.pods);
    for n in 0..20 {
        store
            .commit(txn([pod("a", &format!("p{}", n % 3), &format!("n{}", n % 2))]))
            .await
            .unwrap();
    }
    store.commit(txn([delete(&pod_key("a", "p0"))])).await.unwrap();
    let collect = async |topic: Topic, after| {
        let mut watcher = bus.watch(pods, topic, From::After(after)).unwrap();
        let mut seen = Vec::new();
        while watcher.revision() < 21 {
            seen.extend(watcher.next().await.unwrap());
        }
        shape(&seen)
    };
    let all = collect(Topic::All, 0).await;
    assert_eq!(
        all.iter().map(|(revision, ..)| *revision).collect::<Vec<_>>(),
        (1..=21).collect::<Vec<_>>()
    );
    assert_eq!(all[20], (21, "DELETED", "a/p0".to_owned()));
    for after in 0..=20 {
        assert_eq!(collect(Topic::All, after).await, all[after as usize..]);
        let named: Vec<_> =
            all[after as usize..].iter().filter(|(.., name)| name == "a/p0").cloned().collect();
        assert_eq!(collect(Topic::name("a", "p0"), after).await, named);
    }
    // Watching goes on after the history.
    let mut watcher = bus.watch(pods, Topic::All, From::After(5)).unwrap();
    let mut seen = 0;
    while seen < 16 {
        seen += watcher.next().await.unwrap().len();
    }
    store.commit(txn([pod("a", "p9", "")])).await.unwrap();
    assert_eq!(shape(&watcher.next().await.unwrap()), [(22, "ADDED", "a/p9".to_owned())]);

    store.compact(10).await.unwrap();
    assert!(matches!(bus.watch(pods, Topic::All, From::After(9)), Err(Gone)));
    assert!(bus.watch(pods, Topic::All, From::After(10)).is_ok());
}

#[tokio::test]
async fn a_slow_watcher_is_dropped_and_a_quiet_one_is_not() {
    let world = world(small_ring()).await;
    let (store, bus, pods) = (&world.store, &world.bus, world.pods);
    let mut slow = bus.watch(pods, Topic::All, From::Now).unwrap();
    let mut slow_topic = bus.watch(pods, Topic::namespace("a"), From::Now).unwrap();
    let mut quiet = bus.watch(pods, Topic::name("a", "quiet"), From::Now).unwrap();
    let mut other = bus.watch(world.nodes, Topic::All, From::Now).unwrap();
    for _ in 0..50 {
        store.commit(txn([pod("a", "x", "")])).await.unwrap();
    }
    assert_eq!(slow.next().await.unwrap_err(), Gone);
    assert_eq!(slow_topic.next().await.unwrap_err(), Gone);
    assert!(quiet.try_next().unwrap().is_empty());
    assert!(other.try_next().unwrap().is_empty());
    store.commit(txn([pod("a", "quiet", ""), node("n")])).await.unwrap();
    assert_eq!(shape(&quiet.next().await.unwrap()), [(51, "ADDED", "a/quiet".to_owned())]);
    assert_eq!(shape(&other.next().await.unwrap()), [(51, "ADDED", "/n".to_owned())]);
}

#[tokio::test]
async fn what_is_older_than_the_history_goes_even_from_quiet_resources() {
    let time = Arc::new(AtomicU64::new(0));
    let clock = Arc::clone(&time);
    let now = Arc::new(move || Duration::from_secs(clock.load(Ordering::Relaxed)));
    let history = Duration::from_secs(75);
    let world = world(Options { now, history, ..Options::default() }).await;
    let (store, bus, pods) = (&world.store, &world.bus, world.pods);
    let mut stale = bus.watch(pods, Topic::All, From::Now).unwrap();
    store.commit(txn([pod("a", "x", "")])).await.unwrap();
    let mut recent = bus.watch(pods, Topic::All, From::After(0)).unwrap();
    assert_eq!(recent.next().await.unwrap().len(), 1);
    time.store(76, Ordering::Relaxed);
    // The rings take turns: after this every one was looked at.
    for _ in 0..Registry::builtin().len() {
        store.commit(txn([node("n")])).await.unwrap();
    }
    assert_eq!(stale.next().await.unwrap_err(), Gone);
    assert!(recent.try_next().unwrap().is_empty());
}

#[tokio::test]
async fn the_initial_list_and_the_events_after_it_fit() {
    let world = world(Options::default()).await;
    let (store, bus, pods) = (&world.store, &world.bus, world.pods);
    store.commit(txn([pod("a", "x", "n1"), pod("a", "y", "n2")])).await.unwrap();
    let topic = Topic::field("spec.nodeName", "n1");
    let mut watcher = bus.watch(pods, topic, From::Initial).unwrap();
    let names: Vec<_> = watcher.initial.iter().map(|object| object.name()).collect();
    assert_eq!((names, watcher.revision()), (vec!["x"], 1));
    store.commit(txn([pod("a", "y", "n1")])).await.unwrap();
    assert_eq!(shape(&watcher.next().await.unwrap()), [(2, "MODIFIED", "a/y".to_owned())]);
}

#[tokio::test]
async fn owners_know_what_they_own() {
    let world = world(Options::default()).await;
    let (store, bus) = (&world.store, &world.bus);
    let owned = |name: &str, owners: &[&str]| {
        let owners: Vec<_> = owners.iter().map(|uid| format!(r#"{{"uid":"{uid}"}}"#)).collect();
        let meta = format!(r#","ownerReferences":[{}]"#, owners.join(","));
        object(&pod_key("a", name), &meta, "")
    };
    let names =
        |uid| bus.owned_by(uid).iter().map(|object| object.name().to_owned()).collect::<Vec<_>>();
    store.commit(txn([owned("x", &["u1"]), owned("y", &["u1", "u2"])])).await.unwrap();
    assert_eq!((names("u1"), names("u2")), (vec!["x".into(), "y".into()], vec!["y".into()]));
    store.commit(txn([owned("y", &["u2"])])).await.unwrap();
    assert_eq!((names("u1"), names("u2")), (vec!["x".into()], vec!["y".into()]));
    assert_eq!(bus.owned_by("u2")[0].revision, 2);
    store.commit(txn([delete(&pod_key("a", "x")), delete(&pod_key("a", "y"))])).await.unwrap();
    assert!(names("u1").is_empty() && names("u2").is_empty());
}

#[tokio::test]
async fn the_future_is_waited_for_but_not_for_ever() {
    let world = world(Options::default()).await;
    let (store, bus) = (Arc::clone(&world.store), world.bus.clone());
    assert_eq!(bus.wait_for(1, Duration::from_millis(10)).await, Err(0));
    let waiting = tokio::spawn(async move { bus.wait_for(1, Duration::from_secs(30)).await });
    store.commit(txn([node("n")])).await.unwrap();
    assert_eq!(waiting.await.unwrap(), Ok(()));
    assert_eq!(world.bus.wait_for(1, Duration::ZERO).await, Ok(()));
}

#[tokio::test]
async fn a_bus_loads_what_was_there_and_misses_nothing_meanwhile() {
    let world = world(Options::default()).await;
    let store = Arc::clone(&world.store);
    for n in 0..50 {
        store.commit(txn([pod("a", &format!("p{n:02}"), "n1")])).await.unwrap();
    }
    let writer = tokio::spawn({
        let store = Arc::clone(&store);
        async move {
            for n in 0..50 {
                store.commit(txn([pod("a", &format!("p{n:02}"), "n2")])).await.unwrap();
            }
        }
    });
    let bus = Bus::new(Registry::builtin(), Options::default());
    bus.load(Arc::clone(&store)).await.unwrap();
    writer.await.unwrap();
    assert_eq!(bus.revision(), 100);
    let moved = bus.list_topic(world.pods, &Topic::field("spec.nodeName", "n2"));
    assert_eq!(moved.objects.len(), 50);
    assert!(bus.list_topic(world.pods, &Topic::field("spec.nodeName", "n1")).objects.is_empty());
    assert!(matches!(bus.load(store).await, Err(LoadError::Twice)));
}
