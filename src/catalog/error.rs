//! Why a catalogue is refused.

use std::path::PathBuf;

/// Why a catalogue was refused. Nothing of it is used then.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// The file or folder cannot be read.
    #[error("{}: cannot be read: {error}; metrics_path names a .yaml, .yml or .json file or a folder of them", path.display())]
    Read {
        /// What was to be read.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// The folder holds nothing to read.
    #[error("{}: holds no .yaml, .yml or .json file", .0.display())]
    Empty(PathBuf),
    /// A file is not what the format asks for.
    #[error("{file}: {message}")]
    Invalid {
        /// The file.
        file: String,
        /// Where in it, what is wrong and what is allowed.
        message: String,
    },
    /// Two definitions of one tag that would both run.
    #[error(
        "tag {tag} is defined twice, in {first} and in {second}: {why}; rename one of them, or \
         leave it out"
    )]
    Twice {
        /// The tag.
        tag: String,
        /// Where the first is defined.
        first: String,
        /// Where the second is defined.
        second: String,
        /// Why they are not one.
        why: String,
    },
    /// Two families have samples of one name.
    #[error("{first} and {second} both bring samples called {name}; rename one tag or column")]
    SharedName {
        /// The name.
        name: String,
        /// Where the one family is defined.
        first: String,
        /// Where the other is defined.
        second: String,
    },
    /// Two definitions of one family do not agree.
    #[error(
        "family {family}: {what} differ between {first} and {second}; rename one tag or column"
    )]
    Conflict {
        /// Full name.
        family: String,
        /// `types` or `label names`.
        what: &'static str,
        /// Where the first is defined.
        first: String,
        /// Where the second is defined.
        second: String,
    },
}
