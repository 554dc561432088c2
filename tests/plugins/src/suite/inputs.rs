//! The questions of a role, over a cluster.

use std::collections::BTreeSet;

use pintle_plugin_host::trace::model::{
    AttributesRecord, Blob, DeltaRecord, Input, ObjectRecord, OperationRecord, PhaseRecord,
    RequestRecord, UserRecord,
};
use pintle_plugin_host::trace::offline::{Description, described};
use pintle_sdk::{KindRef, ObjectRef};
use pintle_sdk_testing::World;
use serde_json::Value;

use super::Script;
use super::world::{context, record, reference_record};
use described::admission::{Operation, Rule};
use described::controller::Enqueue;

/// Who asks: an administrator, a node, a person, a controller.
static USERS: [(&str, &[&str]); 4] = [
    ("admin", &["system:masters", "system:authenticated"]),
    ("system:node:n1", &["system:nodes", "system:authenticated"]),
    ("jane", &["system:authenticated"]),
    ("system:serviceaccount:shop:default", &["system:serviceaccounts", "system:authenticated"]),
];

pub fn manifest(description: &Description) -> &described::Manifest {
    match description {
        Description::Controller(said) => &said.manifest,
        Description::Scheduler(said) => &said.manifest,
        Description::Admission(said) => &said.manifest,
        Description::SchedulerExtension(said) => &said.manifest,
        Description::Authorizer(said) => &said.manifest,
    }
}

/// Kinds of which it is told.
pub fn watched(description: &Description) -> Vec<described::KindRef> {
    match description {
        Description::Controller(said) => {
            said.watches.iter().filter_map(|watch| watch.kind.clone()).collect()
        }
        Description::Scheduler(said) => said.watches.clone(),
        Description::Admission(_) => Vec::new(),
        Description::SchedulerExtension(said) => said.watches.clone(),
        Description::Authorizer(said) => said.watches.clone(),
    }
}

/// It answers from the question and the cluster alone.
pub fn is_stateless(description: &Description) -> bool {
    matches!(description, Description::Controller(_) | Description::Admission(_))
}

/// Objects of this kind have to do with its answers.
pub fn looks_at(description: &Description, kind: &KindRef) -> bool {
    let own = matches!(description, Description::Scheduler(_)) && is(kind, "", "Pod");
    let needed = manifest(description).needs.iter().any(|need| {
        // Where everything is needed, what is asked about is enough.
        need.kind.kind != "*" && is(kind, &need.kind.group, &need.kind.kind)
    });
    let asked = match description {
        Description::Controller(said) => said.watches.iter().any(|watch| match &watch.kind {
            Some(watched) => is(kind, &watched.group, &watched.kind),
            None => ["Pod", "Namespace", "ReplicaSet"].contains(&&*kind.kind),
        }),
        Description::Admission(said) => {
            said.mutating.iter().chain(&said.validating).any(|rule| fits(rule, kind))
        }
        _ => false,
    };
    own || needed || asked
}

fn is(kind: &KindRef, group: &str, name: &str) -> bool {
    kind.group == group && kind.kind == name
}

fn fits(rule: &Rule, kind: &KindRef) -> bool {
    rule.kind.as_ref().is_none_or(|of| is(kind, &of.group, &of.kind))
}

/// Everything that can be asked about this cluster.
pub fn present(description: &Description, world: &World) -> Script {
    match description {
        Description::Controller(said) => {
            let mut script = Vec::new();
            for reference in world.references() {
                keys(said, world, &reference, &mut script);
            }
            // Of objects that are gone again.
            for watch in &said.watches {
                if let Some(kind) = &watch.kind {
                    let kind = KindRef {
                        group: kind.group.clone().into(),
                        version: kind.version.clone().into(),
                        kind: kind.kind.clone().into(),
                    };
                    let gone = kind.named("shop", "never-was");
                    script.push((reconcile(world, &gone, "uid-gone"), world.clone()));
                }
            }
            script
        }
        Description::Admission(said) => {
            let objects = world.snapshot();
            objects.iter().flat_map(|(at, object)| reviews(said, world, at, object, None)).collect()
        }
        _ => told(description, world, true),
    }
}

