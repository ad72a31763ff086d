//! Builds a status: conditions and facts from a reconcile outcome and the health of its target. Pure.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;

use crate::kubernetes::api::{PostgresTargetStatus, server_name};
use crate::kubernetes::metrics::TargetState;
use crate::kubernetes::reconcile::outcome::ReconcileOutcome;
use crate::model::TargetErrorKind;
use crate::targets::{DatabaseProblem, HealthReport, LeftOutReason, MissingDatabase};

/// The present time in whole seconds, as the API server stores it. With fractions, a status that was
/// written would never equal the one that is read.
fn current_second() -> Timestamp {
    let now = Timestamp::now();
    Timestamp::from_second(now.as_second()).unwrap_or(now)
}

/// A condition of a status.
pub(super) fn find_condition<'a>(
    status: &'a PostgresTargetStatus,
    kind: &str,
) -> Option<&'a Condition> {
    status.conditions.iter().find(|one| one.type_ == kind)
}

/// Whether a condition has that status.
pub(super) fn has_condition(status: &PostgresTargetStatus, kind: &str, wanted: &str) -> bool {
    find_condition(status, kind).is_some_and(|one| one.status == wanted)
}

/// Whether the server was not asked yet.
pub(super) fn is_pending(report: &HealthReport) -> bool {
    let reason = report.trouble.as_ref().map(|trouble| trouble.kind);
    reason == Some(TargetErrorKind::Pending)
}

/// The state of the target for the metrics.
pub(super) fn target_state(
    outcome: &ReconcileOutcome,
    health: Option<&HealthReport>,
) -> TargetState {
    if outcome.rejection.is_some() {
        return TargetState::Rejected;
    }
    match (outcome.target.is_some(), health) {
        (false, _) => TargetState::Paused,
        (true, Some(report)) if report.active => TargetState::Ready,
        (true, Some(report)) if !is_pending(report) => TargetState::Failing,
        (true, _) => TargetState::Pending,
    }
}

/// Builds the status that the resource should have.
pub(super) fn build_status(
    outcome: &ReconcileOutcome,
    health: Option<&HealthReport>,
    before: &PostgresTargetStatus,
    owner: &str,
) -> PostgresTargetStatus {
    let resource = &outcome.resource;
    let generation = resource.metadata.generation;
    let condition = |kind: &str, (status, reason, message): (&str, &str, String)| {
        let since = find_condition(before, kind).filter(|old| old.status == status);
        Condition {
            type_: kind.to_owned(),
            status: status.to_owned(),
            reason: reason.to_owned(),
            message: append_link(status, reason, message),
            observed_generation: generation,
            last_transition_time: since.map_or_else(
                || Time(current_second()),
                |old| old.last_transition_time.clone(),
            ),
        }
    };
    let accepted = match &outcome.rejection {
        None => ("True", "Accepted", "the target is in order".to_owned()),
        Some(rejection) => (
            "False",
            rejection.reason.as_str(),
            rejection.message.clone(),
        ),
    };
    let facts = |find: fn(&HealthReport) -> Option<String>, old: &Option<String>| {
        // A server that is down has not lost its version.
        health.and_then(find).or_else(|| old.clone())
    };
    let scraped = health.filter(|one| one.last_scrape.is_some());
    let number = |find: fn(&HealthReport) -> usize, old: Option<u32>| {
        scraped.map_or(old, |one| u32::try_from(find(one)).ok())
    };
    PostgresTargetStatus {
        observed_generation: generation,
        server: Some(server_name(resource)),
        version: facts(|one| one.version.map(|v| v.to_string()), &before.version),
        role: facts(|one| one.role.map(|r| r.as_str().to_owned()), &before.role),
        owner: Some(owner.to_owned()),
        families: number(|one| one.families, before.families),
        samples: number(|one| one.samples, before.samples),
        last_scrape_time: scraped
            .and_then(|one| Timestamp::try_from(one.last_scrape?).ok())
            .map(Time)
            .or_else(|| before.last_scrape_time.clone()),
        conditions: [
            Some(condition("Accepted", accepted)),
            Some(condition("Ready", build_ready(outcome, health))),
            build_ambiguous(health).map(|told| condition(AMBIGUOUS, told)),
        ]
        .into_iter()
        .flatten()
        .collect(),
    }
}

