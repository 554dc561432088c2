//! The API server's admission call-out, answered by the plugin host.

use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use pintle_api::kinds::Resource;
use pintle_api::meta::GroupVersionKind;
use pintle_api::status::{FieldError, StatusError};
use pintle_apiserver::{Admission, AdmissionRequest, AdmissionResponse, Operation};
use pintle_plugin_host::admission::{self, AdmissionChain, Document, Refusal};

/// The host's chain. It exists only after the API server, which the host's
/// cluster is made of; what is written before is the server's own bootstrap,
/// which no plugin reviews.
#[derive(Default)]
pub struct HostAdmission(OnceLock<Arc<AdmissionChain>>);

impl HostAdmission {
    pub fn set(&self, chain: Arc<AdmissionChain>) {
        let _ = self.0.set(chain);
    }
}

fn operation(operation: Operation) -> admission::Operation {
    match operation {
        Operation::Create => admission::Operation::Create,
        Operation::Update => admission::Operation::Update,
        Operation::Delete => admission::Operation::Delete,
        Operation::Connect => admission::Operation::Connect,
    }
}

fn kind(resource: &Resource) -> GroupVersionKind {
    GroupVersionKind::new(resource.group, resource.version, resource.kind)
}

/// A refusal that reads like one of the API server itself.
fn own_words(request: &AdmissionRequest<'_>, refusal: &Refusal) -> StatusError {
    let message = refusal.message.as_str();
    match refusal.code {
        422 => {
            // A line that names no field still says what is wrong.
            let read = |line: &str| {
                FieldError::parse(line).unwrap_or_else(|| FieldError::forbidden("", line))
            };
            let errors = message.lines().map(read).collect();
            StatusError::invalid(request.resource.group_kind(), request.name, errors)
        }
        500 => StatusError::internal(message),
        _ => StatusError::forbidden(request.resource.group_resource(), request.name, message),
    }
}

#[async_trait]
impl Admission for HostAdmission {
    fn concerns(&self, resource: &'static Resource, op: Operation) -> bool {
        let Some(chain) = self.0.get() else { return false };
        let (kind, op) = (kind(resource), operation(op));
        let subresources = resource.subresources.iter().map(|subresource| subresource.name());
        std::iter::once("").chain(subresources).any(|name| chain.wants(&kind, name, op))
    }

    async fn review(
        &self,
        request: AdmissionRequest<'_>,
    ) -> Result<AdmissionResponse, StatusError> {
        let Some(chain) = self.0.get() else { return Ok(AdmissionResponse::default()) };
        let kind = kind(request.resource);
        let asked = admission::AdmissionRequest {
            operation: operation(request.operation),
            kind: &kind,
            subresource: request.subresource,
            namespace: request.namespace,
            name: request.name,
            user: admission::AdmissionUser {
                name: &request.user.name,
                uid: &request.user.uid,
                groups: &request.user.groups,
            },
            object: request.object.map(Document::Parsed),
            old_object: request.old_object.map(Document::Parsed),
            dry_run: request.dry_run,
        };
        match chain.review(asked).await {
            Ok(admitted) => {
                Ok(AdmissionResponse { object: admitted.object, warnings: admitted.warnings })
            }
            Err(refusal) if refusal.is_cause => Err(own_words(&request, &refusal)),
            Err(refusal) => Err(StatusError::new(refusal.code, &refusal.reason, refusal.message)),
        }
    }
}
