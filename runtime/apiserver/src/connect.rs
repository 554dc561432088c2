//! The call-out for subresources that are streams made by whoever knows the
//! kind: what a plugin is given and answers, for example. The API server finds
//! the row, asks the authorizer and hands the rest over.

use std::sync::Arc;

use async_trait::async_trait;
use pintle_api::kinds::Resource;
use pintle_api::status::StatusError;

use crate::body::Body;
use crate::user::User;

/// A request that was allowed, for an object that exists.
#[derive(Debug, Clone)]
pub struct ConnectRequest {
    pub user: Arc<User>,
    pub resource: &'static Resource,
    /// Empty for cluster-scoped kinds.
    pub namespace: String,
    pub name: String,
    /// The path segment.
    pub subresource: &'static str,
    /// In order; names may repeat.
    pub query: Vec<(String, String)>,
}

/// Makes the streams. The body ends when the server closes, too: whoever makes
/// it is told by other means, and ends it properly.
#[async_trait]
pub trait Connector: Send + Sync + 'static {
    async fn connect(&self, request: ConnectRequest) -> Result<Body, StatusError>;
}

/// Nothing can be connected to: for servers without plugins, and for tests.
pub struct NoConnections;

#[async_trait]
impl Connector for NoConnections {
    async fn connect(&self, request: ConnectRequest) -> Result<Body, StatusError> {
        Err(StatusError::service_unavailable(format!(
            "{}/{} is not served by this server",
            request.resource.plural, request.subresource
        )))
    }
}
