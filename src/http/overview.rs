//! The overview page: one HTML document that needs nothing else, no script and no other file.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::SystemTime;

use axum::body::Body;
use axum::http::HeaderValue;
use axum::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_FRAME_OPTIONS};
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

use super::html::{Escaped, Grouped, ago, took};
use super::reply;
use crate::model::TargetErrorKind;
use crate::scrape::{FamilyOverview, Overview};
use crate::targets::ServerReport;

const STYLE: &str = include_str!("overview.css");
const VERSION: &str = env!("CARGO_PKG_VERSION");
const ICON: &str = "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 32 32\" \
    aria-hidden=\"true\"><rect width=\"32\" height=\"32\" rx=\"8\" fill=\"#2f6db5\"/>\
    <g fill=\"none\" stroke=\"#fff\" stroke-width=\"2.4\" stroke-linecap=\"round\" \
    stroke-linejoin=\"round\"><ellipse cx=\"16\" cy=\"9.5\" rx=\"8\" ry=\"3.3\"/>\
    <path d=\"M8 9.5v13c0 1.8 3.6 3.3 8 3.3s8-1.5 8-3.3v-13\"/>\
    <path d=\"M8 16c0 1.8 3.6 3.3 8 3.3s8-1.5 8-3.3\"/></g></svg>";

/// The page as an answer, with headers that let it do nothing but be shown: no script, no frame,
/// no style but its own (Content Security Policy Level 3).
pub(super) fn page(overview: &Overview) -> Response {
    let mut response = Response::new(Body::from(render(overview, SystemTime::now())));
    let headers = response.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/html; charset=utf-8"),
    );
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{}'; img-src data:; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'",
        STANDARD.encode(Sha256::digest(STYLE))
    );
    if let Ok(policy) = HeaderValue::from_str(&policy) {
        headers.insert(CONTENT_SECURITY_POLICY, policy);
    }
    reply::unkept(headers);
    response
}

/// The document. All text from outside is escaped.
pub(super) fn render(overview: &Overview, now: SystemTime) -> String {
    let mut page = String::with_capacity(16 * 1024 + overview.families.len() * 256);
    // Writing to a String does not fail.
    write_page(&mut page, overview, now).ok();
    page
}

fn write_page(out: &mut String, overview: &Overview, now: SystemTime) -> std::fmt::Result {
    write!(
        out,
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>{}pgexporter</title>\n\
         <link rel=\"icon\" href=\"data:image/svg+xml;base64,{}\">\n\
         <style>{STYLE}</style>\n</head>\n<body>\n\
         <header>{ICON}<h1>pgexporter</h1><span class=\"version\">{VERSION}</span>\
         <nav><a href=\"/metrics\">Metrics</a></nav></header>\n<main>\n",
        TitlePrefix(overview),
        STANDARD.encode(ICON),
    )?;
    write_summary(out, overview, now)?;
    for notice in &overview.notices {
        writeln!(out, "<p class=\"note\">{}</p>", Escaped(notice))?;
    }
    write_servers(out, &overview.servers, now)?;
    write_families(out, &overview.families)?;
    write!(
        out,
        "</main>\n<footer>pgexporter {VERSION}. Let Prometheus scrape \
         <a href=\"/metrics\">/metrics</a>; this page shows what the last scrape found and asks \
         no server itself.</footer>\n</body>\n</html>\n"
    )
}

/// How a server stands, for people.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ServerState {
    Up,
    Down,
    Waiting,
}

impl ServerState {
    fn from_health(server: &ServerReport) -> Self {
        match &server.health.trouble {
            _ if server.health.active => Self::Up,
            Some(trouble) if trouble.kind == TargetErrorKind::Pending => Self::Waiting,
            _ => Self::Down,
        }
    }
}

fn count(overview: &Overview, state: ServerState) -> usize {
    let is = |server: &&ServerReport| ServerState::from_health(server) == state;
    overview.servers.iter().filter(is).count()
}

/// What stands before the name in the browser's tab: trouble is seen there too.
struct TitlePrefix<'a>(&'a Overview);

impl std::fmt::Display for TitlePrefix<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match count(self.0, ServerState::Down) {
            0 => Ok(()),
            down => write!(f, "({down} down) "),
        }
    }
}

/// The number of servers down, which leads to the first of them.
struct DownCount(usize);

impl std::fmt::Display for DownCount {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            0 => f.write_str("0"),
            down => write!(f, "<a href=\"#down\">{}</a>", Grouped(down)),
        }
    }
}

