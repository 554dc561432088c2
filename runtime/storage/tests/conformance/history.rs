//! Reads of the past, how it is given up, and what time deletes.

use std::sync::Arc;

use bytes::Bytes;
use pintle_storage::{Op, ReadError, Txn, Value};

use crate::support::on_every_engine;
use crate::{expiring, follow, keys, put, put_op, read, shape, write};

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
