//! A profile: one scrape of one target, query by query, so that the time of each is known.
//!
//! Who asks sends a [`ProfileRequest`] to the target's task and receives a [`Profile`]. The task
//! takes one step at a time, and answers scrapes between them: nobody's scrape waits longer for a
//! profile than for the one query that runs.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::postgres::{QueryError, QueryOutcome, ScheduledQuery};
use crate::targets::{Profile, ProfiledQuery, Target, TargetError};

/// The collector of lines that are no query: connecting to another database.
pub(super) const CONNECT: &str = "connect";

/// An order for a profile.
#[derive(Debug)]
pub(super) struct ProfileRequest {
    /// When it is answered with what there is.
    pub deadline: Instant,
    pub reply: oneshot::Sender<Profile>,
}

/// A profile that is being made.
#[derive(Debug)]
pub(super) struct ProfileRun {
    pub request: ProfileRequest,
    pub steps: VecDeque<ProfileStep>,
    pub found: Profile,
}

/// One thing that is done and timed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ProfileStep {
    /// Ask what the server is, and plan the rest by it.
    Begin,
    /// Run the query with this tag in the target's own database.
    Query(String),
    /// Ask for the settings.
    Settings,
    /// Run all queries of this database.
    Database(String),
}

impl ProfileRun {
    pub(super) fn new(request: ProfileRequest, address: String) -> Self {
        Self {
            request,
            steps: VecDeque::from([ProfileStep::Begin]),
            found: Profile {
                address,
                ..Profile::default()
            },
        }
    }

    /// Answers with what was found. Nobody may wait any more: then nothing happens.
    pub(super) fn answer(mut self, trouble: Option<TargetError>) {
        self.found.trouble = trouble;
        let _ = self.request.reply.send(self.found);
    }

    /// Whether nobody waits any more.
    pub(super) fn is_over(&self) -> bool {
        self.request.reply.is_closed() || self.request.deadline <= Instant::now()
    }
}

impl ProfiledQuery {
    /// A query that ran for that long.
    pub(super) fn from_query(slot: &ScheduledQuery, duration: Duration, target: &Target) -> Self {
        let metric = &slot.chosen.metric;
        let (outcome, message) = match &slot.outcome {
            QueryOutcome::Done => ("done", None),
            QueryOutcome::Waiting => ("not run", None),
            QueryOutcome::Running => ("late", None),
            QueryOutcome::Failed(error) => (
                match error {
                    QueryError::Denied(_) => "denied",
                    QueryError::Timeout(_)
                    | QueryError::LockTimeout(_)
                    | QueryError::Deadline(_) => "late",
                    QueryError::TooMany | QueryError::TooLarge(_) => "left out",
                    _ => "failed",
                },
                Some(target.redact(&error.to_string())),
            ),
        };
        Self {
            collector: metric.collector.clone(),
            tag: metric.tag.clone(),
            database: slot.database().to_owned(),
            interval: metric.interval,
            duration,
            samples: slot.samples().map_or(0, |samples| samples.samples()),
            outcome,
            message,
        }
    }

    /// Connecting to another database.
    pub(super) fn connect(database: &str, duration: Duration) -> Self {
        Self {
            collector: CONNECT.to_owned(),
            tag: String::new(),
            database: database.to_owned(),
            interval: None,
            duration,
            samples: 0,
            outcome: "done",
            message: None,
        }
    }
}
