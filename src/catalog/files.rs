//! Finding and reading the files of a catalogue, and joining them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::bounds::BYTES;
use super::builtin;
use super::metric::{Catalog, ColumnKind, Family};
use super::own::{claims, is_reserved};
use super::parse::{Parsed, parse};
use super::tags::join_tags;
use crate::model::Kind;

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

/// The built-in catalogue with the user's own files over it. A tag of the user's replaces the
/// built-in one of that name.
///
/// # Errors
/// A file that cannot be read or is wrong refuses the whole catalogue.
pub fn load(own: &[PathBuf]) -> Result<Catalog, CatalogError> {
    let mut metrics = Vec::new();
    for (name, text) in builtin::FILES {
        metrics.extend(parse(&format!("{}{name}", builtin::PREFIX), text)?);
    }
    let mut users = Vec::new();
    let mut seen = BTreeSet::new();
    for path in own {
        for file in list(path)? {
            // A file may be named, and stand in a folder that is named as well.
            if let Ok(real) = file.canonicalize()
                && !seen.insert(real)
            {
                continue;
            }
            let text = read(&file).map_err(|error| CatalogError::Read {
                path: file.clone(),
                error,
            })?;
            users.extend(parse(&file.display().to_string(), &text)?);
        }
    }
    let replaced: BTreeSet<&str> = users
        .iter()
        .map(|metric| metric.metric.tag.as_str())
        .collect();
    for one in &users {
        not_reserved(one)?;
    }
    metrics.retain(|metric| !replaced.contains(metric.metric.tag.as_str()));
    metrics.extend(users);
    join(metrics)
}

/// The text of a file, or as much of it as shows that it is too long.
fn read(file: &Path) -> std::io::Result<String> {
    let most = u64::try_from(BYTES).unwrap_or(u64::MAX).saturating_add(1);
    let mut bytes = Vec::new();
    File::open(file)?.take(most).read_to_end(&mut bytes)?;
    if bytes.len() > BYTES {
        let words = format!("it has more than {BYTES} bytes; split it up");
        return Err(std::io::Error::new(std::io::ErrorKind::FileTooLarge, words));
    }
    String::from_utf8(bytes).map_err(|_| {
        let words = "it holds bytes that are no text";
        std::io::Error::new(std::io::ErrorKind::InvalidData, words)
    })
}

fn list(path: &Path) -> Result<Vec<PathBuf>, CatalogError> {
    let fail = |error| CatalogError::Read {
        path: path.to_path_buf(),
        error,
    };
    if !std::fs::metadata(path).map_err(fail)?.is_dir() {
        return Ok(vec![path.to_path_buf()]);
    }
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path).map_err(fail)? {
        let file = entry.map_err(fail)?.path();
        let known = file
            .extension()
            .and_then(|extension| extension.to_str())
            .is_some_and(|extension| matches!(extension, "yaml" | "yml" | "json"));
        if known && file.is_file() {
            files.push(file);
        }
    }
    if files.is_empty() {
        return Err(CatalogError::Empty(path.to_path_buf()));
    }
    files.sort();
    Ok(files)
}

/// Refuses a family of the exporter's own name, or one with such samples.
pub(super) fn not_reserved(one: &Parsed) -> Result<(), CatalogError> {
    let reserved = |family: &&Family| {
        claims(&family.name, family.kind)
            .iter()
            .any(|name| is_reserved(name))
    };
    let Some(family) = one.families.iter().find(reserved) else {
        return Ok(());
    };
    Err(CatalogError::Invalid {
        file: one.metric.source.file.clone(),
        message: format!(
            "tag {}: the family {} is the exporter's own; choose another tag",
            one.metric.tag, family.name
        ),
    })
}

/// Gives every family its index, and refuses definitions that contradict each other.
pub(super) fn join(parsed: Vec<Parsed>) -> Result<Catalog, CatalogError> {
    let parsed = join_tags(parsed)?;
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    let mut labels: HashMap<String, (Vec<String>, String)> = HashMap::new();
    for Parsed {
        metric,
        families: own,
    } in &parsed
    {
        for family in own {
            match families.get(&family.name) {
                Some(first) if first.kind != family.kind => {
                    return Err(conflict(first, family, "types"));
                }
                Some(_) => {}
                None => {
                    families.insert(family.name.clone(), family.clone());
                }
            }
        }
        // Alternatives of one metric never run on the same server, so their labels may differ.
        for query in &metric.queries {
            let names: Vec<String> = query
                .columns
                .iter()
                .filter(|column| column.kind == ColumnKind::Label)
                .map(|column| column.name.clone())
                .collect();
            for at in values(query) {
                let family = &own[at];
                match labels.get(&family.name) {
                    Some((first, tag)) if *first != names && *tag != metric.tag => {
                        return Err(conflict(&families[&family.name], family, "label names"));
                    }
                    Some(_) => {}
                    None => {
                        labels.insert(family.name.clone(), (names.clone(), metric.tag.clone()));
                    }
                }
            }
        }
    }
    no_shared_samples(&families)?;
    let families: Vec<Arc<Family>> = families.into_values().map(Arc::new).collect();
    let index: HashMap<&str, usize> = families
        .iter()
        .enumerate()
        .map(|(at, family)| (family.name.as_str(), at))
        .collect();
    let metrics = parsed
        .into_iter()
        .map(
            |Parsed {
                 mut metric,
                 families: own,
             }| {
                for query in &mut metric.queries {
                    for column in &mut query.columns {
                        match &mut column.kind {
                            ColumnKind::Value(at) | ColumnKind::HistogramBounds(at) => {
                                *at = index[own[*at].name.as_str()];
                            }
                            _ => {}
                        }
                    }
                }
                Arc::new(metric)
            },
        )
        .collect();
    Ok(Catalog {
        metrics,
        families,
        base: None,
    })
}

/// Refuses a family that is called as the samples of a histogram are.
fn no_shared_samples(families: &BTreeMap<String, Family>) -> Result<(), CatalogError> {
    for family in families.values().filter(|one| one.kind == Kind::Histogram) {
        for name in claims(&family.name, family.kind) {
            if let Some(other) = families.get(&name).filter(|one| one.name != family.name) {
                return Err(CatalogError::SharedName {
                    name,
                    first: family.source.to_string(),
                    second: other.source.to_string(),
                });
            }
        }
    }
    Ok(())
}

fn values(query: &super::Query) -> impl Iterator<Item = usize> {
    query.columns.iter().filter_map(|column| match column.kind {
        ColumnKind::Value(at) | ColumnKind::HistogramBounds(at) => Some(at),
        _ => None,
    })
}

fn conflict(first: &Family, second: &Family, what: &'static str) -> CatalogError {
    CatalogError::Conflict {
        family: first.name.clone(),
        what,
        first: first.source.to_string(),
        second: second.source.to_string(),
    }
}
