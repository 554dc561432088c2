//! The Kubernetes API as the agent reaches it: a small trait, implemented over
//! the node link here, and over anything else where that is handy.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use pintle_api::status::Status;
use serde_json::Value;

/// Longest wait for an answer, waiting for a session included.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// Largest answer that is not a watch: a list of a node's pods is far smaller.
pub const MAX_BODY_BYTES: usize = 64 << 20;

#[derive(Debug, Clone)]
pub struct ApiResponse {
    pub status: u16,
    pub body: Bytes,
}

#[async_trait]
pub trait ApiClient: Send + Sync + 'static {
    /// One request and its whole answer.
    async fn request(
        &self,
        method: &str,
        path: &str,
        content_type: &str,
        body: Bytes,
    ) -> Result<ApiResponse, ApiError>;

    /// A streaming GET; an answer other than 200 is [`ApiError::Status`].
    async fn watch(&self, path: &str) -> Result<Box<dyn WatchBody>, ApiError>;
}

/// The body of a watch, in whatever pieces it arrives.
#[async_trait]
pub trait WatchBody: Send {
    async fn chunk(&mut self) -> Result<Option<Bytes>, ApiError>;
}

#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    #[error("the server cannot be reached")]
    Transport(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("no answer within {} s", REQUEST_TIMEOUT.as_secs())]
    Timeout,
    #[error("{}", .0.message)]
    Status(Box<Status>),
    #[error("the answer is not the expected JSON")]
    Json(#[source] serde_json::Error),
    #[error("the answer exceeds {MAX_BODY_BYTES} bytes")]
    TooLarge,
}

impl ApiError {
    pub fn code(&self) -> Option<u16> {
        match self {
            ApiError::Status(status) => Some(status.code),
            _ => None,
        }
    }

    pub fn is_not_found(&self) -> bool {
        self.code() == Some(404)
    }

    /// Nothing that was sent is at fault: trying again can help.
    pub fn is_transient(&self) -> bool {
        match self {
            ApiError::Transport(_) | ApiError::Timeout => true,
            ApiError::Status(status) => status.code == 429 || status.code >= 500,
            ApiError::Json(_) | ApiError::TooLarge => false,
        }
    }

    /// From an answer's status and body.
    pub fn from_answer(code: u16, body: &[u8]) -> ApiError {
        let mut status: Status = serde_json::from_slice(body).unwrap_or_else(|_| {
            let text = String::from_utf8_lossy(&body[..body.len().min(512)]);
            Status::failure(code, "Unknown", format!("the server answered {code}: {text}"))
        });
        status.code = code;
        ApiError::Status(Box::new(status))
    }
}

/// The verbs the agent uses.
#[derive(Clone)]
pub struct Api(Arc<dyn ApiClient>);

pub const MERGE_PATCH: &str = "application/merge-patch+json";
pub const STRATEGIC_PATCH: &str = "application/strategic-merge-patch+json";
const JSON: &str = "application/json";

impl Api {
    pub fn new(client: Arc<dyn ApiClient>) -> Api {
        Api(client)
    }

    pub async fn get(&self, path: &str) -> Result<Value, ApiError> {
        self.call("GET", path, "", Bytes::new()).await
    }

    pub async fn create(&self, path: &str, object: &Value) -> Result<Value, ApiError> {
        self.call("POST", path, JSON, encode(object)).await
    }

    pub async fn patch(&self, path: &str, kind: &str, patch: &Value) -> Result<Value, ApiError> {
        self.call("PATCH", path, kind, encode(patch)).await
    }

    pub async fn delete(&self, path: &str, options: &Value) -> Result<Value, ApiError> {
        self.call("DELETE", path, JSON, encode(options)).await
    }

    pub async fn watch(&self, path: &str) -> Result<Box<dyn WatchBody>, ApiError> {
        self.0.watch(path).await
    }

    async fn call(
        &self,
        method: &str,
        path: &str,
        kind: &str,
        body: Bytes,
    ) -> Result<Value, ApiError> {
        let request = self.0.request(method, path, kind, body);
        let answer = tokio::time::timeout(REQUEST_TIMEOUT, request)
            .await
            .map_err(|_| ApiError::Timeout)??;
        if !(200..300).contains(&answer.status) {
            return Err(ApiError::from_answer(answer.status, &answer.body));
        }
        serde_json::from_slice(&answer.body).map_err(ApiError::Json)
    }
}

fn encode(value: &Value) -> Bytes {
    value.to_string().into()
}

/// An error with its causes, for logs, events and status messages.
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
