//! Requests that are refused, with the status, reason and words that
//! Kubernetes' clients know.

mod support;

use serde_json::{Value, json};
use support::{Answer, Client, TestServer};

const DEFAULT: &str = "/api/v1/namespaces/default";

fn check(answer: &Answer, code: u16, reason: &str, message: &str) {
    let text = String::from_utf8_lossy(&answer.bytes).into_owned();
    assert_eq!(answer.status.as_u16(), code, "{text}");
    let status = answer.json();
    assert_eq!(status["kind"], "Status", "{text}");
    assert_eq!(status["code"], code, "{text}");
    assert_eq!(status["reason"], reason, "{text}");
    assert!(answer.message().contains(message), "expected {message:?} in {text}");
}

fn config_map(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"a": "b"}})
}

async fn with_config_map(client: &mut Client, name: &str) -> Value {
    client.post(&format!("{DEFAULT}/configmaps"), &config_map(name)).await.ok()
}

#[tokio::test]
async fn reads_and_paths() {
    let server = TestServer::start().await;
    let mut client = server.admin().await;
    for (method, path, code, reason, message) in [
        ("GET", "/api/v1/namespaces/default/pods/x", 404, "NotFound", "pods \"x\" not found"),
        (
            "GET",
            "/apis/apps/v1/namespaces/default/deployments/x",
            404,
            "NotFound",
            "deployments.apps \"x\" not found",
        ),
        (
            "GET",
            "/api/v1/unicorns",
            404,
            "NotFound",
            "the server could not find the requested resource",
        ),
        (
            "GET",
            "/apis/nothing.example/v1",
            404,
            "NotFound",
            "the server could not find the requested resource",
        ),
        ("GET", "/nothing", 404, "NotFound", "the server could not find the requested resource"),
        ("GET", "/api/v1/namespaces/default/nodes", 404, "NotFound", "could not find"),
        ("GET", "/api/v1/namespaces/default/pods/x/nothing", 404, "NotFound", "could not find"),
        (
            "GET",
            "/api/v1/pods?labelSelector=a%20b",
            400,
            "BadRequest",
            "unable to parse requirement",
        ),
        (
            "GET",
            "/api/v1/pods?fieldSelector=spec.x%3Dy",
            400,
            "BadRequest",
            "field label not supported",
        ),
        ("GET", "/api/v1/pods?limit=many", 400, "BadRequest", "invalid query parameter \"limit\""),
        ("GET", "/api/v1/pods?continue=zzz", 400, "BadRequest", "continue key is not valid"),
        ("GET", "/api/v1/pods?resourceVersion=x", 422, "Invalid", "resourceVersion: Invalid value"),
        ("GET", "/api/v1/nodes/%zz", 400, "BadRequest", "percent-encoded"),
        (
            "PUT",
            "/api/v1/namespaces/default/pods",
            405,
            "MethodNotAllowed",
            "update is not supported on resources of kind \"pods\"",
        ),
        (
            "DELETE",
            "/api/v1/namespaces",
            405,
            "MethodNotAllowed",
            "deletecollection is not supported on resources of kind \"namespaces\"",
        ),
        (
            "DELETE",
            "/api/v1/namespaces/default",
            403,
            "Forbidden",
            "this namespace may not be deleted",
        ),
        (
            "DELETE",
            "/api/v1/namespaces/kube-node-lease",
            403,
            "Forbidden",
            "this namespace may not be deleted",
        ),
        (
            "GET",
            "/api/v1/namespaces/default/pods/x/binding",
            405,
            "MethodNotAllowed",
            "not supported",
        ),
        ("BREW", "/api/v1/pods", 405, "MethodNotAllowed", "BREW is not supported"),
    ] {
        let answer = client.send(method, path, &[], "").await;
        check(&answer, code, reason, message);
    }
    let answer = client.send("GET", "/api/v1/pods", &[("accept", "text/html")], "").await;
    check(
        &answer,
        406,
        "NotAcceptable",
        "only the following media types are accepted: application/json",
    );
}