/// The condition of a target whose name leads to different servers in turn, and its reason. Other
/// targets do not have it.
const AMBIGUOUS: &str = "Ambiguous";

fn build_ambiguous(health: Option<&HealthReport>) -> Option<(&'static str, &'static str, String)> {
    let message = health?.ambiguous.as_ref()?;
    let message = format!("{message}; see {PAGE}#{}", AMBIGUOUS.to_lowercase());
    Some(("True", AMBIGUOUS, message))
}

/// The page that says what to do, with a heading a reason.
const PAGE: &str = "https://pgexporter.io/docs/troubleshooting";

/// The longest message of a condition, in bytes.
const MESSAGE: usize = 1_024;

/// With the way to what is written of the reason, where a person has to do something. What a server
/// says is bounded, and no terminal obeys it.
fn append_link(status: &str, reason: &str, message: String) -> String {
    let link = match (status, reason) {
        ("False", reason) if reason != "Paused" => {
            format!("; see {PAGE}#{}", reason.to_lowercase())
        }
        _ => String::new(),
    };
    let room = MESSAGE.saturating_sub(link.len() + CUT.len());
    let mut text = String::new();
    for c in message.chars() {
        let escaped = match c.is_control() {
            true => c.escape_default().to_string(),
            false => c.to_string(),
        };
        if text.len() + escaped.len() > room {
            text.push_str(CUT);
            break;
        }
        text.push_str(&escaped);
    }
    text + &link
}

/// Stands where a message was cut.
const CUT: &str = "…";

/// Status, reason and message of the condition Ready.
fn build_ready(
    outcome: &ReconcileOutcome,
    health: Option<&HealthReport>,
) -> (&'static str, &'static str, String) {
    if outcome.resource.spec.paused && outcome.target.is_none() {
        let message = "paused: set spec.paused to false to resume scraping";
        return ("False", "Paused", message.to_owned());
    }
    if outcome.target.is_none() {
        let message = "not scraped, because the resource is not accepted";
        return ("False", "NotAccepted", message.to_owned());
    }
    if outcome.rejection.is_some() {
        // Samples may flow, but what the resource asks for is not in effect.
        let how = match health {
            Some(report) if report.active => "the server answers and is scraped".to_owned(),
            Some(report) => match &report.trouble {
                Some(trouble) => format!("{}; it is scraped", trouble.message),
                None => "it is scraped".to_owned(),
            },
            None => "it is scraped".to_owned(),
        };
        let message = format!(
            "{how} without the parts of the resource that are not accepted: see the condition \
             Accepted"
        );
        return ("False", "NotAccepted", message);
    }
    match health {
        None => ("Unknown", "Pending", "not asked yet".to_owned()),
        Some(report) => match &report.trouble {
            _ if report.active => {
                let left_out = describe_left_out(outcome, report) + &describe_missing(report);
                ("True", "Scraped", format!("the server answers{left_out}"))
            }
            Some(trouble) if trouble.kind == TargetErrorKind::Pending => {
                ("Unknown", "Pending", trouble.message.clone())
            }
            Some(trouble) => (
                "False",
                condition_reason(trouble.kind),
                trouble.message.clone(),
            ),
            None => (
                "False",
                "ServerError",
                "the server sent no samples".to_owned(),
            ),
        },
    }
}

