//! The families that targets bring themselves: two of them may share one, but not with another
//! type, for a scrape that holds both would be unsound for everybody.

use std::collections::HashMap;

use super::refusal::{Refusal, RefusalReason};
use crate::catalog::{OwnMetrics, claims};
use crate::model::Kind;

/// What is taken, by the names of samples.
#[derive(Debug, Default)]
pub(super) struct Registry(HashMap<String, Claim>);

#[derive(Debug)]
struct Claim {
    family: String,
    kind: Kind,
    /// How many targets bring it.
    holders: usize,
}

impl Registry {
    /// Whether a target may bring these as well.
    ///
    /// # Errors
    /// Another one has a family that contradicts them. It is not named: it may be of another
    /// namespace.
    pub(super) fn try_out(&self, metrics: &OwnMetrics) -> Result<(), Refusal> {
        for family in metrics.families() {
            for name in claims(&family.name, family.kind) {
                let other = self.0.get(&name);
                let Some(other) =
                    other.filter(|one| one.family != family.name || one.kind != family.kind)
                else {
                    continue;
                };
                return Err(Refusal::new(
                    RefusalReason::InvalidMetrics,
                    format!(
                        "{}: the family {} cannot stand beside the {} {} of another target; \
                         choose another tag",
                        family.source,
                        family.name,
                        other.kind.as_str(),
                        other.family
                    ),
                ));
            }
        }
        Ok(())
    }

    /// A target brings these.
    pub(super) fn add(&mut self, metrics: &OwnMetrics) {
        for family in metrics.families() {
            for name in claims(&family.name, family.kind) {
                let claim = self.0.entry(name).or_insert_with(|| Claim {
                    family: family.name.clone(),
                    kind: family.kind,
                    holders: 0,
                });
                claim.holders += 1;
            }
        }
    }

    /// A target brings these no longer.
    pub(super) fn remove(&mut self, metrics: &OwnMetrics) {
        for family in metrics.families() {
            for name in claims(&family.name, family.kind) {
                let Some(claim) = self.0.get_mut(&name) else {
                    continue;
                };
                claim.holders = claim.holders.saturating_sub(1);
                if claim.holders == 0 {
                    self.0.remove(&name);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn own(kind: &str, column: &str) -> OwnMetrics {
        let text = format!(
            "version: 13\nmetrics:\n  - tag: t\n    queries:\n      - query: SELECT 1\n        \
             columns: [{{name: {column}, type: {kind}}}]\n"
        );
        OwnMetrics::parse(vec![("m".to_owned(), text)], Duration::from_secs(1)).unwrap()
    }

    #[test]
    fn two_targets_share_a_family_of_one_type_alone() {
        let mut registry = Registry::default();
        let first = own("counter", "n_total");
        registry.add(&first);
        registry.add(&first);
        assert_eq!(registry.try_out(&own("counter", "n_total")), Ok(()));
        let refused = registry.try_out(&own("gauge", "n_total")).unwrap_err();
        assert!(
            refused
                .message
                .contains("the counter pgexporter_t_n_total of another target")
        );
        // In OpenMetrics the counter is called without `_total`.
        assert!(registry.try_out(&own("gauge", "n")).is_err());
        registry.remove(&first);
        assert!(registry.try_out(&own("gauge", "n")).is_err());
        registry.remove(&first);
        assert_eq!(registry.try_out(&own("gauge", "n")), Ok(()));
    }
}
