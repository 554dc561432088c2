//! What a store promises, tried on every engine.

mod support;

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use pintle_storage::{
    CommitError, EngineKind, Expect, Op, OpenError, Options, ReadError, Revision, Store,
    StoreEvent, Txn, Value, limits, open,
};
use support::{Site, on_every_engine};

fn put(key: &str, value: &str) -> Txn {
    Txn::put(key.to_owned(), Value::plain(value.to_owned()))
}

fn put_op(key: &str, value: impl Into<Bytes>) -> Op {
    let (key, value) = (Bytes::copy_from_slice(key.as_bytes()), Value::plain(value));
    Op::Put { key, value, expires_at_unix_seconds: None }
}

fn expiring(key: &str, at: u64) -> Txn {
    let key = Bytes::copy_from_slice(key.as_bytes());
    let value = Value::plain("x");
    let op = Op::Put { key, value, expires_at_unix_seconds: Some(at) };
    Txn { guards: Vec::new(), ops: vec![op] }
}

async fn write(store: &dyn Store, txn: Txn) -> Revision {
    store.commit(txn).await.unwrap().revision
}

/// The value of a key as text.
async fn read(store: &dyn Store, key: &str, at: Option<Revision>) -> Option<String> {
    let record = store.get(key.as_bytes(), at).await.unwrap()?;
    Some(String::from_utf8(record.value.to_vec()).unwrap())
}

async fn keys(store: &dyn Store, start: &str, end: &str, at: Option<Revision>) -> Vec<String> {
    let page = store.range(start.as_bytes(), end.as_bytes(), at, 0).await.unwrap();
    page.records.iter().map(|record| String::from_utf8_lossy(&record.key).into_owned()).collect()
}

/// Collects what a follower sees.
fn follow(store: &dyn Store) -> (Revision, Arc<Mutex<Vec<StoreEvent>>>) {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&seen);
    let from = store.follow(Box::new(move |batch| {
        sink.lock().unwrap().extend(batch.events.iter().cloned());
    }));
    (from, seen)
}

fn shape(events: &[StoreEvent]) -> Vec<(Revision, String, bool)> {
    let text = |key: &[u8]| String::from_utf8_lossy(key).into_owned();
    events.iter().map(|event| (event.revision, text(&event.key), event.record.is_some())).collect()
}

#[test]
fn records_count_their_versions_and_remember_their_creation() {
    on_every_engine(async |site| {
        let store = site.open();
        let facts = async || {
            let record = store.get(b"/a", None).await.unwrap().unwrap();
            (record.create_revision, record.mod_revision, record.version)
        };
        write(&*store, put("/a", "1")).await;
        assert_eq!(facts().await, (1, 1, 1));
        write(&*store, put("/b", "1")).await;
        write(&*store, put("/a", "2")).await;
        assert_eq!(facts().await, (1, 3, 2));
        write(&*store, Txn::delete("/a")).await;
        write(&*store, put("/a", "3")).await;
        assert_eq!(facts().await, (5, 5, 1));
        let before = store.get(b"/a", Some(4)).await.unwrap();
        assert_eq!(before, None);
        assert_eq!(read(&*store, "/a", Some(3)).await.as_deref(), Some("2"));
    });
}

#[test]
fn guards_decide_and_say_what_they_found() {
    on_every_engine(async |site| {
        let store = site.open();
        let check = async |txn: Txn, expect: Result<Revision, Option<Revision>>| match (
            store.commit(txn).await,
            expect,
        ) {
            (Ok(done), Ok(revision)) => assert_eq!(done.revision, revision),
            (Err(CommitError::Guard { key, actual }), Err(expect)) => {
                assert_eq!((&*key, actual), (&b"/a"[..], expect));
            }
            (result, expect) => panic!("{result:?}, not {expect:?}"),
        };
        check(put("/a", "1").guard("/a", Expect::Present), Err(None)).await;
        check(put("/a", "1").guard("/a", Expect::ModRevision(1)), Err(None)).await;
        check(put("/a", "1").guard("/a", Expect::Absent), Ok(1)).await;
        check(put("/a", "1").guard("/a", Expect::Absent), Err(Some(1))).await;
        check(put("/b", "1").guard("/a", Expect::ModRevision(1)), Ok(2)).await;
        check(put("/a", "2").guard("/a", Expect::ModRevision(1)), Ok(3)).await;
        check(put("/a", "3").guard("/a", Expect::ModRevision(1)), Err(Some(3))).await;
        check(Txn::delete("/a").guard("/a", Expect::Present), Ok(4)).await;
        check(put("/b", "2").guard("/a", Expect::Present), Err(None)).await;
        // Only a question: no revision is spent on it.
        check(Txn::default().guard("/a", Expect::Absent), Ok(4)).await;
    });
}

