//! What every namespace has.

use pintle_sdk::prelude::*;
use serde_json::json;

const ACCOUNT: &str = "default";
const ROOT_CA: &str = "kube-root-ca.crt";
const ROOT_CA_KEY: &str = "ca.crt";
const DESCRIPTION: &str = "Contains a CA bundle that can be used to verify the kube-apiserver when using internal \
     endpoints such as the internal service IP or kubernetes.default.svc. No other usage is guaranteed across \
     distributions of Kubernetes clusters.";

pub fn plan(
    lister: &dyn Lister,
    namespace: &Typed<Namespace>,
    root_ca: Option<&str>,
) -> Result<Outcome, Error> {
    let name = &namespace.reference.name;
    let mut outcome = Outcome::done();
    if lister.get(&SERVICE_ACCOUNT.named(name, ACCOUNT)).is_none() {
        let account = json!({
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": {"name": ACCOUNT, "namespace": name},
        });
        outcome.push(Create::new(SERVICE_ACCOUNT, name, &account));
    }
    let Some(root_ca) = root_ca else { return Ok(outcome) };
    match lister.read::<ConfigMap>(name, ROOT_CA)? {
        None => {
            let map = json!({
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {
                    "name": ROOT_CA,
                    "namespace": name,
                    "annotations": {"kubernetes.io/description": DESCRIPTION},
                },
                "data": {ROOT_CA_KEY: root_ca},
            });
            outcome.push(Create::new(CONFIG_MAP, name, &map));
        }
        Some(map)
            if map.data.len() != 1
                || map.data.get(ROOT_CA_KEY).is_none_or(|known| known != root_ca) =>
        {
            let mut data = serde_json::Map::new();
            for key in map.data.keys() {
                data.insert(key.clone(), serde_json::Value::Null);
            }
            data.insert(ROOT_CA_KEY.to_owned(), json!(root_ca));
            outcome.push(Patch::merge(&map, &json!({"data": data})));
        }
        Some(_) => {}
    }
    Ok(outcome)
}
