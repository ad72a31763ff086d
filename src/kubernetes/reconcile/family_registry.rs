//! The families that targets bring themselves. Two targets may bring the same family, but not with
//! two types: Prometheus rejects a scrape that holds both.
//!
//! The older target keeps the family, whatever the order in which targets are read: the registry is
//! filled again from the oldest to the newest target when the families of one change.

use std::collections::HashMap;

use crate::catalog::{Family, OwnMetrics};
use crate::kubernetes::api::rejection::{Rejection, RejectionReason};

/// The families of the targets that were added, by the names of their samples.
#[derive(Debug, Default)]
pub(in crate::kubernetes) struct FamilyRegistry<'a>(HashMap<&'a str, &'a Family>);

impl<'a> FamilyRegistry<'a> {
    /// Adds the families of a target, unless they contradict those of an older one.
    ///
    /// # Errors
    /// An older target has a family that contradicts them. The message does not name that target: it
    /// may be in another namespace, which this tenant must not learn about.
    pub(in crate::kubernetes) fn add(&mut self, metrics: &'a OwnMetrics) -> Result<(), Rejection> {
        for (name, family) in metrics.claims() {
            let other = self.0.get(name);
            let Some(other) =
                other.filter(|one| one.name != family.name || one.kind != family.kind)
            else {
                continue;
            };
            return Err(Rejection::new(
                RejectionReason::InvalidMetrics,
                format!(
                    "{}: the family {} cannot stand beside the {} {} of another target, which is \
                     older; choose another tag",
                    family.source,
                    family.name,
                    other.kind.as_str(),
                    other.name
                ),
            ));
        }
        for (name, family) in metrics.claims() {
            self.0.entry(name).or_insert(family);
        }
        Ok(())
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
        let (first, same) = (own("counter", "n_total"), own("counter", "n_total"));
        let (gauge, short) = (own("gauge", "n_total"), own("gauge", "n"));
        let mut registry = FamilyRegistry::default();
        assert_eq!(registry.add(&first), Ok(()));
        assert_eq!(registry.add(&same), Ok(()));
        let refused = registry.add(&gauge).unwrap_err();
        assert!(
            refused
                .message
                .contains("the counter pgexporter_t_n_total of another target")
        );
        // In OpenMetrics the counter is called without `_total`.
        assert!(registry.add(&short).is_err());
    }
}
