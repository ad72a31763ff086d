//! `docs/configuration.md` says what the program reads.

use std::{env, fs};

use pgexporter::config::docs::markdown;

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/configuration.md");

#[test]
fn the_page_of_keys_is_the_one_made_from_the_table() {
    if env::var_os("UPDATE_DOCS").is_some_and(|value| value == "1") {
        fs::write(PAGE, markdown()).unwrap();
    }
    let page = fs::read_to_string(PAGE).unwrap();
    assert!(
        page == markdown(),
        "docs/configuration.md is out of date; run `make docs`"
    );
}
