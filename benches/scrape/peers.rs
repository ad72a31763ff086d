//! Other exporters on the same server.

use crate::measure::Bench;

/// The heading of their part of the page.
pub const HEADING: &str = "## Beside other exporters";

/// Measures them.
pub fn measure(_bench: &Bench) -> String {
    String::new()
}
