//! Uses everything that world `authorizer-plugin` of 0.1.0 has: deltas, all
//! attributes of a request, each decision, and rules. A ConfigMap named as a user
//! lets the user in; the reason tells all that was asked.

use std::cell::RefCell;
use std::collections::BTreeSet;

wit_bindgen::generate!({ path: "../../../../wit", world: "authorizer-plugin" });

use exports::pintle::plugin::authorizer::{
    Attributes, Decision, Description, Guest, NonResourceRule, ResourceRule, RuleSet, User,
};
use pintle::plugin::log::{Level, log};
use pintle::plugin::types::{Context, Delta, Grant, KindRef, Manifest};

struct Golden;

thread_local! {
    static KNOWN: RefCell<BTreeSet<String>> = const { RefCell::new(BTreeSet::new()) };
}

fn kind(kind: &str) -> KindRef {
    KindRef { group: String::new(), version: "v1".into(), kind: kind.into() }
}

impl Guest for Golden {
    fn describe(config: Vec<u8>) -> Result<Description, String> {
        if config == br#"{"refuse":true}"# {
            return Err("refused as asked".into());
        }
        let need = Grant {
            kind: kind("ConfigMap"),
            verbs: vec!["watch".into()],
            reason: "to know them".into(),
        };
        let manifest = Manifest {
            name: "golden-authorizer".into(),
            version: "0.1.0".into(),
            needs: vec![need],
        };
        Ok(Description { manifest, watches: vec![kind("ConfigMap")] })
    }

    fn sync(deltas: Vec<Delta>) {
        KNOWN.with_borrow_mut(|known| {
            for delta in deltas {
                match delta {
                    Delta::Upsert(object) => known.insert(object.ref_.name),
                    Delta::Remove(object) => known.remove(&object.ref_.name),
                };
            }
        });
    }

    fn authorize(context: Context, asked: Attributes) -> Decision {
        let user = &asked.user;
        if asked.verb == "trap" {
            log(Level::Error, "about to trap");
            panic!("asked to trap");
        }
        let fields: Vec<String> =
            asked.required_fields.iter().map(|(field, value)| format!("{field}={value}")).collect();
        let extra: Vec<String> =
            user.extra.iter().map(|(key, values)| format!("{key}={}", values.join("+"))).collect();
        let told = [
            asked.verb.as_str(),
            &asked.group,
            &asked.version,
            &asked.resource,
            &asked.subresource,
            &asked.namespace,
            &asked.name,
            &asked.path,
            &fields.join("+"),
            &user.name,
            &user.uid,
            &user.groups.join("+"),
            &extra.join("+"),
            if context.now_unix_ms > 0 && context.revision > 0 { "clock" } else { "" },
        ]
        .join(",");
        match (KNOWN.with_borrow(|known| known.contains(&user.name)), asked.verb.as_str()) {
            (_, "delete") => Decision::Deny(told),
            (true, _) => Decision::Allow(told),
            (false, _) => Decision::NoOpinion(told),
        }
    }

    fn rules(_: Context, user: User, namespace: String) -> RuleSet {
        RuleSet {
            resource_rules: vec![ResourceRule {
                verbs: vec!["get".into()],
                api_groups: vec![String::new()],
                resources: vec![namespace],
                resource_names: vec![user.name],
            }],
            non_resource_rules: vec![NonResourceRule {
                verbs: vec!["get".into()],
                non_resource_urls: vec!["/golden".into()],
            }],
            incomplete: Some("golden".into()),
        }
    }
}

export!(Golden);
