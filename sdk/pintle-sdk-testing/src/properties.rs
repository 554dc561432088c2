//! What must hold for any plugin of a role. Each helper panics with the input
//! that breaks the property, so that it is one line in a test:
//!
//! ```
//! # use pintle_sdk::prelude::*;
//! # struct Stamper;
//! # impl Controller for Stamper {
//! #     type Config = NoConfig;
//! #     fn new(_: NoConfig) -> Result<Self, String> { Ok(Stamper) }
//! #     fn describe(&self) -> Description {
//! #         Description::new(pintle_sdk::manifest!()).watch(Watch::of(CONFIG_MAP))
//! #     }
//! #     fn reconcile(&self, _: &Context, lister: &dyn Lister, request: &Request) -> Result<Outcome, Error> {
//! #         Ok(match request.read::<ConfigMap>(lister)? {
//! #             Some(map) if !map.metadata.labels.contains_key("stamped") => {
//! #                 Outcome::of(Patch::label(&map, "stamped", Some("yes")))
//! #             }
//! #             _ => Outcome::done(),
//! #         })
//! #     }
//! # }
//! use pintle_sdk_testing::objects::config_map;
//! use pintle_sdk_testing::{World, properties, subject};
//! use serde_json::json;
//!
//! let mut world = World::new();
//! world.create(config_map("a"));
//! world.create(config_map("b").label("stamped", "yes"));
//!
//! let stamper = subject::controller::<Stamper>();
//! properties::is_idempotent(&stamper, &json!({}), &world);
//! properties::is_deterministic(&stamper, &json!({}), &world);
//! properties::converges(&stamper, &json!({}), &world, 0..20, |settled| {
//!     assert!(settled.all(&CONFIG_MAP).iter().all(|map| map["metadata"]["labels"]["stamped"] == "yes"));
//! });
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use pintle_sdk::authorizer::Attributes;
use pintle_sdk::controller::Request;
use pintle_sdk::names::Random;
use pintle_sdk::scheduler::Delta;
use pintle_sdk::{Context, ObjectRef};
use serde_json::{Value, json};

use crate::authorizing::Authorizing;
use crate::cluster::Cluster;
use crate::enqueue;
use crate::extending::Extending;
use crate::objects::{node, pod};
use crate::reviewing::Reviewing;
use crate::scheduling::{Scheduling, overcommitted};
use crate::subject::{
    AdmissionSubject, AuthorizerSubject, ControllerSubject, ExtensionSubject, SchedulerSubject,
    Subject,
};
use crate::world::{ChangeKind, World};

/// Faults per run of [`converges`].
const FAULTS: usize = 25;

/// Reconciles within which a run of [`converges`] must come to rest.
const ROUNDS: usize = 10_000;

/// At rest, being asked again about everything leads to no action. Events
/// count as actions: one that is repeated for ever fills the cluster.
pub fn is_idempotent(subject: &Subject<dyn ControllerSubject>, config: &Value, world: &World) {
    let mut cluster = Cluster::of(world.clone()).with_subject(subject, config.clone());
    cluster.settle();
    let again = cluster.restart().actions;
    assert!(again.is_empty(), "{subject:?} at rest still wants {again:#?}");
}

/// From `world`, the controller comes to rest although actions meet conflicts
/// and the host ends between two of them; what `goal` asserts holds then, and
/// nothing is left to do. Once per seed.
pub fn converges(
    subject: &Subject<dyn ControllerSubject>,
    config: &Value,
    world: &World,
    seeds: Range<u64>,
    goal: impl Fn(&World),
) {
    for seed in seeds {
        let mut cluster = Cluster::of(world.clone())
            .with_subject(subject, config.clone())
            .with_faults(seed, FAULTS);
        cluster.settle_within(ROUNDS);
        let again = cluster.restart().actions;
        assert!(again.is_empty(), "{subject:?}, seed {seed}: at rest still wants {again:#?}");
        goal(&cluster);
    }
}

/// By itself in a quiet cluster, the controller never undoes what it did: no
/// object comes back to a form that it had before, none that it made is deleted.
/// Counts in a status may come back: they say what is there.
pub fn does_not_flap(subject: &Subject<dyn ControllerSubject>, config: &Value, world: &World) {
    let mut cluster = Cluster::of(world.clone()).with_subject(subject, config.clone());
    cluster.record_changes();
    cluster.settle_within(ROUNDS);
    let mut forms: BTreeMap<ObjectRef, Vec<Value>> = BTreeMap::new();
    let mut made = BTreeSet::new();
    for change in cluster.recorded_changes() {
        let reference = change.reference.clone();
        match change.kind {
            ChangeKind::Added => {
                made.insert(reference);
            }
            ChangeKind::Deleted => {
                assert!(!made.contains(&reference), "{subject:?} makes and deletes {reference}");
            }
            ChangeKind::Modified => {
                let seen = forms.entry(reference.clone()).or_default();
                if seen.is_empty() {
                    seen.extend(change.previous.iter().map(|object| without_revision(object)));
                }
                let form = without_revision(&change.object);
                if seen.last() == Some(&form) {
                    continue;
                }
                assert!(!seen.contains(&form), "{subject:?} brings {reference} back to {form}");
                seen.push(form);
            }
        }
    }
}

