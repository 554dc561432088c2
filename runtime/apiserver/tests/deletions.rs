//! The end of objects: grace, finalizers, preconditions, evictions, namespaces.

mod support;

use serde_json::json;
use support::TestServer;
use support::objects::{APPS, DEFAULT, bind, create_pod, deployment};

#[tokio::test]
async fn deletion_waits_for_grace_and_finalizers() {
    let server = TestServer::start().await;
    let mut client = server.admin().await;
    create_pod(&mut client, "pending").await;
    let gone = client.delete(&format!("{DEFAULT}/pods/pending")).await.ok();
    assert_eq!((&gone["kind"], &gone["status"]), (&json!("Status"), &json!("Success")));
    assert_eq!(gone["details"]["name"], "pending");

    create_pod(&mut client, "running").await;
    bind(&mut client, "running", "n1").await;
    let path = format!("{DEFAULT}/pods/running");
    let marked = client.delete(&path).await.ok();
    assert_eq!(marked["metadata"]["deletionGracePeriodSeconds"], 30);
    assert!(marked["metadata"]["deletionTimestamp"].is_string());
    let shorter = client.delete(&format!("{path}?gracePeriodSeconds=5")).await.ok();
    assert_eq!(shorter["metadata"]["deletionGracePeriodSeconds"], 5);
    client.delete(&format!("{path}?gracePeriodSeconds=0")).await.ok();
    assert_eq!(client.get(&path).await.status, 404);

    let mut held = json!({"metadata": {"name": "held", "finalizers": ["example.com/hold"]}});
    client.post(&format!("{DEFAULT}/configmaps"), &held).await.ok();
    let path = format!("{DEFAULT}/configmaps/held");
    let marked = client.delete(&path).await.ok();
    assert!(marked["metadata"]["deletionTimestamp"].is_string());
    let more = json!({"metadata": {"finalizers": ["example.com/hold", "example.com/more"]}});
    assert_eq!(client.patch(&path, "merge-patch", &more).await.status, 422);
    held =
        client.patch(&path, "merge-patch", &json!({"metadata": {"finalizers": null}})).await.ok();
    assert_eq!(held["metadata"]["name"], "held");
    assert_eq!(client.get(&path).await.status, 404);

    client.post(&format!("{APPS}/deployments"), &deployment("web")).await.ok();
    let path = format!("{APPS}/deployments/web");
    let foreground = client.delete(&format!("{path}?propagationPolicy=Foreground")).await.ok();
    assert_eq!(foreground["metadata"]["finalizers"], json!(["foregroundDeletion"]));
    let background = client.delete(&format!("{path}?propagationPolicy=Background")).await.ok();
    assert_eq!(background["status"], "Success");
}

#[tokio::test]
async fn deletion_has_preconditions() {
    let server = TestServer::start().await;
    let mut client = server.admin().await;
    let created = create_pod(&mut client, "a").await;
    let path = format!("{DEFAULT}/pods/a");
    let json_type = [("content-type", "application/json")];
    let wrong = json!({"kind": "DeleteOptions", "apiVersion": "v1", "preconditions": {"uid": "x"}});
    let answer = client.send("DELETE", &path, &json_type, wrong.to_string()).await;
    assert_eq!(answer.status, 409);
    assert!(answer.message().contains("UID in precondition: x"), "{}", answer.message());
    let dry = json!({"dryRun": ["All"]});
    client.send("DELETE", &path, &json_type, dry.to_string()).await.ok();
    let right = json!({"preconditions": {"uid": created["metadata"]["uid"]}});
    client.send("DELETE", &path, &json_type, right.to_string()).await.ok();
    assert_eq!(client.delete(&path).await.status, 404);
}

#[tokio::test]
async fn evictions_delete() {
    let server = TestServer::start().await;
    let mut client = server.admin().await;
    create_pod(&mut client, "a").await;
    let eviction =
        json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "a"}});
    assert_eq!(client.post(&format!("{DEFAULT}/pods/a/eviction"), &eviction).await.status, 201);
    assert_eq!(client.get(&format!("{DEFAULT}/pods/a")).await.status, 404);
}

