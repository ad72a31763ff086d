//! What a session is set to, whatever `postgresql.conf`, `ALTER DATABASE … SET` and
//! `ALTER ROLE … SET` say: settings that change an answer, its form, or how long the session lives.

use std::time::Duration;

use crate::targets::Timeouts;

/// The path of our own queries, which name every schema: nobody else can write to it.
const OWN_PATH: &str = "pg_catalog";

/// Users write `SELECT … FROM my_table`.
const USERS_PATH: &str = "pg_catalog, public";

/// How a transaction is begun. Serializable is refused on a replica, and deferrable waits there and
/// on a primary for transactions of others.
const TRANSACTION: &str = "ISOLATION LEVEL READ COMMITTED, READ ONLY, NOT DEFERRABLE";

/// Without these no query is run.
const REQUIRED: [(&str, &str); 7] = [
    ("default_transaction_read_only", "on"),
    ("default_transaction_isolation", "'read committed'"),
    ("default_transaction_deferrable", "off"),
    ("search_path", OWN_PATH),
    ("standard_conforming_strings", "on"),
    ("exit_on_error", "off"),
    // A session that we leave in a transaction is to end, but not between two queries of a scrape.
    ("idle_in_transaction_session_timeout", "60000"),
];

/// One setting, and the first major version that has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SessionSetting {
    pub(super) name: &'static str,
    value: &'static str,
    since: u32,
}

const fn since(since: u32, name: &'static str, value: &'static str) -> SessionSetting {
    SessionSetting { name, value, since }
}

/// What is set besides. A server that knows one of them not, or refuses it, is scraped without it.
const OPTIONAL: [SessionSetting; 24] = [
    // How values are written and read.
    since(0, "extra_float_digits", "1"),
    since(0, "datestyle", "'ISO, MDY'"),
    since(0, "intervalstyle", "'postgres'"),
    since(0, "timezone", "'UTC'"),
    since(0, "bytea_output", "'hex'"),
    since(0, "xmlbinary", "'base64'"),
    since(0, "xmloption", "'content'"),
    since(0, "lc_monetary", "'C'"),
    since(0, "lc_numeric", "'C'"),
    since(0, "lc_time", "'C'"),
    since(0, "quote_all_identifiers", "off"),
    since(0, "backslash_quote", "'safe_encoding'"),
    since(0, "array_nulls", "on"),
    since(0, "transform_null_equals", "off"),
    // Which rows a query sees.
    since(0, "row_security", "on"),
    since(0, "gin_fuzzy_search_limit", "0"),
    since(15, "stats_fetch_consistency", "'cache'"),
    since(17, "restrict_nonsystem_relation_kind", "''"),
    // How long the session lives.
    since(14, "idle_session_timeout", "0"),
    since(17, "transaction_timeout", "0"),
    // What is sent beside the answers: nobody reads it.
    since(0, "client_min_messages", "'error'"),
    // What small queries do not need.
    since(0, "jit", "off"),
    since(0, "max_parallel_workers_per_gather", "0"),
    since(0, "plan_cache_mode", "'auto'"),
];

/// Those that no query of ours depends on: behind a pooler each query brings its settings along, and
/// ours are many.
const FOR_USERS: [&str; 9] = [
    "xmlbinary",
    "xmloption",
    "lc_monetary",
    "lc_numeric",
    "lc_time",
    "backslash_quote",
    "array_nulls",
    "transform_null_equals",
    "gin_fuzzy_search_limit",
];

/// The settings of one session.
#[derive(Clone, Debug)]
pub(super) struct SessionSettings {
    timeouts: Timeouts,
    /// Whatever bytes there are come as they are.
    raw: bool,
    optional: Vec<SessionSetting>,
}

/// Bytes come as the database holds them, whatever its encoding.
const RAW: (&str, &str) = ("client_encoding", "'SQL_ASCII'");
/// The server turns all text into UTF-8, and refuses a row with what it cannot turn.
const UTF8: (&str, &str) = ("client_encoding", "'UTF8'");

impl SessionSettings {
    /// For a server of that major version, without those that it `refused` before.
    pub(super) fn new(timeouts: Timeouts, raw: bool, major: u32, refused: &[&str]) -> Self {
        let known = |one: &&SessionSetting| one.since <= major && !refused.contains(&one.name);
        Self {
            timeouts,
            raw,
            optional: OPTIONAL.iter().filter(known).copied().collect(),
        }
    }

    /// Fails where the session lacks the mark that its login gave it. The limits hold for this
    /// message alone: where the mark is lacking the session is not ours to set.
    pub(super) fn find_mark(&self) -> String {
        let mut text = String::new();
        self.limits(&mut text, "SET LOCAL", self.timeouts.query);
        text + "SHOW pgexporter.session"
    }

