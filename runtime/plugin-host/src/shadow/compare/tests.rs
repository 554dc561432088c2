use super::*;
use crate::action::PatchType;
use crate::bindings::types::{KindRef, ObjectRef};
use crate::program::admission_interface::{Denial, Operation, Phase, User};
use bytes::Bytes;
use pintle_api::meta::GroupVersionKind;
use proptest::prelude::*;

fn patch(name: &str, body: &str) -> Action {
    let kind = GroupVersionKind::new("", "v1", "Pod");
    Action::Patch {
        target: Target { kind, namespace: "n".into(), name: name.into() },
        subresource: String::new(),
        patch_type: PatchType::Merge,
        body: Bytes::from(body.to_owned()),
        revision: None,
    }
}

fn create(json: &str) -> Action {
    let kind = GroupVersionKind::new("", "v1", "Pod");
    Action::Create { kind, namespace: "n".into(), object: Bytes::from(json.to_owned()) }
}

fn event(reason: &str, note: &str) -> Action {
    let kind = GroupVersionKind::new("", "v1", "Pod");
    Action::Event {
        regarding: Target { kind, namespace: "n".into(), name: "a".into() },
        regarding_uid: "u".into(),
        event_type: "Normal".into(),
        reason: reason.into(),
        action: "A".into(),
        note: note.into(),
    }
}

fn act(actions: Vec<Action>) -> View {
    View::of_controller(&Decided::Act { actions, again_after: None })
}

#[test]
fn actions_are_the_same_up_to_an_order_that_does_not_matter() {
    fn check(one: Vec<Action>, other: Vec<Action>, expect: bool) {
        let (one, other) = (act(one), act(other));
        assert_eq!(one.same_as(&other), expect, "{} and {}", one.shown, other.shown);
    }
    let (a, b) = (patch("a", r#"{"x":1,"y":2}"#), patch("b", "{}"));
    check(vec![a.clone(), b.clone()], vec![b.clone(), a.clone()], true);
    check(vec![a.clone()], vec![patch("a", r#"{ "y": 2, "x": 1 }"#)], true);
    check(vec![a.clone()], vec![patch("a", r#"{"x":1}"#)], false);
    check(vec![a.clone()], vec![a.clone(), b], false);
    // On one object the order is what is decided.
    let later = patch("a", r#"{"x":2}"#);
    check(vec![a.clone(), later.clone()], vec![later, a], false);
    let (first, second) = (
        create(r#"{"metadata":{"generateName":"p-"},"n":1}"#),
        create(r#"{"metadata":{"generateName":"p-"},"n":2}"#),
    );
    check(vec![first.clone(), second.clone()], vec![second, first], true);
    check(vec![event("R", "one")], vec![event("R", "in other words")], true);
    check(vec![event("R", "one")], vec![event("S", "one")], false);
}

#[test]
fn errors_are_the_same_whatever_they_say() {
    let error = |text: &str| View::of_controller(&Decided::Error(text.to_owned()));
    assert!(error("a").same_as(&error("b")));
    assert!(!error("a").same_as(&act(Vec::new())));
}

#[test]
fn patches_are_the_same_if_they_make_the_same_of_the_object() {
    fn check(one: Verdict, other: Verdict, expect: bool) {
        let request = Request {
            ref_: ObjectRef {
                kind: KindRef { group: String::new(), version: "v1".into(), kind: "X".into() },
                namespace: String::new(),
                name: "x".into(),
            },
            subresource: String::new(),
            operation: Operation::CREATE,
            phase: Phase::Mutating,
            dry_run: false,
            user: User { name: String::new(), uid: String::new(), groups: Vec::new() },
            json: br#"{"a":1}"#.to_vec(),
            old_json: Vec::new(),
        };
        let view =
            |verdict| View::of_admission(&request, &Response { verdict, warnings: Vec::new() });
        assert_eq!(view(one).same_as(&view(other)), expect);
    }
    let patch = |text: &str| Verdict::Patch(text.as_bytes().to_vec());
    let deny = |code, message: &str| {
        Verdict::Deny(Denial { code, reason: String::new(), message: message.to_owned() })
    };
    let add = r#"[{"op":"add","path":"/b","value":2}]"#;
    check(patch(add), patch(&add.replace("2", "3")), false);
    check(
        patch(add),
        patch(r#"[{"op":"add","path":"/b","value":7},{"op":"replace","path":"/b","value":2}]"#),
        true,
    );
    check(Verdict::Allow, patch("[]"), true);
    check(Verdict::Allow, patch(add), false);
    check(deny(0, "no"), deny(403, "never"), true);
    check(deny(0, "no"), deny(409, "no"), false);
    check(deny(0, "no"), Verdict::Allow, false);
}

proptest! {
    #[test]
    fn independent_actions_compare_equal_in_any_order(
        names in proptest::collection::btree_set("[a-z]{1,4}", 0..12),
        seed in any::<u64>(),
    ) {
        let actions: Vec<Action> = names.iter().map(|name| patch(name, "{}")).collect();
        let mut shuffled = actions.clone();
        for index in (1..shuffled.len()).rev() {
            let other = (crate::seed::mix(seed ^ index as u64) % (index as u64 + 1)) as usize;
            shuffled.swap(index, other);
        }
        prop_assert!(act(actions).same_as(&act(shuffled)));
    }
}
