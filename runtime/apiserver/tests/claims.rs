//! What an object holds for itself alone: taken, kept and given back with the
//! object, whoever comes first.

mod support;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use pintle_api::status::StatusError;
use pintle_apiserver::{Admission, AdmissionRequest, AdmissionResponse, NoNodes, Operation};
use serde_json::{Value, json};
use support::TestServer;

const SERVICES: &str = "/api/v1/namespaces/default/services";

/// Gives a Service without an address one of `10.0.0.1`, `10.0.0.2`, … without
/// looking whether it is free, and counts how often it was asked.
#[derive(Default)]
struct Blind(AtomicU64);

#[async_trait]
impl Admission for Blind {
    async fn review(
        &self,
        request: AdmissionRequest<'_>,
    ) -> Result<AdmissionResponse, StatusError> {
        let mut response = AdmissionResponse::default();
        let wanting = request.resource.kind == "Service"
            && request.operation != Operation::Delete
            && request.object.is_some_and(|object| object["spec"]["clusterIP"].is_null());
        if let Some(object) = request.object.filter(|_| wanting) {
            let turn = self.0.fetch_add(1, Ordering::Relaxed);
            let mut object: Value = object.clone();
            let address = format!("10.0.0.{}", 1 + turn / 3);
            object["spec"]["clusterIPs"] = json!([address]);
            object["spec"]["clusterIP"] = json!(address);
            response.object = Some(object);
        }
        Ok(response)
    }
}

fn service(name: &str, more: Value) -> Value {
    let mut service = json!({"metadata": {"name": name}, "spec": {"ports": [{"port": 80}]}});
    for (field, value) in more.as_object().unwrap() {
        service["spec"][field] = value.clone();
    }
    service
}

async fn held(server: &TestServer) -> Vec<String> {
    let page = server.store.range(b"/claims/", b"/claims0", None, 0).await.unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let line = |key: &[u8], value: &[u8]| {
        let key = text(key).replace("/claims/services/", "");
        format!("{key} {}", text(value).replace("/registry/services/", ""))
    };
    page.records.iter().map(|record| line(&record.key, &record.value)).collect()
}

#[tokio::test]
async fn what_admission_chose_is_chosen_again_and_what_was_asked_for_is_refused() {
    let blind = Arc::new(Blind::default());
    let server = TestServer::with(blind.clone(), Arc::new(NoNodes)).await;
    let mut client = server.admin().await;
    // Each address is offered three times: two of three choices are taken already.
    for name in ["a", "b", "c"] {
        client.post(SERVICES, &service(name, json!({}))).await.ok();
    }
    assert_eq!(blind.0.load(Ordering::Relaxed), 7);
    let expect = [
        "clusterIP/10.0.0.1 default/a",
        "clusterIP/10.0.0.2 default/b",
        "clusterIP/10.0.0.3 default/c",
    ];
    assert_eq!(held(&server).await, expect);
    let refused = client.post(SERVICES, &service("d", json!({"clusterIP": "10.0.0.2"}))).await;
    assert_eq!((refused.status.as_u16(), refused.reason().as_str()), (422, "Invalid"));
    assert_eq!(
        refused.message(),
        "Service \"d\" is invalid: spec.clusterIPs: Invalid value: [\"10.0.0.2\"]: failed to allocate IP 10.0.0.2: provided IP is already allocated"
    );
    assert_eq!(refused.json()["details"]["causes"][0]["field"], "spec.clusterIPs");
    assert_eq!(held(&server).await, expect);
}

