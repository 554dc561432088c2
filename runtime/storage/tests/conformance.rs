//! What a store promises, tried on every engine.

use bytes::Bytes;
use pintle_storage::*;
use std::sync::{Arc, Mutex};

fn run(test: impl AsyncFn(EngineKind, Arc<dyn Store>)) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for kind in EngineKind::ALL {
        let dir = tempfile::tempdir().unwrap();
        let store = open(kind, dir.path(), Options::default()).unwrap();
        runtime.block_on(test(kind, store));
    }
}

fn value(text: &str) -> Value {
    Value::plain(Bytes::copy_from_slice(text.as_bytes()))
}

#[test]
fn a_write_is_read_followed_and_spliced() {
    run(async |_, store| {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&seen);
        let from = store.follow(Box::new(move |batch| {
            sink.lock().unwrap().extend(batch.events.iter().cloned());
        }));
        assert_eq!(from, 0);
        let json = Value { bytes: Bytes::from_static(br#"{"rv":""}"#), revision_at: Some(7) };
        let done = store.commit(Txn::put("/a", json)).await.unwrap();
        assert_eq!(done.revision, 1);
        let record = store.get(b"/a", None).await.unwrap().unwrap();
        assert_eq!(record.value, Bytes::from_static(br#"{"rv":"1"}"#));
        assert_eq!(record.revision_span, Some((7, 1)));
        assert_eq!(done.records, [Some(record.clone())]);
        assert_eq!(seen.lock().unwrap()[0].record, Some(record));
        assert_eq!(store.revision(), 1);
        store.commit(Txn::delete("/a")).await.unwrap();
        assert_eq!(store.get(b"/a", None).await.unwrap(), None);
        assert!(store.get(b"/a", Some(1)).await.unwrap().is_some());
        assert_eq!(seen.lock().unwrap().len(), 2);
        let page = store.range(b"/", b"", Some(1), 0).await.unwrap();
        assert_eq!((page.records.len(), page.more, page.revision), (1, false, 1));
        let _ = value("");
    });
}