    /// What has to hold: `SET` for each.
    pub(super) fn required(&self) -> String {
        let mut text = String::new();
        // First of all: the role's own limit may be shorter than all this takes.
        self.limits(&mut text, "SET", self.timeouts.query);
        for (name, value) in REQUIRED {
            set(&mut text, "SET", name, value);
        }
        let (name, value) = if self.raw { RAW } else { UTF8 };
        set(&mut text, "SET", name, value);
        text
    }

    /// What should hold: `SET` for each.
    pub(super) fn optional(&self) -> String {
        let mut text = String::new();
        for one in &self.optional {
            set(&mut text, "SET", one.name, one.value);
        }
        text
    }

    /// The same one by one, each as it is tried out behind a pooler or before the server itself.
    pub(super) fn each_optional(&self, pooled: bool) -> Vec<(&'static str, String)> {
        let one = |one: &SessionSetting| {
            let mut text = String::new();
            let verb = if pooled { "SET LOCAL" } else { "SET" };
            set(&mut text, verb, one.name, one.value);
            // Of one statement alone the server would say that it has no effect.
            set(&mut text, verb, one.name, one.value);
            (one.name, text)
        };
        self.optional.iter().map(one).collect()
    }

    /// Leaves out what the server refused.
    pub(super) fn without(&mut self, refused: &[&str]) {
        self.optional.retain(|one| !refused.contains(&one.name));
    }

    /// What one of our own queries may have changed, as all others want it.
    pub(super) fn usual(&self) -> String {
        let mut text = self.limit(self.timeouts.query);
        set(&mut text, "SET", "search_path", OWN_PATH);
        text
    }

    /// A `statement_timeout` for what comes next.
    pub(super) fn limit(&self, limit: Duration) -> String {
        let mut text = String::new();
        let limit = limit.as_millis().to_string();
        set(&mut text, "SET", "statement_timeout", &limit);
        text
    }

    /// Has text come as the database holds it, or as UTF-8 again.
    pub(super) fn encoding(&self, raw: bool) -> String {
        let (name, value) = if raw || self.raw { RAW } else { UTF8 };
        let mut text = String::new();
        set(&mut text, "SET", name, value);
        text
    }

    /// What one of our own queries begins with behind a pooler. All of it ends with the
    /// transaction.
    pub(super) fn pooled(&self, raw: bool) -> String {
        self.pooled_for(raw, false)
    }

    /// The same with all that there is, to find out whether the server refuses any.
    pub(super) fn pooled_trial(&self) -> String {
        self.pooled_for(false, true)
    }

    fn pooled_for(&self, raw: bool, all: bool) -> String {
        let mut text = self.in_transaction(raw, all);
        set(&mut text, "SET LOCAL", "search_path", OWN_PATH);
        text
    }

    fn in_transaction(&self, raw: bool, all: bool) -> String {
        let mut text = String::new();
        let limit = self.timeouts.query.as_millis().to_string();
        set(&mut text, "SET LOCAL", "statement_timeout", &limit);
        text.push_str("SET TRANSACTION ");
        text.push_str(TRANSACTION);
        text.push_str("; ");
        self.local(&mut text, self.timeouts.query, raw, all);
        text
    }

    /// A user's query with all it needs in one message, for where a transaction may not span two.
    /// `None` for a query that may be more than one statement: the second could end the read-only
    /// transaction that the first runs in.
    ///
    /// A message of several statements is one transaction that no statement in its middle can end
    /// (PostgreSQL, "Multiple Statements in a Simple Query"). It is not rolled back, which would
    /// cost the session where the query fails: what it may have set is taken back.
    pub(super) fn in_one_message(&self, sql: &str, raw: bool) -> Option<String> {
        let sql = sql.trim_end_matches(|c: char| c == ';' || c.is_whitespace());
        if sql.contains(';') {
            return None;
        }
        let mut text = self.in_transaction(raw, true);
        set(&mut text, "SET LOCAL", "search_path", USERS_PATH);
        // A comment may stand at the end of the query's last line.
        let after = "\n; RESET SESSION AUTHORIZATION; RESET ROLE; RESET ALL; UNLISTEN *";
        Some(text + sql + after)
    }

    /// Begins the transaction of a user's query.
    ///
    /// The query cannot leave it: a transaction may be made read-write only before its first
    /// snapshot is taken, and the `SELECT` at the end takes one. Whatever the query sets, for the
    /// transaction or for the session, ends when that is rolled back. No savepoint: inside one, a
    /// conflict with recovery ends the session instead of the statement.
    pub(super) fn begin(&self, limit: Option<Duration>, raw: bool, pooled: bool) -> String {
        let limit = limit.unwrap_or(self.timeouts.query);
        let mut text = format!("BEGIN {TRANSACTION}; ");
        if pooled {
            self.local(&mut text, limit, raw, true);
        } else {
            let limit = limit.as_millis().to_string();
            set(&mut text, "SET LOCAL", "statement_timeout", &limit);
            if raw && !self.raw {
                set(&mut text, "SET LOCAL", RAW.0, RAW.1);
            }
        }
        text.push_str("SELECT pg_catalog.set_config('search_path', '");
        text.push_str(USERS_PATH);
        text.push_str("', true)");
        text
    }

