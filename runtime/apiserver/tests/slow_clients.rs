//! A watcher that does not read costs a bounded amount and nobody else's time.

mod support;

use std::time::{Duration, Instant};

use serde_json::json;
use support::TestServer;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stuck_watcher_does_not_slow_the_others() {
    let server = TestServer::start().await;
    let stuck = server.admin().await.watch(&format!("{MAPS}?watch=1"), "application/json").await;
    let mut reader =
        server.admin().await.watch(&format!("{MAPS}?watch=1"), "application/json").await;
    let mut writer = server.admin().await;
    writer.post(MAPS, &json!({"metadata": {"name": "big"}})).await.ok();
    assert_eq!(reader.brief().await, "ADDED big");
    // Far more than the frames in flight and the socket buffers hold.
    let filler = "x".repeat(500_000);
    let begin = Instant::now();
    for round in 0..60 {
        let patch = json!({"data": {"round": round.to_string(), "filler": filler}});
        writer.patch(&format!("{MAPS}/big"), "merge-patch", &patch).await.ok();
        assert_eq!(reader.brief().await, "MODIFIED big");
    }
    assert!(begin.elapsed() < Duration::from_secs(180), "{:?}", begin.elapsed());
    drop(stuck);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_large_bodies_take_turns() {
    let server = TestServer::start().await;
    let mut senders = Vec::new();
    for index in 0..48 {
        let mut client = server.admin().await;
        senders.push(tokio::spawn(async move {
            let large = json!({"metadata": {"name": format!("large-{index}")}, "data": {"x": "y".repeat(2_900_000)}});
            // Over the limit of an object, under that of a body.
            let answer = client.post(MAPS, &large).await;
            assert!(matches!(answer.status.as_u16(), 413 | 422), "{}", answer.status);
        }));
    }
    for sender in senders {
        sender.await.unwrap();
    }
    server.admin().await.get(MAPS).await.ok();
}
