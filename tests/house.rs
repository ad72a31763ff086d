//! The house stands as `src/lib.rs` draws it: no room names one on a higher floor, neither rooms on
//! one floor nor files of a room go in circles, and nothing lies about that has no place.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "house/circles.rs"]
mod circles;
#[path = "house/names.rs"]
mod names;
#[path = "house/tokens.rs"]
mod tokens;
#[path = "house/uses.rs"]
mod uses;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Rooms by floor, from the ground up.
const FLOORS: [&[&str]; 8] = [
    &[
        "exposition",
        "model",
        "telemetry",
        "text",
        "shutdown",
        "blocking",
        "jitter",
        "connection_limit",
        "supervision",
    ],
    &["config", "catalog", "security"],
    &["targets", "management"],
    &["kubernetes", "postgres"],
    &["scrape"],
    &["http", "cli"],
    &["daemon"],
    &["bin"],
];

/// What may stand beside `src`, dot-files of tools excepted.
const TOP: [&str; 18] = [
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "Cargo.lock",
    "Cargo.toml",
    "Dockerfile",
    "LICENSE",
    "Makefile",
    "README.md",
    "SECURITY.md",
    "benches",
    "charts",
    "crds",
    "deploy",
    "docs",
    "fuzz",
    "src",
    "tests",
    "xtask",
];

fn floor(room: &str) -> Option<usize> {
    FLOORS.iter().position(|rooms| rooms.contains(&room))
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Names in a folder, sorted.
fn entries(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// Every Rust file below `src`, as the path from there.
fn sources() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().join("src")];
    while let Some(folder) = folders.pop() {
        for name in entries(&folder) {
            let path = folder.join(name);
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path.strip_prefix(root().join("src")).unwrap().to_owned());
            }
        }
    }
    found.sort();
    found
}

/// The room that a file below `src` belongs to; `None` for `lib.rs`, which is the house.
fn room_of(file: &Path) -> Option<String> {
    let first = file.components().next()?.as_os_str().to_str()?;
    let room = first.strip_suffix(".rs").unwrap_or(first);
    (room != "lib").then(|| room.to_owned())
}

/// How many modules deep a file is: 1 for `model.rs` and `http/mod.rs`, 2 for `http/bind.rs`.
fn depth(file: &Path) -> usize {
    let parts = file.components().count();
    parts - usize::from(parts > 1 && file.ends_with("mod.rs"))
}

/// The rooms that a file names, in `use` lines, in paths, and in links of its documentation.
fn named(file: &Path, text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    // Only a program knows the crate by its name; elsewhere that is the target of a log line.
    let starts: &[&str] = if file.starts_with("bin") {
        &["crate::", "pgexporter::"]
    } else {
        &["crate::"]
    };
    for start in starts {
        for (at, _) in text.match_indices(*start) {
            let before = text[..at].chars().next_back();
            if before.is_some_and(|c| c.is_alphanumeric() || c == '_') {
                continue;
            }
            found.extend(heads(&text[at + start.len()..]));
        }
    }
    // `super::super::room` gets to the root of the crate as well.
    let up = "super::".repeat(depth(file));
    for (at, _) in text.match_indices(&up) {
        found.extend(heads(text[at + up.len()..].trim_start_matches("super::")));
    }
    found.retain(|name| floor(name).is_some());
    found
}

/// The first names of what stands after `crate::`: of `a::b` it is `a`, of `{a::b, c}` `a` and `c`.
fn heads(rest: &str) -> Vec<String> {
    let name = |text: &str| -> String {
        text.trim_start()
            .chars()
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect()
    };
    let Some(group) = rest.strip_prefix('{') else {
        return vec![name(rest)];
    };
    let mut heads = vec![name(group)];
    let mut open = 0;
    for (at, letter) in group.char_indices() {
        match letter {
            '{' => open += 1,
            '}' if open == 0 => break,
            '}' => open -= 1,
            ',' if open == 0 => heads.push(name(&group[at + 1..])),
            _ => {}
        }
    }
    heads
}

