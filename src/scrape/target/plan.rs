//! The slots of one target: what it runs in its own database, and in each of the others.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::catalog::{Catalog, Choice, Chosen, Scope};
use crate::model::glob;
use crate::postgres::{
    DatabaseEntry, QueryError, QueryOutcome, ScheduledQuery, ServerIdentity, ServerInfo,
};
use crate::targets::{DatabaseChoice, LeftOut, LeftOutReason, MissingDatabase, Target};

/// What a target runs, chosen for the version, role and extensions that it had last.
#[derive(Debug)]
pub(crate) struct CollectionPlan {
    catalog: Arc<Catalog>,
    selection_key: SelectionKey,
    /// Whose samples it shows.
    server: ServerIdentity,
    pub own: Vec<ScheduledQuery>,
    /// Databases beside the session's own, with the slots of scope `all`.
    pub others: BTreeMap<String, Vec<ScheduledQuery>>,
    /// Databases that are chosen and closed to the role, as `pg_database` says.
    pub closed: Vec<MissingDatabase>,
    everywhere: Vec<Chosen>,
    /// The target has changed: another plan takes its place.
    stale: bool,
    /// The databases are chosen otherwise than before.
    look_again: bool,
    /// Families that several slots may fill with the same labels; `None` before they were looked
    /// for.
    pub(crate) shared: Option<Vec<usize>>,
}

#[derive(Debug, PartialEq)]
struct SelectionKey {
    version: u32,
    role: crate::model::Role,
    extensions: Vec<(String, String)>,
}

