//! What a server says of itself: version, role, extensions, databases.

use super::error::QueryError;
use super::identity::ServerIdentity;
use super::row::{Fields, RowEvent};
use crate::model::{Role, ServerVersion};
use crate::targets::DatabaseProblem;
use crate::text::{LONGEST_PEER_TEXT, cut};

/// What a server says of itself at each collection.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerInfo {
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
    /// Which server it is.
    pub identity: ServerIdentity,
    /// Installed in the session's database: name, version, comment.
    pub extensions: Vec<(String, String, String)>,
    /// The others but templates, sorted by name; none when they were not asked for; `None` when they
    /// were not told.
    pub databases: Option<Vec<DatabaseEntry>>,
}

/// A database beside the session's own, as `pg_database` has it.
#[derive(Clone, Debug, PartialEq)]
pub struct DatabaseEntry {
    /// Its name.
    pub name: String,
    /// Why the role cannot connect to it, as far as `pg_database` says.
    pub closed: Option<DatabaseProblem>,
}

/// So many databases of a server are known at most, the first by name: each takes memory for the
/// queries that run in it.
pub const MOST_DATABASES: usize = 5_000;

/// One row: in recovery, `server_version_num`, seconds since the start, the backend's process, when
/// the configuration was read, and the start as in [`STARTED`](super::identity::STARTED).
pub const PROBE: &str = "\
SELECT pg_catalog.pg_is_in_recovery(), \
pg_catalog.current_setting('server_version_num')::pg_catalog.int4, \
extract(epoch FROM pg_catalog.clock_timestamp() - pg_catalog.pg_postmaster_start_time())\
::pg_catalog.float8, \
pg_catalog.pg_backend_pid(), \
extract(epoch FROM pg_catalog.pg_conf_load_time())::pg_catalog.float8, \
(extract(epoch FROM pg_catalog.pg_postmaster_start_time()) * 1000000)::pg_catalog.int8";

/// Name, version, comment of each installed extension.
pub const EXTENSIONS: &str = "\
SELECT e.extname, e.extversion, pg_catalog.obj_description(e.oid, 'pg_extension') \
FROM pg_catalog.pg_extension AS e ORDER BY e.extname";

/// The other databases but templates, each with the reason why the role cannot connect to it:
/// `a` connections are not allowed, `i` invalid (an interrupted DROP DATABASE leaves a limit of -2),
/// `p` no right, `l` a limit of no connection. A superuser is bound by the first two alone.
pub const DATABASES: &str = "\
SELECT d.datname, CASE WHEN NOT d.datallowconn THEN 'a' WHEN d.datconnlimit = -2 THEN 'i' \
WHEN NOT pg_catalog.has_database_privilege(d.oid, 'CONNECT') THEN 'p' \
WHEN d.datconnlimit = 0 AND pg_catalog.current_setting('is_superuser') <> 'on' THEN 'l' END \
FROM pg_catalog.pg_database AS d \
WHERE NOT d.datistemplate AND d.datname <> pg_catalog.current_database() ORDER BY d.datname";

/// Reads a row of [`DATABASES`].
fn database_entry(fields: Fields<'_>) -> DatabaseEntry {
    DatabaseEntry {
        name: fields.text(0),
        closed: match fields.text(1).as_str() {
            "" => None,
            "a" => Some(DatabaseProblem::NotAccepting),
            "i" => Some(DatabaseProblem::Invalid),
            "p" => Some(DatabaseProblem::PermissionDenied),
            _ => Some(DatabaseProblem::ConnectionLimit),
        },
    }
}

/// What the session's role may do beside reading.
pub const RIGHTS: &str = "\
WITH own AS (SELECT * FROM pg_catalog.pg_roles WHERE rolname = SESSION_USER) \
SELECT f.event FROM own, LATERAL (VALUES ('SUPERUSER', own.rolsuper), \
('CREATEROLE', own.rolcreaterole AND NOT own.rolsuper), \
('CREATEDB', own.rolcreatedb AND NOT own.rolsuper), \
('REPLICATION', own.rolreplication AND NOT own.rolsuper)) AS f(event, has) WHERE f.has \
UNION ALL \
SELECT r.rolname::pg_catalog.text FROM own, pg_catalog.pg_roles AS r \
WHERE NOT own.rolsuper AND r.rolname IN ('pg_execute_server_program', 'pg_write_server_files', \
'pg_read_server_files', 'pg_write_all_data', 'pg_signal_backend', 'pg_maintain', \
'pg_create_subscription', 'pg_checkpoint', 'rds_superuser', 'cloudsqlsuperuser', \
'alloydbsuperuser', 'azure_pg_admin') AND pg_catalog.pg_has_role(own.oid, r.oid, 'MEMBER')";

