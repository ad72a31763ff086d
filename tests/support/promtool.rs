//! Prometheus' own opinion of an exposition.

use std::io::Write;
use std::process::{Command, Stdio};

use super::downloads;

/// Gives a body in the text format to `promtool check metrics`.
///
/// Returns its lint, a line a finding, each beginning with the name of the metric; empty when it
/// finds nothing.
///
/// # Errors
/// What it says when the text does not parse.
pub fn promtool_check(text: &str) -> Result<Vec<String>, String> {
    let tool = downloads::promtool().expect("promtool is to be had");
    let mut process = Command::new(&tool.program)
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool starts");
    let mut input = process.stdin.take().expect("piped");
    let output = std::thread::scope(|scope| {
        scope.spawn(move || {
            // promtool stops reading where it stops understanding.
            let _ = input.write_all(text.as_bytes());
        });
        process.wait_with_output().expect("promtool ends")
    });
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    match output.status.code() {
        // 3: it parses, and there is lint.
        Some(0 | 3) => Ok(said.lines().map(str::to_owned).collect()),
        _ => Err(said),
    }
}