fn write_summary(out: &mut String, overview: &Overview, now: SystemTime) -> std::fmt::Result {
    let total = overview.servers.len();
    let down = count(overview, ServerState::Down);
    let samples: usize = overview.servers.iter().map(|s| s.health.samples).sum();
    let last = overview.servers.iter().filter_map(|s| s.health.last_scrape);
    write!(
        out,
        "<dl class=\"sum\">\n<div><dt>Servers up</dt><dd>{} <small>of {}</small></dd></div>\n\
         <div><dt>Servers down</dt><dd>{}</dd></div>\n\
         <div><dt>Samples</dt><dd>{}</dd></div>\n\
         <div><dt>Last scrape</dt><dd>",
        Grouped(count(overview, ServerState::Up)),
        Grouped(total),
        DownCount(down),
        Grouped(samples),
    )?;
    match last.max() {
        Some(at) => out.write_str(&ago(at, now))?,
        None => out.write_str("none yet")?,
    }
    out.write_str("</dd></div>\n</dl>\n")
}

fn write_servers(out: &mut String, servers: &[ServerReport], now: SystemTime) -> std::fmt::Result {
    write!(
        out,
        "<h2 id=\"servers\">Servers<span class=\"count\">{}</span></h2>\n<div class=\"card\">\n",
        Grouped(servers.len())
    )?;
    if servers.is_empty() {
        return out.write_str(
            "<p class=\"none\">No server is scraped yet. Add a section such as \
             <code>[primary]</code> with <code>host</code>, <code>port</code> and \
             <code>user</code> to <code>pgexporter.conf</code>, then reload.</p>\n</div>\n",
        );
    }
    out.write_str(
        "<table class=\"servers\"><thead><tr><th scope=\"col\">Server</th>\
         <th scope=\"col\">ServerState</th><th scope=\"col\">Version</th>\
         <th scope=\"col\">Last scrape</th><th scope=\"col\" class=\"num\">Families</th>\
         <th scope=\"col\" class=\"num\">Samples</th></tr></thead>\n",
    )?;
    let mut first_down = true;
    for server in servers {
        // The place that the number of servers down leads to.
        let is_first = ServerState::from_health(server) == ServerState::Down
            && std::mem::take(&mut first_down);
        let id = if is_first { " id=\"down\"" } else { "" };
        write_server(out, server, id, now)?;
    }
    out.write_str("</table>\n</div>\n")
}

fn write_server(
    out: &mut String,
    server: &ServerReport,
    id: &str,
    now: SystemTime,
) -> std::fmt::Result {
    let health = &server.health;
    let state = ServerState::from_health(server);
    let (class, word) = match state {
        ServerState::Up => ("up", "Up"),
        ServerState::Down => ("down", "Down"),
        ServerState::Waiting => ("wait", "Waiting"),
    };
    write!(
        out,
        "<tbody{id}><tr><th scope=\"row\">{}<span class=\"sub\">{}</span>",
        Escaped(&server.name),
        Escaped(&server.address),
    )?;
    if server.origin != "file" {
        let origin = Escaped(server.origin);
        write!(out, "<span class=\"sub\">from {origin}</span>")?;
    }
    write!(
        out,
        "</th><td class=\"is\"><span class=\"state {class}\">{word}</span>"
    )?;
    match (state, &health.trouble) {
        (ServerState::Down, Some(trouble)) => {
            let reason = trouble.kind.as_str().replace('_', " ");
            write!(out, "<span class=\"sub\">{}</span>", Escaped(&reason))?;
        }
        (ServerState::Waiting, Some(trouble)) => {
            write!(
                out,
                "<span class=\"sub\">{}</span>",
                Escaped(&trouble.message)
            )?;
        }
        _ => {}
    }
    out.write_str("</td><td data-of=\"Version\">")?;
    match health.version {
        Some(version) => write!(out, "{version}")?,
        None => out.write_str("–")?,
    }
    if let Some(role) = health.role {
        write!(out, "<span class=\"sub\">{}</span>", role.as_str())?;
    }
    out.write_str("</td><td data-of=\"Last scrape\">")?;
    match health.last_scrape {
        Some(at) => write!(
            out,
            "<span>{}</span><span class=\"sub\">took {}</span>",
            ago(at, now),
            took(health.duration)
        )?,
        None => out.write_str("–")?,
    }
    for (of, number) in [("Families", health.families), ("Samples", health.samples)] {
        write!(out, "</td><td class=\"num\" data-of=\"{of}\">")?;
        match health.last_scrape {
            Some(_) => write!(out, "{}", Grouped(number))?,
            None => out.write_str("–")?,
        }
    }
    out.write_str("</td></tr>\n")?;
    write_notes(out, server, state)?;
    out.write_str("</tbody>\n")
}