/// The three questions for [`ServerInfo`].
#[derive(Clone, Copy, Debug)]
pub(super) enum InfoQuery {
    Server,
    Extensions,
    Databases,
}

/// What comes back of them.
#[derive(Debug)]
pub(super) struct ServerInfoReader {
    probe: Option<ServerInfo>,
    extensions: Vec<(String, String, String)>,
    databases: Vec<DatabaseEntry>,
    ends: [Option<Result<(), QueryError>>; 3],
    listed: Option<Result<(), QueryError>>,
}

impl ServerInfoReader {
    /// Each is whether that is asked.
    pub(super) fn new(extensions: bool, databases: bool) -> Self {
        Self {
            probe: None,
            extensions: Vec::new(),
            databases: Vec::new(),
            ends: [
                None,
                (!extensions).then(|| Err(not_asked())),
                (!databases).then_some(Ok(())),
            ],
            listed: None,
        }
    }

    /// What came of the question for the extensions; `None` when it was not asked or not answered.
    pub(super) fn listed(self) -> Option<Result<(), QueryError>> {
        self.listed
    }

    /// Takes what comes back of one. Returns the facts with the last.
    pub(super) fn handle_event(
        &mut self,
        about: InfoQuery,
        event: RowEvent<'_>,
        before: Option<&ServerInfo>,
    ) -> Option<Result<ServerInfo, QueryError>> {
        match (event, about) {
            (RowEvent::Row(fields), InfoQuery::Server) => {
                self.probe = Some(read_server_info(fields))
            }
            (RowEvent::Row(fields), InfoQuery::Extensions) => {
                let text = |at| cut(&fields.text(at), LONGEST_PEER_TEXT).into_owned();
                let extension = (text(0), text(1), text(2));
                self.extensions.push(extension);
            }
            (RowEvent::Restart, InfoQuery::Server) => self.probe = None,
            (RowEvent::Restart, InfoQuery::Extensions) => self.extensions.clear(),
            (RowEvent::Restart, InfoQuery::Databases) => self.databases.clear(),
            (RowEvent::Row(fields), InfoQuery::Databases) => {
                // No name is longer; what is, is none that could be connected to.
                let entry = database_entry(fields);
                if entry.name.len() <= LONGEST_PEER_TEXT && self.databases.len() < MOST_DATABASES {
                    self.databases.push(entry);
                }
            }
            (RowEvent::End(result), about) => {
                if let InfoQuery::Extensions = about {
                    self.listed = Some(result.clone());
                }
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
        before: Option<&ServerInfo>,
    ) -> Result<ServerInfo, QueryError> {
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
        Ok(ServerInfo {
            extensions,
            databases,
            ..facts
        })
    }
}

/// Reads the row of [`PROBE`].
fn read_server_info(fields: Fields<'_>) -> ServerInfo {
    ServerInfo {
        version: ServerVersion(u32::try_from(fields.integer(1)).unwrap_or(0)),
        role: if fields.integer(0) == 0 {
            Role::Primary
        } else {
            Role::Replica
        },
        uptime: fields.float(2),
        configured: fields.float(4),
        pid: i32::try_from(fields.integer(3)).unwrap_or(0),
        identity: ServerIdentity {
            started: fields.integer(5),
            ..ServerIdentity::default()
        },
        extensions: Vec::new(),
        databases: None,
    }
}

fn not_asked() -> QueryError {
    QueryError::Deadline("not asked".to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::row::FieldRanges;
    use super::*;
    use crate::model::TargetErrorKind;

    /// Gives the reader a row of texts.
    fn add(reader: &mut ServerInfoReader, about: InfoQuery, row: &[&str]) {
        let mut body = u16::try_from(row.len()).unwrap().to_be_bytes().to_vec();
        for field in row {
            body.extend(u32::try_from(field.len()).unwrap().to_be_bytes());
            body.extend(field.as_bytes());
        }
        let mut places = FieldRanges::default();
        let fields = Fields::read(&body, &mut places, &[]).unwrap();
        assert!(
            reader
                .handle_event(about, RowEvent::Row(fields), None)
                .is_none()
        );
    }

    const SERVER: [&str; 6] = ["t", "160003", "2", "7", "3", "4"];

    #[test]
    fn the_facts_come_with_the_last_end_in_whichever_order() {
        use InfoQuery::{Databases, Extensions, Server};
        for order in [
            [Server, Extensions, Databases],
            [Databases, Server, Extensions],
            [Extensions, Databases, Server],
        ] {
            let mut reader = ServerInfoReader::new(true, true);
            add(&mut reader, Server, &SERVER);
            add(&mut reader, Extensions, &["x", "1", "about"]);
            add(&mut reader, Databases, &["b", "l"]);
            let mut ends =
                order.map(|about| reader.handle_event(about, RowEvent::End(Ok(())), None));
            assert!(ends[0].is_none() && ends[1].is_none());
            let facts = ends[2].take().unwrap().unwrap();
            assert_eq!(
                (facts.role, facts.version.major(), facts.pid),
                (Role::Replica, 16, 7)
            );
            assert_eq!(facts.extensions[0].2, "about");
            let closed = facts.databases.unwrap()[0].closed;
            assert_eq!(closed, Some(DatabaseProblem::ConnectionLimit));
        }
    }

    #[test]
    fn what_came_before_a_restart_counts_no_more() {
        use InfoQuery::{Databases, Extensions, Server};
        let mut reader = ServerInfoReader::new(true, true);
        for about in [Server, Extensions, Databases] {
            let row: &[&str] = match about {
                Server => &SERVER,
                _ => &["old", "", ""],
            };
            add(&mut reader, about, row);
            assert!(
                reader
                    .handle_event(about, RowEvent::Restart, None)
                    .is_none()
            );
        }
        let ends = [Extensions, Databases, Server]
            .map(|about| reader.handle_event(about, RowEvent::End(Ok(())), None));
        let [None, None, Some(Err(error))] = ends else {
            panic!("{ends:?}")
        };
        assert!(
            error.to_string().contains("no answer to the probe"),
            "{error}"
        );
    }

    #[test]
    fn a_lost_session_is_its_own_error_whichever_question_heard_it() {
        use InfoQuery::{Databases, Extensions, Server};
        for lost in [Server, Extensions, Databases] {
            let mut reader = ServerInfoReader::new(true, true);
            add(&mut reader, Server, &SERVER);
            let mut last = None;
            for about in [Server, Extensions, Databases] {
                let result = match about as usize == lost as usize {
                    true => Err(QueryError::Lost(
                        "gone".to_owned(),
                        TargetErrorKind::NotReady,
                    )),
                    false => Ok(()),
                };
                last = reader.handle_event(about, RowEvent::End(result), None);
            }
            let found = last.unwrap();
            assert!(
                matches!(found, Err(QueryError::Lost(..))),
                "{lost:?}: {found:?}"
            );
        }
    }

    #[test]
    fn databases_and_texts_have_a_bound() {
        let mut reader = ServerInfoReader::new(false, true);
        add(&mut reader, InfoQuery::Server, &SERVER);
        add(
            &mut reader,
            InfoQuery::Databases,
            &["n".repeat(2_000).as_str(), ""],
        );
        for number in 0..MOST_DATABASES + 10 {
            add(
                &mut reader,
                InfoQuery::Databases,
                &[&number.to_string(), ""],
            );
        }
        reader.handle_event(InfoQuery::Databases, RowEvent::End(Ok(())), None);
        let facts = reader.handle_event(InfoQuery::Server, RowEvent::End(Ok(())), None);
        let databases = facts.unwrap().unwrap().databases.unwrap();
        assert_eq!(databases.len(), MOST_DATABASES);
        assert_eq!(databases[0].name, "0");
    }
}
