//! What a server says of itself: version, role, extensions, databases.

use std::sync::Arc;

use tokio::time::{Instant, timeout_at};

use super::error::QueryError;
use super::query::Shared;
use super::question::Word;
use super::row::Fields;
use super::run::Ask;
use super::samples::Room;
use super::session::Session;
use super::settings;
use super::statement::{Mode, Prepared};
use super::value::{self, Number};
use crate::catalog::Catalog;
use crate::model::{OLDEST_MAJOR, Reason, Role, ServerVersion};
use crate::targets::Trouble;

/// What a server says of itself at each collection.
#[derive(Clone, Debug, PartialEq)]
pub struct Facts {
    /// Its version.
    pub version: ServerVersion,
    /// Its role.
    pub role: Role,
    /// Seconds since it was started.
    pub uptime: f64,
    /// When the server's configuration was last read, in seconds of the Unix epoch. Until it
    /// changes a session's settings are the same.
    pub configured: f64,
    /// The process that serves this session.
    pub pid: i32,
    /// Installed in the session's database: name, version, comment.
    pub extensions: Vec<(String, String, String)>,
    /// The others that the role may connect to, none when they were not asked for; `None` when they
    /// were not told.
    pub databases: Option<Vec<String>>,
}

/// The questions of every session beside the catalogue's.
#[derive(Debug)]
pub(super) struct Questions {
    pub(super) probe: Prepared,
    pub(super) extensions: Prepared,
    pub(super) databases: Prepared,
    pub(super) settings: Prepared,
}

impl Default for Questions {
    fn default() -> Self {
        Self {
            probe: Prepared::new(PROBE),
            extensions: Prepared::new(EXTENSIONS),
            databases: Prepared::new(DATABASES),
            settings: Prepared::new(settings::SQL),
        }
    }
}

impl Questions {
    /// Those for [`Facts`], in the order in which they are asked.
    pub(super) fn of_facts(&self, databases: bool) -> impl Iterator<Item = &Prepared> {
        let databases = databases.then_some(&self.databases);
        [&self.probe, &self.extensions].into_iter().chain(databases)
    }
}

/// One row: in recovery, `server_version_num`, seconds since the start, the backend's process, when
/// the configuration was read.
pub const PROBE: &str = "\
SELECT pg_catalog.pg_is_in_recovery(), \
pg_catalog.current_setting('server_version_num')::pg_catalog.int4, \
extract(epoch FROM pg_catalog.clock_timestamp() - pg_catalog.pg_postmaster_start_time())\
::pg_catalog.float8, \
pg_catalog.pg_backend_pid(), \
extract(epoch FROM pg_catalog.pg_conf_load_time())::pg_catalog.float8";

/// Name, version, comment of each installed extension.
pub const EXTENSIONS: &str = "\
SELECT e.extname, e.extversion, pg_catalog.obj_description(e.oid, 'pg_extension') \
FROM pg_catalog.pg_extension AS e ORDER BY e.extname";

/// The other databases that the role may connect to.
pub const DATABASES: &str = "\
SELECT d.datname FROM pg_catalog.pg_database AS d \
WHERE d.datallowconn AND NOT d.datistemplate AND d.datname <> pg_catalog.current_database() \
AND pg_catalog.has_database_privilege(d.oid, 'CONNECT') ORDER BY d.datname";

impl Session {
    /// Prepares the questions where the session does not hold them.
    ///
    /// # Errors
    /// The session broke, or did not answer in time.
    pub(super) async fn prepare_questions(&mut self, deadline: Instant) -> Result<(), Trouble> {
        if !self.questions.probe.is_new_to(self.id) {
            return Ok(());
        }
        let mut questions = Questions::default();
        let Questions {
            probe,
            extensions,
            databases,
            settings,
        } = &mut questions;
        let mut all = [probe, extensions, databases, settings];
        // One that cannot be prepared, as where a pooler's other client took its name, is sent
        // without one; what is wrong with it is told then.
        timeout_at(deadline, self.prepare_all(&mut all, None))
            .await
            .map_err(|_| no_answer())?
            .map_err(QueryError::into_trouble)?;
        self.questions = Arc::new(questions);
        Ok(())
    }

