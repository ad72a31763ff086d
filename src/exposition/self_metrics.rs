//! Families of the exporter itself that a lower room brings, without the scrape knowing what they
//! speak of.

use std::fmt::Debug;
use std::sync::Arc;

use super::{FamilyHead, Format, write_head};

/// Families of one room. Their heads are constant; their samples are written when they are asked
/// for.
pub trait SelfMetrics: Debug + Send + Sync {
    /// All of them, in the order they are sent. No other room has one of these names.
    fn heads(&self) -> Vec<FamilyHead<'static>>;

    /// Writes the samples that the family has at present; nothing for one of another room.
    fn samples(&self, family: &str, out: &mut Vec<u8>);

    /// The servers whose configuration is not accepted, at present.
    fn not_accepted(&self) -> Arc<Vec<NotAccepted>> {
        Arc::default()
    }
}

/// A server whose configuration is not accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotAccepted {
    /// The value of the label `server`.
    pub server: String,
    /// Labels beside it.
    pub labels: Vec<(String, String)>,
    /// Why, in a word of a closed set.
    pub reason: &'static str,
    /// Whether it is scraped all the same, without what is wrong.
    pub scraped: bool,
}

/// Those of several rooms, one after the other.
impl SelfMetrics for Vec<Arc<dyn SelfMetrics>> {
    fn heads(&self) -> Vec<FamilyHead<'static>> {
        self.iter().flat_map(|room| room.heads()).collect()
    }

    fn samples(&self, family: &str, out: &mut Vec<u8>) {
        self.iter().for_each(|room| room.samples(family, out));
    }

    fn not_accepted(&self) -> Arc<Vec<NotAccepted>> {
        let mut all = self.iter().map(|room| room.not_accepted());
        all.find(|one| !one.is_empty()).unwrap_or_default()
    }
}

/// Writes all families of a room that have samples.
pub fn write_self_metrics(families: &dyn SelfMetrics, out: &mut Vec<u8>, format: Format) {
    let mut lines = Vec::new();
    for head in families.heads() {
        lines.clear();
        families.samples(head.name, &mut lines);
        if !lines.is_empty() {
            write_head(out, head, format);
            out.extend_from_slice(&lines);
        }
    }
}
