//! Copies every ConfigMap labelled `copy` into one named `<name>-copy`, and
//! misbehaves when the ConfigMap's `data.do` says how.

use std::cell::RefCell;

use serde_json::{Value, json};

wit_bindgen::generate!({ path: "../../../../../wit", world: "controller-plugin" });

use exports::pintle::plugin::controller::{Change, Description, Enqueue, Guest, Outcome, Request, Watch};
use pintle::plugin::actions::{Action, Create, Event, Patch, PatchType};
use pintle::plugin::types::{Context, Grant, KindRef, Manifest, ObjectRef};
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
        match what.as_str() {
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
