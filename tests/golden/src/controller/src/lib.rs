//! Uses everything that world `controller-plugin` of 0.1.0 has: every way to
//! enqueue, every reader, every log level, every action. What it read is in the
//! note of the event, so that a test sees it.

wit_bindgen::generate!({ path: "../../../../wit", world: "controller-plugin" });

use exports::pintle::plugin::controller::{
    Change, Description, Enqueue, Guest, Outcome, Request, Watch,
};
use pintle::plugin::actions::{Action, Create, Delete, Event, Patch, PatchType, Propagation, Update};
use pintle::plugin::lister::{self, Query};
use pintle::plugin::log::{Level, log};
use pintle::plugin::types::{Context, Grant, KindRef, Manifest, Object, ObjectRef};

struct Golden;

fn kind(group: &str, kind: &str) -> KindRef {
    KindRef { group: group.into(), version: "v1".into(), kind: kind.into() }
}

fn config_map(namespace: &str, name: &str) -> ObjectRef {
    ObjectRef { kind: kind("", "ConfigMap"), namespace: namespace.into(), name: name.into() }
}

fn query() -> Query {
    Query {
        kind: Some(kind("", "ConfigMap")),
        namespace: None,
        owner_uid: None,
        label_selector: None,
        field: None,
        metadata_only: false,
        limit: 0,
    }
}

fn names(objects: &[Object]) -> String {
    let names: Vec<&str> = objects.iter().map(|object| object.ref_.name.as_str()).collect();
    names.join("+")
}

fn body(name: &str, namespace: &str, value: &str) -> Vec<u8> {
    format!(
        r#"{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"{name}","namespace":"{namespace}"}},"data":{{"by":"{value}"}}}}"#
    )
    .into_bytes()
}

impl Guest for Golden {
    fn describe(config: Vec<u8>) -> Result<Description, String> {
        if config == br#"{"refuse":true}"# {
            return Err("refused as asked".into());
        }
        for (level, text) in [
            (Level::Debug, "debug"),
            (Level::Info, "info"),
            (Level::Warn, "warn"),
            (Level::Error, "error"),
        ] {
            log(level, text);
        }
        let watch = |of: KindRef, enqueue| Watch {
            kind: Some(of),
            changes: Change::ADDED | Change::MODIFIED | Change::DELETED,
            having: None,
            when_changed: Vec::new(),
            enqueue,
        };
        let watches = vec![
            Watch {
                kind: Some(kind("", "ConfigMap")),
                changes: Change::ADDED | Change::MODIFIED,
                having: Some("metadata.labels.golden".into()),
                when_changed: vec!["data".into()],
                enqueue: Enqueue::Itself,
            },
            watch(kind("", "Pod"), Enqueue::ControllerOwner(kind("", "ConfigMap"))),
            watch(kind("", "Secret"), Enqueue::SameName(kind("", "ConfigMap"))),
            watch(kind("", "Service"), Enqueue::NamedBy((kind("", "Namespace"), "metadata.namespace".into()))),
            watch(kind("", "Endpoints"), Enqueue::SelectedBy((kind("", "ConfigMap"), "data".into()))),
            watch(kind("", "LimitRange"), Enqueue::AllOf(kind("", "ConfigMap"))),
        ];
        let grant = |of: KindRef, verbs: &[&str]| Grant {
            kind: of,
            verbs: verbs.iter().map(|verb| (*verb).to_owned()).collect(),
            reason: "to use all there is".into(),
        };
        let mut needs = vec![grant(
            kind("", "ConfigMap"),
            &["get", "list", "watch", "create", "update", "patch", "delete"],
        )];
        for other in ["Pod", "Secret", "Service", "Endpoints", "LimitRange", "Namespace"] {
            needs.push(grant(kind("", other), &["get", "list", "watch"]));
        }
        Ok(Description { manifest: Manifest { name: "golden-controller".into(), version: "0.1.0".into(), needs }, watches })
    }

    fn reconcile(context: Context, request: Request) -> Result<Outcome, String> {
        let ObjectRef { namespace, name, kind: of } = &request.ref_;
        if of.kind != "ConfigMap" {
            return Ok(Outcome { actions: Vec::new(), requeue_after_ms: None });
        }
        match name.as_str() {
            "golden" => Ok(Outcome { actions: everything(&context, &request), requeue_after_ms: None }),
            "failing" if request.attempt < 2 => Err(format!("attempt {}", request.attempt)),
            "failing" => Ok(Outcome {
                actions: vec![create(namespace, "failed-twice")],
                requeue_after_ms: None,
            }),
            "later" if lister::get(&config_map(namespace, "soon")).is_none() => {
                Ok(Outcome { actions: vec![create(namespace, "soon")], requeue_after_ms: Some(1) })
            }
            "later" => Ok(Outcome { actions: vec![create(namespace, "then")], requeue_after_ms: None }),
            "trapping" => panic!("asked to trap"),
            _ => Ok(Outcome { actions: Vec::new(), requeue_after_ms: None }),
        }
    }
}