#[test]
fn a_transaction_happens_at_one_revision_or_not_at_all() {
    on_every_engine(async |site| {
        let store = site.open();
        let (_, seen) = follow(&*store);
        write(&*store, put("/old", "1")).await;
        let delete = |key: &'static str| Op::Delete { key: Bytes::from_static(key.as_bytes()) };
        let txn = Txn {
            guards: Vec::new(),
            ops: vec![put_op("/a", "1"), delete("/old"), delete("/never"), put_op("/b", "2")],
        };
        let done = store.commit(txn.clone()).await.unwrap();
        assert_eq!(done.revision, 2);
        let written: Vec<_> = done.records.iter().map(Option::is_some).collect();
        assert_eq!(written, [true, false, false, true]);
        assert_eq!(keys(&*store, "/", "", None).await, ["/a", "/b"]);
        let failed = store.commit(txn.guard("/old", Expect::Present)).await;
        assert!(matches!(failed, Err(CommitError::Guard { actual: None, .. })));
        assert_eq!(store.revision(), 2);
        let text = |key: &str| key.to_owned();
        assert_eq!(
            shape(&seen.lock().unwrap()),
            [
                (1, text("/old"), true),
                (2, text("/a"), true),
                (2, text("/old"), false),
                (2, text("/b"), true)
            ]
        );
    });
}

#[test]
fn deleting_nothing_is_no_change() {
    on_every_engine(async |site| {
        let store = site.open();
        let (_, seen) = follow(&*store);
        assert_eq!(write(&*store, Txn::delete("/a")).await, 0);
        assert_eq!(write(&*store, Txn::default()).await, 0);
        assert_eq!(write(&*store, put("/a", "1")).await, 1);
        assert_eq!(write(&*store, Txn::delete("/a")).await, 2);
        assert_eq!(write(&*store, Txn::delete("/a")).await, 2);
        assert_eq!(seen.lock().unwrap().len(), 2);
    });
}

#[test]
fn what_is_malformed_or_too_large_is_refused_and_the_rest_goes_on() {
    on_every_engine(async |site| {
        let store = site.open();
        let check = async |txn: Txn, expect: &str| {
            let error = store.commit(txn).await.unwrap_err().to_string();
            assert!(error.contains(expect), "{error}, not {expect}");
        };
        check(put("", "1"), "a key is empty").await;
        check(put(&"k".repeat(limits::KEY_BYTES + 1), "1"), "key bytes 1281 exceeds").await;
        let large = vec![b'x'; limits::VALUE_BYTES + 1];
        check(Txn { guards: vec![], ops: vec![put_op("/a", large)] }, "value bytes").await;
        let value = vec![b'x'; limits::VALUE_BYTES];
        let ops: Vec<_> = (0..5).map(|n| put_op(&format!("/{n}"), value.clone())).collect();
        check(Txn { guards: vec![], ops }, "value bytes of all operations").await;
        let ops = vec![put_op("/a", "1"), put_op("/b", "1"), put_op("/a", "2")];
        check(Txn { guards: vec![], ops }, "key /a is written twice").await;
        let ops = (0..=limits::TXN_OPS).map(|n| put_op(&format!("/{n}"), "")).collect();
        check(Txn { guards: vec![], ops }, "operations 1025 exceeds").await;
        let outside = Value { bytes: Bytes::from_static(b"ab"), revision_at: Some(3) };
        check(Txn::put("/a", outside), "outside the value").await;
        assert_eq!(store.revision(), 0);
        let ops: Vec<_> = (0..4).map(|n| put_op(&format!("/{n}"), value.clone())).collect();
        assert_eq!(write(&*store, Txn { guards: vec![], ops }).await, 1);
    });
}