/// What a person should know of the server, and what to do about it.
fn write_notes(out: &mut String, server: &ServerReport, state: ServerState) -> std::fmt::Result {
    let health = &server.health;
    let told = state != ServerState::Waiting;
    let trouble = health
        .trouble
        .as_ref()
        .filter(|t| told && !t.message.is_empty());
    let whole = health.denied.is_empty()
        && health.left_out.is_empty()
        && health.missing.is_empty()
        && health.excess_rights.is_empty();
    if trouble.is_none() && !health.pooled && health.ambiguous.is_none() && whole {
        return Ok(());
    }
    out.write_str("<tr class=\"notes\"><td colspan=\"6\">")?;
    if let Some(trouble) = trouble {
        let class = if state == ServerState::Down {
            "note trouble"
        } else {
            "note"
        };
        write!(
            out,
            "<p class=\"{class}\">{}</p>",
            Escaped(&trouble.message)
        )?;
    }
    if !health.denied.is_empty() {
        write!(
            out,
            "<p class=\"note\">The role may not read: <code>{}</code>. Grant it \
             <code>pg_monitor</code> to see them.</p>",
            Escaped(&health.denied.join(", "))
        )?;
    }
    if !health.excess_rights.is_empty() {
        write!(
            out,
            "<p class=\"note\">The role may do more than read: <code>{}</code>. Give the exporter \
             one with <code>pg_monitor</code> alone.</p>",
            Escaped(&health.excess_rights.join(", "))
        )?;
    }
    if !health.left_out.is_empty() {
        let names: Vec<&str> = health
            .left_out
            .iter()
            .map(|one| one.collector.as_str())
            .collect();
        let mut reasons: Vec<&str> = health
            .left_out
            .iter()
            .map(|one| one.message.as_str())
            .collect();
        reasons.sort_unstable();
        reasons.dedup();
        write!(
            out,
            "<p class=\"note\">Left out: <code>{}</code>, because of {}.</p>",
            Escaped(&names.join(", ")),
            Escaped(&reasons.join("; and "))
        )?;
    }
    if let Some(ambiguous) = &health.ambiguous {
        write!(
            out,
            "<p class=\"note\">Ambiguous: {}</p>",
            Escaped(ambiguous)
        )?;
    }
    if !health.missing.is_empty() {
        out.write_str("<p class=\"note\">No samples of these databases:</p><ul class=\"note\">")?;
        for one in &health.missing {
            write!(
                out,
                "<li><code>{}</code>: {}</li>",
                Escaped(&one.name),
                Escaped(&one.message)
            )?;
        }
        out.write_str("</ul>")?;
    }
    if health.pooled {
        out.write_str(
            "<p class=\"note\">A connection pooler stands before this server, so statements are \
             not kept prepared and each scrape plans them anew. Point the exporter at the server \
             itself to make scrapes faster.</p>",
        )?;
    }
    out.write_str("</td></tr>\n")
}

