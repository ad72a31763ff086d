//! Files of a room do not use each other in a circle: whoever opens a file finds below it only
//! what it uses. The names in `use` lines and in paths are followed to the file that defines them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use super::uses::{Crate, Edge};
use super::{room_of, root, sources};

/// Rooms that still have circles. A room leaves the list when its last circle is cut, and none
/// comes back.
const NOT_DONE: &[&str] = &[];

/// All files that a file uses, directly or through others.
fn reached<'a>(uses: &BTreeMap<&str, Vec<&'a str>>, from: &str) -> BTreeSet<&'a str> {
    let mut reached = BTreeSet::new();
    let mut next = vec![from];
    while let Some(file) = next.pop() {
        for target in uses.get(file).into_iter().flatten() {
            if reached.insert(*target) {
                next.push(target);
            }
        }
    }
    reached
}

/// The circles among the files, each with the edges between its files.
fn circles(edges: &BTreeSet<Edge>) -> Vec<BTreeSet<&Edge>> {
    let mut uses: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (user, _, target) in edges {
        uses.entry(user).or_default().push(target);
    }
    let files: BTreeSet<&str> = uses.keys().copied().collect();
    let reach: BTreeMap<&str, BTreeSet<&str>> = files
        .iter()
        .map(|file| (*file, reached(&uses, file)))
        .collect();
    let both = |one: &str, other: &str| {
        let reaches = |from: &str, to: &str| reach.get(from).is_some_and(|all| all.contains(to));
        reaches(one, other) && reaches(other, one)
    };
    let mut circles: BTreeMap<BTreeSet<&str>, BTreeSet<&Edge>> = BTreeMap::new();
    for edge in edges {
        if both(&edge.0, &edge.2) {
            let members = files.iter().copied().filter(|file| both(&edge.0, file));
            circles.entry(members.collect()).or_default().insert(edge);
        }
    }
    circles.into_values().collect()
}

/// The circles of the crate by room, in words.
fn circles_of_crate() -> BTreeMap<String, Vec<String>> {
    let files: Vec<(String, String)> = sources()
        .iter()
        .map(|file| {
            let text = fs::read_to_string(root().join("src").join(file)).unwrap();
            (file.to_str().unwrap().to_owned(), text)
        })
        .collect();
    let files: Vec<(&str, &str)> = files
        .iter()
        .map(|(file, text)| (file.as_str(), text.as_str()))
        .collect();
    let edges = Crate::read(&files).edges();
    let mut by_room: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for circle in circles(&edges) {
        let lines: Vec<String> = circle
            .iter()
            .map(|(user, line, target)| format!("  src/{user}:{line} uses src/{target}"))
            .collect();
        let room = circle
            .first()
            .and_then(|(user, _, _)| room_of(Path::new(user)));
        by_room
            .entry(room.unwrap())
            .or_default()
            .push(format!("a circle among these files:\n{}", lines.join("\n")));
    }
    by_room
}

#[test]
fn files_do_not_use_each_other_in_a_circle() {
    let wrong: Vec<String> = circles_of_crate()
        .into_iter()
        .filter(|(room, _)| !NOT_DONE.contains(&room.as_str()))
        .flat_map(|(_, circles)| circles)
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_room_without_circles_is_not_listed_as_one_with_circles() {
    let circles = circles_of_crate();
    for room in NOT_DONE {
        assert!(
            circles.contains_key(*room),
            "{room} has no circle any more: take it off NOT_DONE in tests/house/circles.rs"
        );
    }
}

#[test]
fn a_circle_is_found_and_its_lines_are_named() {
    let edges = Crate::read(&[
        ("a.rs", "use crate::b;\nuse crate::d;"),
        ("b.rs", "\nuse crate::c;"),
        ("c.rs", "use crate::a;"),
        ("d.rs", "use crate::e;"),
        ("e.rs", ""),
    ])
    .edges();
    let found = circles(&edges);
    assert_eq!(found.len(), 1);
    let lines: Vec<_> = found[0]
        .iter()
        .map(|(user, line, _)| (user.as_str(), *line))
        .collect();
    assert_eq!(lines, [("a.rs", 1), ("b.rs", 2), ("c.rs", 1)]);
}