    /// Asks the server for its version, role, extensions, and for the other databases if wanted.
    ///
    /// # Errors
    /// The session's trouble, or the server's word.
    pub async fn ask_facts(
        &mut self,
        databases: bool,
        deadline: Instant,
    ) -> Result<&Facts, Trouble> {
        if self.mode == Mode::Kept {
            self.prepare_questions(deadline).await?;
        }
        let ask = Ask {
            facts: Some(databases),
            settings: false,
        };
        let late = tokio::time::sleep_until(deadline);
        let (none, room) = (Catalog::default(), Room::new(None));
        let shared = Shared {
            catalog: &none,
            labels: &[],
            query_text: 0,
            room: &room,
        };
        let found = self
            .run(&mut [], ask, shared, &mut |_| {}, late)
            .await
            .facts
            .ok_or_else(no_answer)?
            .map_err(QueryError::into_trouble)?;
        if found.version.major() < OLDEST_MAJOR {
            return Err(Trouble {
                reason: Reason::UnsupportedVersion,
                message: format!(
                    "{}: PostgreSQL {} is older than {OLDEST_MAJOR}, the oldest that is scraped; \
                     upgrade the server",
                    self.connector.target.address, found.version
                ),
            });
        }
        Ok(self.facts.insert(found))
    }
}

/// The three questions for [`Facts`].
#[derive(Clone, Copy, Debug)]
pub(super) enum About {
    Server,
    Extensions,
    Databases,
}

/// What comes back of them.
#[derive(Debug)]
pub(super) struct Told {
    probe: Option<Facts>,
    extensions: Vec<(String, String, String)>,
    databases: Vec<String>,
    ends: [Option<Result<(), QueryError>>; 3],
}

impl Told {
    /// `databases` is whether that is asked.
    pub(super) fn new(databases: bool) -> Self {
        Self {
            probe: None,
            extensions: Vec::new(),
            databases: Vec::new(),
            ends: [None, None, (!databases).then_some(Ok(()))],
        }
    }

    /// Takes what comes back of one. Returns the facts with the last.
    pub(super) fn hear(
        &mut self,
        about: About,
        word: Word<'_>,
        before: Option<&Facts>,
    ) -> Option<Result<Facts, QueryError>> {
        match (word, about) {
            (Word::Row(fields), About::Server) => self.probe = Some(facts_of(fields)),
            (Word::Row(fields), About::Extensions) => {
                let extension = (fields.text(0), fields.text(1), fields.text(2));
                self.extensions.push(extension);
            }
            (Word::Row(fields), About::Databases) => self.databases.push(fields.text(0)),
            (Word::End(result), about) => {
                self.ends[about as usize] = Some(result);
                if self.ends.iter().all(Option::is_some) {
                    let ends = std::mem::take(&mut self.ends).map(|end| end.unwrap_or(Ok(())));
                    return Some(self.facts(ends, before));
                }
            }
        }
        None
    }

    fn facts(
        &mut self,
        [probed, listed, named]: [Result<(), QueryError>; 3],
        before: Option<&Facts>,
    ) -> Result<Facts, QueryError> {
        probed?;
        // Somebody may hold a lock on one of the catalogues; the rest is none the worse for it.
        let extensions = match listed {
            Ok(()) => std::mem::take(&mut self.extensions),
            Err(lost @ QueryError::Lost(..)) => return Err(lost),
            Err(_) => before.map_or_else(Vec::new, |before| before.extensions.clone()),
        };
        let databases = match named {
            Ok(()) => Some(std::mem::take(&mut self.databases)),
            Err(lost @ QueryError::Lost(..)) => return Err(lost),
            Err(_) => None,
        };
        let probe = self.probe.take();
        let facts = probe.ok_or_else(|| QueryError::Server("no answer to the probe".to_owned()))?;
        Ok(Facts {
            extensions,
            databases,
            ..facts
        })
    }
}

/// Reads the row of [`PROBE`]: binary from a session of our own, text from a pooler.
fn facts_of(fields: Fields<'_>) -> Facts {
    let float = |at: usize| {
        fields.get(at).map_or(0.0, |raw| {
            value::as_float(value::number(fields.encoding(at), raw))
        })
    };
    let integer = |at: usize| match fields
        .get(at)
        .map(|raw| value::number(fields.encoding(at), raw))
    {
        Some(Number::Integer(value)) => value,
        Some(Number::Digits(_)) => fields.text(at).parse().unwrap_or(0),
        Some(Number::Float(_)) | None => 0,
    };
    Facts {
        version: ServerVersion(u32::try_from(integer(1)).unwrap_or(0)),
        role: if integer(0) == 0 {
            Role::Primary
        } else {
            Role::Replica
        },
        uptime: float(2),
        configured: float(4),
        pid: i32::try_from(integer(3)).unwrap_or(0),
        extensions: Vec::new(),
        databases: None,
    }
}

/// The trouble of a session that was asked and did not answer.
pub(super) fn no_answer() -> Trouble {
    Trouble {
        reason: Reason::Timeout,
        message: "no answer before the scrape's deadline".to_owned(),
    }
}
