//! What a status says: conditions and facts out of a verdict and the health of its target. Pure.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;

use super::metrics::State;
use super::resource::PostgresTargetStatus;
use super::validate::server_name;
use super::verdict::Verdict;
use crate::model::Reason;
use crate::targets::HealthReport;

/// A condition of a status.
pub(super) fn of<'a>(status: &'a PostgresTargetStatus, kind: &str) -> Option<&'a Condition> {
    status.conditions.iter().find(|one| one.type_ == kind)
}

/// Whether a condition has that status.
pub(super) fn is(status: &PostgresTargetStatus, kind: &str, wanted: &str) -> bool {
    of(status, kind).is_some_and(|one| one.status == wanted)
}

/// Whether the server was not asked yet.
pub(super) fn is_pending(report: &HealthReport) -> bool {
    let reason = report.trouble.as_ref().map(|trouble| trouble.reason);
    reason == Some(Reason::Pending)
}

/// How the target is, in a word.
pub(super) fn state(verdict: &Verdict, health: Option<&HealthReport>) -> State {
    if verdict.refusal.is_some() {
        return State::Refused;
    }
    match (verdict.target.is_some(), health) {
        (false, _) => State::Paused,
        (true, Some(report)) if report.active => State::Ready,
        (true, Some(report)) if !is_pending(report) => State::Failing,
        (true, _) => State::Pending,
    }
}

/// The status as it should be.
pub(super) fn wanted(
    verdict: &Verdict,
    health: Option<&HealthReport>,
    before: &PostgresTargetStatus,
    owner: &str,
) -> PostgresTargetStatus {
    let resource = &verdict.resource;
    let generation = resource.metadata.generation;
    let condition = |kind: &str, (status, reason, message): (&str, &str, String)| {
        let since = of(before, kind).filter(|old| old.status == status);
        Condition {
            type_: kind.to_owned(),
            status: status.to_owned(),
            reason: reason.to_owned(),
            message: explained(status, reason, message),
            observed_generation: generation,
            last_transition_time: since.map_or_else(
                || Time(Timestamp::now()),
                |old| old.last_transition_time.clone(),
            ),
        }
    };
    let accepted = match &verdict.refusal {
        None => ("True", "Accepted", "the target is in order".to_owned()),
        Some(refusal) => ("False", refusal.reason.as_str(), refusal.message.clone()),
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
            Some(condition("Ready", ready(verdict, health))),
            ambiguous(health).map(|told| condition(AMBIGUOUS, told)),
        ]
        .into_iter()
        .flatten()
        .collect(),
    }
}

/// The condition of a target whose name leads to different servers in turn, and its reason. Other
/// targets do not have it.
const AMBIGUOUS: &str = "Ambiguous";

fn ambiguous(health: Option<&HealthReport>) -> Option<(&'static str, &'static str, String)> {
    let message = health?.ambiguous.as_ref()?;
    let message = format!("{message}; see {PAGE}#{}", AMBIGUOUS.to_lowercase());
    Some(("True", AMBIGUOUS, message))
}

/// The page that says what to do, with a heading a reason.
const PAGE: &str = "https://pgexporter.io/docs/troubleshooting";

/// With the way to what is written of the reason, where a person has to do something.
fn explained(status: &str, reason: &str, message: String) -> String {
    match (status, reason) {
        ("False", reason) if reason != "Paused" => {
            format!("{message}; see {PAGE}#{}", reason.to_lowercase())
        }
        _ => message,
    }
}

/// Status, reason and message of the condition Ready.
fn ready(verdict: &Verdict, health: Option<&HealthReport>) -> (&'static str, &'static str, String) {
    if verdict.resource.spec.paused && verdict.target.is_none() {
        let message = "paused: set spec.paused to false to have it scraped";
        return ("False", "Paused", message.to_owned());
    }
    if verdict.target.is_none() {
        let message = "not scraped, because it is not accepted";
        return ("False", "NotAccepted", message.to_owned());
    }
    let old = match verdict.refusal {
        Some(_) => " (as it was before the present change, which is not accepted)",
        None => "",
    };
    match health {
        None => ("Unknown", "Pending", "not asked yet".to_owned()),
        Some(report) => match &report.trouble {
            _ if report.active => {
                let left_out = left_out(verdict, report);
                (
                    "True",
                    "Scraped",
                    format!("the server answers{left_out}{old}"),
                )
            }
            Some(trouble) if trouble.reason == Reason::Pending => {
                ("Unknown", "Pending", format!("{}{old}", trouble.message))
            }
            Some(trouble) => (
                "False",
                reason(trouble.reason),
                format!("{}{old}", trouble.message),
            ),
            None => ("False", "ServerError", format!("no samples came{old}")),
        },
    }
}

/// What has no room among the samples, in words.
fn left_out(verdict: &Verdict, report: &HealthReport) -> String {
    let limit = verdict.target.as_ref().and_then(|one| one.sample_limit);
    let (false, Some(limit)) = (report.left_out.is_empty(), limit) else {
        return String::new();
    };
    let families: usize = report.left_out.iter().map(|(_, families)| families).sum();
    let names: Vec<&str> = report
        .left_out
        .iter()
        .map(|(name, _)| name.as_str())
        .collect();
    format!(
        "; sampleLimit {limit} leaves out {families} families of {}: raise it, or exclude them in \
         spec.collectors",
        names.join(", ")
    )
}

fn reason(reason: Reason) -> &'static str {
    match reason {
        Reason::ConnectionRefused => "ConnectionRefused",
        Reason::NameNotResolved => "NameNotResolved",
        Reason::AuthenticationFailed => "AuthenticationFailed",
        Reason::TlsFailed => "TlsFailed",
        Reason::Timeout => "Timeout",
        Reason::UnsupportedVersion => "UnsupportedVersion",
        Reason::TooManyConnections => "TooManyConnections",
        Reason::NotReady => "NotReady",
        Reason::ConnectionLost => "ConnectionLost",
        Reason::MessageTooLarge => "MessageTooLarge",
        Reason::ServerError => "ServerError",
        Reason::Pending => "Pending",
    }
}

/// Whether there is nothing to write: other numbers and another time of the last scrape are no
/// news, only that there was one.
pub(super) fn same(one: &PostgresTargetStatus, other: &PostgresTargetStatus) -> bool {
    let bare = |status: &PostgresTargetStatus| PostgresTargetStatus {
        last_scrape_time: None,
        families: status.families.map(|_| 0),
        samples: status.samples.map(|_| 0),
        ..status.clone()
    };
    bare(one) == bare(other)
}

#[cfg(test)]
mod tests {
    use super::super::refusal::RefusalReason;
    use super::*;

    #[test]
    fn each_reason_has_its_heading_on_the_page() {
        let page = include_str!("../../docs/troubleshooting.md");
        let headings: Vec<&str> = page
            .lines()
            .filter_map(|line| line.strip_prefix("### "))
            .collect();
        let refusals = RefusalReason::ALL.iter().map(|one| one.as_str());
        let states = Reason::ALL.iter().map(|one| reason(*one));
        for wanted in refusals
            .chain(states)
            .chain(["Paused", "NotAccepted", AMBIGUOUS])
        {
            assert!(
                headings.contains(&wanted),
                "docs/troubleshooting.md: ### {wanted}"
            );
        }
        let told = explained("False", "SecretNotFound", "gone".to_owned());
        assert_eq!(told, format!("gone; see {PAGE}#secretnotfound"));
        assert_eq!(explained("True", "Scraped", "good".to_owned()), "good");
    }
}
