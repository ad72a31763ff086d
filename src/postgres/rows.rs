//! Fetching: one query's rows as they arrive, whatever way the session sends it.

use std::pin::pin;
use std::sync::Arc;

use futures_util::StreamExt as _;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Column, Row, SimpleQueryMessage, SimpleQueryRow, Statement};

use super::error::QueryError;
use super::value::{Encoding, Raw};

/// How a session sends its queries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Prepared once and kept: the server plans nothing again.
    Kept,
    /// Prepared without a name, for a session that lives for one collection.
    Once,
    /// Behind a pooler: each query is one message that brings its own settings and leaves nothing
    /// behind on the server's side.
    Pooled,
}

/// A query that a session may hold prepared.
#[derive(Clone, Debug)]
pub(super) struct Prepared {
    /// One statement.
    pub(super) sql: Arc<str>,
    /// The session that prepared it, and the handle there.
    statement: Option<(u64, Statement)>,
    /// The session that refused to prepare it: it is sent without a name there.
    refused: Option<u64>,
    encodings: Vec<Encoding>,
}

impl Prepared {
    pub(super) fn new(sql: impl Into<Arc<str>>) -> Self {
        Self {
            sql: sql.into(),
            statement: None,
            refused: None,
            encodings: Vec::new(),
        }
    }

    /// Whether it is to be prepared in this session.
    pub(super) fn is_new_to(&self, session: u64) -> bool {
        let held = self
            .statement
            .as_ref()
            .is_some_and(|(owner, _)| *owner == session);
        !held && self.refused != Some(session)
    }

    /// Prepares it. A column whose type is not read natively makes it be prepared again with a
    /// cast to text.
    pub(super) async fn prepare(
        &mut self,
        client: &Client,
        session: u64,
    ) -> Result<(), QueryError> {
        self.statement = None;
        let prepared = self.with_native_columns(client).await;
        self.refused = prepared.is_err().then_some(session);
        let statement = prepared.map_err(|error| QueryError::of(&error))?;
        self.encodings = encodings(statement.columns());
        self.statement = Some((session, statement));
        Ok(())
    }

    async fn with_native_columns(
        &self,
        client: &Client,
    ) -> Result<Statement, tokio_postgres::Error> {
        let statement = client.prepare(&self.sql).await?;
        match with_casts(&self.sql, statement.columns()) {
            Some(sql) => client.prepare(&sql).await,
            None => Ok(statement),
        }
    }