#[tokio::test]
async fn creates() {
    let server = TestServer::start().await;
    let mut client = server.admin().await;
    with_config_map(&mut client, "taken").await;
    let maps = format!("{DEFAULT}/configmaps");
    for (path, body, code, reason, message) in [
        (
            maps.as_str(),
            config_map("taken"),
            409,
            "AlreadyExists",
            "configmaps \"taken\" already exists",
        ),
        (&maps, json!({"metadata": {}}), 422, "Invalid", "name or generateName is required"),
        (&maps, config_map("No_Name"), 422, "Invalid", "metadata.name: Invalid value: \"No_Name\""),
        (
            &maps,
            json!({"metadata": {"name": "a", "namespace": "other"}}),
            400,
            "BadRequest",
            "the namespace of the provided object does not match the namespace sent on the request",
        ),
        (
            &maps,
            json!({"kind": "Secret", "apiVersion": "v1", "metadata": {"name": "a"}}),
            400,
            "BadRequest",
            "cannot be handled as a ConfigMap",
        ),
        (
            &maps,
            json!({"metadata": {"name": "a"}, "data": {"a": 1}}),
            400,
            "BadRequest",
            "cannot be handled as a ConfigMap",
        ),
        (&maps, json!([]), 400, "BadRequest", "cannot be handled as a ConfigMap"),
        (&maps, json!({"metadata": "x"}), 400, "BadRequest", "cannot be handled as a ConfigMap"),
        (
            "/api/v1/namespaces/nope/configmaps",
            config_map("a"),
            404,
            "NotFound",
            "namespaces \"nope\" not found",
        ),
        ("/api/v1/configmaps", config_map("a"), 405, "MethodNotAllowed", "create is not supported"),
        (
            &format!("{maps}?dryRun=Maybe"),
            config_map("a"),
            422,
            "Invalid",
            "dryRun: Unsupported value",
        ),
    ] {
        let answer = client.post(path, &body).await;
        check(&answer, code, reason, message);
    }
    let json_type = [("content-type", "application/json")];
    let answer = client.send("POST", &maps, &json_type, "{").await;
    check(&answer, 400, "BadRequest", "json parse error");
    let answer = client.send("POST", &maps, &json_type, "[".repeat(100_000)).await;
    check(&answer, 400, "BadRequest", "json parse error");
    let answer = client.send("POST", &maps, &[("content-type", "text/plain")], "{}").await;
    check(
        &answer,
        415,
        "UnsupportedMediaType",
        "the body of the request was in an unknown format - accepted media types include: application/json",
    );
    let protobuf = [("content-type", "application/vnd.kubernetes.protobuf")];
    let answer = client.send("POST", &maps, &protobuf, "k8s\0junk").await;
    check(&answer, 400, "BadRequest", "");
    let answer = client.send("POST", &maps, &json_type, "").await;
    check(&answer, 400, "BadRequest", "body is empty");
}

#[tokio::test]
async fn bodies_and_objects_have_limits() {
    let server = TestServer::start().await;
    let mut client = server.admin().await;
    let maps = format!("{DEFAULT}/configmaps");
    let mut large = config_map("large");
    large["binaryData"] = json!({"x": "A".repeat(1_600_000)});
    let answer = client.post(&maps, &large).await;
    assert!(matches!(answer.status.as_u16(), 413 | 422), "{}", answer.message());
    large["binaryData"] = json!({"x": "A".repeat(4_000_000)});
    let answer = client.post(&maps, &large).await;
    check(&answer, 413, "RequestEntityTooLarge", "limit is 3145728");
    // Neither hurts the server.
    server.admin().await.get("/api/v1/namespaces/default").await.ok();
}

#[tokio::test]
async fn updates_and_patches() {
    let server = TestServer::start().await;
    let mut client = server.admin().await;
    let created = with_config_map(&mut client, "c").await;
    let path = format!("{DEFAULT}/configmaps/c");
    let mut stale = created.clone();
    stale["metadata"]["resourceVersion"] = "1".into();
    check(
        &client.put(&path, &stale).await,
        409,
        "Conflict",
        "Operation cannot be fulfilled on configmaps \"c\": the object has been modified; please apply your changes to the latest version and try again",
    );
    let mut other = created.clone();
    other["metadata"]["uid"] = "0000".into();
    check(
        &client.put(&path, &other).await,
        409,
        "Conflict",
        "Precondition failed: UID in precondition: 0000",
    );
    let mut renamed = created.clone();
    renamed["metadata"]["name"] = "d".into();
    check(
        &client.put(&path, &renamed).await,
        400,
        "BadRequest",
        "the name of the object (d) does not match the name on the URL (c)",
    );
    check(
        &client.put(&format!("{DEFAULT}/configmaps/none"), &config_map("none")).await,
        404,
        "NotFound",
        "configmaps \"none\" not found",
    );

    let gone = format!("{DEFAULT}/configmaps/none");
    check(&client.patch(&gone, "merge-patch", &json!({})).await, 404, "NotFound", "not found");
    check(
        &client.patch(&path, "merge-patch", &json!({"data": "x"})).await,
        400,
        "BadRequest",
        "cannot be handled as a ConfigMap",
    );
    check(
        &client.patch(&path, "merge-patch", &json!({"metadata": {"name": "d"}})).await,
        400,
        "BadRequest",
        "may not change the name",
    );
    check(
        &client.patch(&path, "merge-patch", &json!({"metadata": {"resourceVersion": "1"}})).await,
        409,
        "Conflict",
        "the object has been modified",
    );
    check(
        &client
            .patch(&path, "json", &json!([{"op": "test", "path": "/data/a", "value": "z"}]))
            .await,
        422,
        "Invalid",
        "testing value /data/a failed",
    );
    check(
        &client.patch(&path, "json", &json!([{"op": "remove", "path": "/data/zzz"}])).await,
        422,
        "Invalid",
        "",
    );
    check(&client.patch(&path, "json", &json!({"op": "nonsense"})).await, 400, "BadRequest", "");
    check(
        &client.patch(&path, "unheard-of", &json!({})).await,
        415,
        "UnsupportedMediaType",
        "application/merge-patch+json",
    );
    let apply = [("content-type", "application/apply-patch+yaml")];
    check(
        &client.send("PATCH", &path, &apply, "{}").await,
        415,
        "UnsupportedMediaType",
        "server-side apply is not supported",
    );
}