#[tokio::test]
async fn claims_follow_their_object() {
    let server = TestServer::start().await;
    let mut client = server.admin().await;
    let port = |number: i64| json!([{"port": 80, "nodePort": number}]);
    let of =
        |number: i64| json!({"type": "NodePort", "clusterIP": "10.0.0.1", "ports": port(number)});
    // A dry run takes nothing.
    client.post(&format!("{SERVICES}?dryRun=All"), &service("a", of(30001))).await.ok();
    assert!(held(&server).await.is_empty());
    client.post(SERVICES, &service("a", of(30001))).await.ok();
    let first = ["clusterIP/10.0.0.1 default/a", "nodePort/30001 default/a"];
    assert_eq!(held(&server).await, first);
    // Its status is nobody's claim.
    let status = json!({"status": {"loadBalancer": {"ingress": [{"ip": "10.0.0.9"}]}}});
    client.patch(&format!("{SERVICES}/a/status"), "merge-patch", &status).await.ok();
    assert_eq!(held(&server).await, first);
    let update = json!({"spec": {"ports": port(30002)}});
    let dry = format!("{SERVICES}/a?dryRun=All");
    client.patch(&dry, "merge-patch", &update).await.ok();
    assert_eq!(held(&server).await, first);
    client.patch(&format!("{SERVICES}/a"), "merge-patch", &update).await.ok();
    assert_eq!(held(&server).await, ["clusterIP/10.0.0.1 default/a", "nodePort/30002 default/a"]);
    // The one that became free is another's at once; the taken one is not.
    let other = |number: i64| json!({"type": "NodePort", "ports": port(number)});
    client.post(SERVICES, &service("b", other(30001))).await.ok();
    let stolen = client
        .patch(&format!("{SERVICES}/b"), "merge-patch", &json!({"spec": {"ports": port(30002)}}))
        .await;
    assert_eq!(stolen.status, 422);
    assert_eq!(
        stolen.message(),
        "Service \"b\" is invalid: spec.ports[0].nodePort: Invalid value: 30002: provided port is already allocated"
    );
    // A change of type gives back what the new type does not have.
    let external = json!({"spec": {"type": "ExternalName", "externalName": "example.org"}});
    client.patch(&format!("{SERVICES}/a"), "merge-patch", &external).await.ok();
    assert_eq!(held(&server).await, ["nodePort/30001 default/b"]);
    client.delete(&format!("{SERVICES}/b")).await.ok();
    assert!(held(&server).await.is_empty());
}

#[tokio::test]
async fn what_is_being_deleted_holds_until_it_is_gone() {
    let server = TestServer::start().await;
    let mut client = server.admin().await;
    let mut held_back = service("a", json!({"clusterIP": "10.0.0.1"}));
    held_back["metadata"]["finalizers"] = json!(["example.org/wait"]);
    client.post(SERVICES, &held_back).await.ok();
    client.delete(&format!("{SERVICES}/a")).await.ok();
    let again = service("b", json!({"clusterIP": "10.0.0.1"}));
    assert_eq!(client.post(SERVICES, &again).await.status, 422);
    let free = json!({"metadata": {"finalizers": null}});
    client.patch(&format!("{SERVICES}/a"), "merge-patch", &free).await.ok();
    assert!(held(&server).await.is_empty());
    client.post(SERVICES, &again).await.ok();
}

#[tokio::test]
async fn many_at_once_never_get_the_same() {
    let server = Arc::new(TestServer::with(Arc::new(Blind::default()), Arc::new(NoNodes)).await);
    let mut tasks = tokio::task::JoinSet::new();
    for writer in 0..10 {
        let server = server.clone();
        tasks.spawn(async move {
            let mut client = server.admin().await;
            let mut given = Vec::new();
            for turn in 0..10 {
                let name = format!("s{writer}-{turn}");
                let made = client.post(SERVICES, &service(&name, json!({}))).await.ok();
                given.push(made["spec"]["clusterIP"].as_str().unwrap().to_owned());
            }
            given
        });
    }
    let given: Vec<String> = tasks.join_all().await.into_iter().flatten().collect();
    let distinct: BTreeSet<&String> = given.iter().collect();
    assert_eq!((given.len(), distinct.len()), (100, 100));
    assert_eq!(held(&server).await.len(), 100);
}

/// A store from before Services made claims.
#[tokio::test]
async fn objects_without_claims_get_theirs_once() {
    let server = TestServer::start().await;
    let mut client = server.admin().await;
    for (name, ip) in [("a", "10.0.0.1"), ("b", "10.0.0.2")] {
        client.post(SERVICES, &service(name, json!({"clusterIP": ip}))).await.ok();
    }
    let expect = held(&server).await;
    for key in
        ["/claims", "/claims/services/clusterIP/10.0.0.1", "/claims/services/clusterIP/10.0.0.2"]
    {
        server.store.commit(pintle_storage::Txn::delete(key)).await.unwrap();
    }
    server.api.bootstrap().await.unwrap();
    assert_eq!(held(&server).await, expect);
    // Afterwards it is not looked at again.
    let key = "/claims/services/clusterIP/10.0.0.1";
    server.store.commit(pintle_storage::Txn::delete(key)).await.unwrap();
    server.api.bootstrap().await.unwrap();
    assert_eq!(held(&server).await.len(), 1);
}