/// What is asked when one object becomes another.
pub fn about(
    description: &Description,
    world: &World,
    reference: &ObjectRef,
    mutant: Value,
) -> Script {
    let mut changed = world.clone();
    changed.insert(mutant.clone());
    match description {
        Description::Controller(said) => {
            let mut script = Vec::new();
            keys(said, &changed, reference, &mut script);
            // Read, but not watched: whoever reads it is asked.
            if script.is_empty() {
                for other in changed.references() {
                    keys(said, &changed, &other, &mut script);
                }
                script.truncate(8);
            }
            script
        }
        Description::Admission(said) => {
            let before = world.object(reference);
            let mut script = reviews(said, world, reference, &mutant, before);
            if script.is_empty() {
                let objects = changed.snapshot();
                let all =
                    objects.iter().flat_map(|(at, one)| reviews(said, &changed, at, one, None));
                script = all.step_by(5).take(8).collect();
            }
            script
        }
        _ => told(description, &changed, false),
    }
}

/// The keys that an object means, all that a watch of its kind could lead to.
fn keys(
    said: &described::controller::Description,
    world: &World,
    reference: &ObjectRef,
    script: &mut Script,
) {
    let mut asked = BTreeSet::new();
    for watch in &said.watches {
        let of_kind = |kind: &described::KindRef| is(&reference.kind, &kind.group, &kind.kind);
        if !watch.kind.as_ref().is_none_or(of_kind) {
            continue;
        }
        let target = match &watch.enqueue {
            Enqueue::Itself => {
                asked.insert(reference.clone());
                continue;
            }
            Enqueue::ControllerOwner(kind) | Enqueue::SameName(kind) | Enqueue::AllOf(kind) => kind,
            Enqueue::NamedBy((kind, _)) | Enqueue::SelectedBy((kind, _)) => kind,
        };
        let there = world.references().into_iter();
        asked.extend(there.filter(|at| is(&at.kind, &target.group, &target.kind)));
    }
    for at in asked {
        let uid = record(world, &at).map(|object| object.uid).unwrap_or_default();
        script.push((reconcile(world, &at, &uid), world.clone()));
    }
}

fn reconcile(world: &World, at: &ObjectRef, uid: &str) -> Input {
    let (context, reference) = (context(world), reference_record(at));
    Input::Reconcile { context, reference, uid: uid.to_owned(), attempt: 0 }
}

/// Requests about one object: by everybody, of every operation and phase that a
/// rule names.
fn reviews(
    said: &described::admission::Description,
    world: &World,
    reference: &ObjectRef,
    object: &Value,
    before: Option<&Value>,
) -> Script {
    let mut script = Vec::new();
    let phases =
        [(PhaseRecord::Mutating, &said.mutating), (PhaseRecord::Validating, &said.validating)];
    for (phase, rules) in phases {
        for rule in rules.iter().filter(|rule| fits(rule, &reference.kind)) {
            for (operation, record) in [
                (Operation::CREATE, OperationRecord::Create),
                (Operation::UPDATE, OperationRecord::Update),
                (Operation::DELETE, OperationRecord::Delete),
                (Operation::CONNECT, OperationRecord::Connect),
            ] {
                if !rule.operations.contains(operation) {
                    continue;
                }
                let blob = |object: Option<&Value>| {
                    Blob(object.map(|object| object.to_string().into_bytes()).unwrap_or_default())
                };
                let (new, old) = match record {
                    OperationRecord::Create => (Some(object), None),
                    OperationRecord::Delete => (None, Some(object)),
                    _ => (Some(object), before.or(Some(object))),
                };
                for (user, groups) in USERS {
                    let request = RequestRecord {
                        reference: reference_record(reference),
                        subresource: rule.subresource.replace('*', ""),
                        operation: record,
                        phase,
                        dry_run: false,
                        user: user.to_owned(),
                        user_uid: String::new(),
                        groups: groups.iter().map(|&group| group.to_owned()).collect(),
                        json: blob(new),
                        old_json: blob(old),
                    };
                    let context = context(world);
                    script.push((Input::Review { context, request }, world.clone()));
                }
            }
        }
    }
    script
}