#[tokio::test]
async fn unknown_fields_are_refused_reported_or_ignored() {
    let server = TestServer::start().await;
    let mut client = server.admin().await;
    let maps = format!("{DEFAULT}/configmaps");
    let body = r#"{"metadata":{"name":"NAME"},"datum":{"a":"b"},"data":{"a":"1","a":"2"}}"#;
    let json_type = [("content-type", "application/json")];
    let post = |validation: &str| format!("{maps}?fieldValidation={validation}");
    let answer = client.send("POST", &post("Strict"), &json_type, body.replace("NAME", "a")).await;
    check(
        &answer,
        400,
        "BadRequest",
        "strict decoding error: unknown field \"datum\", duplicate field \"data.a\"",
    );
    let answer = client.send("POST", &post("Warn"), &json_type, body.replace("NAME", "b")).await;
    assert_eq!(answer.ok()["data"]["a"], "2");
    assert_eq!(
        answer.warnings(),
        ["299 - \"unknown field \\\"datum\\\"\"", "299 - \"duplicate field \\\"data.a\\\"\""]
    );
    assert!(answer.json().get("datum").is_none());
    let answer = client.send("POST", &post("Ignore"), &json_type, body.replace("NAME", "c")).await;
    answer.ok();
    assert!(answer.warnings().is_empty());
    let path = format!("{maps}/c?fieldValidation=Strict");
    check(
        &client.patch(&path, "merge-patch", &json!({"datum": 1})).await,
        400,
        "BadRequest",
        "unknown field \"datum\"",
    );
}

#[tokio::test]
async fn who_may_not() {
    let server = TestServer::start().await;
    let mut nobody = server.anonymous().await;
    check(&nobody.get("/api/v1/pods").await, 401, "Unauthorized", "Unauthorized");
    check(&nobody.get("/apis").await, 401, "Unauthorized", "Unauthorized");
    for open in ["/healthz", "/livez", "/readyz", "/version"] {
        assert_eq!(nobody.get(open).await.status, 200, "{open}");
    }
    let mut dev = server.user("dev", &["devs"]).await;
    dev.get("/apis").await.ok();
    check(
        &dev.get("/api/v1/namespaces/default/pods").await,
        403,
        "Forbidden",
        "pods is forbidden: User \"dev\" cannot list resource \"pods\" in API group \"\" in the namespace \"default\"",
    );
    check(
        &dev.get("/apis/apps/v1/deployments").await,
        403,
        "Forbidden",
        "deployments.apps is forbidden: User \"dev\" cannot list resource \"deployments\" in API group \"apps\" at the cluster scope",
    );
    check(
        &dev.post("/api/v1/namespaces", &json!({"metadata": {"name": "x"}})).await,
        403,
        "Forbidden",
        "namespaces is forbidden: User \"dev\" cannot create resource \"namespaces\" in API group \"\" at the cluster scope",
    );
    check(
        &dev.get("/metrics").await,
        403,
        "Forbidden",
        "forbidden: User \"dev\" cannot get path \"/metrics\"",
    );
    let answer = dev.send("GET", "/api/v1/pods", &[("impersonate-user", "admin")], "").await;
    check(&answer, 403, "Forbidden", "cannot impersonate resource \"users\"");
    let mut admin = server.admin().await;
    let answer = admin.send("GET", "/api/v1/pods", &[("impersonate-user", "jane")], "").await;
    check(&answer, 403, "Forbidden", "User \"jane\" cannot list resource \"pods\"");
    let answer = admin.send("GET", "/api/v1/pods", &[("impersonate-group", "x")], "").await;
    check(&answer, 400, "BadRequest", "without impersonating a user");
}
