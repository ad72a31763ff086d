//! `pg_settings`: a family for each row, so the names are data and stand in no catalogue.

use super::row::Fields;
use super::value::{self, Encoding};
use crate::exposition::SampleWriter;

/// Names with lines, in order of the names. All in one text: there are hundreds, kept as long as
/// the session.
#[derive(Debug, Default)]
pub struct SettingsSamples {
    text: String,
    parts: Vec<SettingPosition>,
    duplicates: usize,
}

/// Where a setting stands in the text: its line, which begins with its family, then its help.
#[derive(Clone, Copy, Debug)]
struct SettingPosition {
    from: u32,
    family: u16,
    line: u16,
    help: u16,
}

/// One setting.
#[derive(Clone, Copy, Debug)]
pub struct Setting<'a> {
    /// Full name of the family.
    pub family: &'a str,
    /// `short_desc`.
    pub help: &'a str,
    /// One line.
    pub line: &'a [u8],
}

// Bytewise order, so that lists of several servers can be laid together. Names of extensions'
// settings hold dots. A NULL setting, which the superuser alone may see, gives no sample. What we
// set for our own session is not what others have; a transaction is as read-only and as deferrable as
// the defaults and the role of the server make it.
/// Name, type, value, description of each setting.
pub const SQL: &str = "\
SELECT s.name, s.vartype, \
CASE WHEN s.name = 'transaction_read_only' THEN \
CASE WHEN pg_catalog.pg_is_in_recovery() THEN 'on' ELSE (\
SELECT d.reset_val FROM pg_catalog.pg_settings AS d \
WHERE d.name = 'default_transaction_read_only') END \
WHEN s.name = 'transaction_deferrable' THEN (\
SELECT d.reset_val FROM pg_catalog.pg_settings AS d \
WHERE d.name = 'default_transaction_deferrable') \
WHEN s.source = 'session' THEN s.reset_val ELSE s.setting END, \
s.short_desc FROM pg_catalog.pg_settings AS s \
ORDER BY s.name COLLATE pg_catalog.\"C\"";

impl SettingsSamples {
    /// In order of the names, each once.
    pub(super) fn sorted(self) -> Self {
        let Self {
            text, mut parts, ..
        } = self;
        let found = parts.len();
        let family = |part: &SettingPosition| {
            text.get(part.from as usize..)?
                .get(..usize::from(part.family))
        };
        parts.sort_by(|a, b| family(a).cmp(&family(b)));
        parts.dedup_by(|next, kept| family(next) == family(kept));
        let duplicates = found - parts.len();
        let mut samples = Self {
            text,
            parts,
            duplicates,
        };
        samples.text.shrink_to_fit();
        samples.parts.shrink_to_fit();
        samples
    }

