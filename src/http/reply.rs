//! Short answers: errors and health, in plain text.

use axum::body::Body;
use axum::http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderValue, Method, StatusCode};
use axum::response::Response;

/// Sent to a connection past the limit, before anything of it is read.
pub(super) const BUSY: &str = "HTTP/1.1 503 Service Unavailable\r\n\
    Content-Type: text/plain; charset=utf-8\r\n\
    Content-Length: 47\r\n\
    Cache-Control: no-store\r\n\
    Retry-After: 5\r\n\
    Connection: close\r\n\
    \r\n\
    Too many connections at once; try again later.\n";

/// An answer in plain text that nobody keeps.
pub(super) fn text(status: StatusCode, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    unkept(headers);
    response
}

/// Headers of every answer: it is of this moment, and of the type that it says.
pub(super) fn unkept(headers: &mut axum::http::HeaderMap) {
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
}

/// The refusal of a method that only `GET` and `HEAD` are wanted for (RFC 9110 section 15.5.6).
pub(super) fn refuse_method(method: &Method) -> Option<Response> {
    if matches!(*method, Method::GET | Method::HEAD) {
        return None;
    }
    let mut response = text(
        StatusCode::METHOD_NOT_ALLOWED,
        "Only GET and HEAD are answered here.\n",
    );
    response
        .headers_mut()
        .insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    Some(response)
}

/// 414 (RFC 9110 section 15.5.15).
pub(super) fn url_too_long(limit: usize) -> Response {
    text(
        StatusCode::URI_TOO_LONG,
        format!("The URL is longer than {limit} bytes.\n"),
    )
}

/// 431 (RFC 6585 section 5).
pub(super) fn headers_too_large(limit: usize) -> Response {
    text(
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        format!("The headers are larger than {limit} bytes.\n"),
    )
}

#[cfg(test)]
mod tests {
    use super::BUSY;

    #[test]
    fn the_ready_made_answer_says_its_true_length() {
        let (head, body) = BUSY.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())));
    }
}