fn create(namespace: &str, name: &str) -> Action {
    if lister::get(&config_map(namespace, name)).is_some() {
        // It is there: nothing to do, said as an action that changes nothing.
        return Action::Event(event(&config_map(namespace, name), "", "Present", String::new()));
    }
    Action::Create(Create {
        kind: kind("", "ConfigMap"),
        namespace: namespace.into(),
        json: body(name, namespace, "golden"),
    })
}

fn event(regarding: &ObjectRef, uid: &str, reason: &str, note: String) -> Event {
    Event {
        regarding: regarding.clone(),
        regarding_uid: uid.into(),
        type_: "Normal".into(),
        reason: reason.into(),
        action: "Look".into(),
        note,
    }
}

fn everything(context: &Context, request: &Request) -> Vec<Action> {
    let namespace = &request.ref_.namespace;
    let object = lister::get(&request.ref_).expect("what is reconciled exists");
    let in_namespace = Query { namespace: Some(namespace.clone()), ..query() };
    let one = Query { limit: 1, ..in_namespace.clone() };
    let names_only = Query { metadata_only: true, ..in_namespace.clone() };
    let named = Query {
        field: Some(("metadata.name".into(), "old".into())),
        ..in_namespace.clone()
    };
    let owned = Query { owner_uid: Some("nobody".into()), ..in_namespace.clone() };
    let labelled = Query { label_selector: Some("golden=yes".into()), ..in_namespace.clone() };
    let cut = lister::list_fields(&named, &["data.by".into()]);
    let note = format!(
        "all={} one={} bytes={} named={} owned={} labelled={} count={} cut={} clock={} seed={} revision={}",
        names(&lister::list(&in_namespace)),
        lister::list(&one).len(),
        lister::list(&names_only).iter().map(|object| object.json.len()).sum::<usize>(),
        names(&lister::list(&named)),
        lister::list(&owned).len(),
        lister::list(&labelled).len(),
        lister::count(&in_namespace),
        String::from_utf8_lossy(&cut[0].json),
        context.now_unix_ms > 0,
        context.seed != 0,
        context.revision >= object.revision,
    );
    let patch = |name: &str, patch_type, body: &str| {
        let of = config_map(namespace, name);
        let revision = lister::get(&of).map(|object| object.revision);
        Action::Patch(Patch {
            ref_: of,
            subresource: String::new(),
            patch_type,
            body: body.as_bytes().to_vec(),
            revision,
        })
    };
    let old = lister::get(&config_map(namespace, "old")).expect("the test makes it");
    vec![
        create(namespace, "made"),
        Action::Update(Update {
            ref_: config_map(namespace, "updated"),
            subresource: String::new(),
            json: body("updated", namespace, "update"),
        }),
        patch("json", PatchType::Json, r#"[{"op":"add","path":"/data/by","value":"json"}]"#),
        patch("merge", PatchType::Merge, r#"{"data":{"by":"merge"}}"#),
        patch("strategic", PatchType::Strategic, r#"{"data":{"by":"strategic"}}"#),
        Action::Delete(Delete {
            ref_: old.ref_,
            uid: Some(old.uid),
            revision: Some(old.revision),
            grace_period_seconds: Some(0),
            propagation: Some(Propagation::Background),
        }),
        Action::Event(event(&request.ref_, &request.uid, "Golden", note)),
    ]
}

export!(Golden);
