//! Pull policies of pods on their way in.

use pintle_plugin_always_pull_images::Plugin;
use pintle_sdk_testing::{Reviewing, objects::pod};
use serde_json::json;

#[test]
fn every_image_is_pulled() {
    let mut reviewing = Reviewing::with::<Plugin>(json!({}));
    let object = pod("p")
        .set(
            "spec.containers",
            json!([{"name": "a", "image": "a"}, {"name": "b", "imagePullPolicy": "Never"}]),
        )
        .set("spec.initContainers", json!([{"name": "i", "imagePullPolicy": "Always"}]))
        .set("spec.volumes", json!([{"name": "v", "image": {"reference": "x"}}, {"name": "e"}]))
        .build();
    let once = reviewing.create(object).unwrap().object;
    for path in [
        "/spec/containers/0/imagePullPolicy",
        "/spec/containers/1/imagePullPolicy",
        "/spec/initContainers/0/imagePullPolicy",
        "/spec/volumes/0/image/pullPolicy",
    ] {
        assert_eq!(once.pointer(path).unwrap(), "Always", "{path}");
    }
    assert!(once["spec"]["volumes"][1]["image"].is_null());
    assert!(!reviewing.create(once).unwrap().patched);
}

#[test]
fn pods_from_before_keep_theirs_until_an_image_changes() {
    let mut reviewing = Reviewing::with::<Plugin>(json!({}));
    let with = |image: &str| {
        let containers = json!([{"name": "a", "image": image, "imagePullPolicy": "IfNotPresent"}]);
        pod("p").set("spec.containers", containers).build()
    };
    assert!(!reviewing.update(with("a"), with("a")).unwrap().patched);
    assert!(reviewing.update(with("a"), with("b")).unwrap().patched);
}