fn without_revision(object: &Value) -> Value {
    let mut object = object.clone();
    object["metadata"]["resourceVersion"] = Value::Null;
    object["metadata"]["generation"] = Value::Null;
    object["status"] = Value::Null;
    object
}

/// Two instances that are asked the same give the same answer, also when one
/// of them has answered other questions before.
pub fn is_deterministic(subject: &Subject<dyn ControllerSubject>, config: &Value, world: &World) {
    let used = subject.start(config);
    let context = Context { now_unix_ms: world.now_unix_ms, seed: 7, revision: world.revision() };
    let description = used.describe();
    assert_eq!(description, subject.start(config).describe(), "{subject:?} describes itself anew");
    for change in world.present() {
        for watch in &description.watches {
            for (reference, uid) in enqueue::keys(watch, &change, world) {
                let request = Request { reference, uid, attempt: 0 };
                let ask = |plugin: &dyn ControllerSubject| {
                    let outcome = plugin.reconcile(&context, world, &request);
                    outcome.map_err(|error| error.to_string())
                };
                let fresh = subject.start(config);
                assert_eq!(ask(&*used), ask(&*fresh), "{subject:?} about {}", request.reference);
            }
        }
    }
}

/// Whatever comes and goes, no node is promised more than it has. Pods and
/// nodes, conflicts and deletions are drawn from each seed.
pub fn never_overcommits(
    subject: &Subject<dyn SchedulerSubject>,
    config: &Value,
    seeds: Range<u64>,
) {
    for seed in seeds {
        let mut random = Random::new(seed);
        let mut scheduling = Scheduling::of(subject, config.clone(), World::new());
        for step in 0..60 {
            act(&mut scheduling, &mut random, step);
            let mut luck = random.clone();
            scheduling
                .schedule_with(&pintle_sdk::NoExtensions, |_| !luck.next_u64().is_multiple_of(4));
            random = luck;
            let lines = overcommitted(&scheduling);
            assert!(lines.is_empty(), "{subject:?}, seed {seed}, step {step}: {lines:?}");
        }
    }
}

/// Something happens to the cluster.
fn act(world: &mut World, random: &mut Random, step: u64) {
    use pintle_sdk::types::{NODE, POD};
    let mut draw = |below: u64| random.next_u64() % below;
    match draw(8) {
        0 | 1 => {
            let (cpu, pods) = (draw(6), draw(5));
            let new = node(&format!("n{step}"))
                .capacity("cpu", &cpu.to_string())
                .capacity("memory", &format!("{}Gi", draw(8)))
                .capacity("pods", &pods.to_string());
            world.create(new);
        }
        2 => {
            let pods = world.all(&POD);
            if !pods.is_empty() {
                let chosen = pods[draw(pods.len() as u64) as usize]["metadata"]["name"].clone();
                let name = chosen.as_str().unwrap_or_default().to_owned();
                world.remove(&POD.named("default", name));
            }
        }
        3 => {
            let nodes = world.all(&NODE);
            // A node goes with its pods.
            if nodes.len() > 2 {
                let chosen = nodes[draw(nodes.len() as u64) as usize]["metadata"]["name"].clone();
                let name = chosen.as_str().unwrap_or_default().to_owned();
                let on: Vec<String> = world
                    .all(&POD)
                    .into_iter()
                    .filter(|pod| pod["spec"]["nodeName"] == json!(name))
                    .filter_map(|pod| pod["metadata"]["name"].as_str().map(str::to_owned))
                    .collect();
                for pod in on {
                    world.remove(&POD.named("default", pod));
                }
                world.remove(&NODE.named("", name));
            }
        }
        _ => {
            for index in 0..=draw(3) {
                let new = pod(&format!("p{step}-{index}"))
                    .requests("cpu", &format!("{}m", draw(12) * 250))
                    .requests("memory", &format!("{}Mi", draw(4) * 512))
                    .set("spec.priority", json!(draw(2)));
                world.create(new);
            }
        }
    }
}

