//! Admission: what it may change, refuse and say; streams that others make; and
//! a call-out that fails hurts its own request only.

mod support;

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use pintle_api::status::StatusError;
use pintle_apiserver::{
    Admission, AdmissionRequest, AdmissionResponse, AdmitAll, Body, ConnectRequest, Connector,
    NoNodes, Operation,
};
use serde_json::{Value, json};
use support::TestServer;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

/// Decides by the object's `do` key.
struct Policy;

#[async_trait]
impl Admission for Policy {
    async fn review(
        &self,
        request: AdmissionRequest<'_>,
    ) -> Result<AdmissionResponse, StatusError> {
        let object = request.object.or(request.old_object);
        let text = |key: &str| {
            object.and_then(|object| object["data"][key].as_str()).unwrap_or_default().to_string()
        };
        let mut response = AdmissionResponse::default();
        match (text("do").as_str(), request.operation) {
            ("panic", _) => panic!("a bug in the policy"),
            ("keep", Operation::Delete) => {
                return Err(StatusError::forbidden(
                    request.resource.group_resource(),
                    request.name,
                    "kept",
                ));
            }
            ("label", Operation::Create) => {
                let mut object: Value = object.cloned().unwrap_or_default();
                object["metadata"]["labels"] =
                    json!({"by": request.user.name, "dry": request.dry_run.to_string()});
                response.object = Some(object);
                response.warnings.push("labelled".to_string());
            }
            ("break", Operation::Create) => {
                let mut object: Value = object.cloned().unwrap_or_default();
                object["metadata"]["labels"] = json!({"not a label": "x"});
                response.object = Some(object);
            }
            ("deny", _) => {
                return Err(StatusError::forbidden(
                    request.resource.group_resource(),
                    request.name,
                    "no",
                ));
            }
            _ => {}
        }
        Ok(response)
    }
}

fn map(name: &str, what: &str) -> Value {
    json!({"metadata": {"name": name}, "data": {"do": what}})
}

#[tokio::test]
async fn admission_changes_refuses_and_warns() {
    let server = TestServer::with(Arc::new(Policy), Arc::new(NoNodes)).await;
    let mut client = server.admin().await;
    let answer = client.post(MAPS, &map("a", "label")).await;
    assert_eq!(answer.ok()["metadata"]["labels"], json!({"by": "admin", "dry": "false"}));
    assert_eq!(answer.warnings(), ["299 - \"labelled\""]);
    let dry = client.post(&format!("{MAPS}?dryRun=All"), &map("dry", "label")).await.ok();
    assert_eq!(dry["metadata"]["labels"]["dry"], "true");
    let denied = client.post(MAPS, &map("b", "deny")).await;
    assert_eq!(
        (denied.status.as_u16(), denied.message().as_str()),
        (403, "configmaps \"b\" is forbidden: no")
    );
    let broken = client.post(MAPS, &map("c", "break")).await;
    assert_eq!(broken.status, 422, "what admission makes is validated, too");
    client.post(MAPS, &map("d", "keep")).await.ok();
    assert_eq!(client.delete(&format!("{MAPS}/d")).await.status, 403);
    let denied =
        client.patch(&format!("{MAPS}/d"), "merge-patch", &json!({"data": {"do": "deny"}})).await;
    assert_eq!(denied.status, 403);
}

#[tokio::test]
async fn a_panic_is_one_failed_request() {
    let server = TestServer::with(Arc::new(Policy), Arc::new(NoNodes)).await;
    let mut client = server.admin().await;
    let failed = client.post(MAPS, &map("a", "panic")).await;
    assert_eq!((failed.status.as_u16(), failed.reason().as_str()), (500, "InternalError"));
    // The same connection goes on.
    client.post(MAPS, &map("a", "nothing")).await.ok();
}

/// Streams what it was asked, in two pieces.
struct Echo;

#[async_trait]
impl Connector for Echo {
    async fn connect(&self, request: ConnectRequest) -> Result<Body, StatusError> {
        let (sender, receiver) = tokio::sync::mpsc::channel(2);
        let asked = format!("{}/{} {:?}", request.name, request.subresource, request.query);
        for piece in [asked, format!(" by {}", request.user.name)] {
            sender.send(Bytes::from(piece)).await.map_err(StatusError::internal)?;
        }
        Ok(Body::channel(receiver))
    }
}

#[tokio::test]
async fn streams_of_a_kind_are_listed_authorized_and_passed_through() {
    const PLUGINS: &str = "/apis/plugins.pintle.dev/v1alpha1/plugins";
    let server =
        TestServer::with_connector(Arc::new(AdmitAll), Arc::new(NoNodes), Arc::new(Echo)).await;
    let mut client = server.admin().await;
    let listed = client.get("/apis/plugins.pintle.dev/v1alpha1").await.ok();
    for name in ["plugins/trace", "plugins/divergences"] {
        let resources = listed["resources"].as_array().unwrap();
        let row = resources.iter().find(|row| row["name"] == name).unwrap();
        assert_eq!(row["verbs"], json!(["get"]), "{name}");
    }
    let gone = client.get(&format!("{PLUGINS}/x/trace")).await;
    assert_eq!((gone.status.as_u16(), gone.reason().as_str()), (404, "NotFound"));
    let plugin = json!({
        "metadata": {"name": "x"},
        "spec": {"role": "Controller", "source": {"embedded": {"name": "x"}}},
    });
    client.post(PLUGINS, &plugin).await.ok();
    let answer = client.get(&format!("{PLUGINS}/x/trace?seconds=3&secrets=true")).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.headers["content-type"], "application/octet-stream");
    assert_eq!(
        answer.bytes,
        r#"x/trace [("seconds", "3"), ("secrets", "true")] by admin"#.as_bytes()
    );
    let answer = client.get(&format!("{PLUGINS}/x/divergences")).await;
    assert_eq!(answer.headers["content-type"], "application/json");
    assert_eq!(client.post(&format!("{PLUGINS}/x/trace"), &json!({})).await.status, 405);
    // Whoever may read plugins, as nodes do, may not read what they are given.
    let mut node = server.user("system:node:n1", &["system:nodes"]).await;
    assert_eq!(node.get(&format!("{PLUGINS}/x")).await.status, 200);
    assert_eq!(node.get(&format!("{PLUGINS}/x/trace")).await.status, 403);
}

#[tokio::test]
async fn a_server_without_streams_says_so() {
    let server = TestServer::start().await;
    let mut client = server.admin().await;
    let plugins = "/apis/plugins.pintle.dev/v1alpha1/plugins";
    let plugin = json!({
        "metadata": {"name": "x"},
        "spec": {"role": "Controller", "source": {"embedded": {"name": "x"}}},
    });
    client.post(plugins, &plugin).await.ok();
    assert_eq!(client.get(&format!("{plugins}/x/trace")).await.status, 503);
}
