//! All admission plugins in the order they are asked: every mutating one, then
//! every validating one. A request that no plugin wants costs a comparison of
//! a few strings.

use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;
use pintle_api::meta::GroupVersionKind;
use serde_json::Value;

use super::request::{AdmissionRequest, Admitted, Document, Operation, Refusal};
use super::unit::AdmissionUnit;
use crate::bindings::types::{KindRef, ObjectRef};
use crate::convert;
use crate::program::admission_interface::{
    Denial, Operation as Operations, Phase, Request, Response, User, Verdict,
};

/// Warnings are shown in HTTP headers; more than this is noise or abuse.
const MAX_WARNINGS: usize = 32;
const MAX_WARNING_BYTES: usize = 512;

#[derive(Default)]
pub struct AdmissionChain {
    units: ArcSwap<Vec<Arc<AdmissionUnit>>>,
}

impl AdmissionChain {
    /// Puts a unit where its priority and name say, in place of its namesake.
    pub(crate) fn put(&self, unit: Arc<AdmissionUnit>) {
        self.units.rcu(|units| {
            let mut units: Vec<_> =
                units.iter().filter(|other| other.name != unit.name).cloned().collect();
            units.push(unit.clone());
            units.sort_by(|a, b| (a.priority, &a.name).cmp(&(b.priority, &b.name)));
            units
        });
    }

    pub(crate) fn remove(&self, name: &str) {
        self.units.rcu(|units| {
            units.iter().filter(|unit| &*unit.name != name).cloned().collect::<Vec<_>>()
        });
    }

    /// Whether any plugin wants to see such requests.
    pub fn wants(&self, kind: &GroupVersionKind, subresource: &str, operation: Operation) -> bool {
        let units = self.units.load();
        if units.is_empty() {
            return false;
        }
        let kind = convert::kind_ref(kind);
        units.iter().any(|unit| {
            unit.wants(Phase::Mutating, &kind, subresource, operation)
                || unit.wants(Phase::Validating, &kind, subresource, operation)
        })
    }

    /// Asks every plugin that wants the request.
    pub async fn review(&self, request: AdmissionRequest<'_>) -> Result<Admitted, Refusal> {
        let units = self.units.load_full();
        let mut review = Review::new(&request);
        for phase in [Phase::Mutating, Phase::Validating] {
            for unit in units.iter() {
                if unit.wants(phase, &review.kind, request.subresource, request.operation) {
                    let response = review.ask(unit, phase).await?;
                    review.follow(unit, response)?;
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
    /// The object as it is now, in bytes; made when the first plugin asks.
    json: Option<Vec<u8>>,
    mutated: Option<Value>,
    warnings: Vec<String>,
}

impl<'a> Review<'a> {
    fn new(request: &'a AdmissionRequest<'a>) -> Self {
        Self {
            request,
            kind: convert::kind_ref(request.kind),
            json: None,
            mutated: None,
            warnings: Vec::new(),
        }
    }

    async fn ask(&mut self, unit: &Arc<AdmissionUnit>, phase: Phase) -> Result<Response, Refusal> {
        let json = match &self.json {
            Some(json) => json.clone(),
            None => bytes(self.mutated.as_ref().map(Document::Parsed).or(self.request.object)),
        };
        self.json = Some(json.clone());
        let question = Request {
            ref_: ObjectRef {
                kind: self.kind.clone(),
                namespace: self.request.namespace.to_owned(),
                name: self.request.name.to_owned(),
            },
            subresource: self.request.subresource.to_owned(),
            operation: match self.request.operation {
                Operation::Create => Operations::CREATE,
                Operation::Update => Operations::UPDATE,
                Operation::Delete => Operations::DELETE,
                Operation::Connect => Operations::CONNECT,
            },
            phase,
            dry_run: self.request.dry_run,
            user: User {
                name: self.request.user.name.to_owned(),
                uid: self.request.user.uid.to_owned(),
                groups: self.request.user.groups.to_vec(),
            },
            json,
            old_json: bytes(self.request.old_object),
        };
        while let Some(until) = unit.in_debt_until(Instant::now()) {
            tokio::time::sleep_until(until.into()).await;
        }
        let answer = if unit.is_wasi() {
            // WASI's host functions block on the async runtime, which its own threads may not.
            let unit = unit.clone();
            tokio::task::spawn_blocking(move || unit.review(&question))
                .await
                .unwrap_or_else(|error| Err(error.to_string()))
        } else {
            unit.review(&question)
        };
        answer.map_err(|cause| broken(&unit.name, &cause, std::mem::take(&mut self.warnings)))
    }

    fn follow(&mut self, unit: &AdmissionUnit, response: Response) -> Result<(), Refusal> {
        let room = MAX_WARNINGS.saturating_sub(self.warnings.len());
        self.warnings.extend(response.warnings.into_iter().take(room).map(clip));
        match response.verdict {
            Verdict::Allow => Ok(()),
            Verdict::Deny(denial) => {
                Err(denied(denial, &unit.name, std::mem::take(&mut self.warnings)))
            }
            Verdict::Patch(patch) => self.patch(&patch).map_err(|cause| {
                broken(
                    &unit.name,
                    &format!("its patch does not apply: {cause}"),
                    std::mem::take(&mut self.warnings),
                )
            }),
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
        self.json = None;
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

/// A plugin that gives no answer admits nothing.
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
