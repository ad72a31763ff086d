//! Man pages and completions: made from the command lines, installed, and of use to a shell.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use clap_complete::{Shell, generate, generate_to};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// Pages and completions, by their paths below `docs/`.
fn made() -> BTreeMap<PathBuf, Vec<u8>> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for part in ["man", "completions"] {
        fs::create_dir(folder.path().join(part)).expect("it is made");
    }
    for mut command in pgexporter::daemon::command_lines() {
        let name = command.get_name().to_owned();
        let completions = folder.path().join("completions");
        // First: the others leave the name in the commands below.
        let script = bash(&command, &name);
        fs::write(completions.join(format!("{name}.bash")), script).expect("it is written");
        for shell in [Shell::Zsh, Shell::Fish] {
            generate_to(shell, &mut command, &name, &completions).expect("it is written");
        }
        clap_mangen::generate_to(command, folder.path().join("man")).expect("it is written");
    }
    files(folder.path())
}

/// The generator loses its way among commands below commands when the program's name has a dash.
fn bash(command: &clap::Command, name: &str) -> String {
    let word: &'static str = name.replace('-', "_").leak();
    let mut script = Vec::new();
    generate(
        Shell::Bash,
        &mut command.clone().name(word),
        word,
        &mut script,
    );
    let script = String::from_utf8(script).expect("text");
    let called = format!("-o default {word}");
    assert_eq!(script.matches(&called).count(), 2, "{name}");
    script.replace(&called, &format!("-o default {name}"))
}

fn files(docs: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = BTreeMap::new();
    for part in ["man", "completions"] {
        for entry in fs::read_dir(docs.join(part)).into_iter().flatten() {
            let path = entry.expect("an entry").path();
            let text = fs::read(&path).expect("a file");
            all.insert(path.strip_prefix(docs).unwrap().to_owned(), text);
        }
    }
    all
}

#[test]
fn the_pages_are_those_made_from_the_command_lines() {
    let docs = Path::new(ROOT).join("docs");
    let made = made();
    if env::var_os("UPDATE_DOCS").is_some_and(|value| value == "1") {
        for part in ["man", "completions"] {
            let _ = fs::remove_dir_all(docs.join(part));
            fs::create_dir(docs.join(part)).expect("it is made");
        }
        for (path, text) in &made {
            fs::write(docs.join(path), text).expect("it is written");
        }
    }
    let there = files(&docs);
    let names = |all: &BTreeMap<PathBuf, Vec<u8>>| all.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&there), names(&made), "run `make docs`");
    for (path, text) in &made {
        assert!(
            there[path] == *text,
            "{} is out of date; run `make docs`",
            path.display()
        );
    }
}

#[test]
fn what_is_installed_is_found_by_the_shell_and_completes() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let built = Path::new(env!("CARGO_BIN_EXE_pgexporter"))
        .parent()
        .unwrap();
    let made = Command::new("make")
        .current_dir(ROOT)
        .arg("install-files")
        .arg(format!("DESTDIR={}", folder.path().display()))
        .arg(format!("TARGET={}", built.display()))
        .arg("PREFIX=/usr")
        .output()
        .expect("make is there");
    assert!(made.status.success(), "{made:?}");
    let usr = folder.path().join("usr");
    for path in [
        "bin/pgexporter",
        "share/man/man1/pgexporter-cli-conf-set.1",
        "share/zsh/site-functions/_pgexporter-admin",
        "share/fish/vendor_completions.d/pgexporter-cli.fish",
    ] {
        assert!(usr.join(path).is_file(), "{path}");
    }
    let version = Command::new(usr.join("bin/pgexporter-cli"))
        .arg("--version")
        .output()
        .unwrap();
    assert!(version.status.success());
    // The same program, as kubectl looks for it.
    let plugin = Command::new(usr.join("bin/kubectl-pgexporter"))
        .arg("--help")
        .output()
        .unwrap();
    let help = String::from_utf8(plugin.stdout).unwrap();
    assert!(help.contains("Usage: kubectl pgexporter"), "{help}");

    // What a person sees who presses the tabulator twice.
    let completed = |words: &[&str]| {
        let script = format!(
            ". {}/share/bash-completion/completions/pgexporter-cli\n\
             COMP_WORDS=({}); COMP_CWORD={}; \
             _pgexporter_cli pgexporter-cli \"${{COMP_WORDS[COMP_CWORD]}}\" \"${{COMP_WORDS[COMP_CWORD-1]}}\"; echo \"${{COMPREPLY[@]}}\"",
            usr.display(),
            words
                .iter()
                .map(|word| format!("'{word}'"))
                .collect::<Vec<_>>()
                .join(" "),
            words.len() - 1,
        );
        let output = Command::new("bash")
            .args(["--norc", "-c", &script])
            .output()
            .unwrap();
        assert!(output.stderr.is_empty(), "{output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    assert_eq!(completed(&["pgexporter-cli", "sc"]), "scrape");
    assert_eq!(completed(&["pgexporter-cli", "conf", "re"]), "reload");
    assert_eq!(completed(&["pgexporter-cli", "-F", "j"]), "json");
}
