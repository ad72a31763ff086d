//! `pg_settings`: a family for each row, so the names are data and stand in no catalogue.

use tokio_postgres::Client;

use super::error::QueryError;
use super::rows::{Fields, Prepared, Way};
use super::value::{self, Encoding};
use crate::exposition::SampleWriter;

/// Names with lines, in order of the names.
#[derive(Debug, Default)]
pub struct SettingsSamples {
    /// What each setting shows.
    pub settings: Vec<Setting>,
}

/// One setting.
#[derive(Debug)]
pub struct Setting {
    /// Full name of the family.
    pub family: String,
    /// `short_desc`.
    pub help: String,
    /// One line.
    pub line: Vec<u8>,
}

// Bytewise order, so that lists of several servers can be laid together. Names of extensions'
// settings hold dots. A NULL setting, which the superuser alone may see, gives no sample.
/// Name, type, value, description of each setting.
pub const SQL: &str = "\
SELECT s.name, s.vartype, s.setting, s.short_desc FROM pg_catalog.pg_settings AS s \
ORDER BY s.name COLLATE pg_catalog.\"C\"";

impl SettingsSamples {
    pub(super) async fn fetch(
        prepared: &Prepared,
        client: &Client,
        session: u64,
        way: Way<'_>,
        labels: &[u8],
    ) -> Result<Self, QueryError> {
        let mut settings = Vec::with_capacity(400);
        let mut each = |fields: Fields<'_>| {
            settings.extend(setting(fields, labels));
            Ok(())
        };
        prepared.fetch(client, session, way, &mut each).await?;
        settings.sort_by(|a: &Setting, b: &Setting| a.family.cmp(&b.family));
        settings.dedup_by(|next, kept| next.family == kept.family);
        Ok(Self { settings })
    }
}

fn setting(fields: Fields<'_>, labels: &[u8]) -> Option<Setting> {
    let raw = fields.get(2)?;
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
    let mut line = Vec::new();
    let mut sample = SampleWriter::begin(&mut line, &family);
    sample.rendered(labels);
    match fields.get(1)? {
        b"bool" => sample.integer(i64::from(raw == b"on")),
        b"integer" | b"real" => value::number(Encoding::Text, raw).write(sample),
        _ => sample.integer(1),
    }
    Some(Setting {
        family,
        help: fields.text(3),
        line,
    })
}