#[test]
fn values_of_any_size_come_back() {
    on_every_engine(async |site| {
        let sizes = [0, 1, 5999, 6000, 6001, 12_000, 12_001, 300_000, limits::VALUE_BYTES];
        let value = |size: usize| Bytes::from_iter((0..size).map(|n| (n % 251) as u8));
        let store = site.open();
        for size in sizes {
            let txn = Txn::put(format!("/{size}"), Value::plain(value(size)));
            store.commit(txn).await.unwrap();
        }
        let check = async |store: &dyn Store| {
            for size in sizes {
                let record = store.get(format!("/{size}").as_bytes(), None).await.unwrap();
                assert!(record.unwrap().value == value(size), "{size}");
            }
        };
        check(&*store).await;
        drop(store);
        check(&*site.open()).await;
    });
}

#[test]
fn the_revision_is_spliced_where_it_was_asked_for() {
    on_every_engine(async |site| {
        let store = site.open();
        // Across a chunk's boundary, and from one digit to three.
        let head = "x".repeat(5999);
        for revision in 1..=101_u64 {
            let at = [0, 5999, 6005][(revision % 3) as usize];
            let bytes = Bytes::from(format!("{head}\"tail\""));
            let done = store
                .commit(Txn::put("/a", Value { bytes: bytes.clone(), revision_at: Some(at) }))
                .await
                .unwrap();
            let record = store.get(b"/a", None).await.unwrap().unwrap();
            assert_eq!(done.records, [Some(record.clone())]);
            let (offset, length) = record.revision_span.unwrap();
            assert_eq!(offset, at);
            let (start, end) = (offset as usize, offset as usize + usize::from(length));
            assert_eq!(record.value[start..end], *revision.to_string().as_bytes());
            assert_eq!([&record.value[..start], &record.value[end..]].concat(), bytes);
        }
    });
}

#[test]
fn ranges_are_ordered_limited_and_stable_at_a_revision() {
    on_every_engine(async |site| {
        let store = site.open();
        for key in ["/c", "/a", "/d", "/b", "/a/x"] {
            write(&*store, put(key, key)).await;
        }
        write(&*store, Txn::delete("/b")).await;
        assert_eq!(keys(&*store, "/", "", None).await, ["/a", "/a/x", "/c", "/d"]);
        assert_eq!(keys(&*store, "/", "", Some(5)).await, ["/a", "/a/x", "/b", "/c", "/d"]);
        assert_eq!(keys(&*store, "/", "", Some(2)).await, ["/a", "/c"]);
        assert_eq!(keys(&*store, "/a/", "/a0", None).await, ["/a/x"]);
        assert_eq!(keys(&*store, "/b", "/d", Some(5)).await, ["/b", "/c"]);
        assert!(keys(&*store, "/d", "/a", None).await.is_empty());
        assert!(keys(&*store, "/", "", Some(0)).await.is_empty());
        let check = async |limit, expect: &[&str], more| {
            let page = store.range(b"/", b"", None, limit).await.unwrap();
            let keys: Vec<_> = page.records.iter().map(|record| &record.key[..]).collect();
            let expect: Vec<_> = expect.iter().map(|key| key.as_bytes()).collect();
            assert_eq!((keys, page.more, page.revision), (expect, more, 6));
        };
        check(1, &["/a"], true).await;
        check(3, &["/a", "/a/x", "/c"], true).await;
        check(4, &["/a", "/a/x", "/c", "/d"], false).await;
        let future = store.range(b"/", b"", Some(7), 0).await;
        assert!(matches!(future, Err(ReadError::Future { requested: 7, current: 6 })));
        assert!(matches!(store.get(b"/a", Some(7)).await, Err(ReadError::Future { .. })));
    });
}

#[test]
fn history_is_what_followers_saw() {
    on_every_engine(async |site| {
        let store = site.open();
        let (from, seen) = follow(&*store);
        assert_eq!(from, 0);
        for n in 0..10 {
            let ops = vec![put_op(&format!("/a/{n}"), "1"), put_op("/b/x", vec![b'x'; 9000])];
            write(&*store, Txn { guards: vec![], ops }).await;
            if n % 3 == 0 {
                write(&*store, Txn::delete(format!("/a/{n}"))).await;
            }
        }
        let seen = seen.lock().unwrap().clone();
        let history = store.events(b"/", 0, usize::MAX).await.unwrap();
        assert_eq!(shape(&history), shape(&seen));
        for (old, new) in history.iter().zip(&seen) {
            assert_eq!(old.record, new.record);
        }
        let tail: Vec<_> = seen.iter().filter(|e| e.revision > 5).cloned().collect();
        assert_eq!(shape(&store.events(b"/", 5, 1000).await.unwrap()), shape(&tail));
        let some: Vec<_> =
            tail.iter().filter(|e| e.key.starts_with(b"/a/")).take(3).cloned().collect();
        assert_eq!(shape(&store.events(b"/a/", 5, 3).await.unwrap()), shape(&some));
        // A transaction is not cut in two.
        let two = store.events(b"/", 0, 1).await.unwrap();
        assert_eq!(two.iter().map(|e| e.revision).collect::<Vec<_>>(), [1, 1]);
        assert!(store.events(b"/", store.revision(), 10).await.unwrap().is_empty());
        let future = store.events(b"/", store.revision() + 1, 10).await;
        assert!(future.unwrap().is_empty());
    });
}

