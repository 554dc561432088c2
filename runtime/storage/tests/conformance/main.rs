//! What a store promises, tried on every engine.

mod directory;
mod history;
mod reclaim;
#[path = "../support/mod.rs"]
mod support;
mod transactions;

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use pintle_storage::{Op, Revision, Store, StoreEvent, Txn, Value};

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
