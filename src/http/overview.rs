//! The overview page as an answer.
use super::reply;
use crate::scrape::Overview;
use axum::response::Response;
/// x
pub(super) fn page(_overview: &Overview) -> Response {
    reply::text(axum::http::StatusCode::OK, "pgexporter\n")
}