    /// Ends the transaction of a user's query: nothing of what it did stays.
    pub(super) fn end_transaction() -> &'static str {
        // Locks of the session are no part of a transaction.
        "ROLLBACK; SELECT pg_catalog.pg_advisory_unlock_all()"
    }

    /// The path that users' statements are analysed by, and whatever that may have changed put
    /// right again.
    pub(super) fn around_users_prepare(&self) -> [String; 2] {
        let mut before = String::new();
        set(&mut before, "SET", "search_path", USERS_PATH);
        [before, self.required() + &self.optional()]
    }

    fn local(&self, text: &mut String, limit: Duration, raw: bool, all: bool) {
        self.limits(text, "SET LOCAL", limit);
        for (name, value) in REQUIRED {
            if !name.starts_with("default_transaction") && name != "search_path" {
                set(text, "SET LOCAL", name, value);
            }
        }
        let (name, value) = if raw || self.raw { RAW } else { UTF8 };
        set(text, "SET LOCAL", name, value);
        let used = |one: &&SessionSetting| all || !FOR_USERS.contains(&one.name);
        for one in self.optional.iter().filter(used) {
            set(text, "SET LOCAL", one.name, one.value);
        }
    }

    fn limits(&self, text: &mut String, verb: &str, limit: Duration) {
        let (query, lock) = (limit.as_millis(), self.timeouts.lock.as_millis());
        set(text, verb, "statement_timeout", &query.to_string());
        set(text, verb, "lock_timeout", &lock.to_string());
    }
}

fn set(text: &mut String, verb: &str, name: &str, value: &str) {
    for part in [verb, " ", name, " = ", value, "; "] {
        text.push_str(part);
    }
}

/// The major version in what a server reports as `server_version`, such as `17.2 (Debian 17.2-1)`;
/// 0 when there is none.
pub(super) fn major(server_version: Option<&str>) -> u32 {
    let text = server_version.unwrap_or_default();
    let digits = text.find(|c: char| !c.is_ascii_digit());
    let digits = &text[..digits.unwrap_or(text.len())];
    digits.parse().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(major: u32, refused: &[&str]) -> SessionSettings {
        let timeouts = Timeouts {
            connect: Duration::from_secs(5),
            query: Duration::from_secs(10),
            lock: Duration::from_secs(1),
        };
        SessionSettings::new(timeouts, false, major, refused)
    }

    #[test]
    fn a_version_is_read_as_servers_and_forks_write_it() {
        for (text, expected) in [
            (Some("17.10"), 17),
            (Some("18beta1"), 18),
            (Some("14.2 (Ubuntu 14.2-1.pgdg20.04+1)"), 14),
            (Some("9.6.24"), 9),
            (Some(""), 0),
            (Some("Greenplum"), 0),
            (None, 0),
        ] {
            assert_eq!(major(text), expected, "{text:?}");
        }
    }

    #[test]
    fn a_server_is_sent_no_setting_that_its_version_lacks_or_that_it_refused() {
        for (major, has, lacks) in [
            (13, "jit", "idle_session_timeout"),
            (14, "idle_session_timeout", "stats_fetch_consistency"),
            (16, "stats_fetch_consistency", "transaction_timeout"),
            (18, "transaction_timeout", "nothing"),
            (0, "timezone", "idle_session_timeout"),
        ] {
            let all = settings(major, &[]);
            for text in [all.optional(), all.pooled(false)] {
                assert!(text.contains(has), "{major}: {text}");
                assert!(!text.contains(lacks), "{major}: {text}");
            }
        }
        let without = settings(18, &["jit"]);
        assert!(!without.optional().contains("jit"));
    }

    #[test]
    fn behind_a_pooler_nothing_outlives_its_transaction() {
        let all = settings(18, &[]);
        let end = Duration::from_secs(3);
        let text = all.pooled(true);
        let mut parts = text.trim_end_matches("; ").split("; ");
        assert_eq!(parts.next(), Some("SET LOCAL statement_timeout = 10000"));
        let second = format!("SET TRANSACTION {TRANSACTION}");
        assert_eq!(parts.next(), Some(&*second));
        assert!(parts.all(|part| part.starts_with("SET LOCAL ")), "{text}");
        let whole = all.in_one_message("SELECT 1; SELECT 2", false);
        assert!(whole.is_none(), "{whole:?}");
        let whole = all.in_one_message("SELECT 1 -- one\n; ", false);
        assert!(whole.unwrap().contains("; SELECT 1 -- one\n; RESET "));
        let begin = all.begin(Some(end), true, true);
        assert!(begin.starts_with("BEGIN ") && begin.contains("SQL_ASCII"));
        assert!(begin.contains("SET LOCAL statement_timeout = 3000; "));
        // The snapshot comes last.
        assert!(begin.rsplit("; ").next().unwrap().starts_with("SELECT "));
    }
}
