//! Streaming replicas.

use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::time::{SystemTime, UNIX_EPOCH};

use super::super::keeper::Keeper;
use super::super::ports::Port;
use super::super::{eventually, files};
use super::{Postgres, SUPERUSER, builder};

impl Postgres {
    /// A streaming replica with a replication slot, made by an online backup of this server (no
    /// stop). Returns once it streams.
    #[track_caller]
    pub fn replica(&self) -> Self {
        self.replica_with(&[])
    }

    /// A replica with further settings.
    #[track_caller]
    pub fn replica_with(&self, settings: &[(&str, &str)]) -> Self {
        let name = format!(
            "replica_{}",
            SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default()
                .as_nanos()
        );
        let keeper = Keeper::for_data().expect("a temporary folder");
        let data = keeper.path().join("data");
        let session = self.session("postgres");
        session.execute(&format!(
            "SELECT pg_catalog.pg_create_physical_replication_slot('{name}', true)"
        ));
        let (start, stop) = if self.major >= 15 {
            ("pg_backup_start('replica', true)", "pg_backup_stop(false)")
        } else {
            (
                "pg_start_backup('replica', true, false)",
                "pg_stop_backup(false, false)",
            )
        };
        session.execute(&format!("SELECT pg_catalog.{start}"));
        files::copy(&self.data_dir(), &data, &left_out).expect("the data folder is copied");
        let label = session.text(&format!("SELECT labelfile FROM pg_catalog.{stop}"));
        let label = label[0][0].as_deref().expect("a backup label");
        builder::secret(&data.join("backup_label"), label).expect("it is written");
        builder::secret(&data.join("standby.signal"), "").expect("it is written");

        let port = Port::free();
        let mut lines = vec![
            (
                "primary_conninfo".to_owned(),
                format!(
                    "host={} port={} user={SUPERUSER} application_name={name}",
                    self.socket_dir().display(),
                    self.port()
                ),
            ),
            ("primary_slot_name".to_owned(), name.clone()),
        ];
        lines.extend(
            settings
                .iter()
                .map(|(key, value)| ((*key).into(), (*value).into())),
        );
        // The primary's own settings stay: a replica's limits must not be below the primary's.
        let text = fs::read_to_string(data.join("postgresql.conf")).expect("it was copied");
        let inherited: Vec<(String, String)> = text
            .split("# of the test\n")
            .nth(1)
            .unwrap_or_default()
            .lines()
            .filter_map(|line| {
                let (key, value) = line.split_once(" = ")?;
                let ours = ["listen_addresses", "port", "unix_socket_directories"];
                (!ours.contains(&key))
                    .then(|| (key.into(), value.trim_matches('\'').replace("''", "'")))
            })
            .collect();
        let settings: Vec<_> = inherited.into_iter().chain(lines).collect();
        builder::configure(&data, keeper.path(), port.number(), &settings)
            .expect("the settings are written");

        let replica = Self {
            major: self.major,
            port,
            password: self.password.clone(),
            server: Mutex::new(None),
            keeper,
        };
        if let Err(error) = replica.launch() {
            panic!("{error}");
        }
        eventually("the replica streams", || {
            self.value(&format!(
                "SELECT state FROM pg_catalog.pg_stat_replication WHERE application_name = '{name}'"
            )) == "streaming"
        });
        replica
    }

    /// Makes a replica a primary; returns once it is one.
    pub fn promote(&self) {
        self.execute("SELECT pg_catalog.pg_promote(true, 60)");
        eventually("the replica is promoted", || !self.is_in_recovery());
    }

    /// Whether it is a replica.
    pub fn is_in_recovery(&self) -> bool {
        self.value("SELECT pg_catalog.pg_is_in_recovery()") == "t"
    }

    /// Waits until the replica has replayed all that this server has written so far.
    pub fn wait_for_replay(&self, replica: &Self) {
        let written = self.value("SELECT pg_catalog.pg_current_wal_lsn()");
        eventually("the replica catches up", || {
            replica.value(&format!(
                "SELECT pg_catalog.pg_last_wal_replay_lsn() >= '{written}'::pg_catalog.pg_lsn"
            )) == "t"
        });
    }
}

/// What a backup leaves out ("Making a Base Backup Using the Low Level API" in the manual, chapter on
/// continuous archiving): what belongs to the running server, and the log it will stream.
fn left_out(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let parent = path.parent().map(Path::to_string_lossy).unwrap_or_default();
    ["postmaster.pid", "postmaster.opts", "pg_internal.init"].contains(&name.as_ref())
        || name.starts_with("pgsql_tmp")
        || ([
            "pg_replslot",
            "pg_dynshmem",
            "pg_notify",
            "pg_serial",
            "pg_snapshots",
            "pg_stat_tmp",
        ]
        .contains(&parent.as_ref()))
        || (parent == "pg_wal" && !["archive_status", "summaries"].contains(&name.as_ref()))
        || parent.starts_with("pg_wal/")
}
