//! Copies every ConfigMap labelled `copy` into one named `<name>-copy`, and
//! misbehaves when the ConfigMap's `data.do` says how.

use std::cell::RefCell;

use serde_json::{Value, json};

wit_bindgen::generate!({ path: "../../../../../wit", world: "controller-plugin" });

use exports::pintle::plugin::controller::{Change, Description, Enqueue, Guest, Outcome, Request, Watch};
use pintle::plugin::actions::{Action, Create, Event, Patch, PatchType};
use pintle::plugin::types::{Context, Grant, KindRef, Manifest, Object, ObjectRef};
use pintle::plugin::{lister, log};

struct Copier;

thread_local! {
    static CONFIG: RefCell<Value> = const { RefCell::new(Value::Null) };
    static HOARD: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

fn config(field: &str) -> Value {
    CONFIG.with_borrow(|config| config[field].clone())
}

fn config_map() -> KindRef {
    KindRef { group: String::new(), version: "v1".into(), kind: "ConfigMap".into() }
}

impl Guest for Copier {
    fn describe(config: Vec<u8>) -> Result<Description, String> {
        std::panic::set_hook(Box::new(|info| log::log(log::Level::Error, &info.to_string())));
        let config: Value = serde_json::from_slice(&config).map_err(|error| error.to_string())?;
        if let Some(message) = config["refuse"].as_str() {
            return Err(message.to_owned());
        }
        if config["describe"] == "trap" {
            panic!("asked to trap in describe");
        }
        let version = config["version"].as_str().unwrap_or("1").to_owned();
        CONFIG.set(config);
        let verbs = ["get", "list", "watch", "create", "patch"].map(str::to_owned).to_vec();
        let watches = vec![Watch {
            kind: Some(config_map()),
            changes: Change::ADDED | Change::MODIFIED,
            having: Some("metadata.labels.copy".into()),
            when_changed: vec!["data".into()],
            enqueue: Enqueue::Itself,
        }];
        let needs = vec![Grant { kind: config_map(), verbs, reason: "to copy them".into() }];
        Ok(Description { manifest: Manifest { name: "copier".into(), version, needs }, watches })
    }

    fn reconcile(context: Context, request: Request) -> Result<Outcome, String> {
        let Some(object) = lister::get(&request.ref_) else {
            return Ok(Outcome { actions: Vec::new(), requeue_after_ms: None });
        };
        let source: Value = serde_json::from_slice(&object.json).map_err(|error| error.to_string())?;
        let what = source["data"]["do"].as_str().unwrap_or("copy").to_owned();
        if config("behaves") != true {
            misbehave(&what);
        }
        let marker = config("version").as_str().unwrap_or("1").to_owned();
        let name = format!("{}-copy", request.ref_.name);
        let namespace = request.ref_.namespace.clone();
        let target = ObjectRef { kind: config_map(), namespace: namespace.clone(), name: name.clone() };
        let mut actions = Vec::new();
        if config("burner") == true && what != "burn" {
            return Ok(Outcome { actions, requeue_after_ms: None });
        }
        match what.as_str() {
            // Works hard for as long as it is told, and wants to go on.
            "burn" if config("behaves") != true => {
                let rounds = source["data"]["rounds"].as_str().and_then(|text| text.parse().ok()).unwrap_or(0u64);
                (0..rounds).for_each(|round| {
                    std::hint::black_box(round);
                });
                return Ok(Outcome { actions, requeue_after_ms: Some(1) });
            }
            // Somebody writes `left` and then `right`, always the same number.
            "twins" => {
                let of = |json: &[u8]| {
                    let value: Value = serde_json::from_slice(json).unwrap_or_default();
                    value["data"]["n"].as_str().and_then(|text| text.parse::<i64>().ok()).unwrap_or(-1)
                };
                let read = |name: &str| {
                    let name = name.to_owned();
                    lister::get(&ObjectRef { kind: config_map(), namespace: namespace.clone(), name })
                };
                let query = lister::Query {
                    kind: Some(config_map()),
                    namespace: Some(namespace.clone()),
                    owner_uid: None,
                    label_selector: Some("twin".into()),
                    field: None,
                    metadata_only: false,
                    limit: 0,
                };
                let first = read("left").map(|object| object.revision);
                for _ in 0..50 {
                    let (left, right) = (read("left"), read("right"));
                    let number = |object: &Option<Object>| object.as_ref().map_or(-1, |object| of(&object.json));
                    let (l, r) = (number(&left), number(&right));
                    let listed = lister::list_fields(&query, &["data.n".to_owned()]);
                    let fields: Vec<i64> = listed.iter().map(|object| of(&object.json)).collect();
                    let moved = left.map(|object| object.revision) != first;
                    if moved || l - r < 0 || l - r > 1 || fields != [l, r] || lister::count(&query) != 2 {
                        return Err(format!("torn: {l} {r} {fields:?}, moved: {moved}"));
                    }
                }
                return Ok(Outcome { actions, requeue_after_ms: Some(1) });
            }
            "error" => return Err(format!("attempt {}", request.attempt)),
            "secret" => actions.push(Action::Create(Create {
                kind: KindRef { group: String::new(), version: "v1".into(), kind: "Secret".into() },
                namespace,
                json: br#"{"kind":"Secret"}"#.to_vec(),
            })),
            "event" => actions.push(Action::Event(Event {
                regarding: request.ref_.clone(),
                regarding_uid: request.uid.clone(),
                type_: "Normal".into(),
                reason: "Seen".into(),
                action: "Looking".into(),
                note: format!("at {}", context.revision),
            })),
            "huge" => actions.push(Action::Create(Create {
                kind: config_map(),
                namespace,
                json: vec![b' '; 4 << 20],
            })),
            "oversized" => {
                let create = |_| {
                    Action::Create(Create { kind: config_map(), namespace: namespace.clone(), json: vec![b' '; 1 << 20] })
                };
                actions.extend((0..160).map(create));
            }
            "secrets" => actions.push(reveal(&request, context.seed)?),
            "count" => {
                // Reads its own counter: without read-your-writes it would count one step twice.
                let count = source["data"]["count"].as_str().and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
                let limit = source["data"]["limit"].as_str().and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
                if count < limit {
                    let body = json!({ "data": { "count": (count + 1).to_string(), "by": marker } });
                    actions.push(Action::Patch(Patch {
                        ref_: request.ref_.clone(),
                        subresource: String::new(),
                        patch_type: PatchType::Merge,
                        body: body.to_string().into_bytes(),
                        revision: Some(object.revision),
                    }));
                }
            }
            _ if lister::get(&target).is_none() => {
                let copy = json!({
                    "apiVersion": "v1", "kind": "ConfigMap",
                    "metadata": { "name": name, "namespace": namespace },
                    "data": { "by": marker, "of": source["metadata"]["uid"] },
                });
                actions.push(Action::Create(Create { kind: config_map(), namespace, json: copy.to_string().into_bytes() }));
            }
            _ => {}
        }
        Ok(Outcome { actions, requeue_after_ms: None })
    }
}

/// Puts the values of all Secrets of the namespace into a ConfigMap, with their
/// hash and a password made of the seed: everything that a trace must not show.
fn reveal(request: &Request, seed: u64) -> Result<Action, String> {
    let namespace = request.ref_.namespace.clone();
    let query = lister::Query {
        kind: Some(KindRef { group: String::new(), version: "v1".into(), kind: "Secret".into() }),
        namespace: Some(namespace.clone()),
        owner_uid: None,
        label_selector: None,
        field: None,
        metadata_only: false,
        limit: 0,
    };
    let mut values = serde_json::Map::new();
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for secret in lister::list(&query) {
        let object: Value = serde_json::from_slice(&secret.json).map_err(|error| error.to_string())?;
        for (key, value) in object["data"].as_object().into_iter().flatten() {
            for byte in value.as_str().unwrap_or_default().bytes() {
                hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
            }
            values.insert(format!("{}.{key}", secret.ref_.name), value.clone());
        }
    }
    values.insert("hash".into(), format!("{hash:016x}").into());
    values.insert("password".into(), format!("{seed:016x}").into());
    let name = format!("{}-revealed", request.ref_.name);
    let object = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": { "name": name, "namespace": namespace },
        "data": values,
    });
    Ok(Action::Create(Create { kind: config_map(), namespace, json: object.to_string().into_bytes() }))
}

fn misbehave(what: &str) {
    match what {
        "trap" => panic!("asked to trap"),
        "loop" => loop {
            std::hint::black_box(());
        },
        "hoard" => loop {
            HOARD.with_borrow_mut(|hoard| hoard.push(vec![1; 1 << 20]));
        },
        _ => {}
    }
}

export!(Copier);
