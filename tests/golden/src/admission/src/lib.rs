//! Uses everything that world `admission-plugin` of 0.1.0 has: both phases, all
//! operations, every verdict, warnings and the lister.

wit_bindgen::generate!({ path: "../../../../wit", world: "admission-plugin" });

use exports::pintle::plugin::admission::{
    Denial, Description, Guest, Operation, Phase, Request, Response, Rule, Verdict,
};
use pintle::plugin::lister::{self, Query};
use pintle::plugin::log::{Level, log};
use pintle::plugin::types::{Context, Grant, KindRef, Manifest};

struct Golden;

fn config_map() -> KindRef {
    KindRef { group: String::new(), version: "v1".into(), kind: "ConfigMap".into() }
}

impl Guest for Golden {
    fn describe(config: Vec<u8>) -> Result<Description, String> {
        if config == br#"{"refuse":true}"# {
            return Err("refused as asked".into());
        }
        let needs =
            vec![Grant { kind: config_map(), verbs: vec!["list".into()], reason: "counts them".into() }];
        Ok(Description {
            manifest: Manifest { name: "golden-admission".into(), version: "0.1.0".into(), needs },
            mutating: vec![Rule {
                kind: Some(config_map()),
                subresource: String::new(),
                operations: Operation::CREATE | Operation::UPDATE,
            }],
            validating: vec![Rule {
                kind: None,
                subresource: "*".into(),
                operations: Operation::CREATE
                    | Operation::UPDATE
                    | Operation::DELETE
                    | Operation::CONNECT,
            }],
        })
    }

    fn review(context: Context, request: Request) -> Response {
        if request.ref_.name == "trapping" {
            log(Level::Error, "about to trap");
            panic!("asked to trap");
        }
        if request.phase == Phase::Mutating {
            let there = lister::count(&Query {
                kind: Some(config_map()),
                namespace: Some(request.ref_.namespace.clone()),
                owner_uid: None,
                label_selector: None,
                field: None,
                metadata_only: false,
                limit: 0,
            });
            let patch = format!(
                r#"[{{"op":"add","path":"/metadata/labels","value":{{"by":"{}","there":"{there}","clock":"{}"}}}}]"#,
                request.user.name,
                context.now_unix_ms > 0,
            );
            return Response { verdict: Verdict::Patch(patch.into_bytes()), warnings: Vec::new() };
        }
        let verdict = match request.ref_.name.as_str() {
            "teapot" => Verdict::Deny(Denial {
                code: 418,
                reason: "Teapot".into(),
                message: format!("{} may not", request.user.groups.join("+")),
            }),
            "forbidden" => {
                Verdict::Deny(Denial { code: 0, reason: String::new(), message: "no".into() })
            }
            _ => Verdict::Allow,
        };
        let warning = format!(
            "{}{} new={} old={} dry={}",
            if request.operation == Operation::DELETE { "delete" } else { "write" },
            request.subresource,
            !request.json.is_empty(),
            !request.old_json.is_empty(),
            request.dry_run,
        );
        Response { verdict, warnings: vec![warning] }
    }
}

export!(Golden);
