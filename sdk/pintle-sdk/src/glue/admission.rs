//! Admission plugins.

use super::convert::{kind_out, manifest, ref_in};
use super::{HostLister, NOT_DESCRIBED, Slot};
use crate::admission::{Admission, Operations, Phase, Request, Response, Rule, User, Verdict};
use crate::bindings::admission::exports::pintle::plugin::admission as wit;
pub use crate::bindings::controller::pintle::plugin::types::Context as WitContext;

pub fn describe<T: Admission>(slot: &Slot<T>, config: &[u8]) -> Result<wit::Description, String> {
    let plugin = T::new(super::config(config)?)?;
    let description = plugin.describe();
    slot.set(plugin);
    Ok(wit::Description {
        manifest: manifest(description.manifest),
        mutating: description.mutating.into_iter().map(rule).collect(),
        validating: description.validating.into_iter().map(rule).collect(),
    })
}

pub fn review<T: Admission>(
    slot: &Slot<T>,
    context: WitContext,
    request: wit::Request,
) -> wit::Response {
    let context = super::convert::context(context);
    let asked = request.operation;
    let has = |operation| asked & operation == operation;
    let request = Request {
        reference: ref_in(request.ref_),
        subresource: request.subresource,
        operation: Operations {
            create: has(wit::Operation::CREATE),
            update: has(wit::Operation::UPDATE),
            delete: has(wit::Operation::DELETE),
            connect: has(wit::Operation::CONNECT),
        },
        phase: match request.phase {
            wit::Phase::Mutating => Phase::Mutating,
            wit::Phase::Validating => Phase::Validating,
        },
        dry_run: request.dry_run,
        user: User { name: request.user.name, uid: request.user.uid, groups: request.user.groups },
        json: request.json,
        old_json: request.old_json,
    };
    let response = slot
        .with(|plugin| plugin.review(&context, &HostLister, &request))
        .unwrap_or_else(|| Response {
            verdict: Verdict::Deny {
                code: 500,
                reason: "InternalError".to_owned(),
                message: NOT_DESCRIBED.to_owned(),
            },
            warnings: Vec::new(),
        });
    wit::Response {
        verdict: match response.verdict {
            Verdict::Allow => wit::Verdict::Allow,
            Verdict::Patch(operations) => wit::Verdict::Patch(operations),
            Verdict::Deny { code, reason, message } => {
                wit::Verdict::Deny(wit::Denial { code, reason, message })
            }
        },
        warnings: response.warnings,
    }
}

fn rule(rule: Rule) -> wit::Rule {
    let mut operations = wit::Operation::empty();
    if rule.operations.create {
        operations = operations | wit::Operation::CREATE;
    }
    if rule.operations.update {
        operations = operations | wit::Operation::UPDATE;
    }
    if rule.operations.delete {
        operations = operations | wit::Operation::DELETE;
    }
    if rule.operations.connect {
        operations = operations | wit::Operation::CONNECT;
    }
    wit::Rule { kind: rule.kind.map(kind_out), subresource: rule.subresource, operations }
}
