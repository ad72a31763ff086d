//! `docs/metrics/` says what the catalogue holds.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::{env, fs};

use pgexporter::catalog::docs::{OwnFamily, markdown};
use pgexporter::catalog::load;
use pgexporter::scrape::Scraper;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics");

fn made() -> BTreeMap<String, String> {
    let overview = Scraper::default().overview();
    let own: Vec<OwnFamily<'_>> = overview
        .families
        .iter()
        .map(|family| OwnFamily {
            name: &family.name,
            kind: family.kind,
            help: &family.help,
        })
        .chain(
            pgexporter::kubernetes::FAMILIES
                .iter()
                .chain(&pgexporter::supervision::FAMILIES)
                .map(|family| OwnFamily {
                    name: family.name,
                    kind: family.kind,
                    help: family.help,
                }),
        )
        .collect();
    let pages = markdown(&load(&[]).unwrap(), &own);
    pages
        .into_iter()
        .map(|page| (page.name, page.text))
        .collect()
}

fn written() -> BTreeMap<String, String> {
    fs::read_dir(FOLDER)
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            (name, fs::read_to_string(entry.path()).unwrap())
        })
        .collect()
}

#[test]
fn the_pages_of_metrics_are_those_made_from_the_catalogue() {
    let made = made();
    if env::var_os("UPDATE_DOCS").is_some_and(|value| value == "1") {
        fs::remove_dir_all(FOLDER).ok();
        fs::create_dir_all(FOLDER).unwrap();
        for (name, text) in &made {
            fs::write(format!("{FOLDER}/{name}"), text).unwrap();
        }
    }
    let written = written();
    let names = |pages: &BTreeMap<String, String>| pages.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&written), names(&made), "run `make docs`");
    for (name, text) in &made {
        assert!(
            written[name] == *text,
            "docs/metrics/{name} is out of date; run `make docs`"
        );
    }
}

#[test]
fn every_family_of_the_catalogue_stands_on_a_page_with_its_type() {
    let made = made();
    for family in &load(&[]).unwrap().families {
        let line = format!("| `{}` | {} | `server`", family.name, family.kind.as_str());
        let page = &made[&format!("{}.md", family.collector)];
        assert!(page.contains(&line), "{line}");
    }
}
