//! All admission plugins in the order they are asked: every mutating one, then
//! every validating one. A request that no plugin wants costs a comparison of
//! a few strings.

use std::sync::Arc;
use std::time::Instant;

use pintle_api::meta::GroupVersionKind;
use serde_json::Value;

use super::member::{Absent, Member};
use super::request::{AdmissionRequest, Admitted, Document, Operation, Refusal};
use super::unit::{AdmissionUnit, Terms};
use crate::bindings::types::{KindRef, ObjectRef};
use crate::convert;
use crate::members::{Member as _, Members};
use crate::plugin::FailurePolicy;
use crate::program::admission_interface::{
    Denial, Operation as Operations, Phase, Request, Response, User, Verdict,
};

/// Warnings are shown in HTTP headers; more than this is noise or abuse.
const MAX_WARNINGS: usize = 32;
const MAX_WARNING_BYTES: usize = 512;

#[derive(Default)]
pub struct AdmissionChain {
    members: Members<Member>,
}

impl AdmissionChain {
    pub(crate) fn put(&self, unit: Arc<AdmissionUnit>) {
        self.members.put(&Member::Present(unit));
    }

    /// There is to be one, and it could not be loaded.
    pub(crate) fn put_absent(&self, name: &Arc<str>, terms: Terms, absent: Absent) {
        let absent = Arc::new(absent);
        self.members.put(&Member::Absent { name: name.clone(), terms, absent });
    }

    pub(crate) fn remove(&self, name: &str) {
        self.members.remove(name);
    }

    /// Whether any plugin wants to see such requests.
    pub fn wants(&self, kind: &GroupVersionKind, subresource: &str, operation: Operation) -> bool {
        let members = self.members.load();
        if members.is_empty() {
            return false;
        }
        let kind = convert::kind_ref(kind);
        members.iter().any(|member| {
            member.wants(Phase::Mutating, &kind, subresource, operation)
                || member.wants(Phase::Validating, &kind, subresource, operation)
        })
    }

    /// Asks every plugin that wants the request.
    pub async fn review(&self, request: AdmissionRequest<'_>) -> Result<Admitted, Refusal> {
        let members = self.members.load_full();
        let mut review = Review::new(&request);
        for phase in [Phase::Mutating, Phase::Validating] {
            for member in members.iter() {
                if member.wants(phase, &review.kind, request.subresource, request.operation) {
                    review.pass(member, phase).await?;
                }
            }
        }
        Ok(Admitted { object: review.mutated, warnings: review.warnings })
    }
}

/// A request on its way through the chain.
struct Review<'a> {
    request: &'a AdmissionRequest<'a>,
    kind: KindRef,
    /// What plugins are asked; made when the first one is.
    question: Option<Arc<Request>>,
    mutated: Option<Value>,
    warnings: Vec<String>,
}

impl<'a> Review<'a> {
    fn new(request: &'a AdmissionRequest<'a>) -> Self {
        Self {
            request,
            kind: convert::kind_ref(request.kind),
            question: None,
            mutated: None,
            warnings: Vec::new(),
        }
    }

    /// Asks one of the chain. Where no answer comes, its failure policy says
    /// whether the request goes on.
    async fn pass(&mut self, member: &Member, phase: Phase) -> Result<(), Refusal> {
        let answer = match member {
            Member::Present(unit) => self.ask(unit, phase).await,
            Member::Absent { absent, .. } => Err(absent.cause()),
        };
        let followed = answer.and_then(|response| self.follow(member.name(), response));
        match followed {
            Ok(outcome) => outcome,
            Err(cause) if member.failure_policy() == FailurePolicy::Ignore => {
                self.warn(format!("admission plugin {:?} gave no answer: {cause}", member.name()));
                Ok(())
            }
            Err(cause) => Err(broken(member.name(), &cause, std::mem::take(&mut self.warnings))),
        }
    }

    fn warn(&mut self, warning: String) {
        if self.warnings.len() < MAX_WARNINGS {
            self.warnings.push(clip(warning));
        }
    }

    async fn ask(&mut self, unit: &Arc<AdmissionUnit>, phase: Phase) -> Result<Response, String> {
        let question = self.question(phase);
        while let Some(until) = unit.in_debt_until(Instant::now()) {
            tokio::time::sleep_until(until.into()).await;
        }
        if unit.is_wasi() {
            // WASI's host functions block on the async runtime, which its own threads may not.
            let unit = unit.clone();
            tokio::task::spawn_blocking(move || unit.review(&question))
                .await
                .unwrap_or_else(|error| Err(error.to_string()))
        } else {
            unit.review(&question)
        }
    }

    /// The same for all plugins that are asked in a row; only the phase and the
    /// object, when one has changed it, are made anew.
    fn question(&mut self, phase: Phase) -> Arc<Request> {
        let mut question = match self.question.take() {
            Some(question) => question,
            None => Arc::new(self.first_question(phase)),
        };
        // Nobody else holds it between two calls, so this copies nothing.
        let open = Arc::make_mut(&mut question);
        open.phase = phase;
        if open.json.is_empty() {
            open.json = bytes(self.mutated.as_ref().map(Document::Parsed).or(self.request.object));
        }
        self.question = Some(question.clone());
        question
    }

