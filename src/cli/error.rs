//! Why a command line did not do what it was asked for, and the exit status of each.

use crate::text::escaped;

/// What went wrong.
#[derive(Debug)]
#[allow(dead_code)]
pub(super) enum CliError {
    /// The exporter, or a check, said no: reasons, one line each; none when they stand in the
    /// output already.
    Refused(Vec<String>),
    /// The command line makes no sense.
    Usage(String),
    /// Nobody answers, or we are not let in.
    NoAccess(String),
}

impl CliError {
    /// The exit status.
    pub(super) fn status(&self) -> u8 {
        match self {
            CliError::Refused(_) => 1,
            CliError::Usage(_) => 2,
            CliError::NoAccess(_) => 3,
        }
    }

    /// What to say on standard error, one line each, with nothing that a terminal would obey: a
    /// peer's words may be among it.
    pub(super) fn lines(&self) -> Vec<String> {
        let lines: Vec<&str> = match self {
            CliError::Refused(reasons) => reasons.iter().map(String::as_str).collect(),
            CliError::Usage(reason) | CliError::NoAccess(reason) => reason.lines().collect(),
        };
        let safe = lines.into_iter().map(|line| escaped(line).into_owned());
        safe.collect()
    }
}
