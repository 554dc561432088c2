//! The life of objects: created, changed, bound, scaled. Their end is in `deletions`.

mod support;

use pintle_api::meta::GroupVersionKind;
use serde_json::json;
use support::TestServer;
use support::objects::{APPS, DEFAULT, bind, create_pod, deployment, pod};

#[tokio::test]
async fn a_create_fills_in_what_the_server_knows() {
    let server = TestServer::start().await;
    let mut client = server.admin().await;
    let created = create_pod(&mut client, "a").await;
    let metadata = &created["metadata"];
    assert_eq!((&created["kind"], &created["apiVersion"]), (&json!("Pod"), &json!("v1")));
    assert_eq!(metadata["namespace"], "default");
    assert_eq!(metadata["uid"].as_str().unwrap().len(), 36);
    assert!(metadata["creationTimestamp"].as_str().unwrap().ends_with('Z'));
    assert_eq!(created["spec"]["restartPolicy"], "Always");
    assert_eq!(created["status"]["phase"], "Pending");
    let read = client.get(&format!("{DEFAULT}/pods/a")).await.ok();
    assert_eq!(read, created);

    let mut generated = pod("x");
    generated["metadata"] = json!({"generateName": "web-"});
    let first = client.post(&format!("{DEFAULT}/pods"), &generated).await.ok();
    let second = client.post(&format!("{DEFAULT}/pods"), &generated).await.ok();
    assert!(first["metadata"]["name"].as_str().unwrap().starts_with("web-"));
    assert_ne!(first["metadata"]["name"], second["metadata"]["name"]);

    let dry = client.post(&format!("{DEFAULT}/pods?dryRun=All"), &pod("dry")).await.ok();
    assert!(dry["metadata"].get("resourceVersion").is_none());
    assert_eq!(client.get(&format!("{DEFAULT}/pods/dry")).await.status, 404);
}

#[tokio::test]
async fn bodies_may_be_yaml_or_protobuf() {
    let server = TestServer::start().await;
    let mut client = server.admin().await;
    let path = format!("{DEFAULT}/configmaps");
    let yaml = [("content-type", "application/yaml"), ("accept", "application/yaml")];
    let answer = client.send("POST", &path, &yaml, "metadata:\n  name: y\ndata:\n  a: b\n").await;
    assert_eq!(answer.status, 201);
    assert!(String::from_utf8_lossy(&answer.bytes).contains("name: \"y\"\n"));
    let value = json!({"metadata": {"name": "p"}, "data": {"a": "b"}});
    let body = pintle_api::protobuf::encode(&GroupVersionKind::new("", "v1", "ConfigMap"), &value)
        .unwrap();
    let protobuf = [
        ("content-type", "application/vnd.kubernetes.protobuf"),
        ("accept", "application/vnd.kubernetes.protobuf,application/json"),
    ];
    let created = client.send("POST", &path, &protobuf, body).await.ok();
    assert_eq!(created["data"], json!({"a": "b"}));
    let only = [("accept", "application/vnd.kubernetes.protobuf")];
    let answer = client.send("GET", &format!("{path}/p"), &only, "").await;
    assert_eq!(answer.headers["content-type"], "application/vnd.kubernetes.protobuf");
    let (_, back) = pintle_api::protobuf::decode(&answer.bytes).unwrap();
    assert_eq!(back["metadata"]["name"], "p");
}

#[tokio::test]
async fn updates_compare_and_swap() {
    let server = TestServer::start().await;
    let mut client = server.admin().await;
    let path = format!("{APPS}/deployments/web");
    let created = client.post(&format!("{APPS}/deployments"), &deployment("web")).await.ok();
    assert_eq!(created["metadata"]["generation"], 1);
    let same = client.put(&path, &created).await.ok();
    assert_eq!(
        same["metadata"]["resourceVersion"], created["metadata"]["resourceVersion"],
        "no change, no write"
    );
    let mut changed = created.clone();
    changed["spec"]["replicas"] = 2.into();
    changed["status"] = json!({"replicas": 9});
    let updated = client.put(&path, &changed).await.ok();
    assert_eq!(updated["metadata"]["generation"], 2);
    assert_ne!(updated["status"]["replicas"], 9, "status changes through its subresource only");
    assert_eq!(client.put(&path, &changed).await.status, 409);
    changed["metadata"].as_object_mut().unwrap().remove("resourceVersion");
    changed["spec"]["replicas"] = 3.into();
    client.put(&path, &changed).await.ok();

    let mut status = client.get(&path).await.ok();
    status["status"] = json!({"replicas": 3, "observedGeneration": 3});
    status["spec"]["replicas"] = 50.into();
    let status = client.put(&format!("{path}/status"), &status).await.ok();
    assert_eq!(
        (&status["status"]["replicas"], &status["spec"]["replicas"]),
        (&json!(3), &json!(3))
    );
    assert_eq!(status["metadata"]["generation"], 3);
}