impl SelectionKey {
    fn from_info(facts: &ServerInfo) -> Self {
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

impl CollectionPlan {
    pub(crate) fn new(target: &Target, catalog: &Arc<Catalog>, facts: &ServerInfo) -> Self {
        let selection_key = SelectionKey::from_info(facts);
        let collectors = &target.collectors;
        let chosen = catalog.choose(Choice {
            version: facts.version,
            role: facts.role,
            extensions: &selection_key.extensions,
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
            .map(|one| ScheduledQuery::new(one, &target.database))
            .collect();
        Self {
            catalog: Arc::clone(catalog),
            selection_key,
            server: facts.identity,
            own,
            others: BTreeMap::new(),
            closed: Vec::new(),
            everywhere,
            stale: false,
            look_again: false,
            shared: None,
        }
    }

    /// Gives way to another plan that adopts this one. With `forget` nothing that it shows stays;
    /// with `look_again` the databases are chosen anew.
    pub(crate) fn give_way(&mut self, forget: bool, look_again: bool) {
        self.stale = true;
        self.look_again |= look_again;
        if forget {
            self.slots_mut().for_each(ScheduledQuery::forget);
        }
    }

    /// Whether it is still right for such a server and such a catalogue.
    pub(crate) fn fits(&self, catalog: &Arc<Catalog>, facts: &ServerInfo) -> bool {
        !self.stale
            && Arc::ptr_eq(&self.catalog, catalog)
            && self.selection_key == SelectionKey::from_info(facts)
            && self.server.is_same_server(&facts.identity)
    }

    /// All slots: of the own database, then of the others.
    pub(crate) fn slots(&self) -> impl Iterator<Item = &ScheduledQuery> {
        self.own.iter().chain(self.others.values().flatten())
    }

    /// Whether a query of that tag runs in a database.
    pub(crate) fn runs(&self, database: &str, tag: &str) -> bool {
        let is_it =
            |slot: &ScheduledQuery| slot.database() == database && slot.chosen.metric.tag == tag;
        let others = self.others.get(database).into_iter().flatten();
        self.own.iter().chain(others).any(is_it)
    }

    /// All slots, to be changed.
    pub(crate) fn slots_mut(&mut self) -> impl Iterator<Item = &mut ScheduledQuery> {
        self.own
            .iter_mut()
            .chain(self.others.values_mut().flatten())
    }

    pub(crate) fn catalog(&self) -> &Arc<Catalog> {
        &self.catalog
    }

    /// Takes over from `old` the slots that did not change, with what they show and hold prepared.
    pub(crate) fn adopt(&mut self, old: CollectionPlan) {
        // Their samples refer to families by index, which is the catalogue's.
        let root = |catalog: &Arc<Catalog>| catalog.base.as_ref().unwrap_or(catalog).clone();
        if !Arc::ptr_eq(&root(&self.catalog), &root(&old.catalog)) {
            return;
        }
        self.look_again = old.look_again;
        self.closed = old.closed;
        // What another server showed may not stand under this one's name.
        let same = self.server.is_same_server(&old.server);
        if !same && !self.server.is_restart_of(&old.server) {
            return;
        }
        adopt(&mut self.own, old.own);
        for (name, before) in old.others {
            let mut slots = self.slots_in(&name);
            adopt(&mut slots, before);
            self.others.insert(name, slots);
        }
    }

    fn slots_in(&self, database: &str) -> Vec<ScheduledQuery> {
        let slot = |one: &Chosen| ScheduledQuery::new(one.clone(), database);
        self.everywhere.iter().map(slot).collect()
    }

    /// Whether anything runs in other databases at all.
    pub(crate) fn walks(&self) -> bool {
        !self.everywhere.is_empty()
    }

    /// Whether a walk through the other databases would run anything now, in those that it
    /// `may_try`. The list of databases is asked for only then.
    pub(crate) fn walk_is_due(
        &self,
        now: Instant,
        interval: Option<Duration>,
        may_try: impl Fn(&str) -> bool,
    ) -> bool {
        if !self.walks() {
            return false;
        }
        if self.look_again {
            return true;
        }
        let own = self
            .own
            .iter()
            .filter(|slot| slot.chosen.metric.scope == Scope::All);
        let others = self.others.iter().filter(|(name, _)| may_try(name));
        own.chain(others.flat_map(|(_, slots)| slots))
            .any(|slot| slot.is_due(now, interval))
    }

    /// How many of the other databases have anything to run now.
    pub(crate) fn count_due(
        &self,
        now: Instant,
        interval: Option<Duration>,
        may_try: impl Fn(&str) -> bool,
    ) -> usize {
        let due = |(name, slots): &(&String, &Vec<ScheduledQuery>)| {
            may_try(name) && slots.iter().any(|slot| slot.is_due(now, interval))
        };
        self.others.iter().filter(due).count()
    }

    /// What failed is tried again at the next collection, and the list of databases asked for.
    pub(crate) fn retry(&mut self) {
        self.look_again = true;
        self.slots_mut().for_each(ScheduledQuery::retry);
    }

    /// Makes the slots of databases that appeared, and drops those of databases that are gone, closed
    /// or not chosen.
    pub(crate) fn set_databases(&mut self, entries: &[DatabaseEntry], choice: &DatabaseChoice) {
        self.look_again = false;
        self.shared = None;
        self.closed.clear();
        let mut before = std::mem::take(&mut self.others);
        for entry in entries.iter().filter(|one| chosen(choice, &one.name)) {
            if let Some(problem) = entry.closed {
                self.closed.push(MissingDatabase {
                    name: entry.name.clone(),
                    problem,
                    message: problem.explain().to_owned(),
                });
                continue;
            }
            let slots = before.remove(&entry.name);
            let slots = slots.unwrap_or_else(|| self.slots_in(&entry.name));
            self.others.insert(entry.name.clone(), slots);
        }
    }

    /// Leaves out whole what gave more than there is room for: wherever a family is missing some of
    /// its samples it shows none. Returns the collectors of which families are left out, sorted.
    pub(crate) fn leave_out(&mut self) -> Vec<LeftOut> {
        let mut families: BTreeMap<usize, QueryError> = BTreeMap::new();
        let mut collectors: BTreeMap<String, (BTreeSet<usize>, LeftOutReason, String)> =
            BTreeMap::new();
        loop {
            let before = families.len();
            for slot in self.slots_mut() {
                let why = slot
                    .families()
                    .find_map(|family| families.get(&family).cloned());
                if slot.samples().is_some()
                    && let Some(why) = why
                {
                    slot.leave_out(why);
                }
                let (Some(reason), QueryOutcome::Failed(why)) = (slot.left_out(), &slot.outcome)
                else {
                    continue;
                };
                for family in slot.families() {
                    families.entry(family).or_insert_with(|| why.clone());
                }
                let name = &slot.chosen.metric.collector;
                let collector = collectors
                    .entry(name.clone())
                    .or_insert_with(|| (BTreeSet::new(), reason, why.to_string()));
                collector.0.extend(slot.families());
            }
            if families.len() == before {
                break;
            }
        }
        let left_out = collectors.into_iter();
        left_out
            .map(|(collector, (families, reason, message))| LeftOut {
                collector,
                families: families.len(),
                reason,
                message,
            })
            .collect()
    }
}

/// Moves to their new places the slots that run what they ran.
fn adopt(slots: &mut [ScheduledQuery], mut before: Vec<ScheduledQuery>) {
    for slot in slots {
        let same = |one: &ScheduledQuery| {
            Arc::ptr_eq(&one.chosen.metric, &slot.chosen.metric) && one.chosen.at == slot.chosen.at
        };
        if let Some(at) = before.iter().position(same) {
            *slot = before.swap_remove(at);
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
