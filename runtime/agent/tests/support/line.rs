//! The API server in this process, as one user, over a line that a test can cut.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use http::Request;
use http_body_util::BodyExt;
use pintle_agent::{ApiClient, ApiError, ApiResponse, WatchBody};
use pintle_apiserver::{ApiServer, Body, User};
use tokio::sync::watch;

/// The API in process, as one user.
pub struct InProcess {
    pub server: Arc<ApiServer>,
    pub user: Arc<User>,
    /// True: the server cannot be reached.
    pub cut: watch::Receiver<bool>,
}

impl InProcess {
    fn check(&self) -> Result<(), ApiError> {
        match *self.cut.borrow() {
            true => Err(ApiError::Transport("the line is cut".into())),
            false => Ok(()),
        }
    }

    async fn call(
        &self,
        method: &str,
        path: &str,
        kind: &str,
        body: Bytes,
    ) -> http::Response<Body> {
        let mut request = Request::builder().method(method).uri(path);
        if !kind.is_empty() {
            request = request.header("content-type", kind);
        }
        self.server.handle(self.user.clone(), request.body(Body::full(body)).unwrap()).await
    }
}

#[async_trait]
impl ApiClient for InProcess {
    async fn request(
        &self,
        method: &str,
        path: &str,
        kind: &str,
        body: Bytes,
    ) -> Result<ApiResponse, ApiError> {
        self.check()?;
        let answer = self.call(method, path, kind, body).await;
        self.check()?;
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await.map_err(ApiError::Transport)?.to_bytes();
        Ok(ApiResponse { status, body })
    }

    async fn watch(&self, path: &str) -> Result<Box<dyn WatchBody>, ApiError> {
        self.check()?;
        let answer = self.call("GET", path, "", Bytes::new()).await;
        let status = answer.status().as_u16();
        if status != 200 {
            let body = answer.into_body().collect().await.map_err(ApiError::Transport)?.to_bytes();
            return Err(ApiError::from_answer(status, &body));
        }
        Ok(Box::new(Watch(answer.into_body(), self.cut.clone())))
    }
}

struct Watch(Body, watch::Receiver<bool>);

#[async_trait]
impl WatchBody for Watch {
    async fn chunk(&mut self) -> Result<Option<Bytes>, ApiError> {
        let frame = tokio::select! {
            frame = self.0.frame() => frame,
            _ = self.1.wait_for(|cut| *cut) => return Err(ApiError::Transport("the line is cut".into())),
        };
        match frame {
            Some(frame) => Ok(frame.map_err(ApiError::Transport)?.into_data().ok()),
            None => Ok(None),
        }
    }
}
