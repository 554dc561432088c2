//! What a request costs that roles decide: a thousand roles and as many bindings
//! resident in the default plugin, asked through the chain.

use std::collections::BTreeMap;
use std::time::Instant;

use bytes::Bytes;
use pintle_plugin_host::authorizer::{AccessRequest, AccessUser, Verdict};
use pintle_sdk::object::{KindRef, Object};
use pintle_sdk::rbac::View;
use pintle_sdk::scheduler::Delta;
use serde_json::{Value, json};

use super::{microseconds, middle};
use crate::support::cluster::Memory;
use crate::support::guests;
use crate::support::host::Running;

const REQUESTS: usize = 5000;
const GROUP: &str = "rbac.authorization.k8s.io";

/// Microseconds.
pub struct Authorized {
    /// The same request again.
    pub remembered: f64,
    /// One that was never asked before.
    pub asked: f64,
    /// The decision alone, in native code.
    pub native: f64,
}

fn objects(roles: usize) -> Vec<Value> {
    let one = |index: usize| {
        let (name, namespace) = (format!("r-{index}"), format!("ns-{}", index % 50));
        let metadata = json!({"name": name, "namespace": namespace, "uid": name});
        [
            json!({"apiVersion": format!("{GROUP}/v1"), "kind": "Role", "metadata": metadata,
            "rules": [
                {"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["get", "list"]},
                {"apiGroups": [""], "resources": ["pods", "pods/log"], "verbs": ["get", "list"]},
            ]}),
            json!({"apiVersion": format!("{GROUP}/v1"), "kind": "RoleBinding", "metadata": metadata,
                "subjects": [{"kind": "User", "name": format!("user-{index}"), "apiGroup": GROUP}],
                "roleRef": {"apiGroup": GROUP, "kind": "Role", "name": name}}),
        ]
    };
    (0..roles).flat_map(one).collect()
}

/// None: the default plugins are not built.
pub fn measure(roles: usize) -> Option<Authorized> {
    let (_, component) =
        guests::defaults().into_iter().find(|(name, _)| name == "authorizer-rbac")?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().ok()?;
    let objects = objects(roles);
    let (remembered, asked) = runtime.block_on(through_the_chain(&component, &objects));
    Some(Authorized { remembered, asked, native: native(&objects) })
}

async fn through_the_chain(component: &Bytes, objects: &[Value]) -> (f64, f64) {
    let memory = Memory::new();
    for object in objects {
        memory.create(object.clone());
    }
    let grants = guests::every_grant();
    memory.create(guests::plugin("authorizer-rbac", "Authorizer", component, json!({}), grants));
    let running = Running::start(memory).await;
    let (chain, extra) = (running.host.authorizers(), BTreeMap::new());
    let groups = ["system:authenticated".to_owned()];
    let mut took = [Vec::with_capacity(REQUESTS), Vec::with_capacity(REQUESTS)];
    for index in 0..REQUESTS {
        let fresh = format!("pod-{index}");
        for (name, took) in ["pod", &fresh].into_iter().zip(&mut took) {
            let request = AccessRequest {
                user: AccessUser { name: "user-7", uid: "", groups: &groups, extra: &extra },
                verb: "get",
                group: "",
                version: "v1",
                resource: "pods",
                subresource: "",
                namespace: "ns-7",
                name,
                path: "",
                required_fields: &[],
            };
            let started = Instant::now();
            let verdict = chain.authorize(&request).await;
            took.push(started.elapsed());
            assert!(matches!(verdict, Verdict::Allow(_)), "{verdict:?}");
        }
    }
    running.stop().await;
    let [remembered, asked] = took.map(|took| microseconds(middle(took)));
    (remembered, asked)
}

fn native(objects: &[Value]) -> f64 {
    use pintle_sdk::authorizer::{Attributes, User};

    let mut view = View::default();
    for object in objects {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let kind = KindRef::parse(&text(&object["apiVersion"]), &text(&object["kind"]));
        let metadata = &object["metadata"];
        view.take(Delta::Upsert(Object {
            reference: kind.named(text(&metadata["namespace"]), text(&metadata["name"])),
            uid: text(&metadata["uid"]),
            revision: 1,
            json: object.to_string().into_bytes(),
        }));
    }
    let user = User::new("user-7", &["system:authenticated"]);
    let asked = Attributes::resource(user, "get", "", "pods").within("ns-7").named("pod");
    let took = super::median(REQUESTS, || assert!(view.authorize(&asked).is_allowed()));
    microseconds(took)
}
