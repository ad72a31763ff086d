//! Servers with the tables that `pgbench -i` makes.

use crate::support::Postgres;

/// The role that scrapes.
pub const ROLE: &str = "pgexporter";

/// Five sets of pgbench's four tables, a tenth of its scale 1 each.
const TABLES: &str = "
    CREATE SCHEMA IF NOT EXISTS set_N;
    SET search_path = set_N;
    CREATE TABLE pgbench_branches (bid int PRIMARY KEY, bbalance int, filler char(88));
    CREATE TABLE pgbench_tellers (tid int PRIMARY KEY, bid int, tbalance int, filler char(84));
    CREATE TABLE pgbench_accounts (aid int PRIMARY KEY, bid int, abalance int, filler char(84));
    CREATE TABLE pgbench_history (
        tid int, bid int, aid int, delta int, mtime timestamp, filler char(22));
    INSERT INTO pgbench_branches VALUES (1, 0, '');
    INSERT INTO pgbench_tellers SELECT n, 1, 0, '' FROM generate_series(1, 10) n;
    INSERT INTO pgbench_accounts SELECT n, 1, 0, '' FROM generate_series(1, 10000) n;
    INSERT INTO pgbench_history SELECT 1 + n % 10, 1, n, n, now() FROM generate_series(1, 1000) n;
    UPDATE pgbench_accounts SET abalance = abalance + 1 WHERE aid % 10 = 0;
    UPDATE pgbench_tellers SET tbalance = tbalance + 1;
    SELECT sum(abalance) FROM pgbench_accounts;
    SELECT abalance FROM pgbench_accounts WHERE aid = 77;";

/// A server with `databases` databases of 20 tables each; the first one is `postgres`.
pub fn start(databases: usize, small: bool) -> Postgres {
    let builder = Postgres::builder(17)
        .set("shared_buffers", if small { "16MB" } else { "128MB" })
        // Its rounds would be counted among the scrapes' work.
        .set("autovacuum_naptime", "1h");
    let server = builder.start();
    let sets: String = (1..=5)
        .map(|set| TABLES.replace("set_N", &format!("set_{set}")))
        .collect();
    server.execute(&format!("CREATE ROLE {ROLE} LOGIN IN ROLE pg_monitor"));
    server.execute(&sets);
    server.execute("VACUUM ANALYZE");
    for name in others(databases) {
        // A copy of the files: the server's log of changes would be the larger part of it.
        server.execute(&format!(
            "CREATE DATABASE {name} TEMPLATE postgres STRATEGY file_copy"
        ));
    }
    server
}

/// The databases beside `postgres`.
pub fn others(databases: usize) -> Vec<String> {
    (2..=databases).map(|n| format!("bench_{n}")).collect()
}

/// How many databases a server has.
pub const DATABASES: usize = 5;
