//! Collections: pages, selectors, tables, watches.

mod support;

use serde_json::{Value, json};
use support::{Client, TestServer};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const JSON: &str = "application/json";
const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";

async fn create(client: &mut Client, name: &str, label: &str) -> Value {
    let body = json!({"metadata": {"name": name, "labels": {"x": label}}});
    client.post(MAPS, &body).await.ok()
}

fn names(list: &Value) -> Vec<&str> {
    let items = list["items"].as_array().expect("items");
    items.iter().map(|item| item["metadata"]["name"].as_str().unwrap()).collect()
}

fn revision(object: &Value) -> &str {
    object["metadata"]["resourceVersion"].as_str().unwrap()
}

#[tokio::test]
async fn lists_select_by_label_and_field() {
    let server = TestServer::start().await;
    let mut client = server.admin().await;
    for (name, label) in [("a", "1"), ("b", "2"), ("c", "1")] {
        create(&mut client, name, label).await;
    }
    for (query, expect) in [
        ("", vec!["a", "b", "c"]),
        ("?labelSelector=x%3D1", vec!["a", "c"]),
        ("?labelSelector=x%20in%20(2)", vec!["b"]),
        ("?labelSelector=!x", vec![]),
        ("?fieldSelector=metadata.name%3Db", vec!["b"]),
        ("?fieldSelector=metadata.name!%3Db", vec!["a", "c"]),
        ("?labelSelector=x%3D1&fieldSelector=metadata.name%3Dc", vec!["c"]),
    ] {
        let list = client.get(&format!("{MAPS}{query}")).await.ok();
        assert_eq!(names(&list), expect, "{query}");
        assert_eq!((&list["kind"], &list["apiVersion"]), (&json!("ConfigMapList"), &json!("v1")));
    }
}

#[tokio::test]
async fn pages_are_one_consistent_list() {
    let server = TestServer::start().await;
    let mut client = server.admin().await;
    for index in 0..7 {
        create(&mut client, &format!("m{index}"), if index % 2 == 0 { "even" } else { "odd" })
            .await;
    }
    for collection in [MAPS, "/api/v1/configmaps"] {
        let first = client.get(&format!("{collection}?limit=3")).await.ok();
        assert_eq!(names(&first), ["m0", "m1", "m2"]);
        assert_eq!(first["metadata"]["remainingItemCount"], 4);
        // What happens meanwhile does not show.
        client.delete(&format!("{MAPS}/m4")).await.ok();
        let token = first["metadata"]["continue"].as_str().unwrap();
        let second = client.get(&format!("{collection}?limit=3&continue={token}")).await.ok();
        assert_eq!(names(&second), ["m3", "m4", "m5"]);
        assert_eq!(revision(&second), revision(&first));
        let token = second["metadata"]["continue"].as_str().unwrap();
        let third = client.get(&format!("{collection}?limit=3&continue={token}")).await.ok();
        assert_eq!(names(&third), ["m6"]);
        assert!(third["metadata"].get("continue").is_none());
        create(&mut client, "m4", "even").await;
    }
    let first = client.get(&format!("{MAPS}?limit=2&labelSelector=x%3Deven")).await.ok();
    assert_eq!(names(&first), ["m0", "m2"]);
    let token = first["metadata"]["continue"].as_str().unwrap();
    let second =
        client.get(&format!("{MAPS}?limit=2&labelSelector=x%3Deven&continue={token}")).await.ok();
    assert_eq!(names(&second), ["m4", "m6"]);

    // A page of a past that has been given up.
    let first = client.get(&format!("{MAPS}?limit=1")).await.ok();
    let token = first["metadata"]["continue"].as_str().unwrap();
    create(&mut client, "later", "x").await;
    server.store.compact(server.store.revision()).await.unwrap();
    let gone = client.get(&format!("{MAPS}?limit=1&continue={token}")).await;
    assert_eq!((gone.status.as_u16(), gone.reason().as_str()), (410, "Expired"));
    let token = gone.json()["metadata"]["continue"].as_str().unwrap().to_string();
    let rest = client.get(&format!("{MAPS}?continue={token}")).await.ok();
    assert_eq!(names(&rest), ["m1", "m2", "m3", "m4", "m5", "m6"], "the rest, as it is now");
}

