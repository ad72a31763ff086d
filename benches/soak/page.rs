//! Writes the figures into `docs/reliability.md`.

use std::time::Duration;

use crate::support::kubernetes::KUBERNETES;
use crate::table::Table;
use crate::usage;

const TEMPLATE: &str = include_str!("reliability.md");
const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/reliability.md");

/// Fills the template.
pub fn write(table: &Table, costs: &str, took: Duration) {
    let now = jiff::Timestamp::now().to_string();
    let today = now.split('T').next().unwrap_or_default();
    let text = TEMPLATE
        .replace("{date}", today)
        .replace("{machine}", &usage::machine())
        .replace("{kubernetes}", KUBERNETES)
        .replace("{minutes}", &format!("{:.0}", took.as_secs_f64() / 60.0))
        .replace("{table}", &table.markdown())
        .replace("{costs}", costs);
    std::fs::write(PAGE, text).expect("the page is written");
    println!("docs/reliability.md is written.");
}
