//! A small, strict parser of the Prometheus text format 0.0.4, written apart from the program's
//! own encoder, so that the one checks the other.

use std::collections::BTreeMap;

/// One line of an exposition.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub value: f64,
}

/// A parsed exposition, in the order of its lines.
#[derive(Clone, Debug, Default)]
pub struct Samples {
    pub samples: Vec<Sample>,
    /// `# TYPE` by family.
    pub types: BTreeMap<String, String>,
    /// `# HELP` by family.
    pub helps: BTreeMap<String, String>,
}

impl Samples {
    /// Parses a body; fails the test with the line that is wrong.
    #[track_caller]
    pub fn parse(text: &str) -> Self {
        match Self::try_parse(text) {
            Ok(samples) => samples,
            Err(error) => panic!("{error}"),
        }
    }

    /// Parses a body.
    ///
    /// # Errors
    /// With the line that is wrong.
    pub fn try_parse(text: &str) -> Result<Self, String> {
        let mut parsed = Self::default();
        if !text.is_empty() && !text.ends_with('\n') {
            return Err("the last line has no end".into());
        }
        for (number, line) in text.lines().enumerate() {
            parsed
                .line(line)
                .map_err(|error| format!("line {}: {error}: {line}", number + 1))?;
        }
        Ok(parsed)
    }

    fn line(&mut self, line: &str) -> Result<(), &'static str> {
        if let Some(comment) = line.strip_prefix("# ") {
            let mut words = comment.splitn(3, ' ');
            let (kind, family) = (words.next(), words.next());
            let rest = words.next().unwrap_or_default();
            let table = match kind {
                Some("HELP") => &mut self.helps,
                Some("TYPE") => &mut self.types,
                _ => return Ok(()),
            };
            let family = family.ok_or("no family")?;
            return match table.insert(family.into(), rest.into()) {
                None => Ok(()),
                Some(_) => Err("said twice"),
            };
        }
        if line.is_empty() || line.starts_with('#') {
            return Ok(());
        }
        let end = line.find(['{', ' ']).ok_or("no value")?;
        let (name, rest) = line.split_at(end);
        let (labels, rest) = match rest.strip_prefix('{') {
            Some(rest) => labels(rest)?,
            None => (BTreeMap::new(), rest),
        };
        let value = match rest.split_whitespace().next().ok_or("no value")? {
            "+Inf" => f64::INFINITY,
            "-Inf" => f64::NEG_INFINITY,
            other => other.parse().map_err(|_| "not a number")?,
        };
        self.samples.push(Sample {
            name: name.into(),
            labels,
            value,
        });
        Ok(())
    }

    /// All samples of a name.
    pub fn all(&self, name: &str) -> Vec<&Sample> {
        self.samples
            .iter()
            .filter(|sample| sample.name == name)
            .collect()
    }

    /// The samples of a name that have at least these labels.
    pub fn with(&self, name: &str, labels: &[(&str, &str)]) -> Vec<&Sample> {
        let has = |sample: &Sample| {
            labels
                .iter()
                .all(|(key, value)| sample.labels.get(*key).is_some_and(|found| found == value))
        };
        self.samples
            .iter()
            .filter(|sample| sample.name == name && has(sample))
            .collect()
    }

    /// The value of the one sample of a name that has at least these labels; `None` when there is
    /// none, and a failed test when there are several.
    #[track_caller]
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let found = self.with(name, labels);
        assert!(
            found.len() < 2,
            "{name} {labels:?} is not one sample: {found:?}"
        );
        found.first().map(|sample| sample.value)
    }

    /// The names of the labels of each sample of a name, all alike in a good exposition.
    pub fn label_names(&self, name: &str) -> Vec<Vec<&str>> {
        let mut sets: Vec<Vec<&str>> = self
            .all(name)
            .into_iter()
            .map(|sample| sample.labels.keys().map(String::as_str).collect())
            .collect();
        sets.sort();
        sets.dedup();
        sets
    }

    /// The families that have a `# TYPE` line.
    pub fn families(&self) -> Vec<&str> {
        self.types.keys().map(String::as_str).collect()
    }
}

type Labels<'a> = (BTreeMap<String, String>, &'a str);

/// Parses what follows `{`, and gives what follows `}`.
fn labels(mut rest: &str) -> Result<Labels<'_>, &'static str> {
    let mut labels = BTreeMap::new();
    loop {
        if let Some(after) = rest.strip_prefix('}') {
            return Ok((labels, after));
        }
        let (name, after) = rest.split_once("=\"").ok_or("a label without a value")?;
        let mut value = String::new();
        let mut letters = after.char_indices();
        rest = loop {
            match letters.next().ok_or("a value without an end")? {
                (at, '"') => break &after[at + 1..],
                (_, '\\') => match letters.next() {
                    Some((_, 'n')) => value.push('\n'),
                    Some((_, letter @ ('\\' | '"'))) => value.push(letter),
                    _ => return Err("an unknown escape"),
                },
                (_, letter) => value.push(letter),
            }
        };
        if labels.insert(name.to_owned(), value).is_some() {
            return Err("a label twice");
        }
        rest = rest.strip_prefix(',').unwrap_or(rest);
    }
}