#[test]
fn no_room_names_a_room_on_a_higher_floor() {
    let mut wrong = Vec::new();
    for file in sources() {
        let Some(room) = room_of(&file) else { continue };
        let own = floor(&room).unwrap_or_else(|| panic!("{room} is on no floor"));
        let text = fs::read_to_string(root().join("src").join(&file)).unwrap();
        for other in named(&file, &text) {
            if floor(&other) > Some(own) {
                wrong.push(format!(
                    "src/{}: {room} names {other}, which is above it",
                    file.display()
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Kubernetes is an edge: what is scraped and served are targets.
#[test]
fn only_the_controller_and_those_who_start_it_know_kubernetes() {
    for file in sources() {
        let Some(room) = room_of(&file) else { continue };
        let knows = ["kubernetes", "daemon"].contains(&room.as_str());
        if knows || file.starts_with("cli/kubectl") {
            continue;
        }
        let text = fs::read_to_string(root().join("src").join(&file)).unwrap();
        for name in ["kube::", "k8s_openapi", "crate::kubernetes"] {
            assert!(!text.contains(name), "src/{}: {name}", file.display());
        }
    }
}

#[test]
fn rooms_on_one_floor_do_not_go_in_circles() {
    let mut edges: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for file in sources() {
        let Some(room) = room_of(&file) else { continue };
        let text = fs::read_to_string(root().join("src").join(&file)).unwrap();
        let others = named(&file, &text);
        let same = others
            .into_iter()
            .filter(|other| *other != room && floor(other) == floor(&room));
        edges.entry(room.clone()).or_default().extend(same);
    }
    // A room that names no other left on its floor is no part of a circle.
    while let Some(free) = edges
        .iter()
        .find(|(_, others)| others.iter().all(|other| !edges.contains_key(other)))
        .map(|(room, _)| room.clone())
    {
        edges.remove(&free);
    }
    assert!(edges.is_empty(), "a circle among {edges:?}");
}

#[test]
fn every_room_is_on_a_floor_and_in_the_drawing() {
    let drawing = fs::read_to_string(root().join("src/lib.rs")).unwrap();
    let drawing: Vec<&str> = drawing
        .lines()
        .filter_map(|line| line.strip_prefix("//! "))
        .collect();
    for name in entries(&root().join("src")) {
        if name == "lib.rs" {
            continue;
        }
        let room = name.strip_suffix(".rs").unwrap_or(&name);
        let floor = floor(room).unwrap_or_else(|| panic!("src/{name} is on no floor"));
        let drawn = drawing.iter().any(|line| {
            line.starts_with(&format!("{floor}  "))
                && line
                    .split_whitespace()
                    .any(|word| word.trim_end_matches('/') == room)
        });
        assert!(drawn, "src/lib.rs does not draw {room} on floor {floor}");
    }
}

#[test]
fn a_program_is_under_thirty_lines() {
    let folder = root().join("src/bin");
    for name in entries(&folder) {
        let lines = fs::read_to_string(folder.join(&name))
            .unwrap()
            .lines()
            .count();
        assert!(lines < 30, "src/bin/{name} has {lines} lines");
    }
}

#[test]
fn nothing_lies_at_the_top_that_has_no_place_there() {
    let ignored = fs::read_to_string(root().join(".gitignore")).unwrap();
    let ignored: Vec<&str> = ignored.lines().map(|line| line.trim_matches('/')).collect();
    let strange: Vec<String> = entries(root())
        .into_iter()
        .filter(|name| {
            !name.starts_with('.')
                && !ignored.contains(&name.as_str())
                && !TOP.contains(&name.as_str())
        })
        .collect();
    assert!(strange.is_empty(), "{strange:?}");
}

#[test]
fn a_name_is_found_in_every_way_of_writing_it() {
    let names = |file: &str, text: &str| -> Vec<String> {
        named(Path::new(file), text).into_iter().collect()
    };
    assert_eq!(names("model.rs", "use crate::http::Reply;"), ["http"]);
    assert_eq!(
        names("model.rs", "pub use crate::{http::{a, scrape}, catalog};"),
        ["catalog", "http"]
    );
    assert_eq!(
        names("model.rs", "let x = crate::daemon::run();"),
        ["daemon"]
    );
    assert_eq!(
        names("http/bind.rs", "use super::super::daemon;"),
        ["daemon"]
    );
    assert_eq!(
        names("http/bind.rs", "use super::scrape;"),
        Vec::<String>::new()
    );
    assert_eq!(
        names("bin/pgexporter.rs", "pgexporter::daemon::main()"),
        ["daemon"]
    );
    assert_eq!(names("model.rs", "mycrate::http"), Vec::<String>::new());
}