#[tokio::test]
async fn lists_at_a_revision() {
    let server = TestServer::start().await;
    let mut client = server.admin().await;
    let first = create(&mut client, "a", "1").await;
    create(&mut client, "b", "1").await;
    let at = revision(&first);
    let exact =
        client.get(&format!("{MAPS}?resourceVersion={at}&resourceVersionMatch=Exact")).await.ok();
    assert_eq!((names(&exact), revision(&exact)), (vec!["a"], at));
    let newer = client
        .get(&format!("{MAPS}?resourceVersion={at}&resourceVersionMatch=NotOlderThan"))
        .await
        .ok();
    assert_eq!(names(&newer), ["a", "b"]);
    let future = client.get(&format!("{MAPS}?resourceVersion=999999")).await;
    assert_eq!((future.status.as_u16(), future.reason().as_str()), (504, "Timeout"));
    assert!(future.message().contains("Too large resource version: 999999"));
    assert_eq!(future.json()["details"]["causes"][0]["reason"], "ResourceVersionTooLarge");
}

#[tokio::test]
async fn tables_and_partial_metadata() {
    let server = TestServer::start().await;
    let mut client = server.admin().await;
    create(&mut client, "a", "1").await;
    let table = client.send("GET", MAPS, &[("accept", TABLE)], "").await.ok();
    assert_eq!(table["kind"], "Table");
    assert_eq!(table["columnDefinitions"][0]["name"], "Name");
    assert_eq!(table["rows"][0]["cells"][0], "a");
    assert_eq!(table["rows"][0]["object"]["kind"], "PartialObjectMetadata");
    let path = format!("{MAPS}?includeObject=Object");
    let table = client.send("GET", &path, &[("accept", TABLE)], "").await.ok();
    assert_eq!(table["rows"][0]["object"]["kind"], "ConfigMap");
    let table = client.send("GET", &format!("{MAPS}/a"), &[("accept", TABLE)], "").await.ok();
    assert_eq!(table["rows"][0]["cells"][0], "a");
    let partial = [("accept", "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1")];
    let list = client.send("GET", MAPS, &partial, "").await.ok();
    assert_eq!(list["kind"], "PartialObjectMetadataList");
    assert_eq!(list["items"][0]["kind"], "PartialObjectMetadata");
    assert!(list["items"][0].get("data").is_none());
}

#[tokio::test]
async fn watches_resume_where_they_were() {
    let server = TestServer::start().await;
    let mut client = server.admin().await;
    let first = create(&mut client, "a", "1").await;
    create(&mut client, "b", "1").await;
    let path = format!("{MAPS}?watch=true&resourceVersion={}", revision(&first));
    let mut watch = server.admin().await.watch(&path, JSON).await;
    assert_eq!(watch.brief().await, "ADDED b");
    client.patch(&format!("{MAPS}/a"), "merge-patch", &json!({"data": {"k": "v"}})).await.ok();
    assert_eq!(watch.brief().await, "MODIFIED a");
    client.delete(&format!("{MAPS}/b")).await.ok();
    let deleted = watch.next().await.unwrap();
    assert_eq!(
        (&deleted["type"], &deleted["object"]["metadata"]["name"]),
        (&json!("DELETED"), &json!("b"))
    );
    let now = client.get(MAPS).await.ok();
    assert_eq!(revision(&deleted["object"]), revision(&now), "a deletion has its own revision");

    let mut old_style =
        server.admin().await.watch("/api/v1/watch/namespaces/default/configmaps/a", JSON).await;
    assert_eq!(old_style.brief().await, "ADDED a");
}

