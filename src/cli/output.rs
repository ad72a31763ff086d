//! Writes to the standard output and the standard error.

use std::io::{self, Write};

use super::error::CliError;
use super::style::{Style, Tone};

/// Prints an answer. A reader that hung up has enough: then it is false.
pub(super) fn show(text: &str) -> Result<bool, CliError> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(CliError::Refused(vec![format!(
            "the answer cannot be printed: {error}"
        )])),
    }
}

/// Says what is wrong, each line behind the name of the program.
pub(super) fn print_errors(program: &str, lines: &[String]) {
    let name = Style::of_errors().paint(Some(Tone::Bad), &format!("{program}:"));
    for line in lines {
        let _ = writeln!(io::stderr(), "{name} {line}");
    }
}
