//! Responses.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use http::{Response, StatusCode};
use pintle_api::status::StatusError;
use serde_json::Value;

use crate::body::Body;

use super::negotiate::{Encoding, JSON};

const WARNING: HeaderName = http::header::WARNING;
/// Longer lists of warnings are cut: headers have bounds, too.
const MAX_WARNINGS: usize = 32;
const MAX_WARNING_BYTES: usize = 512;

pub fn with_body(status: StatusCode, content_type: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    response
}

pub fn json(status: StatusCode, bytes: impl Into<Bytes>) -> Response<Body> {
    with_body(status, JSON, Body::full(bytes))
}

pub fn value(status: StatusCode, value: &Value) -> Response<Body> {
    // A JSON tree always serializes.
    json(status, serde_json::to_vec(value).unwrap_or_default())
}

pub fn text(status: StatusCode, text: impl Into<Bytes>) -> Response<Body> {
    with_body(status, "text/plain; charset=utf-8", Body::full(text))
}

/// An object that exists as JSON, in the encoding that the client wants.
pub fn object(
    status: StatusCode,
    bytes: Bytes,
    encoding: Encoding,
) -> Result<Response<Body>, StatusError> {
    if encoding == Encoding::Json {
        return Ok(json(status, bytes));
    }
    let value: Value = serde_json::from_slice(&bytes).map_err(StatusError::internal)?;
    let encoded = super::decode::encode_as(&value, encoding)?;
    Ok(with_body(status, encoding.content_type(), Body::full(encoded)))
}

pub fn error(error: &StatusError) -> Response<Body> {
    let status = error.status();
    let code = StatusCode::from_u16(error.code()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = json(code, status.to_json());
    let retry = status.details.as_ref().map_or(0, |details| details.retry_after_seconds);
    if retry > 0 {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(retry));
    }
    response
}

/// Adds `Warning: 299 - "text"` headers, which kubectl prints.
pub fn warn(response: &mut Response<Body>, warnings: &[String]) {
    for warning in warnings.iter().take(MAX_WARNINGS) {
        let mut text = String::with_capacity(warning.len() + 16);
        text.push_str("299 - \"");
        for character in warning.chars() {
            if text.len() >= MAX_WARNING_BYTES {
                break;
            }
            match character {
                '"' | '\\' => text.extend(['\\', character]),
                control if control.is_control() => text.push(' '),
                other => text.push(other),
            }
        }
        text.push('"');
        if let Ok(value) = HeaderValue::from_bytes(text.as_bytes()) {
            response.headers_mut().append(WARNING, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_are_quoted_and_bounded() {
        let mut response = json(StatusCode::OK, "{}");
        warn(&mut response, &["unknown field \"spec.a\"".to_string(), "x\ny".repeat(1000)]);
        let found: Vec<_> = response.headers().get_all(WARNING).iter().collect();
        assert_eq!(found[0], "299 - \"unknown field \\\"spec.a\\\"\"");
        assert!(found[1].len() < 600);
    }

    #[test]
    fn errors_carry_their_code_and_when_to_come_back() {
        let response = error(&StatusError::too_many_requests("later", 7));
        assert_eq!(response.status(), 429);
        assert_eq!(response.headers()[RETRY_AFTER], "7");
    }
}