#[tokio::test]
async fn a_budget_grants_so_many_evictions_and_no_more() {
    let server = TestServer::start().await;
    let mut client = server.admin().await;
    let budgets = "/apis/policy/v1/namespaces/default/poddisruptionbudgets";
    let merge = "merge-patch";
    let budget = json!({"metadata": {"name": "b"}, "spec": {"minAvailable": 1, "selector": {}}});
    client.post(budgets, &budget).await.ok();
    for name in ["a", "b"] {
        create_pod(&mut client, name).await;
        let ready = json!([{"type": "Ready", "status": "True"}]);
        let status = json!({"status": {"phase": "Running", "conditions": ready}});
        client.patch(&format!("{DEFAULT}/pods/{name}/status"), merge, &status).await.ok();
    }
    let evict = |name: &str| {
        let body =
            json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}});
        (format!("{DEFAULT}/pods/{name}/eviction"), body)
    };
    let (path, body) = evict("a");
    let unseen = client.post(&path, &body).await;
    assert_eq!(unseen.status, 429);
    assert!(
        unseen.json()["details"]["causes"][0]["message"]
            .as_str()
            .unwrap()
            .contains("still being processed")
    );
    let counted = json!({"status": {"observedGeneration": 1, "disruptionsAllowed": 1,
        "currentHealthy": 2, "desiredHealthy": 1, "expectedPods": 2}});
    client.patch(&format!("{budgets}/b/status"), merge, &counted).await.ok();
    assert_eq!(client.post(&path, &body).await.status, 201);
    let after = client.get(&format!("{budgets}/b")).await.ok();
    assert_eq!(after["status"]["disruptionsAllowed"], 0);
    assert!(after["status"]["disruptedPods"]["a"].is_string());
    let (path, body) = evict("b");
    let refused = client.post(&path, &body).await;
    assert_eq!(refused.status, 429);
    assert_eq!(
        refused.message(),
        "Cannot evict pod as it would violate the pod's disruption budget."
    );
    assert_eq!(client.get(&format!("{DEFAULT}/pods/b")).await.status, 200);
}

#[tokio::test]
async fn a_namespace_goes_when_its_last_finalizer_does() {
    let server = TestServer::start().await;
    let mut client = server.admin().await;
    let created =
        client.post("/api/v1/namespaces", &json!({"metadata": {"name": "demo"}})).await.ok();
    assert_eq!(created["spec"]["finalizers"], json!(["kubernetes"]));
    assert_eq!(created["metadata"]["labels"]["kubernetes.io/metadata.name"], "demo");
    client
        .post("/api/v1/namespaces/demo/configmaps", &json!({"metadata": {"name": "c"}}))
        .await
        .ok();
    let marked = client.delete("/api/v1/namespaces/demo").await.ok();
    assert_eq!(marked["status"]["phase"], "Terminating");
    let refused = client
        .post("/api/v1/namespaces/demo/configmaps", &json!({"metadata": {"name": "d"}}))
        .await;
    assert_eq!((refused.status.as_u16(), refused.reason().as_str()), (403, "Forbidden"));
    assert_eq!(
        refused.message(),
        "configmaps \"d\" is forbidden: unable to create new content in namespace demo because it is being terminated"
    );
    let mut finalized = client.get("/api/v1/namespaces/demo").await.ok();
    finalized["spec"]["finalizers"] = json!([]);
    client.put("/api/v1/namespaces/demo/finalize", &finalized).await.ok();
    assert_eq!(client.get("/api/v1/namespaces/demo").await.status, 404);
    let builtin = client.get("/api/v1/namespaces").await.ok();
    let names: Vec<_> = builtin["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|n| n["metadata"]["name"].clone())
        .collect();
    assert_eq!(names, ["default", "kube-node-lease", "kube-public", "kube-system"]);
}
