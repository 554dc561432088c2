//! A world whose nodes a scheduler extension judges.

use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};

use pintle_sdk::scheduler::Delta;
use pintle_sdk::scheduler_extension::{Description, NumberedNode, SchedulerExtension};
use pintle_sdk::types::{NODE, POD};
use pintle_sdk::{Object, ObjectRef};
use serde_json::{Value, json};

use crate::fields::text;
use crate::subject::{self, ExtensionSubject, Subject};
use crate::world::{ChangeKind, World};

/// What an extension says about a pod, by the names of nodes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Opinion {
    /// Where it must not run, and why.
    pub rejected: BTreeMap<String, String>,
    /// How good the nodes are, 0 to 100; empty if the extension does not score.
    pub scores: BTreeMap<String, u8>,
}

/// A world whose nodes an extension judges. Dereferences to its [`World`]: what
/// a test does to the world reaches the extension before its next answer.
///
/// Nodes are numbered as the host does it: a number is used again when its node
/// is gone. Answers that a host would refuse (a score above 100, a number that
/// was never given out, a filter that was not announced) panic.
///
/// ```
/// use pintle_sdk::prelude::*;
/// use pintle_sdk_testing::Extending;
/// use pintle_sdk_testing::objects::{node, pod};
///
/// struct Even;
///
/// impl NodeRule for Even {
///     type Config = NoConfig;
///     type Pod = AnyObject;
///     type Node = AnyObject;
///     const ABILITIES: Abilities = Abilities::SCORE;
///     fn new(_: NoConfig) -> Result<Self, String> {
///         Ok(Even)
///     }
///     fn manifest(&self) -> Manifest {
///         pintle_sdk::manifest!()
///     }
///     fn score(&self, _: &AnyObject, node: &AnyObject) -> u8 {
///         if node.metadata.name.ends_with(['0', '2', '4', '6', '8']) { 100 } else { 0 }
///     }
/// }
///
/// let mut cluster = Extending::with_rule::<Even>(serde_json::json!({}));
/// cluster.create(node("n1"));
/// cluster.create(node("n2"));
/// assert_eq!(cluster.ask(pod("p")).scores["n2"], 100);
/// ```
pub struct Extending {
    world: World,
    extension: Box<dyn ExtensionSubject>,
    description: Description,
    numbers: BTreeMap<ObjectRef, u32>,
}

impl Deref for Extending {
    type Target = World;
    fn deref(&self) -> &World {
        &self.world
    }
}

impl DerefMut for Extending {
    fn deref_mut(&mut self) -> &mut World {
        &mut self.world
    }
}

impl Extending {
    /// The rule `R` itself; `config` is the JSON of `spec.config`. Panics when
    /// the configuration is refused, for tests.
    pub fn with_rule<R: pintle_sdk::NodeRule + 'static>(config: Value) -> Self {
        Extending::of(&subject::node_rule::<R>(), config, World::new())
    }

    /// The extension `E` itself.
    pub fn with<E: SchedulerExtension + 'static>(config: Value) -> Self {
        Extending::of(&subject::extension::<E>(), config, World::new())
    }

    /// An extension, whatever it is made of, which starts with `world` present.
    pub fn of(subject: &Subject<dyn ExtensionSubject>, config: Value, world: World) -> Self {
        let extension = subject.start(&config);
        let description = extension.describe();
        let mut world = world;
        world.take_changes();
        world.announce_all();
        Extending { world, extension, description, numbers: BTreeMap::new() }
    }

    /// What it says of itself.
    pub fn description(&self) -> &Description {
        &self.description
    }

    /// What it says about a pod, which need not be in the world.
    pub fn ask(&mut self, pod: impl Into<Value>) -> Opinion {
        self.feed();
        let mut json: Value = pod.into();
        for (path, value) in [("uid", "asked-about"), ("resourceVersion", "1")] {
            if text(&json, &format!("metadata.{path}")).is_empty() {
                json["metadata"][path] = json!(value);
            }
        }
        let pod = Object {
            reference: POD.named(text(&json, "metadata.namespace"), text(&json, "metadata.name")),
            uid: text(&json, "metadata.uid").to_owned(),
            revision: self.world.revision(),
            json: json.to_string().into_bytes(),
        };
        let context = self.world.context();
        let mut opinion = Opinion::default();
        if self.description.abilities.filter {
            for rejection in self.extension.filter(&context, &pod) {
                for number in rejection.nodes {
                    // A node that went since is nobody's concern.
                    if let Some(name) = self.name_of(number) {
                        opinion.rejected.entry(name).or_insert(rejection.reason.clone());
                    }
                }
            }
        }
        if self.description.abilities.score {
            let scores = self.extension.score(&context, &pod);
            if let Some(wrong) = scores.iter().find(|score| **score > 100) {
                panic!("a score of {wrong}; the best is 100");
            }
            for (node, number) in &self.numbers {
                let score = scores.get(*number as usize).copied().unwrap_or(0);
                opinion.scores.insert(node.name.clone(), score);
            }
        }
        opinion
    }

    /// Panics for a number that was never given out.
    fn name_of(&self, number: u32) -> Option<String> {
        let highest = self.numbers.values().max().copied();
        assert!(
            highest.is_some_and(|highest| number <= highest),
            "no node has the number {number}"
        );
        let found = self.numbers.iter().find(|(_, known)| **known == number);
        found.map(|(node, _)| node.name.clone())
    }

    fn feed(&mut self) {
        let (mut nodes, mut deltas) = (Vec::new(), Vec::new());
        for change in self.world.take_changes() {
            let gone = change.kind == ChangeKind::Deleted;
            let object = Object {
                uid: text(&change.object, "metadata.uid").to_owned(),
                revision: text(&change.object, "metadata.resourceVersion").parse().unwrap_or(0),
                json: change.object.to_string().into_bytes(),
                reference: change.reference,
            };
            if object.reference.kind == NODE {
                let number = self.number(&object.reference);
                if gone {
                    self.numbers.remove(&object.reference);
                }
                nodes.push(NumberedNode { number, node: (!gone).then_some(object) });
                continue;
            }
            let is_bound = || !text(&change.object, "spec.nodeName").is_empty();
            if self.description.watches.contains(&object.reference.kind)
                && (object.reference.kind != POD || is_bound())
            {
                deltas.push(if gone { Delta::Remove(object) } else { Delta::Upsert(object) });
            }
        }
        if !nodes.is_empty() {
            self.extension.sync_nodes(nodes);
        }
        if !deltas.is_empty() {
            self.extension.sync(deltas);
        }
    }

    /// Its own, or the lowest that is free.
    fn number(&mut self, node: &ObjectRef) -> u32 {
        if let Some(number) = self.numbers.get(node) {
            return *number;
        }
        let free = (0..).find(|number| !self.numbers.values().any(|taken| taken == number));
        let number = free.unwrap_or(u32::MAX);
        self.numbers.insert(node.clone(), number);
        number
    }
}
