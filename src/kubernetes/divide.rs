//! After the population has changed: which targets are this pod's, and which of them have a place
//! in the list.

use std::collections::BTreeSet;

use super::controller::Controller;
use super::entry::{Entry, Key, Source};
use super::lease::Share;
use super::places::{created, no_place, of_namespace, placed};
use super::refusal::{Refusal, RefusalReason};
use super::shards::owners;
use crate::targets::Tenure;

impl Controller {
    /// Every namespace is looked at again.
    pub(super) fn touch_all(&mut self) {
        let keys = self.found.entries.keys();
        self.found.touched = keys.map(|key| key.namespace.clone()).collect();
        // Also when there are none: who serves has changed.
        self.found.touched.insert(String::new());
    }

    pub(super) fn settle(&mut self) {
        let touched = std::mem::take(&mut self.found.touched);
        if touched.is_empty() {
            return;
        }
        self.divide();
        let limit = self.control.settings.borrow().max_targets;
        for namespace in touched {
            let placed = placed(&self.found.entries, &namespace, limit);
            let keys: Vec<Key> = of_namespace(&self.found.entries, &namespace)
                .map(|(key, _)| key.clone())
                .collect();
            for key in keys {
                let placing = self.placing(&key, placed.contains(&key), limit);
                let Some(entry) = self.found.entries.get_mut(&key) else {
                    continue;
                };
                if entry.placing != placing {
                    entry.placing = placing;
                    self.found.queue.dirty.insert(key);
                }
            }
        }
    }

    /// Why a resource that is right by itself has no place in the list.
    fn placing(&self, key: &Key, has_place: bool, limit: usize) -> Option<Refusal> {
        let twin = Key::new(Source::Target, &key.namespace, &key.name);
        if key.source == Source::Service && self.found.entries.contains_key(&twin) {
            return Some(Refusal::new(
                RefusalReason::DuplicateServer,
                format!(
                    "there is a PostgresTarget {} as well; remove the annotations of the Service, \
                     or rename one of them",
                    key.name
                ),
            ));
        }
        let paused = self.found.entries.get(key)?.resource.spec.paused;
        (!has_place && !paused).then(|| no_place(limit))
    }

    fn divide(&mut self) {
        let share = self.share.borrow_and_update().clone();
        let entries = &self.found.entries;
        let (mine, tenure): (BTreeSet<Key>, Tenure) = match &share {
            Share::Nothing => (BTreeSet::new(), self.found.tenure.clone()),
            Share::Alone => (entries.keys().cloned().collect(), Tenure::unlimited()),
            Share::With(members, tenure) => {
                let mut all: Vec<(&Key, &Entry)> = entries.iter().collect();
                all.sort_by_cached_key(|(key, entry)| (created(entry), (*key).clone()));
                let uids: Vec<&str> = all.iter().map(|(_, entry)| entry.uid()).collect();
                let owners = owners(&uids, members);
                let own = all
                    .iter()
                    .zip(owners)
                    .filter(|(_, owner)| *owner == self.owner);
                let own = own.map(|((key, _), _)| (*key).clone()).collect();
                (own, tenure.clone())
            }
        };
        let anew = self.found.tenure != tenure;
        self.found.tenure = tenure;
        let changed: Vec<(Key, bool)> = self
            .found
            .entries
            .iter()
            .map(|(key, entry)| (key, entry, mine.contains(key)))
            .filter(|(_, entry, owned)| entry.owned != *owned || (anew && *owned))
            .map(|(key, _, owned)| (key.clone(), owned))
            .collect();
        for (key, owned) in changed {
            let doubt = self.found.doubt();
            let Some(entry) = self.found.entries.get_mut(&key) else {
                continue;
            };
            let before = entry.made.take();
            entry.hand_over(owned, doubt);
            self.found.withdraw(before.as_ref());
            if owned {
                self.found.queue.dirty.insert(key);
            } else {
                self.found.queue.forget(&key);
            }
        }
    }
}