    fn first_question(&self, phase: Phase) -> Request {
        let request = self.request;
        Request {
            ref_: ObjectRef {
                kind: self.kind.clone(),
                namespace: request.namespace.to_owned(),
                name: request.name.to_owned(),
            },
            subresource: request.subresource.to_owned(),
            operation: match request.operation {
                Operation::Create => Operations::CREATE,
                Operation::Update => Operations::UPDATE,
                Operation::Delete => Operations::DELETE,
                Operation::Connect => Operations::CONNECT,
            },
            phase,
            dry_run: request.dry_run,
            user: User {
                name: request.user.name.to_owned(),
                uid: request.user.uid.to_owned(),
                groups: request.user.groups.to_vec(),
            },
            json: Vec::new(),
            old_json: bytes(request.old_object),
        }
    }

    /// What the answer makes of the request; an error is no answer.
    fn follow(&mut self, name: &str, response: Response) -> Result<Result<(), Refusal>, String> {
        for warning in response.warnings {
            self.warn(warning);
        }
        match response.verdict {
            Verdict::Allow => Ok(Ok(())),
            Verdict::Deny(denial) => {
                Ok(Err(denied(denial, name, std::mem::take(&mut self.warnings))))
            }
            Verdict::Patch(patch) => match self.patch(&patch) {
                Ok(()) => Ok(Ok(())),
                Err(cause) => Err(format!("its patch does not apply: {cause}")),
            },
        }
    }

    fn patch(&mut self, patch: &[u8]) -> Result<(), String> {
        let patch: json_patch::Patch =
            serde_json::from_slice(patch).map_err(|error| error.to_string())?;
        if patch.0.is_empty() {
            return Ok(());
        }
        let mut object = match self.mutated.take() {
            Some(object) => object,
            None => match self.request.object {
                Some(Document::Parsed(value)) => value.clone(),
                Some(Document::Json(bytes)) => {
                    serde_json::from_slice(bytes).map_err(|error| error.to_string())?
                }
                None => return Err("the request carries no object".to_owned()),
            },
        };
        json_patch::patch(&mut object, &patch).map_err(|error| error.to_string())?;
        self.mutated = Some(object);
        if let Some(question) = &mut self.question {
            Arc::make_mut(question).json.clear();
        }
        Ok(())
    }
}

fn bytes(document: Option<Document<'_>>) -> Vec<u8> {
    match document {
        None => Vec::new(),
        Some(Document::Json(bytes)) => bytes.to_vec(),
        // A Value always serializes: its keys are strings.
        Some(Document::Parsed(value)) => serde_json::to_vec(value).unwrap_or_default(),
    }
}

fn clip(mut warning: String) -> String {
    let mut end = warning.len().min(MAX_WARNING_BYTES);
    while !warning.is_char_boundary(end) {
        end -= 1;
    }
    warning.truncate(end);
    warning
}

/// In the words Kubernetes uses for a webhook that denies, which name it; or, when
/// the plugin gives a reason that the API server's own rules have, in theirs.
fn denied(denial: Denial, plugin: &str, warnings: Vec<String>) -> Refusal {
    let own = [(403, "Forbidden"), (422, "Invalid"), (500, "InternalError")];
    if own.contains(&(denial.code, denial.reason.as_str())) {
        let Denial { code, reason, message } = denial;
        return Refusal { code, reason, message, is_cause: true, warnings };
    }
    let code = if (400..600).contains(&denial.code) { denial.code } else { 403 };
    let reason = match (denial.reason.is_empty(), code) {
        (false, _) => denial.reason,
        (true, 403) => "Forbidden".to_owned(),
        (true, 409) => "Conflict".to_owned(),
        (true, 422) => "Invalid".to_owned(),
        (true, 500..) => "InternalError".to_owned(),
        (true, _) => "BadRequest".to_owned(),
    };
    let message = format!("admission plugin {plugin:?} denied the request: {}", denial.message);
    Refusal { code, reason, message, is_cause: false, warnings }
}

/// A plugin that gives no answer admits nothing, in the words for a webhook that
/// cannot be called.
fn broken(plugin: &str, cause: &str, warnings: Vec<String>) -> Refusal {
    Refusal {
        code: 500,
        reason: "InternalError".to_owned(),
        message: format!(
            "Internal error occurred: failed calling admission plugin {plugin:?}: {cause}"
        ),
        is_cause: false,
        warnings,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_name_the_plugin_unless_they_read_like_the_api_servers_own() {
        fn check(code: u16, reason: &str, expect: (u16, &str, bool)) {
            let denial = Denial { code, reason: reason.to_owned(), message: "no".to_owned() };
            let refusal = denied(denial, "p", Vec::new());
            let found = (refusal.code, refusal.reason.as_str(), refusal.is_cause);
            assert_eq!(found, expect, "{code} {reason}");
            assert_eq!(refusal.message == "no", expect.2, "{}", refusal.message);
        }
        check(0, "", (403, "Forbidden", false));
        check(403, "", (403, "Forbidden", false));
        check(403, "Forbidden", (403, "Forbidden", true));
        check(422, "", (422, "Invalid", false));
        check(422, "Invalid", (422, "Invalid", true));
        check(500, "InternalError", (500, "InternalError", true));
        check(409, "Conflict", (409, "Conflict", false));
        check(200, "", (403, "Forbidden", false));
    }
}
