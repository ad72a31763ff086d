//! What the controller makes of an event: it takes over what is new, and doubts what may have
//! changed.

use std::sync::Arc;
use std::time::Duration;

use kube::core::ObjectMeta;
use kube::runtime::watcher::{self, Event};
use tokio::time::Instant;
use tracing::{info, warn};

use super::client::Verb;
use super::controller::Controller;
use super::discover::target_of;
use super::entry::{Entry, Key, Source};
use super::places::of_namespace;
use super::refusal::Refusal;
use super::resolve::{Named, NamedKind, named};
use super::resource::PostgresTarget;
use super::watches::{Happening, Seen, Watch, Watched, code, say};
use crate::model::Reason;

/// The longest pause between two looks at a Secret whose password the server refuses.
const LONGEST: Duration = Duration::from_secs(60);

impl Controller {
    /// Takes an event in: what may have changed is in doubt afterwards.
    pub(super) fn see(&mut self, watch: &Watch, seen: Happening) {
        if let Happening::Failed(error) = seen {
            return self.failed(watch, &error);
        }
        let Some(state) = self.watches.get_mut(watch) else {
            return;
        };
        // The beginning of a list is only an attempt; what comes of it is an answer.
        let attempt = match &seen {
            Happening::Target(event) => matches!(**event, Event::Init),
            Happening::Service(event) => matches!(**event, Event::Init),
            Happening::Object(_, event) => matches!(event, Event::Init),
            Happening::Failed(_) => false,
        };
        if attempt {
            state.seen.clear();
        } else if std::mem::take(&mut state.failing) {
            info!("the API server lets us watch {} again", watch.what());
        }
        match seen {
            Happening::Target(event) => self.see_target(watch, *event),
            Happening::Service(event) => self.see_service(watch, *event),
            Happening::Object(kind, event) => self.see_object(watch, kind, event),
            Happening::Failed(_) => {}
        }
    }

    fn see_target(&mut self, watch: &Watch, event: Event<PostgresTarget>) {
        match event {
            Event::Init => {}
            Event::InitApply(resource) => {
                let key = Key::of(&resource, Source::Target);
                self.seen_in_list(watch, &key);
                self.applied(key, resource, None);
            }
            Event::Apply(resource) => {
                self.applied(Key::of(&resource, Source::Target), resource, None);
            }
            Event::Delete(resource) => self.gone(&Key::of(&resource, Source::Target)),
            Event::InitDone => self.listed(watch),
        }
    }

    fn see_service(&mut self, watch: &Watch, event: Event<ObjectMeta>) {
        let key = |service: &ObjectMeta| {
            let part = |part: &Option<String>| part.clone().unwrap_or_default();
            Key::new(
                Source::Service,
                &part(&service.namespace),
                &part(&service.name),
            )
        };
        match event {
            Event::Init => {}
            Event::InitApply(service) => {
                if let Some((resource, flaw)) = target_of(&service) {
                    let key = key(&service);
                    self.seen_in_list(watch, &key);
                    self.applied(key, resource, flaw);
                }
            }
            Event::Apply(service) => match target_of(&service) {
                Some((resource, flaw)) => self.applied(key(&service), resource, flaw),
                // Its annotation is gone, or it never had one.
                None => self.gone(&key(&service)),
            },
            Event::Delete(service) => self.gone(&key(&service)),
            Event::InitDone => self.listed(watch),
        }
    }

    fn see_object(&mut self, watch: &Watch, kind: NamedKind, event: Event<Seen>) {
        match event {
            Event::Init => {}
            Event::InitApply(seen) => {
                if self.object(kind, &seen.namespace, &seen.name, seen.version.as_deref()) {
                    let key = Key::new(Source::Target, &seen.namespace, &seen.name);
                    self.seen_in_list(watch, &key);
                }
            }
            Event::Apply(seen) => {
                self.object(kind, &seen.namespace, &seen.name, seen.version.as_deref());
            }
            Event::Delete(seen) => {
                self.object(kind, &seen.namespace, &seen.name, None);
            }
            Event::InitDone => {
                let Some(state) = self.watches.get_mut(watch) else {
                    return;
                };
                state.listed = true;
                let seen = std::mem::take(&mut state.seen);
                let gone = self.found.entries.iter().filter(|(key, entry)| {
                    entry.versions.iter().any(|(named, version)| {
                        let at = Key::new(Source::Target, &key.namespace, &named.name);
                        version.is_some()
                            && watch.sees(&key.namespace, named)
                            && !seen.contains(&at)
                    })
                });
                let gone: Vec<Key> = gone.map(|(key, _)| key.clone()).collect();
                self.found.queue.dirty.extend(gone);
            }
        }
    }

    fn seen_in_list(&mut self, watch: &Watch, key: &Key) {
        if let Some(state) = self.watches.get_mut(watch) {
            state.seen.insert(key.clone());
        }
    }

    /// A list of sources is whole: what it lacks is gone.
    fn listed(&mut self, watch: &Watch) {
        let Some(state) = self.watches.get_mut(watch) else {
            return;
        };
        state.listed = true;
        let seen = std::mem::take(&mut state.seen);
        let gone: Vec<Key> = self
            .found
            .entries
            .keys()
            .filter(|key| watch.brings(key) && !seen.contains(*key))
            .cloned()
            .collect();
        for key in gone {
            self.gone(&key);
        }
    }

