//! Labels ConfigMaps as admitted, refuses those named `forbidden`, and
//! misbehaves as the configuration or the object's `data.do` says.

use std::cell::RefCell;

use serde_json::{Value, json};

wit_bindgen::generate!({ path: "../../../../../wit", world: "admission-plugin" });

use exports::pintle::plugin::admission::{
    Denial, Description, Guest, Operation, Phase, Request, Response, Rule, Verdict,
};
use pintle::plugin::types::{Context, KindRef, Manifest};

struct Labelling;

thread_local! {
    static CONFIG: RefCell<Value> = const { RefCell::new(Value::Null) };
}

impl Guest for Labelling {
    fn describe(config: Vec<u8>) -> Result<Description, String> {
        let config: Value = serde_json::from_slice(&config).map_err(|error| error.to_string())?;
        let version = config["version"].as_str().unwrap_or("1").to_owned();
        CONFIG.set(config);
        let rule = || Rule {
            kind: Some(KindRef { group: String::new(), version: "v1".into(), kind: "ConfigMap".into() }),
            subresource: String::new(),
            operations: Operation::CREATE | Operation::UPDATE,
        };
        Ok(Description {
            manifest: Manifest { name: "labelling".into(), version, needs: Vec::new() },
            mutating: vec![rule()],
            validating: vec![rule()],
        })
    }

    fn review(_: Context, request: Request) -> Response {
        let object: Value = serde_json::from_slice(&request.json).unwrap();
        let config = CONFIG.with_borrow(Value::clone);
        let mut what = object["data"]["do"].as_str().unwrap_or_default().to_owned();
        if config["behaves"] == true {
            what.clear();
        }
        match what.as_str() {
            "trap" => panic!("asked to trap"),
            "loop" => loop {
                std::hint::black_box(());
            },
            _ => {}
        }
        let answer = |verdict| Response { verdict, warnings: Vec::new() };
        if request.phase == Phase::Validating {
            if what == "late-patch" {
                return answer(Verdict::Patch(b"[]".to_vec()));
            }
            let labelled = object["metadata"]["labels"]["admitted-by"].is_string();
            let message = if request.ref_.name == "forbidden" {
                "the name is forbidden"
            } else if !labelled {
                "not seen by the mutating phase"
            } else {
                let warnings = vec!["seen twice".to_owned()];
                return Response { verdict: Verdict::Allow, warnings };
            };
            return answer(Verdict::Deny(Denial { code: 0, reason: String::new(), message: message.into() }));
        }
        let patch = match what.as_str() {
            "nonsense" => b"nonsense".to_vec(),
            "misplaced" => br#"[{"op":"remove","path":"/not/there"}]"#.to_vec(),
            _ => {
                let by = config["version"].as_str().unwrap_or("1");
                json!([{ "op": "add", "path": "/metadata/labels", "value": { "admitted-by": by } }]).to_string().into_bytes()
            }
        };
        answer(Verdict::Patch(patch))
    }
}

export!(Labelling);
