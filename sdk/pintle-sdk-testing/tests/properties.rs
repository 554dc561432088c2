//! The property helpers let good plugins pass and name what bad ones do.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

use pintle_sdk::admission::{Admission, Operations, Response, Rule};
use pintle_sdk::authorizer::{Attributes, Authorizer};
use pintle_sdk::prelude::*;
use pintle_sdk::scheduler::{Decision, Delta, Scheduler, Wake};
use pintle_sdk::{Extensions, admission, authorizer, scheduler};
use pintle_sdk_testing::objects::{config_map, namespace, node, pod};
use pintle_sdk_testing::{Reviewing, Scheduling, World, overcommitted, properties, subject};
use serde_json::{Value, json};

/// What a panic says; None if there was none.
fn complaint(test: impl FnOnce()) -> Option<String> {
    let payload = catch_unwind(AssertUnwindSafe(test)).err()?;
    Some(payload.downcast_ref::<String>().cloned().unwrap_or_default())
}

fn is_caught(test: impl FnOnce(), expect: &str) {
    let text = complaint(test).expect("the helper notices");
    assert!(text.contains(expect), "{text}");
}

/// Keeps a copy of every ConfigMap with the annotation `copy: yes`, in two
/// steps, so that a crash between them has something to break.
struct Copier {
    /// The mistakes that it makes.
    mode: String,
    calls: Cell<u32>,
}

impl Controller for Copier {
    type Config = Value;

    fn new(config: Value) -> Result<Self, String> {
        let mode = config["mode"].as_str().unwrap_or_default().to_owned();
        Ok(Copier { mode, calls: Cell::new(0) })
    }

    fn describe(&self) -> Description {
        Description::new(pintle_sdk::manifest!())
            .watch(Watch::of(CONFIG_MAP))
            .watch(Watch::of(CONFIG_MAP).enqueue(Enqueue::ControllerOwner(CONFIG_MAP)))
    }

    fn reconcile(
        &self,
        _: &Context,
        lister: &dyn Lister,
        request: &Request,
    ) -> Result<Outcome, Error> {
        let mut outcome = Outcome::done();
        let Some(map) = request.read::<ConfigMap>(lister)? else { return Ok(outcome) };
        if map.metadata.annotations.get("copy").map(String::as_str) != Some("yes") {
            return Ok(outcome);
        }
        self.calls.set(self.calls.get() + 1);
        match self.mode.as_str() {
            "chatty" => outcome.push(Event::normal(&map, "Seen", "it is there")),
            "counting" => {
                let calls = self.calls.get().to_string();
                outcome.push(Patch::annotate(&map, "calls", Some(&calls)));
                return Ok(outcome);
            }
            _ => {}
        }
        let copies = lister.owned::<ConfigMap>(&map)?;
        // Without a fixed name and without looking, each try leaves another copy.
        if copies.is_empty() || self.mode == "careless" {
            let mut copy = (*map.object).clone();
            copy.metadata =
                ObjectMeta { namespace: copy.metadata.namespace, ..ObjectMeta::default() };
            copy.metadata.generate_name = format!("{}-", map.reference.name);
            if self.mode != "careless" || map.metadata.labels.is_empty() {
                outcome.push(Create::of(&copy).owned_by(&map));
            }
        }
        if map.metadata.labels.is_empty() {
            outcome.push(Patch::label(&map, "copied", Some("yes")));
        }
        Ok(outcome)
    }
}

fn maps() -> World {
    let mut world = World::new();
    world.create(config_map("a").annotation("copy", "yes").data("k", "v"));
    world.create(config_map("b").annotation("copy", "yes"));
    world.create(config_map("c"));
    world
}

/// Every marked map has one copy.
fn copied(world: &World) {
    assert_eq!(world.all(&CONFIG_MAP).len(), 5);
}

#[test]
fn a_good_controller_passes() {
    let (copier, config) = (subject::controller::<Copier>(), json!({}));
    properties::is_idempotent(&copier, &config, &maps());
    properties::is_deterministic(&copier, &config, &maps());
    properties::converges(&copier, &config, &maps(), 0..50, copied);
}

#[test]
fn what_a_bad_controller_does_is_named() {
    let copier = subject::controller::<Copier>();
    let config = |mode: &str| json!({"mode": mode});
    is_caught(
        || properties::is_idempotent(&copier, &config("chatty"), &maps()),
        "at rest still wants",
    );
    is_caught(
        || properties::is_deterministic(&copier, &config("counting"), &maps()),
        "about ConfigMap default/",
    );
    // It passes as long as nothing goes wrong.
    properties::is_idempotent(&copier, &config("careless"), &maps());
    is_caught(
        || properties::converges(&copier, &config("careless"), &maps(), 0..50, copied),
        "assertion `left == right` failed",
    );
}

/// First fit by CPU, memory and number of pods.
struct FirstFit {
    nodes: std::collections::BTreeMap<String, Node>,
    pods: std::collections::BTreeMap<String, Pod>,
    careless: bool,
}