    /// How many were left out, because another one has the same name as a family.
    #[must_use]
    pub fn duplicates(&self) -> usize {
        self.duplicates
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.parts.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// Whether both hold the same settings, whatever their values.
    #[must_use]
    pub fn has_names_of(&self, other: &Self) -> bool {
        fn name<'a>(of: &'a SettingsSamples, part: &SettingPosition) -> Option<&'a [u8]> {
            let rest = of.text.as_bytes().get(part.from as usize..)?;
            rest.get(..usize::from(part.family))
        }
        self.len() == other.len()
            && self
                .parts
                .iter()
                .zip(&other.parts)
                .all(|(own, its)| name(self, own) == name(other, its))
    }

    /// What is held of them, in bytes.
    pub(super) fn held(&self) -> usize {
        self.text.len()
    }

    /// Size of the lines in bytes.
    #[must_use]
    pub fn size(&self) -> usize {
        self.parts.iter().map(|part| usize::from(part.line)).sum()
    }

    /// The setting at a place in the order of the names.
    #[must_use]
    pub fn get(&self, at: usize) -> Option<Setting<'_>> {
        let part = self.parts.get(at)?;
        let (line, rest) = self
            .text
            .get(part.from as usize..)?
            .split_at_checked(usize::from(part.line))?;
        Some(Setting {
            family: line.get(..usize::from(part.family))?,
            help: rest.get(..usize::from(part.help))?,
            line: line.as_bytes(),
        })
    }

    /// Takes a row of [`SQL`].
    pub(super) fn add(&mut self, fields: Fields<'_>, labels: &[u8]) {
        let (Some(kind), Some(raw)) = (fields.get(1), fields.get(2)) else {
            return;
        };
        let name: String = fields
            .text(0)
            .chars()
            .map(|c| {
                if c.is_ascii_alphanumeric() {
                    c.to_ascii_lowercase()
                } else {
                    '_'
                }
            })
            .collect();
        let family = format!("pgexporter_pg_settings_{name}");
        let mut written = Vec::with_capacity(family.len() + labels.len() + 16);
        let mut sample = SampleWriter::begin(&mut written, &family);
        sample.rendered(labels);
        match kind {
            b"bool" => sample.integer(i64::from(raw == b"on")),
            b"integer" | b"real" => value::number(Encoding::Text, raw).write(sample),
            _ => sample.integer(1),
        }
        let from = self.text.len();
        self.text.push_str(&String::from_utf8_lossy(&written));
        let line = self.text.len() - from;
        let help = fields.text(3);
        self.text.push_str(&help);
        let part = (
            u32::try_from(from),
            u16::try_from(family.len()),
            u16::try_from(line),
            u16::try_from(help.len()),
        );
        match part {
            (Ok(from), Ok(family), Ok(line), Ok(help)) => self.parts.push(SettingPosition {
                from,
                family,
                line,
                help,
            }),
            // Longer than any setting's name and description can be.
            _ => self.text.truncate(from),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::row::FieldRanges;
    use super::*;

    fn add(samples: &mut SettingsSamples, row: [Option<&str>; 4]) {
        let mut body = vec![0, 4];
        for field in row {
            let length = field.map_or(-1, |text| i32::try_from(text.len()).unwrap());
            body.extend(length.to_be_bytes());
            body.extend(field.unwrap_or_default().as_bytes());
        }
        let mut places = FieldRanges::default();
        let fields = Fields::read(&body, &mut places, &[]).unwrap();
        samples.add(fields, b"server=\"s\"");
    }

    #[test]
    fn a_setting_becomes_a_number_by_its_type() {
        for (kind, value, expected) in [
            ("bool", Some("on"), Some("1")),
            ("bool", Some("off"), Some("0")),
            ("integer", Some("-1"), Some("-1")),
            ("real", Some("0.25"), Some("0.25")),
            ("real", Some("1e-05"), Some("0.00001")),
            ("string", Some("replica"), Some("1")),
            ("enum", Some(""), Some("1")),
            // The superuser alone may see it.
            ("string", None, None),
        ] {
            let mut samples = SettingsSamples::default();
            add(
                &mut samples,
                [Some("Name.x"), Some(kind), value, Some("Help.")],
            );
            let samples = samples.sorted();
            let found = samples.get(0);
            let line = found.map(|one| String::from_utf8_lossy(one.line).into_owned());
            let head = "pgexporter_pg_settings_name_x{server=\"s\"} ";
            let expected = expected.map(|number| format!("{head}{number}\n"));
            assert_eq!(line, expected, "{kind} {value:?}");
            assert_eq!(found.map(|one| one.help), line.map(|_| "Help."));
            assert_eq!(samples.is_empty(), value.is_none());
        }
    }

    #[test]
    fn a_setting_that_is_longer_than_any_can_be_is_left_out_alone() {
        let mut samples = SettingsSamples::default();
        let long = "n".repeat(70_000);
        for (name, help) in [("a", "Help."), (&*long, "Help."), ("b", &*long), ("c", "")] {
            add(
                &mut samples,
                [Some(name), Some("bool"), Some("on"), Some(help)],
            );
        }
        let samples = samples.sorted();
        let families = (0..samples.len()).map(|at| samples.get(at).unwrap().family);
        assert!(families.eq(["pgexporter_pg_settings_a", "pgexporter_pg_settings_c"]));
    }

    #[test]
    fn the_same_names_with_other_values_are_the_same_settings() {
        let samples = |rows: &[(&str, &str)]| {
            let mut samples = SettingsSamples::default();
            for (name, value) in rows {
                add(
                    &mut samples,
                    [Some(name), Some("real"), Some(value), Some("H")],
                );
            }
            samples.sorted()
        };
        let own = samples(&[("a", "1"), ("b", "2")]);
        assert!(own.has_names_of(&samples(&[("b", "1000"), ("a", "3")])));
        assert!(!own.has_names_of(&samples(&[("a", "1"), ("c", "2")])));
        assert!(!own.has_names_of(&samples(&[("a", "1")])));
    }

    #[test]
    fn settings_whose_families_have_one_name_give_one_sample_and_are_counted() {
        let mut samples = SettingsSamples::default();
        for (name, value) in [("x.a_b", "1"), ("x_a.b", "2"), ("y", "3")] {
            let row = [name, "integer", value, "Help."];
            add(&mut samples, row.map(Some));
        }
        let samples = samples.sorted();
        assert_eq!((samples.len(), samples.duplicates()), (2, 1));
        let lines: Vec<&[u8]> = (0..2).map(|at| samples.get(at).unwrap().line).collect();
        assert_eq!(lines[0], b"pgexporter_pg_settings_x_a_b{server=\"s\"} 1\n");
        assert_eq!(lines[1], b"pgexporter_pg_settings_y{server=\"s\"} 3\n");
    }
}
