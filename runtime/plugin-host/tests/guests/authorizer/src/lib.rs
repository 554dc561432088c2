//! Allows what the ConfigMap of the user's name says (`data.VERB: allow` or
//! `deny`), and misbehaves as the verb says unless its configuration forbids it. What
//! no map speaks of is allowed if the configuration is `generous`. Its reasons count
//! its calls, unless it is `plain`.

use std::cell::RefCell;
use std::collections::BTreeMap;

use serde_json::Value;

wit_bindgen::generate!({ path: "../../../../../wit", world: "authorizer-plugin" });

use exports::pintle::plugin::authorizer::{
    Attributes, Decision, Description, Guest, ResourceRule, RuleSet, User,
};
use pintle::plugin::types::{Context, Delta, Grant, KindRef, Manifest};

struct Maps;

thread_local! {
    static CONFIG: RefCell<Value> = const { RefCell::new(Value::Null) };
    static MAPS: RefCell<BTreeMap<String, Value>> = const { RefCell::new(BTreeMap::new()) };
    static CALLS: RefCell<u32> = const { RefCell::new(0) };
}

fn config_map() -> KindRef {
    KindRef { group: String::new(), version: "v1".into(), kind: "ConfigMap".into() }
}

impl Guest for Maps {
    fn describe(config: Vec<u8>) -> Result<Description, String> {
        let config: Value = serde_json::from_slice(&config).map_err(|error| error.to_string())?;
        let version = config["version"].as_str().unwrap_or("1").to_owned();
        CONFIG.set(config);
        let needs = vec![Grant {
            kind: config_map(),
            verbs: vec!["watch".into()],
            reason: "they say who may do what".into(),
        }];
        let manifest = Manifest { name: "maps".into(), version, needs };
        Ok(Description { manifest, watches: vec![config_map()] })
    }

    fn sync(deltas: Vec<Delta>) {
        for delta in deltas {
            match delta {
                Delta::Upsert(object) => {
                    let map: Value = serde_json::from_slice(&object.json).unwrap();
                    MAPS.with_borrow_mut(|maps| maps.insert(object.ref_.name, map["data"].clone()));
                }
                Delta::Remove(object) => {
                    MAPS.with_borrow_mut(|maps| maps.remove(&object.ref_.name));
                }
            }
        }
    }

    fn authorize(_: Context, asked: Attributes) -> Decision {
        let config = CONFIG.with_borrow(Value::clone);
        let calls = CALLS.with_borrow_mut(|calls| {
            *calls += 1;
            *calls
        });
        if config["behaves"] != true {
            match asked.verb.as_str() {
                "trap" => panic!("asked to trap"),
                "loop" => loop {
                    std::hint::black_box(());
                },
                "chatter" => return Decision::Allow("x".repeat(5000)),
                _ => {}
            }
        }
        let said = MAPS.with_borrow(|maps| {
            let map = maps.get(&asked.user.name)?;
            map[&asked.verb].as_str().map(str::to_owned)
        });
        match said.as_deref() {
            Some("allow") if config["plain"] == true => Decision::Allow("its map says so".into()),
            Some("allow") => Decision::Allow(format!("call {calls}")),
            Some("deny") => Decision::Deny("its map says so".into()),
            _ if config["generous"] == true => Decision::Allow(String::new()),
            _ => Decision::NoOpinion(String::new()),
        }
    }

    fn rules(_: Context, user: User, namespace: String) -> RuleSet {
        let resource_rules = vec![ResourceRule {
            verbs: vec!["get".into()],
            api_groups: vec![namespace],
            resources: vec![user.name],
            resource_names: Vec::new(),
        }];
        RuleSet { resource_rules, non_resource_rules: Vec::new(), incomplete: None }
    }
}

export!(Maps);