/// The collectors whose families are left out, in words.
fn describe_left_out(outcome: &ReconcileOutcome, report: &HealthReport) -> String {
    let of = |reason| {
        let all = report.left_out.iter().filter(|one| one.reason == reason);
        let families: usize = all.clone().map(|one| one.families).sum();
        let names: Vec<&str> = all.clone().map(|one| one.collector.as_str()).collect();
        let message = all.clone().map(|one| one.message.as_str()).next();
        (families, names.join(", "), message)
    };
    let mut text = String::new();
    let limit = outcome.target.as_ref().and_then(|one| one.sample_limit);
    if let ((families, names, Some(_)), Some(limit)) = (of(LeftOutReason::TooManySamples), limit) {
        text = format!(
            "; sampleLimit {limit} leaves out {families} families of {names}: raise it, or exclude \
             them in spec.collectors"
        );
    }
    if let (families, names, Some(message)) = of(LeftOutReason::TooLarge) {
        text = format!(
            "{text}; {families} families of {names} are left out as {}: {message}",
            LeftOutReason::TooLarge.as_str()
        );
    }
    text
}

/// Databases that are not seen, in words: so many are named, and why by the reason alone, so that
/// the message changes only when something has changed. Those that had no turn in the last scrape
/// have it in the next one.
fn describe_missing(report: &HealthReport) -> String {
    const NAMED: usize = 5;
    let lasting = |one: &&MissingDatabase| one.problem != DatabaseProblem::NoTurn;
    let all: Vec<&MissingDatabase> = report.missing.iter().filter(lasting).collect();
    if all.is_empty() {
        return String::new();
    }
    let name = |one: &&MissingDatabase| format!("{} ({})", one.name, one.problem.as_str());
    let names: Vec<String> = all.iter().take(NAMED).map(name).collect();
    let more = match all.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!(
        "; no samples of the databases {}{more}: see status details, or exclude them in \
         spec.databases",
        names.join(", ")
    )
}

fn condition_reason(reason: TargetErrorKind) -> &'static str {
    match reason {
        TargetErrorKind::ConnectionRefused => "ConnectionRefused",
        TargetErrorKind::NameNotResolved => "NameNotResolved",
        TargetErrorKind::AuthenticationFailed => "AuthenticationFailed",
        TargetErrorKind::TlsFailed => "TlsFailed",
        TargetErrorKind::Timeout => "Timeout",
        TargetErrorKind::UnsupportedVersion => "UnsupportedVersion",
        TargetErrorKind::TooManyConnections => "TooManyConnections",
        TargetErrorKind::NotReady => "NotReady",
        TargetErrorKind::ConnectionLost => "ConnectionLost",
        TargetErrorKind::MessageTooLarge => "MessageTooLarge",
        TargetErrorKind::UnrequestedData => "UnrequestedData",
        TargetErrorKind::ServerError => "ServerError",
        TargetErrorKind::Pending => "Pending",
    }
}

/// The parts of a status that decide whether it is written again. Numbers and time of the last scrape
/// are left out, beside whether there was one: they change with each scrape. Conditions of other
/// types belong to other controllers.
fn comparable_part(status: &PostgresTargetStatus) -> PostgresTargetStatus {
    let ours = ["Accepted", "Ready", AMBIGUOUS]
        .iter()
        .filter_map(|kind| find_condition(status, kind));
    PostgresTargetStatus {
        last_scrape_time: None,
        families: status.families.map(|_| 0),
        samples: status.samples.map(|_| 0),
        conditions: ours.cloned().collect(),
        ..status.clone()
    }
}

/// Whether there is nothing to write.
pub(super) fn is_same_status(one: &PostgresTargetStatus, other: &PostgresTargetStatus) -> bool {
    comparable_part(one) == comparable_part(other)
}