fn write_families(out: &mut String, families: &[FamilyOverview]) -> std::fmt::Result {
    write!(
        out,
        "<h2 id=\"families\">Metric families<span class=\"count\">{}</span></h2>\n\
         <div class=\"card\">\n",
        Grouped(families.len())
    )?;
    if families.is_empty() {
        out.write_str("<p class=\"none\">No collector is loaded.</p>\n")?;
    }
    let mut collectors: BTreeMap<&str, Vec<&FamilyOverview>> = BTreeMap::new();
    for family in families {
        collectors
            .entry(&family.collector)
            .or_default()
            .push(family);
    }
    for (collector, families) in collectors {
        writeln!(
            out,
            "<details><summary>{}<span class=\"count\">{}</span></summary>\
             <table class=\"families\"><tbody>",
            Escaped(collector),
            Grouped(families.len()),
        )?;
        for family in families {
            writeln!(
                out,
                "<tr><th scope=\"row\"><code>{}</code></th><td class=\"kind\">{}</td>\
                 <td>{}</td></tr>",
                Escaped(&family.name),
                family.kind.as_str(),
                Escaped(&family.help),
            )?;
        }
        out.write_str("</tbody></table></details>\n")?;
    }
    out.write_str("</div>\n")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::{Kind, Role, ServerVersion};
    use crate::targets::{
        DatabaseProblem, HealthReport, LeftOut, LeftOutReason, MissingDatabase, TargetError,
    };

    fn server(name: &str, health: HealthReport) -> ServerReport {
        ServerReport {
            name: name.to_owned(),
            address: format!("{name}.example:5432"),
            origin: "file",
            connections: 0,
            failures: 0,
            health,
        }
    }

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn a_server_is_shown_with_all_that_is_known() {
        let overview = Overview {
            notices: Vec::new(),
            servers: vec![
                server(
                    "orders",
                    HealthReport {
                        active: true,
                        trouble: None,
                        version: Some(ServerVersion(170_010)),
                        role: Some(Role::Replica),
                        last_scrape: Some(at(1_000)),
                        duration: Duration::from_millis(23),
                        families: 249,
                        samples: 12_345,
                        pooled: true,
                        ambiguous: None,
                        last_error: None,
                        denied: vec!["pg_statements".to_owned(), "pg_hba".to_owned()],
                        left_out: vec![LeftOut {
                            collector: "table_bloat".to_owned(),
                            families: 3,
                            reason: LeftOutReason::TooLarge,
                            message: "a row has 5000000 bytes".to_owned(),
                        }],
                        excess_rights: Vec::new(),
                        missing: vec![MissingDatabase {
                            name: "orders".to_owned(),
                            problem: DatabaseProblem::Invalid,
                            message: "drop it".to_owned(),
                        }],
                    },
                ),
                server(
                    "billing",
                    HealthReport {
                        trouble: Some(TargetError {
                            kind: TargetErrorKind::ConnectionRefused,
                            message: "nothing listens at billing.example:5432".to_owned(),
                        }),
                        ..HealthReport::default()
                    },
                ),
                server("fresh", HealthReport::default()),
            ],
            families: vec![],
        };
        let page = render(&overview, at(1_007));
        for part in [
            "orders.example:5432",
            "17.10",
            "replica",
            "7 s ago",
            "took 23 ms",
            "249",
            "12,345",
            "pg_statements, pg_hba",
            "connection pooler",
            "state down\">Down",
            "connection refused",
            "<a href=\"#down\">1</a>",
            "<tbody id=\"down\"><tr><th scope=\"row\">billing",
            "nothing listens at billing.example:5432",
            "state wait\">Waiting",
            "<title>(1 down) pgexporter</title>",
            "<dt>Servers up</dt><dd>1 <small>of 3</small>",
            "href=\"/metrics\"",
            VERSION,
        ] {
            assert!(page.contains(part), "{part} is not in {page}");
        }
    }

    #[test]
    fn families_stand_under_their_collector_with_type_and_help() {
        let family = |name: &str, collector: &str| FamilyOverview {
            name: name.to_owned(),
            kind: Kind::Counter,
            help: format!("Help of {name}"),
            collector: collector.to_owned(),
        };
        let overview = Overview {
            notices: vec!["Few <places>.".to_owned()],
            servers: vec![],
            families: vec![
                family("pgexporter_a", "locks"),
                family("pgexporter_b", "database"),
                family("pgexporter_c", "locks"),
            ],
        };
        let page = render(&overview, at(0));
        let places: Vec<usize> = [
            "database<span",
            "pgexporter_b",
            "locks<span",
            "pgexporter_a",
            "pgexporter_c",
        ]
        .iter()
        .map(|part| page.find(part).unwrap())
        .collect();
        assert!(places.is_sorted(), "{places:?}");
        assert!(page.contains("Help of pgexporter_b") && page.contains(">counter<"));
        assert!(page.contains("No server is scraped yet"));
    }

    #[test]
    fn the_page_may_do_nothing_but_be_shown() {
        let response = page(&Overview::default());
        let policy = response.headers()["content-security-policy"]
            .to_str()
            .unwrap();
        assert!(
            policy.starts_with("default-src 'none'; style-src 'sha256-"),
            "{policy}"
        );
        // A style in a tag would need a wider policy.
        assert!(!render(&Overview::default(), at(0)).contains("style="));
    }

    #[test]
    fn nothing_from_outside_becomes_markup() {
        let evil = "<script>alert(\"1\")</script>'&amp;";
        let overview = Overview {
            notices: Vec::new(),
            servers: vec![ServerReport {
                name: evil.to_owned(),
                address: evil.to_owned(),
                origin: "kubernetes",
                connections: 0,
                failures: 0,
                health: HealthReport {
                    trouble: Some(TargetError {
                        kind: TargetErrorKind::ServerError,
                        message: evil.to_owned(),
                    }),
                    last_error: None,
                    denied: vec![evil.to_owned()],
                    missing: vec![MissingDatabase {
                        name: evil.to_owned(),
                        problem: DatabaseProblem::NotAllowed,
                        message: evil.to_owned(),
                    }],
                    ..HealthReport::default()
                },
            }],
            families: vec![FamilyOverview {
                name: evil.to_owned(),
                kind: Kind::Gauge,
                help: evil.to_owned(),
                collector: evil.to_owned(),
            }],
        };
        let page = render(&overview, at(0));
        let escaped = "&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt;&#39;&amp;amp;";
        assert_eq!(page.matches(escaped).count(), 9, "{page}");
        assert!(page.contains("from kubernetes"));
        assert!(!page.contains("<script"));
    }
}
