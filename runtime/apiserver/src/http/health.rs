//! What is answered without credentials: health and the version.

use http::{Method, Response, StatusCode};
use serde_json::json;

use super::respond;
use crate::ApiServer;
use crate::body::Body;

/// `None` for paths that need a user.
pub fn open(server: &ApiServer, method: &Method, path: &str) -> Option<Response<Body>> {
    if !matches!(*method, Method::GET | Method::HEAD) {
        return None;
    }
    let root = path.trim_matches('/').split('/').next().unwrap_or_default();
    match root {
        // It answers, so it lives.
        "healthz" | "livez" => Some(respond::text(StatusCode::OK, "ok")),
        "readyz" if server.is_closing() => {
            Some(respond::text(StatusCode::SERVICE_UNAVAILABLE, "the server is shutting down"))
        }
        "readyz" => Some(respond::text(StatusCode::OK, "ok")),
        "version" => Some(version(server)),
        _ => None,
    }
}

fn version(server: &ApiServer) -> Response<Body> {
    let info = &server.info;
    let document = json!({
        "major": info.major,
        "minor": info.minor,
        "gitVersion": info.git_version,
        "gitCommit": info.git_commit,
        "gitTreeState": info.git_tree_state,
        "buildDate": info.build_date,
        "goVersion": "",
        "compiler": info.compiler,
        "platform": info.platform,
    });
    respond::value(StatusCode::OK, &document)
}