#[tokio::test]
async fn patches_of_three_kinds() {
    let server = TestServer::start().await;
    let mut client = server.admin().await;
    let path = format!("{APPS}/deployments/web");
    client.post(&format!("{APPS}/deployments"), &deployment("web")).await.ok();
    let merged =
        client.patch(&path, "merge-patch", &json!({"metadata": {"labels": {"a": "b"}}})).await.ok();
    assert_eq!(merged["metadata"]["labels"]["a"], "b");
    let containers =
        json!({"spec": {"template": {"spec": {"containers": [{"name": "d", "image": "b"}]}}}});
    let strategic = client.patch(&path, "strategic-merge-patch", &containers).await.ok();
    let found = strategic["spec"]["template"]["spec"]["containers"].as_array().unwrap();
    assert_eq!(found.len(), 2, "containers merge by name");
    let operations = json!([{"op": "replace", "path": "/spec/replicas", "value": 7}]);
    let json_patched = client.patch(&path, "json", &operations).await.ok();
    assert_eq!(json_patched["spec"]["replicas"], 7);
    let dry = client
        .patch(&format!("{path}?dryRun=All"), "merge-patch", &json!({"spec": {"replicas": 1}}))
        .await
        .ok();
    assert_eq!(dry["spec"]["replicas"], 1);
    assert_eq!(client.get(&path).await.ok()["spec"]["replicas"], 7);
}

#[tokio::test]
async fn concurrent_patches_all_get_through() {
    let server = TestServer::start().await;
    server
        .admin()
        .await
        .post(&format!("{DEFAULT}/configmaps"), &json!({"metadata": {"name": "c"}}))
        .await
        .ok();
    let mut writers = Vec::new();
    for writer in 0..8 {
        let mut client = server.admin().await;
        writers.push(tokio::spawn(async move {
            for round in 0..10 {
                let patch = json!({"data": {format!("{writer}-{round}"): "x"}});
                client.patch(&format!("{DEFAULT}/configmaps/c"), "merge-patch", &patch).await.ok();
            }
        }));
    }
    for writer in writers {
        writer.await.unwrap();
    }
    let found = server.admin().await.get(&format!("{DEFAULT}/configmaps/c")).await.ok();
    assert_eq!(found["data"].as_object().unwrap().len(), 80);
}

#[tokio::test]
async fn a_pod_is_bound_once() {
    let server = TestServer::start().await;
    let mut client = server.admin().await;
    create_pod(&mut client, "a").await;
    assert_eq!(bind(&mut client, "a", "n1").await.status, 201);
    let bound = client.get(&format!("{DEFAULT}/pods/a")).await.ok();
    assert_eq!(bound["spec"]["nodeName"], "n1");
    let conditions = bound["status"]["conditions"].as_array().unwrap();
    assert!(conditions.iter().any(|c| c["type"] == "PodScheduled" && c["status"] == "True"));
    let again = bind(&mut client, "a", "n2").await;
    assert_eq!((again.status.as_u16(), again.reason().as_str()), (409, "Conflict"));
    assert_eq!(
        again.message(),
        "Operation cannot be fulfilled on pods/binding \"a\": pod a is already assigned to node \"n1\""
    );
    create_pod(&mut client, "b").await;
    let legacy = json!({"metadata": {"name": "b"}, "target": {"kind": "Node", "name": "n1"}});
    assert_eq!(client.post(&format!("{DEFAULT}/bindings"), &legacy).await.status, 201);
    assert_eq!(client.get(&format!("{DEFAULT}/pods/b")).await.ok()["spec"]["nodeName"], "n1");
    let nowhere = client
        .post(
            &format!("{DEFAULT}/pods/a/binding"),
            &json!({"metadata": {"name": "a"}, "target": {}}),
        )
        .await;
    assert_eq!(nowhere.status, 422);
    assert!(nowhere.message().contains("target.name: Required value"), "{}", nowhere.message());
}

#[tokio::test]
async fn workloads_scale() {
    let server = TestServer::start().await;
    let mut client = server.admin().await;
    client.post(&format!("{APPS}/deployments"), &deployment("web")).await.ok();
    let path = format!("{APPS}/deployments/web/scale");
    let mut scale = client.get(&path).await.ok();
    assert_eq!(
        (&scale["kind"], &scale["status"]["selector"]),
        (&json!("Scale"), &json!("app=web"))
    );
    scale["spec"]["replicas"] = 4.into();
    assert_eq!(client.put(&path, &scale).await.ok()["spec"]["replicas"], 4);
    assert_eq!(client.put(&path, &scale).await.status, 409, "the scale was read before");
    let patched = client.patch(&path, "merge-patch", &json!({"spec": {"replicas": 5}})).await.ok();
    assert_eq!((&patched["kind"], &patched["spec"]["replicas"]), (&json!("Scale"), &json!(5)));
    let negative = client.patch(&path, "merge-patch", &json!({"spec": {"replicas": -1}})).await;
    assert_eq!(negative.status, 422);
    assert_eq!(client.get(&format!("{DEFAULT}/configmaps/x/scale")).await.status, 404);
}

