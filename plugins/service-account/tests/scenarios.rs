//! Accounts of new pods.

use pintle_plugin_service_account::Plugin;
use pintle_sdk_testing::{Reviewing, objects::pod};
use serde_json::{Value, json};

fn account(name: &str, more: Value) -> Value {
    let mut account = json!({"apiVersion": "v1", "kind": "ServiceAccount",
        "metadata": {"name": name, "namespace": "default"}});
    for (field, value) in more.as_object().unwrap() {
        account[field] = value.clone();
    }
    account
}

fn reviewing(config: Value) -> Reviewing {
    let mut reviewing = Reviewing::with::<Plugin>(config);
    reviewing.insert(account("default", json!({})));
    reviewing.insert(account("puller", json!({"imagePullSecrets": [{"name": "registry"}]})));
    reviewing.insert(account("closed", json!({"automountServiceAccountToken": false})));
    reviewing
}

fn admitted(reviewing: &mut Reviewing, spec: Value) -> Value {
    let mut object = pod("p").build();
    for (field, value) in spec.as_object().unwrap() {
        object["spec"][field] = value.clone();
    }
    let once = reviewing.create(object).unwrap().object;
    assert!(!reviewing.create(once.clone()).unwrap().patched, "admitted once, admitted unchanged");
    once["spec"].clone()
}

#[test]
fn names_are_filled_in_and_looked_up() {
    let mut reviewing = reviewing(json!({}));
    let names = |spec: &Value| json!([spec["serviceAccountName"], spec["serviceAccount"]]);
    assert_eq!(names(&admitted(&mut reviewing, json!({}))), json!(["default", "default"]));
    let old = json!({"serviceAccount": "puller"});
    let spec = admitted(&mut reviewing, old);
    assert_eq!(names(&spec), json!(["puller", "puller"]));
    assert_eq!(spec["imagePullSecrets"], json!([{"name": "registry"}]));
    let own = json!({"serviceAccountName": "puller", "imagePullSecrets": [{"name": "mine"}]});
    assert_eq!(admitted(&mut reviewing, own)["imagePullSecrets"], json!([{"name": "mine"}]));
    let unknown = pod("p").set("spec.serviceAccountName", "nobody");
    assert_eq!(
        reviewing.create(unknown).unwrap_err().message,
        r#"error looking up service account default/nobody: serviceaccount "nobody" not found"#
    );
    let mut young = Reviewing::with::<Plugin>(json!({}));
    assert_eq!(names(&admitted(&mut young, json!({}))), json!(["default", "default"]));
}

#[test]
fn tokens_are_mounted_when_nodes_serve_them() {
    let has_volume = |spec: &Value| spec["volumes"].as_array().is_some_and(|list| !list.is_empty());
    assert!(!has_volume(&admitted(&mut reviewing(json!({})), json!({}))));
    let mut reviewing = reviewing(json!({"mountTokens": true}));
    let spec = admitted(
        &mut reviewing,
        json!({"containers": [{"name": "a"}, {"name": "b",
        "volumeMounts": [{"name": "x", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"}]}]}),
    );
    let name = spec["volumes"][0]["name"].as_str().unwrap();
    assert!(name.starts_with("kube-api-access-"), "{name}");
    let token = &spec["volumes"][0]["projected"]["sources"][0]["serviceAccountToken"];
    assert_eq!(*token, json!({"expirationSeconds": 3607, "path": "token"}));
    assert_eq!(spec["containers"][0]["volumeMounts"][0]["name"], name);
    assert_eq!(spec["containers"][1]["volumeMounts"].as_array().unwrap().len(), 1);
    for refused in
        [json!({"serviceAccountName": "closed"}), json!({"automountServiceAccountToken": false})]
    {
        assert!(!has_volume(&admitted(&mut reviewing, refused)));
    }
}

#[test]
fn mirror_pods_have_none() {
    let mut reviewing = reviewing(json!({}));
    let mirror = pod("p").annotation("kubernetes.io/config.mirror", "x");
    assert!(!reviewing.create(mirror.clone()).unwrap().patched);
    let named = mirror.set("spec.serviceAccountName", "default");
    assert_eq!(
        reviewing.create(named).unwrap_err().message,
        "a mirror pod may not reference service accounts"
    );
}
