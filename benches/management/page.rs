//! Writes `docs/performance-management.md`.

use std::time::Duration;

use crate::table::Table;
use crate::usage;

const TEMPLATE: &str = include_str!("performance-management.md");
const PAGE: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/docs/performance-management.md"
);

/// Fills the template.
pub fn write(table: &Table, took: Duration) {
    let now = jiff::Timestamp::now().to_string();
    let today = now.split('T').next().unwrap_or_default();
    let text = TEMPLATE
        .replace("{date}", today)
        .replace("{machine}", &usage::machine())
        .replace("{seconds}", &format!("{:.0}", took.as_secs_f64()))
        .replace("{table}", &table.markdown());
    std::fs::write(PAGE, text).expect("the page is written");
    println!("docs/performance-management.md is written.");
}
