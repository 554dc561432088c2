//! Guards, revisions and values of transactions.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use pintle_storage::{CommitError, Expect, Op, Revision, Store, StoreEvent, Txn, Value, limits};

use crate::support::on_every_engine;
use crate::{follow, keys, put, put_op, read, shape, write};

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
