//! Files written anew beside the commits.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use pintle_storage::{Options, ReadError, Store, Txn, Value, open};

use crate::support::{Site, on_every_engine};
use crate::{expiring, follow, keys, put, read, write};

/// The generations that lie in the directory, by number.
fn generations(site: &Site) -> Vec<u64> {
    let head = format!("{}-", site.kind);
    let entries = std::fs::read_dir(site.path()).unwrap();
    let mut found: Vec<u64> = entries
        .filter_map(|entry| entry.unwrap().file_name().to_str()?.strip_prefix(&head)?.parse().ok())
        .collect();
    found.sort_unstable();
    found
}

#[test]
fn files_far_larger_than_their_data_are_written_anew() {
    on_every_engine(async |site| {
        let options = Options { rewrite_above_bytes: 0, rewrite_factor: 2, ..Options::default() };
        let store = open(site.kind, site.path(), options.clone()).unwrap();
        for n in 0..300 {
            let value = Value::plain(vec![n as u8; 20_000]);
            write(&*store, Txn::put(format!("/{}", n % 3), value)).await;
        }
        write(&*store, expiring("/e", 7)).await;
        store.compact(store.revision()).await.unwrap();
        let id = store.cluster_id().to_owned();
        let before = site.bytes();
        let done = store.reclaim().await.unwrap().unwrap();
        assert!(done.after_bytes < done.before_bytes, "{done:?}");
        // Enough is enough.
        assert_eq!(store.reclaim().await.unwrap(), None);
        let check = async |store: &dyn Store| {
            assert_eq!((store.revision(), store.compacted(), store.cluster_id()), (301, 301, &*id));
            assert_eq!(keys(store, "/", "", None).await, ["/0", "/1", "/2", "/e"]);
            assert_eq!(store.get(b"/2", None).await.unwrap().unwrap().value, vec![43; 20_000]);
            assert_eq!(store.next_expiry(), Some(7));
        };
        check(&*store).await;
        drop(store);
        assert_eq!(generations(&site), [2]);
        assert!(site.bytes() < before, "{} bytes before, {} after", before, site.bytes());
        let store = open(site.kind, site.path(), options).unwrap();
        check(&*store).await;
        assert_eq!(write(&*store, put("/a", "1")).await, 302);
        drop(store);
        assert_eq!(read(&*site.open(), "/a", None).await.as_deref(), Some("1"));
    });
}

#[test]
fn opening_leaves_large_files_as_they_are() {
    on_every_engine(async |site| {
        drop(site.open());
        drop(site.open());
        assert_eq!(generations(&site), [1]);
    });
}

#[test]
fn small_files_are_left_alone() {
    on_every_engine(async |site| {
        let store = open(site.kind, site.path(), Options::default()).unwrap();
        write(&*store, put("/a", "1")).await;
        assert_eq!(store.reclaim().await.unwrap(), None);
        drop(store);
        assert_eq!(generations(&site), [1]);
    });
}

/// Writers, readers, a follower and compactions see nothing of it.
#[test]
fn everything_goes_on_meanwhile() {
    const WRITERS: usize = 4;
    const REWRITES: usize = 5;
    on_every_engine(async |site| {
        let store = site.open();
        let (from, seen) = follow(&*store);
        for n in 0..200 {
            let value = Value::plain(vec![n as u8; 3000]);
            write(&*store, Txn::put(format!("/before/{n}"), value)).await;
        }
        let over = Arc::new(AtomicBool::new(false));
        let writer = |writer: usize| {
            let (store, over) = (Arc::clone(&store), Arc::clone(&over));
            tokio::spawn(async move {
                let mut written = 0;
                while !over.load(Ordering::Relaxed) {
                    written += 1;
                    let key = format!("/writer/{writer}");
                    write(&*store, put(&key, &written.to_string())).await;
                    write(&*store, put(&format!("{key}/{}", written % 7), "x")).await;
                    write(&*store, Txn::delete(format!("{key}/{}", (written + 3) % 7))).await;
                    let read = read(&*store, &key, None).await;
                    assert_eq!(read, Some(written.to_string()));
                }
                written
            })
        };
        let writers: Vec<_> = (0..WRITERS).map(writer).collect();
        let compacting = tokio::spawn({
            let (store, over) = (Arc::clone(&store), Arc::clone(&over));
            async move {
                while !over.load(Ordering::Relaxed) {
                    store.compact(store.revision()).await.unwrap();
                    tokio::task::yield_now().await;
                }
            }
        });
        for _ in 0..REWRITES {
            assert!(store.reclaim().await.unwrap().is_some());
            let page = store.range(b"/before/", b"/before0", None, 0).await.unwrap();
            assert_eq!(page.records.len(), 200);
        }
        over.store(true, Ordering::Relaxed);
        let mut last = Vec::new();
        for writer in writers {
            last.push(writer.await.unwrap().to_string());
        }
        compacting.await.unwrap();
        let seen: Vec<_> = seen.lock().unwrap().iter().map(|event| event.revision).collect();
        assert_eq!(seen, (from + 1..=store.revision()).collect::<Vec<_>>());
        let all = keys(&*store, "/", "", None).await;
        let revision = store.revision();
        drop(store);
        assert_eq!(generations(&site), [1 + REWRITES as u64]);
        let store = site.open();
        assert_eq!(store.revision(), revision);
        assert_eq!(keys(&*store, "/", "", None).await, all);
        for (writer, last) in last.into_iter().enumerate() {
            assert_eq!(read(&*store, &format!("/writer/{writer}"), None).await, Some(last));
        }
    });
}

/// A store that is closed meanwhile, and whoever waited has given up.
#[test]
fn closing_ends_it() {
    on_every_engine(async |site| {
        for round in 0..5_usize {
            let store = site.open();
            for n in 0..100 {
                write(&*store, put(&format!("/{n}"), &round.to_string())).await;
            }
            let waiting = tokio::spawn({
                let store = Arc::clone(&store);
                async move { store.reclaim().await.map(drop) }
            });
            for _ in 0..round {
                tokio::task::yield_now().await;
            }
            waiting.abort();
            let _ = waiting.await;
            drop(store);
            let store = site.open();
            assert_eq!(keys(&*store, "/", "", None).await.len(), 100);
            assert_eq!(read(&*store, "/99", None).await, Some(round.to_string()));
            assert_eq!(generations(&site).len(), 1);
        }
    });
}

#[test]
fn the_past_goes_with_it() {
    on_every_engine(async |site| {
        let store = site.open();
        for n in 1..=20 {
            write(&*store, put("/a", &n.to_string())).await;
        }
        write(&*store, Txn::delete("/a")).await;
        store.compact(5).await.unwrap();
        store.reclaim().await.unwrap();
        let check = async |store: &dyn Store| {
            for n in 5..=20 {
                assert_eq!(read(store, "/a", Some(n)).await, Some(n.to_string()));
            }
            assert_eq!(read(store, "/a", None).await, None);
            let refused = store.get(b"/a", Some(4)).await;
            assert!(matches!(refused, Err(ReadError::Compacted { requested: 4, oldest: 5 })));
            assert_eq!(store.events(b"/", 5, 100).await.unwrap().len(), 16);
        };
        check(&*store).await;
        drop(store);
        check(&*site.open()).await;
    });
}
