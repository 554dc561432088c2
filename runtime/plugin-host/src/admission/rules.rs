//! Which requests an admission plugin wants to see: as the component says it, and
//! as a Plugin's status keeps it for the time in which there is no component to ask.

use super::request::Operation;
use crate::bindings::types::KindRef;
use crate::plugin::{self, ReviewRule};
use crate::program::admission_interface::{Description, Operation as Operations, Rule};

/// Stands for every kind where a rule names none.
const EVERY: &str = "*";

const OPERATIONS: [(&str, Operations); 4] = [
    ("Create", Operations::CREATE),
    ("Update", Operations::UPDATE),
    ("Delete", Operations::DELETE),
    ("Connect", Operations::CONNECT),
];

pub(crate) fn covers(rule: &Rule, kind: &KindRef, subresource: &str, operation: Operation) -> bool {
    // Nobody could repair a plugin that refuses every change of Plugin objects.
    if kind.kind == plugin::KIND && kind.group == plugin::GROUP {
        return false;
    }
    let operation = match operation {
        Operation::Create => Operations::CREATE,
        Operation::Update => Operations::UPDATE,
        Operation::Delete => Operations::DELETE,
        Operation::Connect => Operations::CONNECT,
    };
    rule.operations.contains(operation)
        && rule
            .kind
            .as_ref()
            .is_none_or(|wanted| wanted.kind == kind.kind && wanted.group == kind.group)
        && (rule.subresource == "*" || rule.subresource == subresource)
}

/// What a plugin reviews in either phase, for a status.
pub(crate) fn reviews(description: &Description) -> Vec<ReviewRule> {
    let mut rules: Vec<ReviewRule> = Vec::new();
    for rule in description.mutating.iter().chain(&description.validating) {
        let rule = stored(rule);
        if !rules.contains(&rule) {
            rules.push(rule);
        }
    }
    rules
}

fn stored(rule: &Rule) -> ReviewRule {
    let (api_group, kind) = match &rule.kind {
        Some(kind) => (kind.group.clone(), kind.kind.clone()),
        None => (EVERY.to_owned(), EVERY.to_owned()),
    };
    let named = OPERATIONS.iter().filter(|(_, operation)| rule.operations.contains(*operation));
    let operations = named.map(|(name, _)| (*name).to_owned()).collect();
    ReviewRule { api_group, kind, subresource: rule.subresource.clone(), operations }
}

/// The rule that was stored; operations that it does not know are those of a
/// later server, which this one does not ask about.
pub(crate) fn remembered(rule: &ReviewRule) -> Rule {
    let kind = (rule.kind != EVERY).then(|| KindRef {
        group: rule.api_group.clone(),
        version: String::new(),
        kind: rule.kind.clone(),
    });
    let known = OPERATIONS.iter().filter(|(name, _)| rule.operations.iter().any(|n| n == name));
    let operations = known.fold(Operations::empty(), |all, (_, operation)| all | *operation);
    Rule { kind, subresource: rule.subresource.clone(), operations }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind_ref(kind: &str) -> KindRef {
        KindRef { group: String::new(), version: "v1".into(), kind: kind.into() }
    }

    #[test]
    fn rules_cover_kind_subresource_and_operation() {
        fn check(
            rule: (Option<&str>, &str, Operations),
            kind: &str,
            subresource: &str,
            operation: Operation,
            expect: bool,
        ) {
            let rule =
                Rule { kind: rule.0.map(kind_ref), subresource: rule.1.into(), operations: rule.2 };
            assert_eq!(covers(&rule, &kind_ref(kind), subresource, operation), expect);
            // What the status keeps of it covers the same.
            let again = remembered(&stored(&rule));
            assert_eq!(covers(&again, &kind_ref(kind), subresource, operation), expect);
        }
        let create = Operations::CREATE;
        check((Some("Pod"), "", create), "Pod", "", Operation::Create, true);
        check((Some("Pod"), "", create), "Pod", "", Operation::Update, false);
        check((Some("Pod"), "", create), "Pod", "status", Operation::Create, false);
        check((Some("Pod"), "*", create), "Pod", "status", Operation::Create, true);
        check((Some("Pod"), "*", create), "Node", "", Operation::Create, false);
        check((None, "", create), "Node", "", Operation::Create, true);
        check((None, "", create | Operations::DELETE), "Node", "", Operation::Delete, true);
    }

    #[test]
    fn both_phases_are_one_list() {
        let rule = |kind: &str| Rule {
            kind: Some(kind_ref(kind)),
            subresource: String::new(),
            operations: Operations::CREATE,
        };
        let stored = |kind: &str| ReviewRule {
            api_group: String::new(),
            kind: kind.to_owned(),
            subresource: String::new(),
            operations: vec!["Create".to_owned()],
        };
        let mut description = Description {
            manifest: crate::bindings::types::Manifest {
                name: String::new(),
                version: String::new(),
                needs: Vec::new(),
            },
            mutating: vec![rule("Pod")],
            validating: vec![rule("Pod"), rule("Node")],
        };
        assert_eq!(reviews(&description), [stored("Pod"), stored("Node")]);
        description.mutating.clear();
        description.validating.clear();
        assert_eq!(reviews(&description), []);
    }
}