impl FirstFit {
    fn fits(&self, pod: &Pod, node: &Node) -> bool {
        let on = || self.pods.values().filter(|pod| pod.spec.node_name == node.metadata.name);
        node.status.allocatable.iter().all(|(resource, room)| match resource.as_str() {
            "pods" => (on().count() as i64) < room.value(),
            _ if pod.requests(resource).is_zero() => true,
            _ => {
                on().map(|pod| pod.requests(resource)).sum::<Quantity>() + pod.requests(resource)
                    <= *room
            }
        })
    }
}

impl Scheduler for FirstFit {
    type Config = Value;

    fn new(config: Value) -> Result<Self, String> {
        let careless = config["careless"] == true;
        Ok(FirstFit { nodes: Default::default(), pods: Default::default(), careless })
    }

    fn describe(&self) -> scheduler::Description {
        scheduler::Description {
            manifest: pintle_sdk::manifest!(),
            scheduler_names: vec!["default-scheduler".to_owned()],
            watches: Vec::new(),
        }
    }

    fn sync(&mut self, deltas: Vec<Delta>) {
        for delta in deltas {
            match delta {
                Delta::Upsert(object) if object.reference.kind == NODE => {
                    self.nodes.insert(object.reference.name.clone(), object.parse().unwrap());
                }
                Delta::Upsert(object) => {
                    self.pods.insert(object.uid.clone(), object.parse().unwrap());
                }
                Delta::Remove(object) => {
                    self.nodes.remove(&object.reference.name);
                    self.pods.remove(&object.uid);
                }
            }
        }
    }

    fn schedule(&mut self, _: &Context, _: &dyn Extensions, pods: Vec<Object>) -> Vec<Decision> {
        let mut decisions = Vec::new();
        for object in pods {
            let mut pod: Pod = object.parse().unwrap();
            let fitting = self.nodes.values().find(|node| self.fits(&pod, node));
            decisions.push(match fitting {
                Some(node) => {
                    let node = node.metadata.name.clone();
                    pod.spec.node_name.clone_from(&node);
                    // What it has just decided counts already, unless it forgets.
                    if !self.careless {
                        self.pods.insert(object.uid.clone(), pod);
                    }
                    Decision::Bind { pod_uid: object.uid, node }
                }
                None => Decision::Unschedulable {
                    pod_uid: object.uid,
                    message: format!("0/{} nodes are available", self.nodes.len()),
                    wake_on: Wake { node_changed: true, pod_removed: true, ..Wake::default() },
                },
            });
        }
        decisions
    }

    fn forget(&mut self, pod_uids: Vec<String>) {
        pod_uids.iter().for_each(|uid| {
            self.pods.remove(uid);
        });
    }
}

#[test]
fn a_scheduler_works_off_what_waits() {
    let mut cluster = Scheduling::with::<FirstFit>(json!({}));
    cluster.create(node("n1").capacity("cpu", "1"));
    cluster.create(pod("a").requests("cpu", "600m"));
    cluster.create(pod("b").requests("cpu", "600m"));
    cluster.create(pod("other").set("spec.schedulerName", "another"));
    let decisions = cluster.schedule();
    assert_eq!((cluster.node_of("a").as_deref(), cluster.node_of("b")), (Some("n1"), None));
    assert!(matches!(decisions[&POD.named("default", "b")], Decision::Unschedulable { .. }));
    assert_eq!(decisions.len(), 2, "the third is another scheduler's");
    cluster.create(node("n2"));
    // A conflict: the pod stays where it was, and the room is free again.
    cluster.schedule_with(&pintle_sdk::NoExtensions, |_| false);
    assert_eq!(cluster.node_of("b"), None);
    cluster.schedule();
    assert_eq!(cluster.node_of("b").as_deref(), Some("n2"));
    assert!(overcommitted(&cluster).is_empty());
    cluster.create(pod("c").on("n1").requests("cpu", "1"));
    assert_eq!(overcommitted(&cluster), ["node n1: cpu 1600m of 1"]);
}

#[test]
fn capacity_is_watched() {
    let first_fit = subject::scheduler::<FirstFit>();
    properties::never_overcommits(&first_fit, &json!({}), 0..20);
    is_caught(
        || properties::never_overcommits(&first_fit, &json!({"careless": true}), 0..20),
        "step",
    );
    let mut world = World::new();
    for index in 0..4 {
        world.create(node(&format!("n{index}")).capacity("cpu", "2"));
        world.create(pod(&format!("bound{index}")).on("n1").requests("cpu", "100m"));
        world.create(pod(&format!("waits{index}")).requests("cpu", "1500m"));
    }
    properties::schedules_deterministically(&first_fit, &json!({}), &world);
}

/// Adds a label; in the mode `again` whenever it is asked.
struct Labels {
    again: bool,
}

impl Admission for Labels {
    type Config = Value;

    fn new(config: Value) -> Result<Self, String> {
        Ok(Labels { again: config["again"] == true })
    }

    fn describe(&self) -> admission::Description {
        admission::Description::new(pintle_sdk::manifest!())
            .mutating(Rule::on(POD, Operations::CREATE))
            .validating(Rule::on(POD, Operations::UPDATE))
    }