/// The whole cluster told, then what is asked of one who keeps it in mind. Where
/// everything is to be tried, all of it is gone at the end, and others ask too.
fn told(description: &Description, world: &World, everything: bool) -> Script {
    let kinds = watched(description);
    let schedules = matches!(description, Description::Scheduler(_));
    let wanted = |at: &ObjectRef| {
        let own = schedules && (is(&at.kind, "", "Node") || is(&at.kind, "", "Pod"));
        own || kinds.iter().any(|kind| is(&at.kind, &kind.group, &kind.kind))
    };
    let told: Vec<ObjectRecord> = world
        .references()
        .iter()
        .filter(|at| wanted(at))
        .filter_map(|at| record(world, at))
        .collect();
    let is_pending = |object: &&ObjectRecord| {
        let json: Value = serde_json::from_slice(&object.json.0).unwrap_or_default();
        object.reference.kind.kind == "Pod" && !json["spec"]["nodeName"].is_string()
    };
    let (pending, bound): (Vec<_>, Vec<_>) =
        told.into_iter().partition(|object| schedules && is_pending(&object));
    let upserts = bound.iter().cloned().map(DeltaRecord::Upsert).collect();
    let mut inputs = vec![Input::Sync(upserts)];
    let users = if everything { &USERS[..] } else { &USERS[1..2] };
    inputs.extend(questions(description, world, &pending, users));
    inputs.push(Input::Sync(bound.into_iter().map(DeltaRecord::Remove).collect()));
    if everything {
        inputs.extend(questions(description, world, &pending, users));
    }
    inputs.into_iter().map(|input| (input, world.clone())).collect()
}

fn questions(
    description: &Description,
    world: &World,
    pending: &[ObjectRecord],
    users: &[(&str, &[&str])],
) -> Vec<Input> {
    let context = context(world);
    match description {
        Description::Scheduler(_) => vec![
            Input::Schedule { context, pods: pending.to_vec() },
            Input::Forget(pending.iter().map(|pod| pod.uid.clone()).collect()),
        ],
        Description::Authorizer(_) => {
            let requests = users.iter().flat_map(|user| requests(*user));
            let asked = requests.map(|attributes| Input::Authorize { context, attributes });
            let rules = users.iter().map(|user| Input::Rules {
                context,
                user: self::user(*user),
                namespace: "shop".to_owned(),
            });
            asked.chain(rules).collect()
        }
        _ => Vec::new(),
    }
}

fn user((name, groups): (&str, &[&str])) -> UserRecord {
    UserRecord {
        name: name.to_owned(),
        uid: String::new(),
        groups: groups.iter().map(|&group| group.to_owned()).collect(),
        extra: Vec::new(),
    }
}

fn requests(of: (&str, &[&str])) -> Vec<AttributesRecord> {
    let resources = [
        ("get", "", "configmaps", "shop", "settings"),
        ("list", "", "pods", "shop", ""),
        ("get", "", "secrets", "shop", "used"),
        ("get", "", "secrets", "shop", "other"),
        ("get", "", "secrets", "kube-system", "used"),
        ("create", "", "serviceaccounts", "shop", "default"),
        ("delete", "apps", "deployments", "shop", "web"),
        ("escalate", "rbac.authorization.k8s.io", "roles", "", ""),
        ("", "", "", "", ""),
    ];
    let mut all: Vec<AttributesRecord> = resources
        .into_iter()
        .map(|(verb, group, resource, namespace, name)| AttributesRecord {
            user: user(of),
            verb: verb.to_owned(),
            group: group.to_owned(),
            version: "v1".to_owned(),
            resource: resource.to_owned(),
            subresource: String::new(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            path: String::new(),
            required_fields: Vec::new(),
        })
        .collect();
    let (mut token, mut path) = (all[5].clone(), all[8].clone());
    token.subresource = "token".to_owned();
    (path.verb, path.path) = ("get".to_owned(), "/healthz".to_owned());
    all.extend([token, path]);
    all
}

/// What is asked about, for people.
pub fn title(input: &Input) -> String {
    match input {
        Input::Reconcile { reference, .. } => format!("reconcile {reference}"),
        Input::Review { request, .. } => {
            format!(
                "{:?} {:?} {} by {}",
                request.phase, request.operation, request.reference, request.user
            )
        }
        input => input.export().to_owned(),
    }
}
