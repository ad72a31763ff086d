//! What is wrong with a file: all of it at once, each with its line.

use std::fmt;
use std::path::{Path, PathBuf};

use super::keys::{MAIN_SECTION, is_key};

/// Why a name is no key of a section. Shown behind the name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnknownKey {
    /// It is one of a server's section.
    #[error("belongs in the section of a server")]
    OfServer,
    /// It is one of the main section.
    #[error("belongs in the section [{MAIN_SECTION}]")]
    OfMain,
    /// It looks like a password's.
    #[error(
        "passwords do not belong in this file; keep them with `pgexporter-admin user add`, in a \
         file named by PGPASSFILE, or in PGPASSWORD"
    )]
    Password,
    /// A known key is a slip of the hand away.
    #[error("is not a known key; did you mean `{0}`?")]
    Similar(&'static str),
    /// Nothing is like it.
    #[error("is not a known key; docs/configuration.md lists the keys")]
    Unlisted,
    /// It is read and checked, and does nothing.
    #[error("has no effect yet")]
    Reserved,
}

/// One thing that is wrong, shown as `file:line: key: what is wrong`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Problem {
    /// The file.
    pub path: PathBuf,
    /// The line, counted from 1; `None` when it is about the whole file.
    pub line: Option<usize>,
    /// The key, when it is about one.
    pub key: Option<String>,
    /// What is wrong, and what is allowed or to be done.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.path.display())?;
        if let Some(line) = self.line {
            write!(f, "{line}:")?;
        }
        if let Some(key) = &self.key {
            write!(f, " {key}:")?;
        }
        write!(f, " {}", self.message)
    }
}

/// Everything that is wrong with a file, in the order of its lines. Shown one a line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ConfigErrors {
    /// At least one.
    pub problems: Vec<Problem>,
}

impl ConfigErrors {
    /// One problem with a file as a whole.
    pub(super) fn whole(path: &Path, message: String) -> Self {
        let problem = Problem {
            path: path.to_owned(),
            line: None,
            key: None,
            message,
        };
        Self {
            problems: vec![problem],
        }
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

/// Collects problems and notices while a file is read.
#[derive(Debug)]
pub(super) struct ProblemList {
    path: PathBuf,
    problems: Vec<Problem>,
    notices: Vec<(Option<usize>, String)>,
}

impl ProblemList {
    pub(super) fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            problems: Vec::new(),
            notices: Vec::new(),
        }
    }

    /// Adds a problem. An unknown key is not quoted: if `-c` names the wrong file, such as a private
    /// key, then text before a `=` would be logged.
    pub(super) fn add_problem(
        &mut self,
        line: Option<usize>,
        key: Option<&str>,
        message: impl Into<String>,
    ) {
        self.add_quoted_problem(line, key.filter(|key| is_key(key)), message);
    }

    /// Adds a problem, and quotes the key even when it is unknown.
    pub(super) fn add_quoted_problem(
        &mut self,
        line: Option<usize>,
        key: Option<&str>,
        message: impl Into<String>,
    ) {
        let key = key.map(str::to_owned);
        self.problems.push(Problem {
            path: self.path.clone(),
            line,
            key,
            message: message.into(),
        });
    }

    /// Something the user should know, that keeps nothing from running.
    pub(super) fn add_notice(
        &mut self,
        line: Option<usize>,
        key: &str,
        message: impl Into<String>,
    ) {
        let (path, key) = (self.path.clone(), Some(key.to_owned()));
        let notice = Problem {
            path,
            line,
            key,
            message: message.into(),
        };
        self.notices.push((line, notice.to_string()));
    }

    /// The notices in the order of the lines.
    ///
    /// # Errors
    /// The problems, when there are any.
    pub(super) fn finish(mut self) -> Result<Vec<String>, ConfigErrors> {
        if self.problems.is_empty() {
            self.notices.sort_by_key(|(line, _)| *line);
            return Ok(self.notices.into_iter().map(|(_, text)| text).collect());
        }
        self.problems.sort_by_key(|problem| problem.line);
        Err(ConfigErrors {
            problems: self.problems,
        })
    }
}