/// Whether they differ in the texts of conditions alone.
pub(super) fn is_same_except_texts(
    one: &PostgresTargetStatus,
    other: &PostgresTargetStatus,
) -> bool {
    let silent = |status: &PostgresTargetStatus| {
        let mut status = comparable_part(status);
        for condition in &mut status.conditions {
            condition.message.clear();
        }
        status
    };
    silent(one) == silent(other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kubernetes::api::RejectionReason;

    #[test]
    fn databases_that_are_not_seen_are_named_up_to_five() {
        let report = |problems: &[DatabaseProblem]| HealthReport {
            missing: problems
                .iter()
                .enumerate()
                .map(|(at, problem)| MissingDatabase {
                    name: format!("d{at}"),
                    problem: *problem,
                    message: "words of the server that differ each time".to_owned(),
                })
                .collect(),
            ..HealthReport::default()
        };
        use DatabaseProblem::{Invalid, NoTurn, NotAllowed};
        assert_eq!(describe_missing(&report(&[])), "");
        assert_eq!(
            describe_missing(&report(&[NoTurn; 3])),
            "",
            "they have it in the next scrape"
        );
        assert_eq!(
            describe_missing(&report(&[NotAllowed, NoTurn, Invalid])),
            "; no samples of the databases d0 (not_allowed), d2 (invalid): see status details, or \
             exclude them in spec.databases"
        );
        let many = describe_missing(&report(&[Invalid; 50]));
        assert!(
            many.contains("d4 (invalid) and 45 more: ") && !many.contains("d5"),
            "{many}"
        );
    }

    #[test]
    fn each_reason_has_its_heading_on_the_page() {
        let page = include_str!("../../../docs/troubleshooting.md");
        let headings: Vec<&str> = page
            .lines()
            .filter_map(|line| line.strip_prefix("### "))
            .collect();
        let refusals = RejectionReason::ALL.iter().map(|one| one.as_str());
        let states = TargetErrorKind::ALL
            .iter()
            .map(|one| condition_reason(*one));
        for wanted in refusals
            .chain(states)
            .chain(["Paused", "NotAccepted", AMBIGUOUS])
        {
            assert!(
                headings.contains(&wanted),
                "docs/troubleshooting.md: ### {wanted}"
            );
        }
        let told = append_link("False", "SecretNotFound", "gone".to_owned());
        assert_eq!(told, format!("gone; see {PAGE}#secretnotfound"));
        assert_eq!(append_link("True", "Scraped", "good".to_owned()), "good");
    }

    #[test]
    fn what_a_server_says_is_bounded_and_no_terminal_obeys_it() {
        let told = append_link("False", "ServerError", "é\u{1b}[2J".repeat(10_000));
        assert!(
            told.len() <= MESSAGE && told.len() > MESSAGE - 20,
            "{}",
            told.len()
        );
        assert!(told.starts_with("é\\u{1b}[2J"), "{told}");
        assert!(
            told.ends_with(&format!("…; see {PAGE}#servererror")),
            "{told}"
        );
    }

    #[test]
    fn a_text_alone_is_told_from_a_change_and_others_conditions_are_theirs() {
        let condition = |kind: &str, reason: &str, message: &str| Condition {
            type_: kind.to_owned(),
            status: "False".to_owned(),
            reason: reason.to_owned(),
            message: message.to_owned(),
            observed_generation: Some(1),
            last_transition_time: Time(Timestamp::UNIX_EPOCH),
        };
        let status = |conditions: &[Condition]| PostgresTargetStatus {
            conditions: conditions.to_vec(),
            ..PostgresTargetStatus::default()
        };
        let one = status(&[condition("Ready", "Timeout", "a")]);
        let text = status(&[condition("Ready", "Timeout", "b")]);
        let reason = status(&[condition("Ready", "ServerError", "a")]);
        let theirs = status(&[
            condition("Theirs", "X", ""),
            condition("Ready", "Timeout", "a"),
        ]);
        assert!(!is_same_status(&one, &text) && is_same_except_texts(&one, &text));
        assert!(!is_same_except_texts(&one, &reason));
        assert!(is_same_status(&one, &theirs));
    }
}
