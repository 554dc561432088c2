//! What every namespace has.

use pintle_sdk::prelude::*;
use serde_json::json;

const ACCOUNT: &str = "default";

pub fn plan(lister: &dyn Lister, namespace: &Typed<Namespace>) -> Outcome {
    let name = &namespace.reference.name;
    if lister.get(&SERVICE_ACCOUNT.named(name, ACCOUNT)).is_some() {
        return Outcome::done();
    }
    let account = json!({
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": ACCOUNT, "namespace": name},
    });
    Outcome::of(Create::new(SERVICE_ACCOUNT, name, &account))
}