#[test]
fn compaction_forgets_the_past_and_only_the_past() {
    on_every_engine(async |site| {
        let mut store = site.open();
        for n in 1..=9 {
            write(&*store, put("/a", &n.to_string())).await;
        }
        write(&*store, put("/gone", "x")).await;
        write(&*store, Txn::delete("/gone")).await;
        write(&*store, put("/late", "x")).await;
        write(&*store, Txn::delete("/late")).await;
        store.compact(11).await.unwrap();
        for round in 0..2 {
            assert_eq!((store.revision(), store.compacted()), (13, 11), "{round}");
            let refused = store.get(b"/a", Some(10)).await;
            assert!(matches!(refused, Err(ReadError::Compacted { requested: 10, oldest: 11 })));
            assert!(matches!(store.events(b"/", 10, 9).await, Err(ReadError::Compacted { .. })));
            assert!(store.range(b"/", b"", Some(1), 0).await.is_err());
            assert_eq!(read(&*store, "/a", Some(11)).await.as_deref(), Some("9"));
            assert_eq!(read(&*store, "/a", None).await.as_deref(), Some("9"));
            assert_eq!(read(&*store, "/gone", Some(11)).await, None);
            assert_eq!(read(&*store, "/late", Some(12)).await.as_deref(), Some("x"));
            let rest = store.events(b"/", 11, 9).await.unwrap();
            assert_eq!(
                shape(&rest),
                [(12, "/late".to_owned(), true), (13, "/late".to_owned(), false)]
            );
            drop(store);
            store = site.open();
        }
        // An older limit changes nothing, a future one is refused.
        store.compact(3).await.unwrap();
        assert_eq!(store.compacted(), 11);
        assert!(matches!(store.compact(14).await, Err(ReadError::Future { .. })));
    });
}

#[test]
fn the_revision_survives_when_nothing_else_does() {
    on_every_engine(async |site| {
        let store = site.open();
        write(&*store, put("/a", "1")).await;
        write(&*store, Txn::delete("/a")).await;
        store.compact(2).await.unwrap();
        drop(store);
        let store = site.open();
        assert_eq!((store.revision(), store.compacted()), (2, 2));
        assert_eq!(write(&*store, put("/a", "1")).await, 3);
        assert_eq!(store.get(b"/a", None).await.unwrap().unwrap().create_revision, 3);
    });
}

#[test]
fn keys_expire_in_the_order_they_came() {
    on_every_engine(async |site| {
        let store = site.open();
        write(&*store, expiring("/late", 30)).await;
        write(&*store, expiring("/second", 10)).await;
        write(&*store, expiring("/first-renewed", 10)).await;
        write(&*store, expiring("/third", 5)).await;
        write(&*store, expiring("/kept", 5)).await;
        write(&*store, put("/kept", "for ever")).await;
        write(&*store, expiring("/deleted", 5)).await;
        write(&*store, Txn::delete("/deleted")).await;
        write(&*store, expiring("/first-renewed", 40)).await;
        assert_eq!(store.next_expiry(), Some(5));
        drop(store);
        let store = site.open();
        assert_eq!(store.next_expiry(), Some(5));
        let (from, seen) = follow(&*store);
        assert_eq!(store.expire(4).await.unwrap(), 0);
        assert_eq!(store.expire(29).await.unwrap(), 2);
        assert_eq!(
            shape(&seen.lock().unwrap()),
            [(from + 1, "/second".to_owned(), false), (from + 2, "/third".to_owned(), false)]
        );
        assert_eq!(store.next_expiry(), Some(30));
        assert_eq!(keys(&*store, "/", "", None).await, ["/first-renewed", "/kept", "/late"]);
        assert_eq!(store.expire(u64::MAX).await.unwrap(), 2);
        assert_eq!(store.next_expiry(), None);
        assert_eq!(keys(&*store, "/", "", None).await, ["/kept"]);
    });
}