#[tokio::test]
async fn watches_see_objects_enter_and_leave_a_selector() {
    let server = TestServer::start().await;
    let mut client = server.admin().await;
    create(&mut client, "a", "no").await;
    let mut watch =
        server.admin().await.watch(&format!("{MAPS}?watch=1&labelSelector=x%3Dyes"), JSON).await;
    let relabel = |label: &str| json!({"metadata": {"labels": {"x": label}}});
    client.patch(&format!("{MAPS}/a"), "merge-patch", &relabel("yes")).await.ok();
    assert_eq!(watch.brief().await, "ADDED a");
    client.patch(&format!("{MAPS}/a"), "merge-patch", &json!({"data": {"k": "v"}})).await.ok();
    assert_eq!(watch.brief().await, "MODIFIED a");
    client.patch(&format!("{MAPS}/a"), "merge-patch", &relabel("no")).await.ok();
    let left = watch.next().await.unwrap();
    assert_eq!(left["type"], "DELETED");
    assert_eq!(left["object"]["metadata"]["labels"]["x"], "yes", "the last state that matched");

    let pods = "/api/v1/namespaces/default/pods";
    let mut node = server
        .admin()
        .await
        .watch("/api/v1/pods?watch=1&fieldSelector=spec.nodeName%3Dn1", JSON)
        .await;
    let pod =
        json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    client.post(pods, &pod).await.ok();
    let binding = json!({"target": {"kind": "Node", "name": "n1"}});
    client.post(&format!("{pods}/p/binding"), &binding).await;
    assert_eq!(node.brief().await, "ADDED p");
    client.delete(&format!("{pods}/p?gracePeriodSeconds=0")).await.ok();
    assert_eq!(node.brief().await, "DELETED p");
}