#[tokio::test]
async fn events_are_one_thing_in_two_versions() {
    let server = TestServer::start().await;
    let mut client = server.admin().await;
    let event = json!({
        "metadata": {"name": "e"},
        "involvedObject": {"kind": "Pod", "name": "p", "namespace": "default"},
        "reason": "Started", "message": "it runs", "type": "Normal",
    });
    client.post(&format!("{DEFAULT}/events"), &event).await.ok();
    let other = client.get("/apis/events.k8s.io/v1/namespaces/default/events/e").await.ok();
    assert_eq!(
        (&other["apiVersion"], &other["note"]),
        (&json!("events.k8s.io/v1"), &json!("it runs"))
    );
    let list = client.get("/apis/events.k8s.io/v1/events").await.ok();
    assert_eq!(list["items"][0]["regarding"]["name"], "p");
    let selected =
        client.get("/apis/events.k8s.io/v1/events?fieldSelector=regarding.name%3Dp").await.ok();
    assert_eq!(selected["items"].as_array().unwrap().len(), 1);
    let selected =
        client.get("/api/v1/events?fieldSelector=involvedObject.name%3Dp,type%3DNormal").await.ok();
    assert_eq!(selected["items"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn reviews_answer_who_and_whether() {
    let server = TestServer::start().await;
    let mut dev = server.user("dev", &["devs"]).await;
    let me = dev.post("/apis/authentication.k8s.io/v1/selfsubjectreviews", &json!({})).await.ok();
    assert_eq!(me["status"]["userInfo"]["username"], "dev");
    let may = json!({"spec": {"resourceAttributes": {"verb": "list", "resource": "pods", "namespace": "a"}}});
    let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    assert_eq!(dev.post(path, &may).await.ok()["status"]["allowed"], false);
    let mut admin = server.admin().await;
    assert_eq!(admin.post(path, &may).await.ok()["status"]["allowed"], true);
    let other = json!({"spec": {"user": "dev", "resourceAttributes": {"verb": "list", "resource": "pods"}}});
    let path = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
    assert_eq!(admin.post(path, &other).await.ok()["status"]["allowed"], false);
    assert_eq!(dev.post(path, &other).await.status, 403);
}

#[tokio::test]
async fn nodes_stay_within_their_scope() {
    let server = TestServer::start().await;
    let mut admin = server.admin().await;
    create_pod(&mut admin, "mine").await;
    create_pod(&mut admin, "other").await;
    bind(&mut admin, "mine", "n1").await;
    bind(&mut admin, "other", "n2").await;
    admin.post(&format!("{DEFAULT}/secrets"), &json!({"metadata": {"name": "s"}})).await.ok();
    admin
        .post("/api/v1/namespaces/kube-system/secrets", &json!({"metadata": {"name": "s"}}))
        .await
        .ok();
    let mut node = server.user("system:node:n1", &["system:nodes"]).await;
    let statuses = json!({"status": {"phase": "Running"}});
    node.post("/api/v1/nodes", &json!({"metadata": {"name": "n1"}})).await.ok();
    assert_eq!(node.post("/api/v1/nodes", &json!({"metadata": {"name": "n2"}})).await.status, 403);
    let lease = |name: &str| json!({"metadata": {"name": name}, "spec": {"holderIdentity": name}});
    let leases = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases";
    node.post(leases, &lease("n1")).await.ok();
    assert_eq!(node.post(leases, &lease("n2")).await.status, 403);
    let list = node.get("/api/v1/pods?fieldSelector=spec.nodeName%3Dn1").await.ok();
    assert_eq!(list["items"].as_array().unwrap().len(), 1);
    for (path, code) in [
        ("/api/v1/pods", 403),
        ("/api/v1/pods?fieldSelector=spec.nodeName%3Dn2", 403),
        ("/api/v1/namespaces/default/pods/mine", 200),
        ("/api/v1/namespaces/default/pods/other", 403),
        ("/api/v1/namespaces/default/secrets/s", 200),
        ("/api/v1/namespaces/kube-system/secrets/s", 403),
        ("/api/v1/secrets", 403),
        ("/api/v1/services", 200),
        ("/apis/apps/v1/deployments", 403),
    ] {
        assert_eq!(node.get(path).await.status.as_u16(), code, "{path}");
    }
    node.patch(&format!("{DEFAULT}/pods/mine/status"), "merge-patch", &statuses).await.ok();
    let refused =
        node.patch(&format!("{DEFAULT}/pods/other/status"), "merge-patch", &statuses).await;
    assert_eq!(refused.status, 403);
    assert_eq!(node.delete(&format!("{DEFAULT}/pods/other")).await.status, 403);
    node.delete(&format!("{DEFAULT}/pods/mine?gracePeriodSeconds=0")).await.ok();
}