#[test]
fn many_keys_expire_at_once() {
    on_every_engine(async |site| {
        let store = site.open();
        for batch in 0..5 {
            let ops = (0..600)
                .map(|n| Op::Put {
                    key: Bytes::from(format!("/{batch}/{n}")),
                    value: Value::plain("x"),
                    expires_at_unix_seconds: Some(1),
                })
                .collect();
            write(&*store, Txn { guards: vec![], ops }).await;
        }
        assert_eq!(store.expire(1).await.unwrap(), 3000);
        assert!(keys(&*store, "/", "", None).await.is_empty());
        assert_eq!(store.revision(), 3005);
    });
}

#[test]
fn a_counter_under_contention_counts_right() {
    on_every_engine(async |site| {
        let store = site.open();
        let (_, seen) = follow(&*store);
        write(&*store, put("/n", "0")).await;
        let add = |store: Arc<dyn Store>, seen: Arc<Mutex<Vec<StoreEvent>>>| async move {
            for _ in 0..20 {
                loop {
                    let record = store.get(b"/n", None).await.unwrap().unwrap();
                    let n: u64 = String::from_utf8_lossy(&record.value).parse().unwrap();
                    let txn = put("/n", &(n + 1).to_string())
                        .guard("/n", Expect::ModRevision(record.mod_revision));
                    match store.commit(txn).await {
                        Ok(done) => {
                            // Followers have it before the writer has its answer.
                            let last = seen.lock().unwrap().last().unwrap().revision;
                            assert!(last >= done.revision);
                            break;
                        }
                        Err(CommitError::Guard { actual, .. }) => {
                            assert!(actual > Some(record.mod_revision));
                        }
                        Err(other) => panic!("{other}"),
                    }
                }
            }
        };
        let writers: Vec<_> =
            (0..8).map(|_| tokio::spawn(add(Arc::clone(&store), Arc::clone(&seen)))).collect();
        for writer in writers {
            writer.await.unwrap();
        }
        assert_eq!(read(&*store, "/n", None).await.as_deref(), Some("160"));
        let revisions: Vec<_> = seen.lock().unwrap().iter().map(|event| event.revision).collect();
        assert_eq!(revisions, (1..=161).collect::<Vec<_>>());
    });
}

#[test]
fn a_follower_that_comes_late_has_no_gap() {
    on_every_engine(async |site| {
        let store = site.open();
        let writer = tokio::spawn({
            let store = Arc::clone(&store);
            async move {
                for n in 0..200 {
                    write(&*store, put(&format!("/{n}"), "x")).await;
                }
            }
        });
        let mut followers = Vec::new();
        for n in 0..20 {
            followers.push(follow(&*store));
            write(&*store, put(&format!("/other/{n}"), "x")).await;
        }
        writer.await.unwrap();
        for (from, seen) in followers {
            let seen: Vec<_> = seen.lock().unwrap().iter().map(|event| event.revision).collect();
            assert_eq!(seen, (from + 1..=220).collect::<Vec<_>>());
        }
    });
}

#[test]
fn a_directory_belongs_to_one_process_and_one_engine() {
    on_every_engine(async |site| {
        let store = site.open();
        let id = store.cluster_id().to_owned();
        write(&*store, put("/a", "1")).await;
        let error = open(site.kind, site.path(), Options::default()).err().unwrap();
        assert!(matches!(&error, OpenError::InUse { pid, .. } if *pid == Some(std::process::id())));
        assert!(error.to_string().contains("stop it or use another --data-dir"), "{error}");
        drop(store);
        let other = match site.kind {
            EngineKind::Sled => EngineKind::Redb,
            EngineKind::Redb => EngineKind::Sled,
        };
        let error = open(other, site.path(), Options::default()).err().unwrap();
        assert!(matches!(error, OpenError::OtherEngine { .. }), "{error}");
        assert_eq!(pintle_storage::engine_in(site.path()), Some(site.kind));
        assert_eq!(pintle_storage::engine_in(&site.path().join("new")), None);
        let store = site.open();
        assert_eq!(store.cluster_id(), id);
        assert_eq!(read(&*store, "/a", None).await.as_deref(), Some("1"));
        assert_ne!(Site::new(site.kind).open().cluster_id(), id);
    });
}

