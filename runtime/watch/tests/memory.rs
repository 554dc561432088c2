//! What labels cost in memory: pods with four labels each against pods whose labels are
//! spelled as annotations, which the bus does not look at.
#![allow(unsafe_code, reason = "an allocator that counts")]

mod support;

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicIsize, Ordering},
};

use pintle_api::kinds::Registry;
use pintle_watch::{Bus, Options};
use support::*;

struct Counting;

static LIVE_BYTES: AtomicIsize = AtomicIsize::new(0);

// SAFETY: hands everything on to the system's allocator and only counts sizes.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE_BYTES.fetch_add(layout.size() as isize, Ordering::Relaxed);
        // SAFETY: the caller's promises are those that `System` asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE_BYTES.fetch_sub(layout.size() as isize, Ordering::Relaxed);
        // SAFETY: `pointer` came from `System` with this layout.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

const PODS: usize = 4000;
/// Pods of one workload.
const REPLICAS: usize = 20;

async fn bytes_per_pod(field: &str) -> isize {
    let world = world(Options::default()).await;
    for batch in (0..PODS).collect::<Vec<_>>().chunks(500) {
        let pods = batch.iter().map(|n| {
            let (app, name) = (n / REPLICAS, format!("web-{n:05}"));
            let meta = format!(
                r#","name":"{name}","namespace":"default","{field}":{{"app":"web-{app:04}","tier":"frontend","team":"storefront","pod-template-hash":"7c5ddb{app:04}"}}"#
            );
            object(&pod_key("default", &name), &meta, "")
        });
        world.store.commit(txn(pods.collect::<Vec<_>>())).await.unwrap();
    }
    // A bus of its own has the objects without events. What it gives back at its end is
    // what it held; while it loads, the store's caches come and go.
    let bus = Bus::new(Registry::builtin(), Options::default());
    bus.load(world.store.clone()).await.unwrap();
    assert_eq!(bus.count(world.pods), PODS);
    let before = LIVE_BYTES.load(Ordering::Relaxed);
    drop(bus);
    (before - LIVE_BYTES.load(Ordering::Relaxed)) / PODS as isize
}

#[tokio::test]
async fn four_labels_cost_less_than_a_hundred_bytes_per_pod() {
    let without = bytes_per_pod("annotations").await;
    let with = bytes_per_pod("labels").await;
    let labels = with - without;
    println!("bytes per pod: {without} without labels, {with} with four, {labels} for them");
    assert!(labels < 100, "{labels} bytes per pod for four labels");
}