    /// Sends it and hands each row on.
    pub(super) async fn fetch(
        &self,
        client: &Client,
        session: u64,
        way: Way<'_>,
        each: &mut impl FnMut(Fields<'_>) -> Result<(), QueryError>,
    ) -> Result<(), QueryError> {
        let none: [&(dyn ToSql + Sync); 0] = [];
        match (way, &self.statement) {
            (Way::Pooled(settings), _) => self.fetch_pooled(client, settings, each).await,
            (Way::Direct, Some((owner, statement))) if *owner == session => {
                let stream = client.query_raw(statement, none).await;
                let mut stream = pin!(stream.map_err(|e| QueryError::of(&e))?);
                while let Some(row) = stream.next().await {
                    let row = row.map_err(|e| QueryError::of(&e))?;
                    each(Fields {
                        row: AnyRow::Binary(&row),
                        encodings: &self.encodings,
                    })?;
                }
                Ok(())
            }
            (Way::Direct, _) => match self.fetch_once(client, &self.sql, each).await? {
                None => Ok(()),
                Some(sql) => self.fetch_once(client, &sql, each).await.map(|_| ()),
            },
        }
    }

    /// Returns the query with casts when it must be sent again with them.
    async fn fetch_once(
        &self,
        client: &Client,
        sql: &str,
        each: &mut impl FnMut(Fields<'_>) -> Result<(), QueryError>,
    ) -> Result<Option<String>, QueryError> {
        let none: [(&(dyn ToSql + Sync), Type); 0] = [];
        let stream = client.query_typed_raw(sql, none).await;
        let mut stream = pin!(stream.map_err(|e| QueryError::of(&e))?);
        let mut known: Option<Vec<Encoding>> = None;
        while let Some(row) = stream.next().await {
            let row = row.map_err(|e| QueryError::of(&e))?;
            if known.is_none() {
                let again = with_casts(sql, row.columns());
                if again.is_some() {
                    return Ok(again);
                }
            }
            let encodings = known.get_or_insert_with(|| encodings(row.columns()));
            each(Fields {
                row: AnyRow::Binary(&row),
                encodings,
            })?;
        }
        Ok(None)
    }

    async fn fetch_pooled(
        &self,
        client: &Client,
        settings: &str,
        each: &mut impl FnMut(Fields<'_>) -> Result<(), QueryError>,
    ) -> Result<(), QueryError> {
        // One simple query of several statements is one transaction, so that SET LOCAL ends with
        // it and a pooler keeps us on one server meanwhile (PostgreSQL, "Simple Query").
        let text = format!("{settings}{}", self.sql);
        let stream = client.simple_query_raw(&text).await;
        let mut stream = pin!(stream.map_err(|e| QueryError::of(&e))?);
        while let Some(message) = stream.next().await {
            if let SimpleQueryMessage::Row(row) = message.map_err(|e| QueryError::of(&e))? {
                each(Fields {
                    row: AnyRow::Text(&row),
                    encodings: &[],
                })?;
            }
        }
        Ok(())
    }
}

/// How one fetch is sent.
#[derive(Clone, Copy, Debug)]
pub(super) enum Way<'a> {
    /// Prepared where the session holds it, without a name where it does not.
    Direct,
    /// As one simple query, after these settings.
    Pooled(&'a str),
}

/// One row.
#[derive(Clone, Copy)]
pub(super) struct Fields<'a> {
    row: AnyRow<'a>,
    encodings: &'a [Encoding],
}

#[derive(Clone, Copy)]
enum AnyRow<'a> {
    Binary(&'a Row),
    Text(&'a SimpleQueryRow),
}

impl<'a> Fields<'a> {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        match self.row {
            AnyRow::Binary(row) => row.len(),
            AnyRow::Text(row) => row.len(),
        }
    }

    /// The bytes of a field; `None` for NULL, and for what cannot be read.
    pub(super) fn get(&self, at: usize) -> Option<&'a [u8]> {
        match self.row {
            AnyRow::Binary(row) => row
                .try_get::<_, Option<Raw<'a>>>(at)
                .ok()
                .flatten()
                .map(|raw| raw.0),
            AnyRow::Text(row) => row.try_get(at).ok().flatten().map(str::as_bytes),
        }
    }

    /// How the field's bytes are to be read.
    pub(super) fn encoding(&self, at: usize) -> Encoding {
        self.encodings.get(at).copied().unwrap_or(Encoding::Text)
    }

    /// A field as text, with what is not UTF-8 replaced.
    pub(super) fn text(&self, at: usize) -> String {
        self.get(at)
            .map(|raw| String::from_utf8_lossy(raw).into_owned())
            .unwrap_or_default()
    }
}

fn encodings(columns: &[Column]) -> Vec<Encoding> {
    columns
        .iter()
        .map(|column| Encoding::of(column.type_()).unwrap_or(Encoding::Text))
        .collect()
}

/// The query with a cast to text around each column that is not read natively; `None` when there
/// is none.
fn with_casts(sql: &str, columns: &[Column]) -> Option<String> {
    use std::fmt::Write as _;
    if columns
        .iter()
        .all(|column| Encoding::of(column.type_()).is_some())
    {
        return None;
    }
    let mut list = String::new();
    let mut names = String::new();
    for (at, column) in columns.iter().enumerate() {
        let comma = if at > 0 { ", " } else { "" };
        let cast = if Encoding::of(column.type_()).is_some() {
            ""
        } else {
            "::pg_catalog.text"
        };
        // Writing to a String cannot fail.
        let _ = write!(list, "{comma}q.c{at}{cast}");
        let _ = write!(names, "{comma}c{at}");
    }
    // The line feed ends a comment that may stand on the query's last line.
    Some(format!("SELECT {list} FROM (\n{sql}\n) AS q({names})"))
}
