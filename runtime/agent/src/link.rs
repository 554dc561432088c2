//! The API over the node link.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use pintle_node_link::{Link, LinkError, Request, Response};

use crate::client::{ApiClient, ApiError, ApiResponse, MAX_BODY_BYTES, WatchBody};

pub struct LinkClient(Arc<Link>);

impl LinkClient {
    pub fn new(link: Arc<Link>) -> LinkClient {
        LinkClient(link)
    }
}

fn transport(error: LinkError) -> ApiError {
    ApiError::Transport(Box::new(error))
}

#[async_trait]
impl ApiClient for LinkClient {
    async fn request(
        &self,
        method: &str,
        path: &str,
        content_type: &str,
        body: Bytes,
    ) -> Result<ApiResponse, ApiError> {
        let request = Request {
            method: method.to_owned(),
            path: path.to_owned(),
            content_type: content_type.to_owned(),
            body,
        };
        let response = self.0.request(request).await.map_err(transport)?;
        let status = response.status;
        let body = response.bytes(MAX_BODY_BYTES).await.map_err(transport)?;
        Ok(ApiResponse { status, body })
    }

    async fn watch(&self, path: &str) -> Result<Box<dyn WatchBody>, ApiError> {
        let response = self.0.request(Request::get(path)).await.map_err(transport)?;
        if response.status != 200 {
            let status = response.status;
            let body = response.bytes(MAX_BODY_BYTES).await.map_err(transport)?;
            return Err(ApiError::from_answer(status, &body));
        }
        Ok(Box::new(LinkWatch(response)))
    }
}

struct LinkWatch(Response);

#[async_trait]
impl WatchBody for LinkWatch {
    async fn chunk(&mut self) -> Result<Option<Bytes>, ApiError> {
        self.0.chunk().await.map_err(transport)
    }
}
