//! What is right about a description and an answer.

use std::collections::BTreeSet;

use pintle_api::kinds::Registry;
use pintle_plugin_host::trace::model::{
    AccessRecord, ActionRecord, Answer, DecisionRecord, Input, VerdictRecord,
};
use pintle_plugin_host::trace::offline::{Description, Looked, described};

use super::Case;
use super::inputs::{manifest, watched};

/// Kinds that are read and have no row in the table: measures come from others,
/// kinds are made by people, refusals are told by the host.
const ELSEWHERE: [(&str, &str); 5] = [
    ("metrics.k8s.io", "PodMetrics"),
    ("custom.metrics.k8s.io", "MetricValue"),
    ("external.metrics.k8s.io", "ExternalMetricValue"),
    ("apiextensions.k8s.io", "CustomResourceDefinition"),
    ("plugins.pintle.dev", "Refusal"),
];

pub fn same<T: PartialEq + std::fmt::Debug>(case: &Case, one: &T, other: &T) {
    assert!(one == other, "{} answers differently:\n{one:#?}\n{other:#?}", case.plugin);
}

pub fn description(case: &Case, description: &Description) {
    let manifest = manifest(description);
    assert_eq!(manifest.name, case.plugin, "a plugin bears its folder's name");
    assert!(!manifest.version.is_empty(), "{} has no version", case.plugin);
    for need in &manifest.needs {
        let kind = &need.kind.kind;
        assert!(!need.verbs.is_empty(), "{} needs {kind} for nothing", case.plugin);
        assert!(!need.reason.is_empty(), "{} needs {kind} for no reason", case.plugin);
        assert!(exists(&need.kind), "{} needs {:?}, which there is not", case.plugin, need.kind);
    }
    for kind in watched(description) {
        assert!(exists(&kind), "{} watches {kind:?}, which there is not", case.plugin);
        let covers = |need: &&described::Grant| {
            let same = (&need.kind.group, &need.kind.kind) == (&kind.group, &kind.kind);
            need.kind.kind == "*" || same
        };
        let mut needs = manifest.needs.iter().filter(covers);
        let may = needs.any(|need| need.verbs.iter().any(|verb| verb == "watch"));
        assert!(may, "{} watches {} and does not need to", case.plugin, kind.kind);
    }
}

fn exists(kind: &described::KindRef) -> bool {
    kind.kind == "*"
        || ELSEWHERE.contains(&(kind.group.as_str(), kind.kind.as_str()))
        || Registry::builtin().by_kind(&kind.group, &kind.version, &kind.kind).is_some()
}

pub fn answer(
    case: &Case,
    description: &Description,
    input: &Input,
    answer: &Answer,
    looked: &[Looked],
) {
    if let Answer::Fault(fault) = answer {
        panic!("{}: {}: {} for {input:?}", case.plugin, fault.reason, fault.message);
    }
    for looked in looked {
        assert!(looked.granted, "{} looks for {:?} without a grant", case.plugin, looked.kind);
    }
    let (Description::Controller(description), Answer::Outcome { requeue_after_ms: None, .. }) =
        (description, answer)
    else {
        return;
    };
    // Otherwise it would go on with what was, until something else wakes it.
    for looked in looked.iter().filter(|looked| looked.listed) {
        let wakes = description.watches.iter().any(|watch| {
            watch.kind.as_ref().is_none_or(|kind| {
                (&kind.group, &kind.kind) == (&looked.kind.group, &looked.kind.kind)
            })
        });
        assert!(
            wakes || case.unwatched.contains(&looked.kind.kind.as_str()),
            "{} lists {} without watching it, and does not ask to be called again, for {input:?}",
            case.plugin,
            looked.kind.kind
        );
    }
}

/// What an answer says, in a word or two.
pub fn tags(answer: &Answer) -> BTreeSet<String> {
    let tags: Vec<String> = match answer {
        Answer::Outcome { actions, .. } => actions.iter().map(action).collect(),
        Answer::Error(_) => vec!["error".to_owned()],
        Answer::Review { verdict, .. } => vec![
            match verdict {
                VerdictRecord::Allow => "allow",
                VerdictRecord::Patch(_) => "patch",
                VerdictRecord::Deny { .. } => "deny",
            }
            .to_owned(),
        ],
        Answer::Decisions(decisions) => decisions.iter().map(decision).collect(),
        Answer::Access(access) => vec![
            match access {
                AccessRecord::Allow(_) => "allow",
                AccessRecord::Deny(_) => "deny",
                AccessRecord::NoOpinion(_) => "no opinion",
            }
            .to_owned(),
        ],
        _ => Vec::new(),
    };
    tags.into_iter().collect()
}

fn action(action: &ActionRecord) -> String {
    let of = |verb: &str, kind: &str, subresource: &str| match subresource {
        "" => format!("{verb} {kind}"),
        subresource => format!("{verb} {kind}/{subresource}"),
    };
    match action {
        ActionRecord::Create { kind, .. } => of("create", &kind.kind, ""),
        ActionRecord::Update { reference, subresource, .. } => {
            of("update", &reference.kind.kind, subresource)
        }
        ActionRecord::Patch { reference, subresource, .. } => {
            of("patch", &reference.kind.kind, subresource)
        }
        ActionRecord::Delete { reference, .. } => of("delete", &reference.kind.kind, ""),
        ActionRecord::Event { .. } => "event".to_owned(),
        ActionRecord::Other(name, _) => name.clone(),
    }
}

fn decision(decision: &DecisionRecord) -> String {
    match decision {
        DecisionRecord::Bind { .. } => "bind",
        DecisionRecord::Unschedulable { .. } => "unschedulable",
        DecisionRecord::Preempt { .. } => "preempt",
        DecisionRecord::Ignore(_) => "ignore",
    }
    .to_owned()
}