    fn review(&self, _: &Context, _: &dyn Lister, request: &admission::Request) -> Response {
        let pod: Pod = request.object().unwrap();
        if request.operation == Operations::UPDATE {
            let old: Pod = request.old_object().unwrap();
            let same = pod.metadata.labels == old.metadata.labels;
            return if same { Response::allow() } else { Response::deny("labels are fixed") };
        }
        let seen = pod.metadata.labels.get("seen").cloned().unwrap_or_default();
        if !seen.is_empty() && !self.again {
            return Response::allow();
        }
        let labels = json!({"seen": format!("{seen}x")});
        Response::patch_with(&json!([{"op": "add", "path": "/metadata/labels", "value": labels}]))
            .warn("labelled")
    }
}

#[test]
fn requests_pass_through_both_phases() {
    let mut reviewing = Reviewing::with::<Labels>(json!({}));
    let admitted = reviewing.create(pod("p")).unwrap();
    assert_eq!(admitted.object["metadata"]["labels"], json!({"seen": "x"}));
    assert_eq!(
        (admitted.patched, admitted.warnings.as_slice()),
        (true, &["labelled".to_owned()][..])
    );
    assert!(!reviewing.create(node("n")).unwrap().patched, "no rule for nodes");
    let denied = reviewing.update(pod("p"), pod("p").label("a", "b")).unwrap_err();
    assert_eq!((denied.code, denied.message.as_str()), (403, "labels are fixed"));
    assert!(reviewing.update(pod("p"), pod("p").set("spec.priority", 1)).is_ok());
    assert!(reviewing.delete(pod("p")).is_ok());
}

#[test]
fn admission_comes_to_rest() {
    let (labels, world) = (subject::admission::<Labels>(), World::new());
    let pods = || [pod("a").build(), pod("b").label("seen", "yes").build()];
    properties::admits_idempotently(&labels, &json!({}), &world, pods());
    is_caught(
        || properties::admits_idempotently(&labels, &json!({"again": true}), &world, pods()),
        "changes what it admitted",
    );
}

#[test]
fn a_refused_configuration_is_an_answer() {
    let text = complaint(|| {
        subject::controller::<Strict>().start(&json!({"replicas": "x"}));
    });
    assert!(text.unwrap().contains("spec.config.replicas: invalid type"));
}

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct StrictConfig {
    #[allow(dead_code)]
    replicas: u32,
}

struct Strict;

impl Controller for Strict {
    type Config = StrictConfig;
    fn new(_: StrictConfig) -> Result<Self, String> {
        Ok(Strict)
    }
    fn describe(&self) -> Description {
        Description::new(pintle_sdk::manifest!())
    }
    fn reconcile(&self, _: &Context, _: &dyn Lister, _: &Request) -> Result<Outcome, Error> {
        Ok(Outcome::done())
    }
}

/// Readers may read in namespaces with a label; `mode` is the mistake that it makes.
struct Readers {
    mode: String,
    open: Vec<String>,
    asked: u32,
}

impl Authorizer for Readers {
    type Config = Value;

    fn new(config: Value) -> Result<Self, String> {
        let mode = config["mode"].as_str().unwrap_or_default().to_owned();
        Ok(Readers { mode, open: Vec::new(), asked: 0 })
    }

    fn describe(&self) -> authorizer::Description {
        authorizer::Description::new(pintle_sdk::manifest!()).watch(NAMESPACE)
    }

    fn sync(&mut self, deltas: Vec<Delta>) {
        for delta in deltas {
            match delta {
                Delta::Upsert(namespace) => self.open.push(namespace.reference.name),
                Delta::Remove(_) if self.mode == "forgets nothing" => {}
                Delta::Remove(gone) => self.open.retain(|name| *name != gone.reference.name),
            }
        }
        if self.mode != "by order" {
            self.open.sort();
        }
    }

    fn authorize(&mut self, context: &Context, asked: &Attributes) -> authorizer::Decision {
        self.asked += 1;
        match self.mode.as_str() {
            "counts" if self.asked > 1 => authorizer::Decision::no_opinion(""),
            "by the clock" => authorizer::Decision::allow(context.now_unix_ms.to_string()),
            _ if self.open.contains(&asked.namespace) => {
                authorizer::Decision::allow(self.open.join(" "))
            }
            _ => authorizer::Decision::no_opinion(""),
        }
    }
}

#[test]
fn authorizers_answer_by_the_present() {
    let mut world = World::new();
    world.create(namespace("a"));
    world.create(namespace("b"));
    let readers = subject::authorizer::<Readers>();
    let check = |mode: &str| {
        let user = authorizer::User::new("jane", &[]);
        let asked = Attributes::resource(user, "get", "", "pods").within("a");
        properties::authorizes_soundly(&readers, &json!({"mode": mode}), &world, [asked]);
    };
    check("");
    is_caught(|| check("by the clock"), "an hour later");
    is_caught(|| check("counts"), "an hour later");
    is_caught(|| check("by order"), "fed otherwise");
    is_caught(|| check("forgets nothing"), "fed otherwise");
}
