//! The built-in files, embedded.

/// Stands before the name of a built-in file where people read it.
pub(super) const PREFIX: &str = "built-in ";

/// Name and text of each file of the folder `builtin/`.
pub(super) const FILES: &[(&str, &str)] = &[
    ("activity.yaml", include_str!("builtin/activity.yaml")),
    ("aios.yaml", include_str!("builtin/aios.yaml")),
    (
        "analyze_progress.yaml",
        include_str!("builtin/analyze_progress.yaml"),
    ),
    ("auth_type.yaml", include_str!("builtin/auth_type.yaml")),
    (
        "available_extensions.yaml",
        include_str!("builtin/available_extensions.yaml"),
    ),
    (
        "blocked_vacuum.yaml",
        include_str!("builtin/blocked_vacuum.yaml"),
    ),
    ("connections.yaml", include_str!("builtin/connections.yaml")),
    ("db.yaml", include_str!("builtin/db.yaml")),
    ("db_vacuum.yaml", include_str!("builtin/db_vacuum.yaml")),
    (
        "encryted_conns.yaml",
        include_str!("builtin/encryted_conns.yaml"),
    ),
    (
        "file_settings.yaml",
        include_str!("builtin/file_settings.yaml"),
    ),
    ("gssapi.yaml", include_str!("builtin/gssapi.yaml")),
    (
        "gssapi_creds_delegated.yaml",
        include_str!("builtin/gssapi_creds_delegated.yaml"),
    ),
    ("idle_procs.yaml", include_str!("builtin/idle_procs.yaml")),
    ("indexes.yaml", include_str!("builtin/indexes.yaml")),
    (
        "installed_extensions.yaml",
        include_str!("builtin/installed_extensions.yaml"),
    ),
    ("locks.yaml", include_str!("builtin/locks.yaml")),
    (
        "long_running_txns.yaml",
        include_str!("builtin/long_running_txns.yaml"),
    ),
    ("matviews.yaml", include_str!("builtin/matviews.yaml")),
    ("mem_ctx.yaml", include_str!("builtin/mem_ctx.yaml")),
    ("primary.yaml", include_str!("builtin/primary.yaml")),
    ("replication.yaml", include_str!("builtin/replication.yaml")),
    ("roles.yaml", include_str!("builtin/roles.yaml")),
    ("rules.yaml", include_str!("builtin/rules.yaml")),
    ("shmem_numa.yaml", include_str!("builtin/shmem_numa.yaml")),
    ("shmem_size.yaml", include_str!("builtin/shmem_size.yaml")),
    (
        "stat_all_indexes.yaml",
        include_str!("builtin/stat_all_indexes.yaml"),
    ),
    (
        "stat_archiver.yaml",
        include_str!("builtin/stat_archiver.yaml"),
    ),
    (
        "stat_backend_io.yaml",
        include_str!("builtin/stat_backend_io.yaml"),
    ),
    (
        "stat_bgwriter.yaml",
        include_str!("builtin/stat_bgwriter.yaml"),
    ),
    (
        "stat_checkpointer.yaml",
        include_str!("builtin/stat_checkpointer.yaml"),
    ),
    (
        "stat_conflicts.yaml",
        include_str!("builtin/stat_conflicts.yaml"),
    ),
    ("stat_db.yaml", include_str!("builtin/stat_db.yaml")),
    ("stat_io.yaml", include_str!("builtin/stat_io.yaml")),
    (
        "stat_replication.yaml",
        include_str!("builtin/stat_replication.yaml"),
    ),
    (
        "stat_user_functions.yaml",
        include_str!("builtin/stat_user_functions.yaml"),
    ),
    (
        "stat_user_tables.yaml",
        include_str!("builtin/stat_user_tables.yaml"),
    ),
    ("stat_wal.yaml", include_str!("builtin/stat_wal.yaml")),
    (
        "stat_walreceiver.yaml",
        include_str!("builtin/stat_walreceiver.yaml"),
    ),
    (
        "statio_all_sequences.yaml",
        include_str!("builtin/statio_all_sequences.yaml"),
    ),
    (
        "statio_all_tables.yaml",
        include_str!("builtin/statio_all_tables.yaml"),
    ),
    (
        "subscription_stats.yaml",
        include_str!("builtin/subscription_stats.yaml"),
    ),
    (
        "table_activity_ratio.yaml",
        include_str!("builtin/table_activity_ratio.yaml"),
    ),
    ("table_bloat.yaml", include_str!("builtin/table_bloat.yaml")),
    (
        "usr_evt_trigger.yaml",
        include_str!("builtin/usr_evt_trigger.yaml"),
    ),
    (
        "vacuum_progress.yaml",
        include_str!("builtin/vacuum_progress.yaml"),
    ),
    ("wait_events.yaml", include_str!("builtin/wait_events.yaml")),
    (
        "wal_last_received.yaml",
        include_str!("builtin/wal_last_received.yaml"),
    ),
    (
        "wal_prefetch_reset.yaml",
        include_str!("builtin/wal_prefetch_reset.yaml"),
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_the_folder_is_embedded() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/catalog/builtin");
        let mut found: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        found.sort();
        assert_eq!(
            found,
            FILES
                .iter()
                .map(|(name, _)| (*name).to_owned())
                .collect::<Vec<_>>()
        );
    }
}