    fn failed(&mut self, watch: &Watch, error: &watcher::Error) {
        self.metrics.restarted(watch.kind());
        let Some(state) = self.watches.get_mut(watch) else {
            return;
        };
        // That it was too far behind is no failure.
        if code(error) != Some(410) {
            state.failed = Some(Instant::now());
        }
        let (what, why) = (watch.what(), say(error));
        match code(error) {
            Some(410) => {
                info!("{what} are listed anew: the watch was too far behind ({why})");
            }
            _ if std::mem::replace(&mut state.failing, true) => {}
            Some(403) if !watch.is_source() => warn!(
                "{what} may not be watched: those that are named are read again each minute ({why})"
            ),
            _ => warn!(
                "{what} cannot be watched; what is known stays, and it is tried again ({why})"
            ),
        }
    }

    fn applied(&mut self, key: Key, resource: PostgresTarget, flaw: Option<Refusal>) {
        if let Some(known) = self.found.entries.get_mut(&key) {
            let before = &known.resource;
            let same = before.metadata.uid == resource.metadata.uid
                && before.spec == resource.spec
                && known.flaw == flaw;
            if same {
                // What changed is the status, or something that is not ours. Whoever takes the
                // target over begins with the status as it is.
                known.resource = Arc::new(resource);
                return;
            }
        }
        let before = self.found.entries.remove(&key);
        let (before, old) = match before {
            Some(one) if one.uid() == resource.metadata.uid.as_deref().unwrap_or_default() => {
                (Some(one), None)
            }
            // Another one of the same name: nothing of the old one counts.
            other => (None, other),
        };
        self.found.withdraw(old.and_then(|old| old.made).as_ref());
        let doubt = self.found.doubt();
        let mut entry = Entry::new(resource, doubt, before);
        entry.flaw = flaw;
        self.found.entries.insert(key.clone(), entry);
        self.found.touched.insert(key.namespace.clone());
        self.found.queue.dirty.insert(key);
    }

    pub(super) fn gone(&mut self, key: &Key) {
        if let Some(entry) = self.found.entries.remove(key) {
            self.found.withdraw(entry.made.as_ref());
            self.found.queue.forget(key);
            self.found.touched.insert(key.namespace.clone());
        }
    }

    /// An object is there with this version, or is gone. Returns whether any resource names it.
    fn object(
        &mut self,
        kind: NamedKind,
        namespace: &str,
        name: &str,
        version: Option<&str>,
    ) -> bool {
        let named = Named {
            kind,
            name: name.to_owned(),
        };
        let (mut any, mut doubtful) = (false, Vec::new());
        for (key, entry) in of_namespace(&self.found.entries, namespace) {
            if let Some(read) = entry.versions.get(&named) {
                any = true;
                if read.as_deref() != version {
                    doubtful.push(key.clone());
                }
            }
        }
        self.found.queue.dirty.extend(doubtful);
        any
    }

    /// What holds for all of them has changed.
    pub(super) fn doubt_all(&mut self) {
        let keys: Vec<Key> = self.found.entries.keys().cloned().collect();
        self.found.queue.dirty.extend(keys);
        self.control.settings.borrow_and_update();
        self.control.catalog.borrow_and_update();
        self.touch_all();
    }

    /// Whether RBAC refuses a watch, or the list that it begins with.
    pub(super) fn is_refused(&self, watch: &Watch) -> bool {
        let place = watch.namespace.as_deref();
        let mut verbs = [Verb::List, Verb::Watch].into_iter();
        verbs.any(|verb| self.book.refuses(watch.kind(), verb, place))
    }

    /// Watches of named objects that RBAC refuses, or that were not listed yet.
    fn blind(&self) -> Vec<&Watch> {
        self.watches
            .iter()
            .filter(|(watch, _)| matches!(watch.of, Watched::Objects(_)))
            .filter(|(watch, state)| !state.listed || self.is_refused(watch))
            .map(|(watch, _)| watch)
            .collect()
    }

    /// Whether there are named objects that nobody watches.
    pub(super) fn is_blind(&self) -> bool {
        !self.blind().is_empty()
    }

    fn unwatched(&self) -> Vec<Key> {
        let blind = self.blind();
        let sees = |namespace: &str, one: &Named| blind.iter().any(|w| w.sees(namespace, one));
        self.found
            .entries
            .iter()
            .filter(|(_, entry)| entry.owned)
            .filter(|(key, entry)| {
                let mut all = named(&entry.resource).into_iter();
                all.any(|one| sees(&key.namespace, &one))
            })
            .map(|(key, _)| key.clone())
            .collect()
    }

    /// Whose objects nobody watches has to look again.
    pub(super) fn doubt_unwatched(&mut self) {
        let unwatched = self.unwatched();
        self.found.queue.dirty.extend(unwatched);
    }

    /// The same for those whose password was refused: it may have been changed.
    pub(super) fn doubt_refused_passwords(&mut self) {
        for key in self.unwatched() {
            let Some(entry) = self.found.entries.get_mut(&key) else {
                continue;
            };
            let health = entry.target.as_ref();
            let health = health.and_then(|target| self.control.health.of(target));
            let reason = health.and_then(|one| one.trouble).map(|one| one.reason);
            if reason != Some(Reason::AuthenticationFailed) {
                entry.reread = None;
                continue;
            }
            let now = Instant::now();
            let (due, pause) = entry.reread.unwrap_or((now, Duration::from_secs(1)));
            if due <= now {
                entry.reread = Some((now + pause, (pause * 2).min(LONGEST)));
                self.found.queue.dirty.insert(key);
            }
        }
    }
}
