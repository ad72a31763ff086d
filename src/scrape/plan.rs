//! The slots of one target: what it runs in its own database, and in each of the others.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::catalog::{Catalog, Choice, Chosen, Scope};
use crate::model::glob;
use crate::postgres::{Facts, Slot};
use crate::targets::{DatabaseChoice, Target};

/// What a target runs, chosen for the version, role and extensions that it had last.
#[derive(Debug)]
pub(super) struct Plan {
    catalog: Arc<Catalog>,
    basis: Basis,
    pub own: Vec<Slot>,
    /// Databases beside the session's own, with the slots of scope `all`.
    pub others: BTreeMap<String, Vec<Slot>>,
    everywhere: Vec<Chosen>,
}

#[derive(Debug, PartialEq)]
struct Basis {
    version: u32,
    role: crate::model::Role,
    extensions: Vec<(String, String)>,
}

impl Basis {
    fn of(facts: &Facts) -> Self {
        Self {
            version: facts.version.0,
            role: facts.role,
            extensions: facts
                .extensions
                .iter()
                .map(|(name, version, _)| (name.clone(), version.clone()))
                .collect(),
        }
    }
}

impl Plan {
    pub(super) fn new(target: &Target, catalog: &Arc<Catalog>, facts: &Facts) -> Self {
        let basis = Basis::of(facts);
        let collectors = &target.collectors;
        let chosen = catalog.choose(Choice {
            version: facts.version,
            role: facts.role,
            extensions: &basis.extensions,
            include: &collectors.include,
            exclude: &collectors.exclude,
            wanted_extensions: collectors.extensions.as_deref(),
        });
        let everywhere = chosen
            .iter()
            .filter(|one| one.metric.scope == Scope::All)
            .cloned()
            .collect();
        let own = chosen
            .into_iter()
            .map(|one| Slot::new(one, &target.database))
            .collect();
        Self {
            catalog: Arc::clone(catalog),
            basis,
            own,
            others: BTreeMap::new(),
            everywhere,
        }
    }

    /// Whether it is still right for such a server and such a catalogue.
    pub(super) fn fits(&self, catalog: &Arc<Catalog>, facts: &Facts) -> bool {
        Arc::ptr_eq(&self.catalog, catalog) && self.basis == Basis::of(facts)
    }

    /// All slots: of the own database, then of the others.
    pub(super) fn slots(&self) -> impl Iterator<Item = &Slot> {
        self.own.iter().chain(self.others.values().flatten())
    }

    /// The same, to be changed.
    pub(super) fn slots_mut(&mut self) -> impl Iterator<Item = &mut Slot> {
        self.own
            .iter_mut()
            .chain(self.others.values_mut().flatten())
    }

    pub(super) fn catalog(&self) -> &Arc<Catalog> {
        &self.catalog
    }

    /// Whether two answers of a server lead to the same plan.
    pub(super) fn is_same(one: &Facts, other: &Facts) -> bool {
        Basis::of(one) == Basis::of(other)
    }

    /// Takes over from `old` the slots that did not change, with what they show and hold prepared.
    pub(super) fn adopt(&mut self, old: Plan) {
        // Their samples refer to families by index, which is the catalogue's.
        if !Arc::ptr_eq(&self.catalog, &old.catalog) {
            return;
        }
        let mut before = old.own;
        for slot in &mut self.own {
            let same = |one: &Slot| {
                Arc::ptr_eq(&one.chosen.metric, &slot.chosen.metric)
                    && one.chosen.at == slot.chosen.at
            };
            if let Some(at) = before.iter().position(same) {
                *slot = before.swap_remove(at);
            }
        }
    }

    /// Whether anything runs in other databases at all.
    pub(super) fn walks(&self) -> bool {
        !self.everywhere.is_empty()
    }

    /// Whether a walk through the other databases would run anything now. The list of databases
    /// is asked for only then.
    pub(super) fn walk_is_due(&self, now: Instant, interval: Option<Duration>) -> bool {
        if !self.walks() {
            return false;
        }
        let own = self
            .own
            .iter()
            .filter(|slot| slot.chosen.metric.scope == Scope::All);
        own.chain(self.others.values().flatten())
            .any(|slot| slot.is_due(now, interval))
    }

    /// Families of the queries that run in every database.
    pub(super) fn families_everywhere(&self) -> impl Iterator<Item = usize> {
        let columns = self.everywhere.iter().flat_map(|one| &one.query().columns);
        columns.filter_map(|column| column.kind.family())
    }

    /// Makes the slots of databases that appeared, and drops those of databases that are gone or
    /// not chosen.
    pub(super) fn set_databases(&mut self, names: &[String], choice: &DatabaseChoice) {
        self.others.retain(|name, _| names.contains(name));
        for name in names {
            if !chosen(choice, name) {
                self.others.remove(name);
            } else if !self.others.contains_key(name) {
                let slots = self
                    .everywhere
                    .iter()
                    .map(|one| Slot::new(one.clone(), name))
                    .collect();
                self.others.insert(name.clone(), slots);
            }
        }
    }
}

fn chosen(choice: &DatabaseChoice, name: &str) -> bool {
    let any = |patterns: &[String]| {
        patterns
            .iter()
            .any(|one| glob(one.as_bytes(), name.as_bytes()))
    };
    any(&choice.include) && !any(&choice.exclude)
}