#[test]
fn files_far_larger_than_their_data_are_rewritten() {
    on_every_engine(async |site| {
        let store = site.open();
        for n in 0..300 {
            let value = Value::plain(vec![n as u8; 20_000]);
            write(&*store, Txn::put(format!("/{}", n % 3), value)).await;
        }
        write(&*store, expiring("/e", 7)).await;
        store.compact(store.revision()).await.unwrap();
        let id = store.cluster_id().to_owned();
        drop(store);
        let before = site.bytes();
        let options = Options { rewrite_above_bytes: 0, rewrite_factor: 2, ..Options::default() };
        let store = open(site.kind, site.path(), options.clone()).unwrap();
        assert!(site.path().join(format!("{}-2", site.kind)).is_dir());
        assert!(!site.path().join(format!("{}-1", site.kind)).exists());
        assert!(site.bytes() < before, "{} bytes before, {} after", before, site.bytes());
        assert_eq!((store.revision(), store.compacted(), store.cluster_id()), (301, 301, &*id));
        assert_eq!(keys(&*store, "/", "", None).await, ["/0", "/1", "/2", "/e"]);
        assert_eq!(store.get(b"/2", None).await.unwrap().unwrap().value, vec![43; 20_000]);
        assert_eq!(store.next_expiry(), Some(7));
        assert_eq!(write(&*store, put("/a", "1")).await, 302);
        drop(store);
        assert_eq!(read(&*site.open(), "/a", None).await.as_deref(), Some("1"));
    });
}

#[test]
fn what_an_interrupted_rewrite_or_creation_left_is_removed() {
    on_every_engine(async |site| {
        // A creation that did not get further than its announcement.
        let first = site.path().join(format!("{}-1", site.kind));
        std::fs::create_dir(&first).unwrap();
        std::fs::write(first.join("db"), "half").unwrap();
        std::fs::write(site.path().join("CURRENT"), format!("{}-1 new\n", site.kind)).unwrap();
        write(&*site.open(), put("/a", "1")).await;
        // A rewrite that was not finished.
        let next = site.path().join(format!("{}-2", site.kind));
        std::fs::create_dir(&next).unwrap();
        std::fs::write(next.join("db"), "half").unwrap();
        assert_eq!(read(&*site.open(), "/a", None).await.as_deref(), Some("1"));
        assert!(!next.exists());
        // Without CURRENT nobody can know; nothing is removed then.
        std::fs::remove_file(site.path().join("CURRENT")).unwrap();
        let error = open(site.kind, site.path(), Options::default()).err().unwrap();
        assert!(error.to_string().contains("CURRENT is missing"), "{error}");
        assert!(first.exists());
    });
}

/// What one key stands for is held by one writer at a time: taken together with the
/// writer's own key or not at all, and free again with its removal.
#[test]
fn a_key_that_must_be_absent_is_taken_by_one() {
    on_every_engine(async |site| {
        let store = site.open();
        let take = |owner: usize| Txn {
            guards: vec![],
            ops: vec![
                put_op("/claims/a", format!("owner-{owner}")),
                put_op(&format!("/registry/owner-{owner}"), "x"),
            ],
        };
        let attempts: Vec<_> = (0..50)
            .map(|owner| {
                let store = Arc::clone(&store);
                let txn = take(owner).guard("/claims/a", Expect::Absent);
                tokio::spawn(async move { store.commit(txn).await })
            })
            .collect();
        let mut won = Vec::new();
        for (owner, attempt) in attempts.into_iter().enumerate() {
            match attempt.await.unwrap() {
                Ok(_) => won.push(owner),
                Err(CommitError::Guard { key, .. }) => assert_eq!(&key[..], b"/claims/a"),
                Err(error) => panic!("{error}"),
            }
        }
        let [winner] = won[..] else { panic!("{won:?} hold the same key") };
        drop(store);
        let store = site.open();
        assert_eq!(read(&*store, "/claims/a", None).await, Some(format!("owner-{winner}")));
        assert_eq!(keys(&*store, "/registry/", "/registry0", None).await.len(), 1);
        let again = take(99).guard("/claims/a", Expect::Absent);
        assert!(matches!(store.commit(again.clone()).await, Err(CommitError::Guard { .. })));
        let delete = |key: &str| Op::Delete { key: Bytes::copy_from_slice(key.as_bytes()) };
        let ops = vec![delete("/claims/a"), delete(&format!("/registry/owner-{winner}"))];
        write(&*store, Txn { guards: Vec::new(), ops }).await;
        write(&*store, again).await;
    });
}
