//! One test, two subjects: the plugin's own type and the component built from it.

use std::path::Path;
use std::sync::OnceLock;

use pintle_sdk::types::{DEPLOYMENT, NODE, SERVICE};
use pintle_sdk_testing::objects::{node, object, pod};
use pintle_sdk_testing::{
    Cluster, Extending, Reviewing, Scheduling, World, component, properties, subject,
};
use serde_json::{Value, json};

/// The component of a package, built once for all tests.
fn built(package: &str) -> &'static Path {
    static BUILT: OnceLock<Vec<pintle_plugin_build::Built>> = OnceLock::new();
    let built = BUILT.get_or_init(|| {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let packages =
            ["rust-controller", "rust-scorer", "pintle-plugin-priority", "pintle-plugin-scheduler"];
        pintle_plugin_build::build(&root, &packages, &root.join("target/guests")).unwrap()
    });
    &built.iter().find(|one| one.name == package).unwrap().path
}

fn site(name: &str, replicas: i64) -> Value {
    object(&rust_controller::WEBSITE, "default", name)
        .set("spec", json!({"image": "shop:1", "replicas": replicas}))
        .build()
}

#[test]
fn controllers() {
    let subjects = [
        subject::controller::<rust_controller::Plugin>(),
        component::controller(built("rust-controller")).unwrap(),
    ];
    let mut actions = Vec::new();
    for subject in &subjects {
        let mut cluster = Cluster::new().with_subject(subject, json!({}));
        cluster.create(site("shop", 2));
        actions.push(cluster.settle().actions);
        cluster.patch_status(&DEPLOYMENT.named("default", "shop"), json!({"readyReplicas": 2}));
        cluster.settle();
        let known = cluster.object(&rust_controller::WEBSITE.named("default", "shop")).unwrap();
        assert_eq!(known["status"]["conditions"][0]["status"], "True", "{subject:?}");

        let mut world = World::new();
        world.create(site("other", 4));
        properties::is_idempotent(subject, &json!({}), &world);
        properties::is_deterministic(subject, &json!({}), &world);
        properties::converges(subject, &json!({}), &world, 0..5, |settled| {
            assert_eq!(settled.all(&SERVICE).len(), 1);
        });
        let refused = subject.try_start(&json!({"unknown": 1})).err().unwrap();
        assert!(refused.starts_with("spec.config.unknown: unknown field `unknown`"), "{refused}");
    }
    assert_eq!(actions[0], actions[1], "natively and as a component");
}

#[test]
fn schedulers() {
    let subjects = [
        subject::scheduler::<pintle_plugin_scheduler::Plugin>(),
        component::scheduler(built("pintle-plugin-scheduler")).unwrap(),
    ];
    let mut decisions = Vec::new();
    for subject in &subjects {
        let mut cluster = Scheduling::of(subject, json!({}), World::new());
        for index in 0..5 {
            cluster.create(node(&format!("n{index}")).capacity("cpu", "2"));
            cluster.create(pod(&format!("p{index}")).requests("cpu", "1500m"));
        }
        cluster.create(pod("too-large").requests("cpu", "3"));
        decisions.push(cluster.schedule());
        cluster.remove(&NODE.named("", "n4"));
        cluster.create(pod("late").requests("cpu", "100m"));
        decisions.push(cluster.schedule());
        properties::never_overcommits(subject, &json!({}), 0..5);
    }
    assert_eq!(decisions[0..2], decisions[2..4], "natively and as a component");
}

#[test]
fn admission() {
    let subjects = [
        subject::admission::<pintle_plugin_priority::Plugin>(),
        component::admission(built("pintle-plugin-priority")).unwrap(),
    ];
    let mut world = World::new();
    world.create(json!({"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass",
        "metadata": {"name": "high"}, "value": 1000}));
    let mut admitted = Vec::new();
    for subject in &subjects {
        let mut reviewing = Reviewing::of(subject, json!({}), world.clone());
        let high = pod("p").set("spec.priorityClassName", "high");
        admitted.push(reviewing.create(high).unwrap());
        let pods = [pod("a").build(), pod("b").tolerates("k").build()];
        properties::admits_idempotently(subject, &json!({}), &world, pods);
    }
    assert_eq!(admitted[0].object["spec"]["priority"], 1000);
    assert_eq!(admitted[0], admitted[1], "natively and as a component");
}

#[test]
fn extensions() {
    let subjects = [
        subject::node_rule::<rust_scorer::Disks>(),
        component::extension(built("rust-scorer")).unwrap(),
    ];
    let mut world = World::new();
    world.create(node("a").label("disktype", "ssd"));
    world.create(node("b").label("example.pintle.dev/no-batch", "true"));
    let wants = pod("p").label("example.pintle.dev/disktype", "ssd").label("batch", "true");
    let mut opinions = Vec::new();
    for subject in &subjects {
        let mut cluster = Extending::of(subject, json!({}), world.clone());
        opinions.push(cluster.ask(wants.clone()));
        cluster.remove(&NODE.named("", "a"));
        cluster.create(node("c").label("disktype", "ssd"));
        opinions.push(cluster.ask(wants.clone()));
        let pods = [wants.clone().build(), pod("other").build()];
        properties::extends_soundly(subject, &json!({}), &world, pods);
    }
    assert_eq!((opinions[0].scores["a"], opinions[1].scores["c"]), (100, 100));
    assert_eq!(opinions[0].rejected["b"], "node(s) take no batch pods");
    assert_eq!(opinions[0..2], opinions[2..4], "natively and as a component");
}

#[test]
fn what_is_no_component_of_the_role_is_refused() {
    let error = component::controller("/nonexistent.wasm").unwrap_err();
    assert_eq!(error.to_string(), "/nonexistent.wasm: cannot be read; build it first");
    let error = component::scheduler(built("rust-controller")).unwrap_err();
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(cause.contains("Scheduler"), "{cause}");
}
