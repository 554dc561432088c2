//! The ConfigMap of one namespace.

use pintle_sdk::prelude::*;
use serde_json::{Map, Value, json};

const NAME: &str = "kube-root-ca.crt";
const KEY: &str = "ca.crt";
const DESCRIPTION: &str = "Contains a CA bundle that can be used to verify the kube-apiserver when using internal \
     endpoints such as the internal service IP or kubernetes.default.svc. No other usage is guaranteed across \
     distributions of Kubernetes clusters.";

pub fn plan(lister: &dyn Lister, namespace: &str, root_ca: &str) -> Result<Outcome, Error> {
    let Some(map) = lister.read::<ConfigMap>(namespace, NAME)? else {
        let map = json!({
            "metadata": {
                "name": NAME,
                "namespace": namespace,
                "annotations": {"kubernetes.io/description": DESCRIPTION},
            },
            "data": {KEY: root_ca},
        });
        return Ok(Outcome::of(Create::new(CONFIG_MAP, namespace, &map)));
    };
    if map.data.len() == 1 && map.data.get(KEY).is_some_and(|known| known == root_ca) {
        return Ok(Outcome::done());
    }
    let mut data: Map<String, Value> =
        map.data.keys().map(|key| (key.clone(), Value::Null)).collect();
    data.insert(KEY.to_owned(), json!(root_ca));
    Ok(Outcome::of(Patch::merge(&map, &json!({"data": data}))))
}
