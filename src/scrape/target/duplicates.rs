//! Samples that several queries of one server bring under the same labels: a user's metric whose
//! family another one fills too, or a query that runs in every database and has a label `database`
//! of its own. The first query, in the order of the catalogue and then of the databases, keeps its
//! sample. Labels of two servers always differ in `server`.

use std::collections::{BTreeMap, HashMap};

use super::plan::CollectionPlan;
use crate::exposition::split_labels;
use crate::postgres::ScheduledQuery;

/// What one query brought that another one brings as well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Overlap {
    /// The collector whose samples were left out.
    pub collector: String,
    /// Where the query stands whose samples were kept, and in which database it ran.
    pub kept: String,
    /// The same of the query whose samples were left out.
    pub dropped: String,
    pub samples: usize,
}

/// A sample to be left out: its slot, column and row, and the slot that keeps its own.
type SamplePosition = (usize, usize, usize, usize);

impl CollectionPlan {
    /// Leaves out each sample whose labels another slot has in the same family. `None` when no slot
    /// has run that this concerns.
    pub(crate) fn drop_duplicates(&mut self) -> Option<Vec<Overlap>> {
        let shared = match self.shared.take() {
            Some(shared) => shared,
            None => find_shared(self.slots()),
        };
        let mut fresh = false;
        if !shared.is_empty() {
            for slot in self.slots_mut() {
                fresh |= slot.take_uncompared() && slot.families().any(|one| shared.contains(&one));
            }
        }
        let overlaps = fresh.then(|| self.compare(&shared));
        self.shared = Some(shared);
        overlaps
    }

    fn compare(&mut self, shared: &[usize]) -> Vec<Overlap> {
        let mut slots: Vec<&mut ScheduledQuery> = self.slots_mut().collect();
        let mut found = Vec::new();
        for family in shared {
            find_in(*family, &slots, &mut found);
        }
        let mut overlaps: BTreeMap<(usize, usize), usize> = BTreeMap::new();
        for (slot, column, row, kept) in found {
            *overlaps.entry((kept, slot)).or_default() += slots[slot].drop_row(column, row);
        }
        let place = |slot: &ScheduledQuery| {
            let source = &slot.chosen.metric.source;
            format!("{source} (database {})", slot.database())
        };
        overlaps
            .into_iter()
            .map(|((kept, dropped), samples)| Overlap {
                collector: slots[dropped].chosen.metric.collector.clone(),
                kept: place(slots[kept]),
                dropped: place(slots[dropped]),
                samples,
            })
            .collect()
    }
}

/// Families that two slots may fill with the same labels. Two databases have the label `database`
/// of each, unless the query names it itself.
fn find_shared<'a>(slots: impl Iterator<Item = &'a ScheduledQuery>) -> Vec<usize> {
    let mut first: HashMap<usize, &str> = HashMap::new();
    let mut shared = Vec::new();
    for slot in slots {
        let tag = slot.chosen.metric.tag.as_str();
        for family in slot.families() {
            match first.get(&family) {
                None => drop(first.insert(family, tag)),
                Some(other) if *other != tag || slot.names_databases() => {
                    if !shared.contains(&family) {
                        shared.push(family);
                    }
                }
                Some(_) => {}
            }
        }
    }
    shared
}

fn find_in(family: usize, slots: &[&mut ScheduledQuery], found: &mut Vec<SamplePosition>) {
    let mut seen: HashMap<Vec<u8>, usize> = HashMap::new();
    for (at, slot) in slots.iter().enumerate() {
        let Some(samples) = slot.samples() else {
            continue;
        };
        for (column, (of, filled)) in samples.families().enumerate() {
            if of != family || !filled {
                continue;
            }
            for (row, labels) in samples.rows_of(column) {
                let kept = *seen.entry(sorted(labels)).or_insert(at);
                if kept != at {
                    found.push((at, column, row, kept));
                }
            }
        }
    }
}

/// The labels of a line in one order, without those that are empty: to Prometheus they are none.
fn sorted(labels: &[u8]) -> Vec<u8> {
    let labels = labels.strip_prefix(b"{").unwrap_or(labels);
    let labels = labels.strip_suffix(b"} ").unwrap_or(labels);
    let mut parts = split_labels(labels);
    parts.retain(|part| !part.ends_with(b"=\"\""));
    parts.sort_unstable();
    parts.join(&b',')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_the_same_in_any_order_and_with_empty_ones() {
        let cases: [(&[u8], &[u8]); 5] = [
            (b"{b=\"2\",a=\"1\"} ", b"a=\"1\",b=\"2\""),
            (b"{a=\"\",b=\"2\"} ", b"b=\"2\""),
            (
                b"{b=\"x,a=\\\"\",a=\"\\\\\"} ",
                b"a=\"\\\\\",b=\"x,a=\\\"\"",
            ),
            (b"{a=\"=\\\"\"} ", b"a=\"=\\\"\""),
            (b" ", b" "),
        ];
        for (labels, expected) in cases {
            assert_eq!(sorted(labels), expected, "{}", labels.escape_ascii());
        }
    }
}
