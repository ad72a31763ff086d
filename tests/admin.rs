//! `pgexporter-admin` as its users run it: the real program in homes of its own.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::HashMap;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use pgexporter::security::{UsersFile, Vault};

const PROGRAM: &str = env!("CARGO_BIN_EXE_pgexporter-admin");
const MASTER: &str = "Sup3r-s3cret master!";
/// How long anything may take that a test waits for.
const DEADLINE: Duration = Duration::from_secs(30);

struct Home {
    folder: tempfile::TempDir,
}

impl Home {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    /// A home with a master key.
    fn with_key() -> Self {
        let home = Self::new();
        let output = home.run(&["-P", MASTER, "master-key"]);
        assert!(output.status.success(), "{output:?}");
        home
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn users(&self) -> String {
        self.path("users.conf").display().to_string()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        self.dress(&mut command).args(arguments);
        command
    }

    fn dress<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command
            .env_remove("PGEXPORTER_PASSWORD")
            .env("PGEXPORTER_HOME", self.folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    fn run_with_input(&self, arguments: &[&str], input: &str) -> Output {
        let mut command = self.command(arguments);
        let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
        child
            .stdin
            .take()
            .unwrap()
            .write_all(input.as_bytes())
            .unwrap();
        child.wait_with_output().unwrap()
    }

    /// What the exporter would find: names and passwords.
    fn passwords(&self) -> HashMap<String, String> {
        UsersFile::read(Path::new(&self.users()))
            .unwrap()
            .passwords(&Vault::new(Some(self.folder.path())))
            .unwrap()
            .into_iter()
            .map(|(name, password)| (name, password.expose().to_owned()))
            .collect()
    }

    /// The files in the home, to see that nothing was left behind.
    fn files(&self) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(self.folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn users_are_added_edited_listed_and_removed_and_load_in_the_exporter() {
    let home = Home::with_key();
    let users = home.users();
    for (arguments, said) in [
        (["-U", "monitor", "-P", "first", "user", "add"], "was added"),
        (
            ["-U", "other", "-P", "pässwörd: #1", "user", "add"],
            "was added",
        ),
        (
            ["-U", "monitor", "-P", "second", "user", "edit"],
            "has a new password",
        ),
    ] {
        let output = home.run(&[&["-f", &users], arguments.as_slice()].concat());
        assert!(output.status.success(), "{output:?}");
        assert!(out(&output).contains(said), "{output:?}");
        assert!(!out(&output).contains(arguments[3]), "{output:?}");
    }
    // Options after the command, in their long form.
    let output = home.run(&["user", "ls", "--file", &users]);
    assert_eq!(out(&output), "monitor\nother\n");
    assert_eq!(home.passwords()["monitor"], "second");
    assert_eq!(home.passwords()["other"], "pässwörd: #1");

    let output = home.run(&["-f", &users, "-U", "monitor", "user", "del"]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(out(&home.run(&["-f", &users, "user", "ls"])), "other\n");

    assert_eq!(mode(Path::new(&users)), 0o600);
    assert_eq!(mode(&home.path(".pgexporter")), 0o700);
    assert_eq!(mode(&home.path(".pgexporter/master.key")), 0o600);
    assert_eq!(home.files(), [".pgexporter", "users.conf"]);
}

#[test]
fn passwords_come_from_the_variable_and_the_input_too() {
    let home = Home::new();
    let users = home.users();
    let mut command = home.command(&["master-key"]);
    assert!(
        command
            .env("PGEXPORTER_PASSWORD", MASTER)
            .status()
            .unwrap()
            .success()
    );
    let mut command = home.command(&["-f", &users, "-U", "a", "user", "add"]);
    assert!(
        command
            .env("PGEXPORTER_PASSWORD", "from variable")
            .status()
            .unwrap()
            .success()
    );
    let token = "token-".repeat(1400);
    for input in [format!("b\n{token}\n"), format!("c\r\n{token}")] {
        let output = home.run_with_input(&["-f", &users, "user", "add"], &input);
        assert!(output.status.success(), "{output:?}");
    }
    assert_eq!(
        home.passwords(),
        HashMap::from([
            ("a".to_owned(), "from variable".to_owned()),
            ("b".to_owned(), token.clone()),
            ("c".to_owned(), token),
        ])
    );
}

/// A program on a terminal of its own, by `script`.
struct Typist {
    child: Child,
    keyboard: ChildStdin,
    shown: mpsc::Receiver<String>,
    seen: String,
}

impl Typist {
    fn start(home: &Home, line: &str) -> Self {
        let mut command = Command::new("script");
        home.dress(&mut command).args(["-qec", line, "/dev/null"]);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let keyboard = child.stdin.take().unwrap();
        let mut screen = child.stdout.take().unwrap();
        let (sender, shown) = mpsc::channel();
        thread::spawn(move || {
            let mut bytes = [0; 256];
            while let Ok(count @ 1..) = screen.read(&mut bytes) {
                let _ = sender.send(String::from_utf8_lossy(&bytes[..count]).into_owned());
            }
        });
        Self {
            child,
            keyboard,
            shown,
            seen: String::new(),
        }
    }

    /// Waits until `prompt` is shown anew, and types.
    fn answer(&mut self, prompt: &str, keys: &str) {
        let from = self.seen.len();
        while !self.seen[from..].contains(prompt) {
            match self.shown.recv_timeout(DEADLINE) {
                Ok(text) => self.seen.push_str(&text),
                Err(_) => {
                    let _ = self.child.kill();
                    panic!("no {prompt:?} in {:?}", self.seen);
                }
            }
        }
        self.keyboard.write_all(keys.as_bytes()).unwrap();
    }

    /// Whether it succeeded, and all that was shown.
    fn end(mut self) -> (bool, String) {
        drop(self.keyboard);
        let success = self.child.wait().unwrap().success();
        self.seen.extend(self.shown.iter());
        (success, self.seen)
    }
}

#[test]
fn a_password_is_asked_for_twice_on_the_terminal_and_never_shown() {
    let home = Home::with_key();
    let line = format!("{PROGRAM} -f {} -U monitor user add", home.users());
    let mut typist = Typist::start(&home, &line);
    typist.answer("Password: ", "typed-1\n");
    typist.answer("Verify  : ", "typed-2\n");
    typist.answer("try again.\r\nPassword: ", "typed-4\x7f3\n");
    typist.answer("Verify  : ", "typed-3\n");
    typist.answer("was added to", "");
    let (success, seen) = typist.end();
    assert!(success, "{seen:?}");
    assert!(!seen.contains("typed"), "{seen:?}");
    assert_eq!(home.passwords()["monitor"], "typed-3");
}

#[test]
fn ctrl_c_at_a_password_ends_with_its_signal_and_leaves_the_terminal_as_it_was() {
    let home = Home::with_key();
    let users = home.users();
    let line = format!(
        "trap : INT; stty -a; {PROGRAM} -f {users} -U monitor user add; echo status $?; stty -a"
    );
    let mut typist = Typist::start(&home, &line);
    typist.answer("Password: ", "half\x03");
    typist.answer("status 130", "");
    let (_, seen) = typist.end();
    let (before, after) = seen.split_once("Password: ").unwrap();
    let after = after.split_once("status 130").unwrap().1.trim();
    assert!(before.contains(" echo "), "{before}");
    assert_eq!(before.trim(), after);
    assert!(!seen.contains("half"), "{seen:?}");
    assert!(!Path::new(&users).exists());
}

#[test]
fn generated_passwords_are_shown_once_and_of_the_wanted_length() {
    let home = Home::new();
    let output = home.run(&["-g", "master-key"]);
    assert!(output.status.success(), "{output:?}");
    let users = home.users();
    let mut seen = Vec::new();
    for (name, length) in [("a", None), ("b", Some("8")), ("c", Some("1024"))] {
        let mut arguments = vec!["-f", &users, "-U", name, "-g", "user", "add"];
        arguments.extend(length.map(|length| ["-l", length]).iter().flatten());
        let output = home.run(&arguments);
        let text = out(&output);
        let password = text
            .lines()
            .find_map(|line| line.strip_prefix("Password: "))
            .unwrap();
        assert_eq!(password.len().to_string(), length.unwrap_or("64"));
        assert_eq!(home.passwords()[name], password);
        seen.push(password.to_owned());
    }
    let output = home.run(&["-f", &users, "-U", "a", "-g", "-F", "json", "user", "edit"]);
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let password = document["Response"]["Password"].as_str().unwrap();
    assert_eq!(home.passwords()["a"], password);
    assert!(!seen.iter().any(|old| old == password));
}

#[test]
fn json_says_what_came_of_it() {
    let home = Home::with_key();
    let users = home.users();
    home.run(&["-f", &users, "-U", "b", "-P", "x", "user", "add"]);
    home.run(&["-f", &users, "-U", "a", "-P", "x", "user", "add"]);
    let output = home.run(&["-f", &users, "-F", "json", "user", "ls"]);
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["Header"]["Command"], "user ls");
    assert_eq!(document["Header"]["Output"], "json");
    assert_eq!(document["Header"]["Timestamp"].as_str().unwrap().len(), 14);
    assert_eq!(document["Outcome"], serde_json::json!({"Status": true}));
    assert_eq!(
        document["Response"],
        serde_json::json!({"Users": ["b", "a"]})
    );

    let output = home.run(&["-f", &users, "-U", "c", "-F", "json", "user", "del"]);
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(document["Outcome"]["Status"], false);
    assert!(
        document["Outcome"]["Error"]
            .as_str()
            .unwrap()
            .contains("no user 'c'")
    );
}

#[test]
fn an_existing_master_key_is_never_overwritten() {
    let home = Home::with_key();
    let key = home.path(".pgexporter/master.key");
    let before = fs::read(&key).unwrap();
    let output = home.run(&["-g", "master-key"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(err(&output).contains("never overwritten"), "{output:?}");
    assert_eq!(fs::read(&key).unwrap(), before);
}

#[test]
fn of_many_who_create_the_master_key_at_once_one_wins() {
    let home = Home::new();
    let children: Vec<_> = (0..8)
        .map(|number| {
            let password = format!("Passw0rd-{number}");
            home.command(&["-P", &password, "master-key"])
                .spawn()
                .unwrap()
        })
        .collect();
    let done = children
        .into_iter()
        .map(|child| child.wait_with_output().unwrap())
        .filter(|output| output.status.success())
        .count();
    assert_eq!(done, 1);
    Vault::new(Some(home.folder.path())).key().unwrap();
    let left: Vec<_> = fs::read_dir(home.path(".pgexporter")).unwrap().collect();
    assert_eq!(left.len(), 1, "{left:?}");
}

#[test]
fn all_who_add_users_at_once_land() {
    let home = Home::with_key();
    let users = home.users();
    let children: Vec<_> = (0..10)
        .map(|number| {
            let name = format!("user{number}");
            home.command(&["-f", &users, "-U", &name, "-P", &name, "user", "add"])
                .spawn()
                .unwrap()
        })
        .collect();
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }
    let passwords = home.passwords();
    assert_eq!(passwords.len(), 10);
    assert!(passwords.iter().all(|(name, password)| name == password));
    assert_eq!(home.files(), [".pgexporter", "users.conf"]);
}

#[test]
fn a_crash_in_mid_write_leaves_the_old_file_and_hinders_nobody() {
    let home = Home::with_key();
    let users = home.users();
    home.run(&["-f", &users, "-U", "a", "-P", "x", "user", "add"]);
    let before = fs::read(&users).unwrap();
    // The kernel kills whoever writes a byte into a file.
    let mut command = Command::new("sh");
    home.dress(&mut command)
        .args(["-c", "ulimit -c 0; ulimit -f 0; exec \"$@\"", "sh", PROGRAM])
        .args(["-f", &users, "-U", "b", "-P", "x", "user", "add"]);
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), None, "{output:?}");
    assert_eq!(fs::read(&users).unwrap(), before);

    let output = home.run(&["-f", &users, "-U", "c", "-P", "x", "user", "add"]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(home.passwords().len(), 2);
    assert_eq!(home.files(), [".pgexporter", "users.conf"]);
}

#[test]
fn a_file_that_cannot_be_written_stays_and_the_error_names_it() {
    let home = Home::with_key();
    let output = home.run(&[
        "-f",
        "/proc/users.conf",
        "-U",
        "a",
        "-P",
        "x",
        "user",
        "add",
    ]);
    assert_eq!(output.status.code(), Some(1));
    assert!(err(&output).contains("/proc/"), "{output:?}");
}

#[test]
fn comments_links_and_strangers_lines_survive_a_change() {
    let home = Home::with_key();
    let users = home.users();
    home.run(&["-f", &users, "-U", "a", "-P", "x", "user", "add"]);
    let real = home.path("real.conf");
    let text = format!("# ours\n\n{}", fs::read_to_string(&users).unwrap());
    fs::write(&real, &text).unwrap();
    fs::remove_file(&users).unwrap();
    symlink("real.conf", &users).unwrap();
    home.run(&["-f", &users, "-U", "b", "-P", "y", "user", "add"]);
    assert!(fs::symlink_metadata(&users).unwrap().is_symlink());
    let changed = fs::read_to_string(&real).unwrap();
    assert!(
        changed.starts_with(&text) && changed.len() > text.len(),
        "{changed}"
    );
    assert_eq!(home.passwords().len(), 2);
}

#[test]
fn refusals_exit_1_and_wrong_usage_exits_2_each_with_what_to_do() {
    let home = Home::with_key();
    let users = home.users();
    home.run(&["-f", &users, "-U", "a", "-P", "x", "user", "add"]);
    let missing = home.path("missing.conf").display().to_string();
    for (arguments, status, said) in [
        (
            vec!["-f", &users, "-U", "a", "-P", "x", "user", "add"],
            1,
            "`user edit`",
        ),
        (
            vec!["-f", &users, "-U", "b", "-P", "x", "user", "edit"],
            1,
            "`user ls`",
        ),
        (vec!["-f", &users, "-U", "b", "user", "del"], 1, "`user ls`"),
        (vec!["-f", &missing, "user", "ls"], 1, "missing.conf"),
        (
            vec!["-f", &users, "-U", "b", "-P", "", "user", "add"],
            1,
            "empty",
        ),
        (vec!["user", "ls"], 2, "-f FILE"),
        (
            vec!["-f", &users, "-U", "b", "user", "add"],
            2,
            "PGEXPORTER_PASSWORD",
        ),
        (
            vec!["-f", &users, "-U", "a:b", "-P", "x", "user", "add"],
            2,
            "colon",
        ),
        (vec!["-f", &users, "user", "del"], 2, "-U"),
        (
            vec!["-f", &users, "-g", "-P", "x", "-U", "b", "user", "add"],
            2,
            "--generate",
        ),
        (
            vec!["-g", "-l", "7", "-f", &users, "-U", "b", "user", "add"],
            2,
            "8..=1024",
        ),
        (vec!["user"], 2, "Usage"),
        (vec![], 2, "Usage"),
        (vec!["frobnicate"], 2, "frobnicate"),
    ] {
        let output = home.run(&arguments);
        assert_eq!(
            output.status.code(),
            Some(status),
            "{arguments:?} {output:?}"
        );
        assert!(err(&output).contains(said), "{arguments:?} {output:?}");
    }

    let fresh = Home::new();
    let output = fresh.run(&["-P", "weak-word", "master-key"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(err(&output).contains("at least 8 characters"));
    assert!(!err(&output).contains("weak-word"));
    let users = fresh.users();
    let output = fresh.run(&["-f", &users, "-U", "a", "-P", "x", "user", "add"]);
    assert!(
        err(&output).contains("pgexporter-admin master-key"),
        "{output:?}"
    );
    assert!(fresh.files().is_empty(), "{:?}", fresh.files());
}

#[test]
fn a_folder_that_others_can_enter_is_refused() {
    let home = Home::with_key();
    let folder = home.path(".pgexporter");
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
    let output = home.run(&["-f", &home.users(), "-U", "a", "-P", "x", "user", "add"]);
    assert_eq!(output.status.code(), Some(1));
    let wanted = format!("{0} has mode 0755, it must have 0700", folder.display());
    assert!(err(&output).contains(&wanted), "{output:?}");
}

#[test]
fn help_and_version_are_asked_for_as_in_the_c_program() {
    let home = Home::new();
    for flag in ["-?", "--help"] {
        let output = home.run(&[flag]);
        assert!(output.status.success());
        for word in [
            "--file",
            "-U",
            "-P",
            "-g",
            "-l",
            "-F",
            "-V",
            "master-key",
            "user",
        ] {
            assert!(out(&output).contains(word), "{word}");
        }
        let output = home.run(&["user", flag]);
        assert!(out(&output).contains("ls"), "{output:?}");
    }
    let version = format!("pgexporter-admin {}\n", env!("CARGO_PKG_VERSION"));
    for flag in ["-V", "--version"] {
        assert_eq!(out(&home.run(&[flag])), version);
    }
}