/// Two schedulers that were fed the same decide the same, and so does one that
/// was fed the present at once instead of its history.
pub fn schedules_deterministically(
    subject: &Subject<dyn SchedulerSubject>,
    config: &Value,
    world: &World,
) {
    let decide = |deltas: Vec<Vec<Delta>>| {
        let mut scheduler = subject.start(config);
        deltas.into_iter().for_each(|deltas| scheduler.sync(deltas));
        let pods = Scheduling::of(subject, config.clone(), world.clone()).pending();
        let context =
            Context { now_unix_ms: world.now_unix_ms, seed: 7, revision: world.revision() };
        scheduler.schedule(&context, &pintle_sdk::NoExtensions, pods)
    };
    let present: Vec<Delta> = world
        .snapshot()
        .into_iter()
        .filter(|(reference, object)| {
            reference.kind != pintle_sdk::types::POD || object["spec"]["nodeName"].is_string()
        })
        .filter_map(|(reference, _)| world.envelope(&reference).map(Delta::Upsert))
        .collect();
    let at_once = decide(vec![present.clone()]);
    let one_by_one = present.into_iter().map(|delta| vec![delta]).collect();
    assert_eq!(at_once, decide(one_by_one), "{subject:?}: at once, and one by one");
}

/// What was admitted is admitted again, unchanged; two instances answer alike.
/// Objects that are denied are only compared.
pub fn admits_idempotently(
    subject: &Subject<dyn AdmissionSubject>,
    config: &Value,
    world: &World,
    objects: impl IntoIterator<Item = Value>,
) {
    let fresh = || Reviewing::of(subject, config.clone(), world.clone());
    for object in objects {
        let first = fresh().create(object.clone());
        assert_eq!(first, fresh().create(object.clone()), "{subject:?} about {object}");
        let Ok(admitted) = first else { continue };
        let again = fresh().create(admitted.object.clone());
        match again {
            Ok(again) => assert!(
                !again.patched,
                "{subject:?} changes what it admitted: {} becomes {}",
                admitted.object, again.object
            ),
            Err(denied) => {
                panic!(
                    "{subject:?} denies what it admitted: {}: {}",
                    admitted.object, denied.message
                )
            }
        }
    }
}

/// What an authorizer says about a request depends on the request and on the objects
/// that are there, so that the answer may be remembered until one changes: neither on
/// time and chance, nor on the order in which objects came, nor on what it was asked
/// before, nor on objects that were there and are gone.
pub fn authorizes_soundly(
    subject: &Subject<dyn AuthorizerSubject>,
    config: &Value,
    world: &World,
    requests: impl IntoIterator<Item = Attributes>,
) {
    let mut used = Authorizing::of(subject, config.clone(), world.clone());
    for request in requests {
        let said = used.ask(&request);
        used.now_unix_ms += 3_600_000;
        assert_eq!(said, used.ask(&request), "{subject:?} an hour later about {request:?}");
        let mut other = Authorizing::of(subject, config.clone(), World::new());
        let objects = world.snapshot();
        for object in objects.values() {
            other.insert(object.clone());
        }
        other.ask(&request);
        for reference in objects.keys() {
            other.remove(reference);
        }
        other.ask(&request);
        for (_, object) in objects.into_iter().rev() {
            other.insert(object);
        }
        assert_eq!(said, other.ask(&request), "{subject:?}, fed otherwise, about {request:?}");
    }
}

/// What an extension says about a pod depends on the fields that it declares and
/// on nothing else, so that one answer may serve all pods that agree in them; and
/// neither on the order in which nodes came nor on what it was asked before.
pub fn extends_soundly(
    subject: &Subject<dyn ExtensionSubject>,
    config: &Value,
    world: &World,
    pods: impl IntoIterator<Item = Value>,
) {
    let mut used = Extending::of(subject, config.clone(), world.clone());
    let fields = used.description().pod_fields.clone();
    for pod in pods {
        let said = used.ask(pod.clone());
        // The same nodes in another order, so under other numbers.
        let mut other = Extending::of(subject, config.clone(), World::new());
        for (_, object) in world.snapshot().into_iter().rev() {
            other.insert(object);
        }
        assert_eq!(said, other.ask(pod.clone()), "{subject:?} about {pod}");
        if fields.is_empty() {
            continue;
        }
        let bare = only(&pod, &fields);
        let about_bare = other.ask(bare.clone());
        assert_eq!(said, about_bare, "{subject:?}: {pod} and {bare} agree in {fields:?}");
    }
}

/// The pod cut down to these fields.
fn only(pod: &Value, fields: &[String]) -> Value {
    let mut bare = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "another", "namespace": "elsewhere"}});
    for field in fields {
        let Some(value) = crate::fields::at(pod, field) else { continue };
        let place = field.split('.').fold(&mut bare, |place, part| &mut place[part]);
        *place = value.clone();
    }
    bare
}
