//! A query that a session may hold prepared, and how it is sent.

use std::io;
use std::sync::{Arc, Weak};

use bytes::BytesMut;
use fallible_iterator::FallibleIterator as _;
use postgres_protocol::message::{backend, frontend};
use tokio_postgres::types::Type;

use super::connection::without_zero;
use super::value::Encoding;

/// How a session sends its queries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Prepared once and kept: the server plans nothing again.
    Kept,
    /// Prepared without a name, for a session that lives for one collection.
    Once,
    /// Behind a pooler: each query is one message that brings its own settings and leaves nothing
    /// behind on the server's side.
    Pooled,
}

/// One statement.
#[derive(Clone, Debug)]
pub(super) struct Prepared {
    pub(super) sql: Arc<str>,
    held: Option<Held>,
    /// The session that refused to prepare it: it is sent without a name there.
    refused: Option<u64>,
}

/// A statement in a session.
#[derive(Clone, Debug)]
struct Held {
    session: u64,
    encodings: Arc<[Encoding]>,
    /// Bind and Execute.
    run: Arc<[u8]>,
    /// While it lives, the session keeps the statement.
    _wanted: Arc<()>,
}

impl Prepared {
    pub(super) fn new(sql: impl Into<Arc<str>>) -> Self {
        Self {
            sql: sql.into(),
            held: None,
            refused: None,
        }
    }

    /// Whether it is to be prepared in this session.
    pub(super) fn is_new_to(&self, session: u64) -> bool {
        self.held_in(session).is_none() && self.refused != Some(session)
    }

    /// Whether that session holds it prepared, so that [`Self::put`] sends no text.
    pub(super) fn is_held_in(&self, session: u64) -> bool {
        self.held_in(session).is_some()
    }

    fn held_in(&self, session: u64) -> Option<&Held> {
        self.held.as_ref().filter(|held| held.session == session)
    }

    /// The session refused it: it is sent without a name there.
    pub(super) fn refuse(&mut self, session: u64) {
        self.held = None;
        self.refused = Some(session);
    }

    /// It ran after all, sent without a name: whatever made the session refuse it is over, and it is
    /// prepared when it is next needed.
    pub(super) fn accept(&mut self) {
        self.refused = None;
    }

    /// The session holds it under that name. Columns whose type is not read natively come as text.
    pub(super) fn hold(
        &mut self,
        session: u64,
        name: &str,
        columns: &[Option<Encoding>],
    ) -> Weak<()> {
        let mut run = BytesMut::new();
        let formats = columns.iter().map(|one| i16::from(one.is_some()));
        // The name is ours and holds no zero byte.
        let _ = execute(name, formats, &mut run);
        let wanted = Arc::new(());
        let weak = Arc::downgrade(&wanted);
        self.refused = None;
        self.held = Some(Held {
            session,
            encodings: columns
                .iter()
                .map(|one| one.unwrap_or(Encoding::Text))
                .collect(),
            run: run.as_ref().into(),
            _wanted: wanted,
        });
        weak
    }

    /// Puts what runs it: Bind and Execute, after Parse where the session does not hold it. Returns
    /// how its columns come.
    ///
    /// # Errors
    /// The text holds a zero byte.
    pub(super) fn put(&self, session: u64, out: &mut BytesMut) -> io::Result<Arc<[Encoding]>> {
        if let Some(held) = self.held_in(session) {
            out.extend_from_slice(&held.run);
            return Ok(Arc::clone(&held.encodings));
        }
        without_zero(&self.sql)?;
        frontend::parse("", &self.sql, [], out)?;
        execute("", [], out)?;
        Ok(Arc::default())
    }
}

fn execute(
    name: &str,
    formats: impl IntoIterator<Item = i16>,
    out: &mut BytesMut,
) -> io::Result<()> {
    let none = std::iter::empty::<()>();
    let write = |(), _: &mut BytesMut| Ok(postgres_protocol::IsNull::Yes);
    match frontend::bind("", name, [], none, write, formats, out) {
        Ok(()) => frontend::execute("", 0, out),
        Err(frontend::BindError::Serialization(error)) => Err(error),
        Err(frontend::BindError::Conversion(error)) => Err(io::Error::other(error)),
    }
}

/// The types of a RowDescription; `None` for one that is not read natively.
pub(super) fn columns(message: &[u8]) -> Vec<Option<Encoding>> {
    let parsed = backend::Message::parse(&mut BytesMut::from(message));
    let Ok(Some(backend::Message::RowDescription(body))) = parsed else {
        return Vec::new();
    };
    let mut columns = Vec::new();
    let mut fields = body.fields();
    while let Ok(Some(field)) = fields.next() {
        columns
            .push(Type::from_oid(field.type_oid()).and_then(|type_| Encoding::from_type(&type_)));
    }
    columns
}
