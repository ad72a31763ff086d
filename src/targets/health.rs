//! How a target is, as scraping last saw it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use serde::{Serialize, Serializer};

use super::{MissingDatabase, Target};
use crate::model::{Role, ServerVersion, TargetErrorKind};

/// Why a server could not be scraped: the kind of error, and a message for people. Never holds a
/// secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(rename_all = "PascalCase")]
#[error("{message}")]
pub struct TargetError {
    /// The closed-set reason.
    #[serde(rename = "Reason")]
    pub kind: TargetErrorKind,
    /// What happened and what to do.
    pub message: String,
}

/// Why families of a collector are left out. A closed set: it becomes a label value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LeftOutReason {
    /// More samples than the target may have.
    TooManySamples,
    /// More bytes than a message, a query, the target or all targets may have.
    TooLarge,
}

impl LeftOutReason {
    /// The value of the label `reason`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            LeftOutReason::TooManySamples => "too_many_samples",
            LeftOutReason::TooLarge => "too_large",
        }
    }
}

impl Serialize for LeftOutReason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// A collector of which families are left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct LeftOut {
    /// Its name.
    pub collector: String,
    /// How many of its families.
    pub families: usize,
    /// Why.
    pub reason: LeftOutReason,
    /// Which limit it was, and what to do.
    pub message: String,
}

/// What is known of a target.
#[derive(Clone, Debug, PartialEq)]
pub struct HealthReport {
    /// Whether the last collection brought samples.
    pub active: bool,
    /// Why not, when it is not active.
    pub trouble: Option<TargetError>,
    /// Version, once connected.
    pub version: Option<ServerVersion>,
    /// Primary or replica, once connected.
    pub role: Option<Role>,
    /// When the last collection ended.
    pub last_scrape: Option<SystemTime>,
    /// How long it took.
    pub duration: Duration,
    /// Families with at least one sample in it.
    pub families: usize,
    /// Samples in it.
    pub samples: usize,
    /// Whether a pooler such as PgBouncer stands before the server: statements are then not kept
    /// prepared, and each scrape plans them anew.
    pub pooled: bool,
    /// The name leads to different servers in turn: what that means, and what to do. `None` when it
    /// leads to one.
    pub ambiguous: Option<String>,
    /// Collectors that the role has no right to, sorted.
    pub denied: Vec<String>,
    /// What the role may do on the server beside reading, such as `SUPERUSER`.
    pub excess_rights: Vec<String>,
    /// Databases whose metrics are missing, sorted by name, no more than
    /// [`MissingDatabase::MOST_NAMED`].
    pub missing: Vec<MissingDatabase>,
    /// Collectors that are left out because the target has too many samples or bytes, sorted.
    pub left_out: Vec<LeftOut>,
    /// The last trouble, also when it is over, and when it was last so.
    pub last_error: Option<(TargetError, SystemTime)>,
}

impl Default for HealthReport {
    fn default() -> Self {
        Self {
            active: false,
            trouble: Some(TargetError {
                kind: TargetErrorKind::Pending,
                message: "not asked yet".to_owned(),
            }),
            version: None,
            role: None,
            last_scrape: None,
            duration: Duration::ZERO,
            families: 0,
            samples: 0,
            pooled: false,
            ambiguous: None,
            denied: Vec::new(),
            excess_rights: Vec::new(),
            left_out: Vec::new(),
            missing: Vec::new(),
            last_error: None,
        }
    }
}

/// The one place where a target's report is written and read. Cloning shares it.
#[derive(Clone, Debug, Default)]
pub struct Health(Arc<Mutex<HealthReport>>);

impl Health {
    /// A copy of the present report.
    #[must_use]
    pub fn report(&self) -> HealthReport {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Changes the report in place.
    pub fn update(&self, change: impl FnOnce(&mut HealthReport)) {
        let mut report = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut report);
        if let Some(trouble) = &report.trouble
            && trouble.kind != TargetErrorKind::Pending
        {
            report.last_error = Some((trouble.clone(), SystemTime::now()));
        }
    }
}

/// The reports of all targets by name: scraping hands them in, conditions read them. Cloning
/// shares it.
#[derive(Clone, Debug, Default)]
pub struct HealthBoard(Arc<Mutex<HealthByName>>);

type HealthByName = HashMap<String, (Arc<Target>, Health)>;

impl HealthBoard {
    /// Replaces all.
    pub fn set(&self, all: impl Iterator<Item = (Arc<Target>, Health)>) {
        let all = all.map(|(target, health)| (target.name.clone(), (target, health)));
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = all.collect();
    }

    /// The present report of exactly this target; `None` when one of that name is asked that is
    /// not as this one is, or none.
    #[must_use]
    pub fn find_report(&self, target: &Target) -> Option<HealthReport> {
        let entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (asked, health) = entries.get(&target.name)?;
        (**asked == *target).then(|| health.report())
    }
}