#[tokio::test]
async fn streaming_lists_end_their_initial_events() {
    let server = TestServer::start().await;
    let mut client = server.admin().await;
    create(&mut client, "a", "1").await;
    let last = create(&mut client, "b", "1").await;
    let path = format!(
        "{MAPS}?watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
    );
    let mut watch = server.admin().await.watch(&path, JSON).await;
    assert_eq!(watch.brief().await, "ADDED a");
    assert_eq!(watch.brief().await, "ADDED b");
    let bookmark = watch.next().await.unwrap();
    assert_eq!(bookmark["type"], "BOOKMARK");
    assert_eq!(bookmark["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
    assert_eq!(revision(&bookmark["object"]), revision(&last));
    create(&mut client, "c", "1").await;
    assert_eq!(watch.brief().await, "ADDED c");
}

#[tokio::test]
async fn watches_end_in_time_with_a_bookmark() {
    let server = TestServer::start().await;
    let mut client = server.admin().await;
    let last = create(&mut client, "a", "1").await;
    let path = format!(
        "{MAPS}?watch=1&timeoutSeconds=1&allowWatchBookmarks=true&resourceVersion={}",
        revision(&last)
    );
    let mut watch = server.admin().await.watch(&path, JSON).await;
    let bookmark = watch.next().await.unwrap();
    assert_eq!(
        (&bookmark["type"], revision(&bookmark["object"])),
        (&json!("BOOKMARK"), revision(&last))
    );
    assert!(watch.next().await.is_none());
}

#[tokio::test]
async fn a_watch_of_a_past_that_is_gone_says_so() {
    let server = TestServer::start().await;
    let mut client = server.admin().await;
    create(&mut client, "a", "1").await;
    create(&mut client, "b", "1").await;
    server.store.compact(server.store.revision()).await.unwrap();
    // The ring still has it, so the watch goes on from there.
    let mut watch =
        server.admin().await.watch(&format!("{MAPS}?watch=1&resourceVersion=1"), JSON).await;
    assert_eq!(watch.status, 200);
    let first = watch.next().await.unwrap();
    if first["type"] == "ERROR" {
        assert_eq!(first["object"]["code"], 410);
        assert!(
            first["object"]["message"]
                .as_str()
                .unwrap()
                .starts_with("too old resource version: 1 (")
        );
    } else {
        assert_eq!(first["object"]["metadata"]["name"], "a");
    }
    let mut future = server.admin().await;
    let answer = future.get(&format!("{MAPS}?watch=1&resourceVersion=999999")).await;
    assert_eq!(answer.status, 504);
}

#[tokio::test]
async fn tables_are_watched_too() {
    let server = TestServer::start().await;
    let mut client = server.admin().await;
    create(&mut client, "a", "1").await;
    let mut watch = server.admin().await.watch(&format!("{MAPS}?watch=1"), TABLE).await;
    let first = watch.next().await.unwrap();
    assert_eq!(first["object"]["kind"], "Table");
    assert_eq!(first["object"]["columnDefinitions"][0]["name"], "Name");
    assert_eq!(first["object"]["rows"][0]["cells"][0], "a");
    create(&mut client, "b", "1").await;
    let second = watch.next().await.unwrap();
    assert!(second["object"]["columnDefinitions"].is_null());
    assert_eq!(second["object"]["rows"][0]["cells"][0], "b");
}

#[tokio::test]
async fn collections_are_deleted_by_selector() {
    let server = TestServer::start().await;
    let mut client = server.admin().await;
    for index in 0..100 {
        create(&mut client, &format!("m{index}"), if index % 2 == 0 { "even" } else { "odd" })
            .await;
    }
    let deleted = client.delete(&format!("{MAPS}?labelSelector=x%3Deven")).await.ok();
    assert_eq!(deleted["items"].as_array().unwrap().len(), 50);
    let left = client.get(MAPS).await.ok();
    assert_eq!(left["items"].as_array().unwrap().len(), 50);
}

#[tokio::test]
async fn a_server_that_stops_ends_its_watches() {
    let mut server = TestServer::start().await;
    let mut watch =
        server.admin().await.watch(&format!("{MAPS}?watch=1&resourceVersion=0"), JSON).await;
    server.stop();
    assert!(watch.next().await.is_none());
}

#[tokio::test]
async fn discovery_in_both_forms() {
    let server = TestServer::start().await;
    let mut client = server.admin().await;
    let core = client.get("/api/v1").await.ok();
    let resources: Vec<_> =
        core["resources"].as_array().unwrap().iter().map(|r| r["name"].as_str().unwrap()).collect();
    for expect in
        ["pods", "pods/eviction", "pods/log", "pods/exec", "namespaces/finalize", "nodes/status"]
    {
        assert!(resources.contains(&expect), "{expect}");
    }
    assert_eq!(client.get("/api").await.ok()["versions"], json!(["v1"]));
    let groups = client.get("/apis").await.ok();
    let groups: Vec<_> =
        groups["groups"].as_array().unwrap().iter().map(|g| g["name"].as_str().unwrap()).collect();
    for expect in ["apps", "authorization.k8s.io", "plugins.pintle.dev"] {
        assert!(groups.contains(&expect), "{expect}");
    }
    let accept = [(
        "accept",
        "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json",
    )];
    let aggregated = client.send("GET", "/apis", &accept, "").await;
    assert_eq!(
        aggregated.headers["content-type"],
        "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
    );
    assert_eq!(aggregated.ok()["kind"], "APIGroupDiscoveryList");
    let tag = aggregated.headers["etag"].to_str().unwrap().to_string();
    let again = [accept[0], ("if-none-match", &tag)];
    assert_eq!(client.send("GET", "/apis", &again, "").await.status, 304);

    let index = client.get("/openapi/v3").await.ok();
    for (path, entry) in index["paths"].as_object().unwrap() {
        let url = entry["serverRelativeURL"].as_str().unwrap();
        let document = client.get(url).await.ok();
        assert!(document["openapi"].as_str().unwrap().starts_with("3."), "{path}");
    }
    assert_eq!(client.get("/version").await.ok()["gitVersion"], "v1.35.0+pintle.0.1.0");
}
