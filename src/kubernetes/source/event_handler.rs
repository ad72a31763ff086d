//! Handles watch events: stores resources in the index, and queues those whose reconcile could now
//! have another result.

use std::sync::Arc;
use std::time::Duration;

use kube::core::ObjectMeta;
use kube::runtime::watcher::{self, Event};
use tokio::time::Instant;
use tracing::{info, warn};

use super::services::service_to_target;
use super::watches::{ObjectVersion, ResourceWatch, WatchEvent, WatchSubject};
use crate::kubernetes::api::key::{ResourceKey, ResourceSource};
use crate::kubernetes::api::object_refs::{ObjectKind, ObjectRef, object_refs};
use crate::kubernetes::api::rejection::Rejection;
use crate::kubernetes::api::resource::PostgresTarget;
use crate::kubernetes::client::ApiVerb;
use crate::kubernetes::client::{explain_watch_error, status_code};
use crate::kubernetes::controller::Controller;
use crate::kubernetes::index::IndexEntry;
use crate::kubernetes::reconcile::admit::entries_of_namespace;
use crate::model::TargetErrorKind;

/// The longest pause between two reads of a Secret whose password the server refuses.
const LONGEST: Duration = Duration::from_secs(60);

impl Controller {
    /// Handles one event. Resources that it may affect are queued afterwards.
    pub(in crate::kubernetes) fn handle_event(&mut self, watch: &ResourceWatch, event: WatchEvent) {
        if let WatchEvent::Failed(error) = event {
            return self.handle_watch_error(watch, &error);
        }
        let Some(state) = self.watches.get_mut(watch) else {
            return;
        };
        // `Init` comes before the request is sent. Only the events after it show that the API server
        // answers.
        let attempt = match &event {
            WatchEvent::Target(event) => matches!(**event, Event::Init),
            WatchEvent::Service(event) => matches!(**event, Event::Init),
            WatchEvent::Object(_, event) => matches!(event, Event::Init),
            WatchEvent::Failed(_) => false,
        };
        if attempt {
            state.listed_keys.clear();
        } else if std::mem::take(&mut state.failing) {
            info!("the API server lets us watch {} again", watch.describe());
        }
        match event {
            WatchEvent::Target(event) => self.handle_target_event(watch, *event),
            WatchEvent::Service(event) => self.handle_service_event(watch, *event),
            WatchEvent::Object(kind, event) => self.handle_object_event(watch, kind, event),
            WatchEvent::Failed(_) => {}
        }
    }

    fn handle_target_event(&mut self, watch: &ResourceWatch, event: Event<PostgresTarget>) {
        match event {
            Event::Init => {}
            Event::InitApply(resource) => {
                let key = ResourceKey::from_resource(&resource, ResourceSource::Target);
                self.note_listed(watch, &key);
                self.apply_resource(key, resource, None);
            }
            Event::Apply(resource) => {
                self.apply_resource(
                    ResourceKey::from_resource(&resource, ResourceSource::Target),
                    resource,
                    None,
                );
            }
            Event::Delete(resource) => self.remove_resource(&ResourceKey::from_resource(
                &resource,
                ResourceSource::Target,
            )),
            Event::InitDone => self.finish_list(watch),
        }
    }

    fn handle_service_event(&mut self, watch: &ResourceWatch, event: Event<ObjectMeta>) {
        let key = |service: &ObjectMeta| {
            let part = |part: &Option<String>| part.clone().unwrap_or_default();
            ResourceKey::new(
                ResourceSource::Service,
                &part(&service.namespace),
                &part(&service.name),
            )
        };
        match event {
            Event::Init => {}
            Event::InitApply(service) => {
                if let Some((resource, spec_rejection)) = service_to_target(&service) {
                    let key = key(&service);
                    self.note_listed(watch, &key);
                    self.apply_resource(key, resource, spec_rejection);
                }
            }
            Event::Apply(service) => match service_to_target(&service) {
                Some((resource, spec_rejection)) => {
                    self.apply_resource(key(&service), resource, spec_rejection)
                }
                // Its annotation is gone, or it never had one.
                None => self.remove_resource(&key(&service)),
            },
            Event::Delete(service) => self.remove_resource(&key(&service)),
            Event::InitDone => self.finish_list(watch),
        }
    }

    fn handle_object_event(
        &mut self,
        watch: &ResourceWatch,
        kind: ObjectKind,
        event: Event<ObjectVersion>,
    ) {
        match event {
            Event::Init => {}
            Event::InitApply(event) => {
                if self.requeue_dependents(
                    kind,
                    &event.namespace,
                    &event.name,
                    event.version.as_deref(),
                ) {
                    let key =
                        ResourceKey::new(ResourceSource::Target, &event.namespace, &event.name);
                    self.note_listed(watch, &key);
                }
            }
            Event::Apply(event) => {
                self.requeue_dependents(
                    kind,
                    &event.namespace,
                    &event.name,
                    event.version.as_deref(),
                );
            }
            Event::Delete(event) => {
                self.requeue_dependents(kind, &event.namespace, &event.name, None);
            }
            Event::InitDone => {
                let Some(state) = self.watches.get_mut(watch) else {
                    return;
                };
                state.listed = true;
                let event = std::mem::take(&mut state.listed_keys);
                let gone = self.index.entries.iter().filter(|(key, entry)| {
                    entry.versions.iter().any(|(named, version)| {
                        let at =
                            ResourceKey::new(ResourceSource::Target, &key.namespace, &named.name);
                        version.is_some()
                            && watch.covers_object(&key.namespace, named)
                            && !event.contains(&at)
                    })
                });
                let gone: Vec<ResourceKey> = gone.map(|(key, _)| key.clone()).collect();
                self.index.queue.queued.extend(gone);
            }
        }
    }

    fn note_listed(&mut self, watch: &ResourceWatch, key: &ResourceKey) {
        if let Some(state) = self.watches.get_mut(watch) {
            state.listed_keys.insert(key.clone());
        }
    }

    /// Removes the resources that a complete list lacks.
    fn finish_list(&mut self, watch: &ResourceWatch) {
        let Some(state) = self.watches.get_mut(watch) else {
            return;
        };
        state.listed = true;
        let event = std::mem::take(&mut state.listed_keys);
        let gone: Vec<ResourceKey> = self
            .index
            .entries
            .keys()
            .filter(|key| watch.covers_key(key) && !event.contains(*key))
            .cloned()
            .collect();
        for key in gone {
            self.remove_resource(&key);
        }
    }

    fn handle_watch_error(&mut self, watch: &ResourceWatch, error: &watcher::Error) {
        self.metrics.record_restart(watch.kind());
        let Some(state) = self.watches.get_mut(watch) else {
            return;
        };
        // 410 means that the watch was too far behind; it starts again with a list.
        if status_code(error) != Some(410) {
            state.failed_at = Some(Instant::now());
        }
        let (what, why) = (watch.describe(), explain_watch_error(error));
        match status_code(error) {
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

    fn apply_resource(
        &mut self,
        key: ResourceKey,
        resource: PostgresTarget,
        spec_rejection: Option<Rejection>,
    ) {
        if let Some(known) = self.index.entries.get_mut(&key) {
            let before = &known.resource;
            let same = before.metadata.uid == resource.metadata.uid
                && before.spec == resource.spec
                && known.spec_rejection == spec_rejection;
            if same {
                // Only the status or metadata changed, which needs no reconcile. The resource is stored
                // all the same: a pod that becomes the owner starts from the newest status.
                known.resource = Arc::new(resource);
                return;
            }
        }
        let before = self.index.entries.remove(&key);
        let (before, old) = match before {
            Some(one) if one.uid() == resource.metadata.uid.as_deref().unwrap_or_default() => {
                (Some(one), None)
            }
            // Deleted and created again under the same name: the results of the old one are dropped.
            other => (None, other),
        };
        self.index
            .withdraw_target(old.and_then(|old| old.full_target).as_ref());
        let revision = self.index.next_revision();
        let mut entry = IndexEntry::new(resource, revision, before);
        entry.spec_rejection = spec_rejection;
        self.index.entries.insert(key.clone(), entry);
        self.index.changed_namespaces.insert(key.namespace.clone());
        self.index.queue.queued.insert(key);
    }

    pub(in crate::kubernetes) fn remove_resource(&mut self, key: &ResourceKey) {
        if let Some(entry) = self.index.entries.remove(key) {
            self.index.withdraw_target(entry.full_target.as_ref());
            self.index.queue.remove(key);
            self.index.changed_namespaces.insert(key.namespace.clone());
        }
    }

    /// An object is there with this version, or is gone. Returns whether any resource names it.
    fn requeue_dependents(
        &mut self,
        kind: ObjectKind,
        namespace: &str,
        name: &str,
        version: Option<&str>,
    ) -> bool {
        let named = ObjectRef {
            kind,
            name: name.to_owned(),
        };
        let (mut any, mut affected) = (false, Vec::new());
        for (key, entry) in entries_of_namespace(&self.index.entries, namespace) {
            if let Some(read) = entry.versions.get(&named) {
                any = true;
                if read.as_deref() != version {
                    affected.push(key.clone());
                }
            }
        }
        self.index.queue.queued.extend(affected);
        any
    }

    /// Queues all resources: the settings or the catalogue changed.
    pub(in crate::kubernetes) fn requeue_all(&mut self) {
        let keys: Vec<ResourceKey> = self.index.entries.keys().cloned().collect();
        self.index.queue.queued.extend(keys);
        self.context.settings.borrow_and_update();
        self.context.catalog.borrow_and_update();
        self.recheck_all_namespaces();
    }

    /// Whether RBAC refuses a watch, or the list that it begins with.
    pub(in crate::kubernetes) fn is_forbidden(&self, watch: &ResourceWatch) -> bool {
        let place = watch.namespace.as_deref();
        let mut verbs = [ApiVerb::List, ApiVerb::Watch].into_iter();
        verbs.any(|verb| self.api_requests.is_refused(watch.kind(), verb, place))
    }

    /// Watches of named objects that RBAC refuses, or that were not listed yet.
    fn unwatched_kinds(&self) -> Vec<&ResourceWatch> {
        self.watches
            .iter()
            .filter(|(watch, _)| matches!(watch.subject, WatchSubject::Objects(_)))
            .filter(|(watch, state)| !state.listed || self.is_forbidden(watch))
            .map(|(watch, _)| watch)
            .collect()
    }

    /// Whether there are kinds of objects that no watch covers.
    pub(in crate::kubernetes) fn has_unwatched_kinds(&self) -> bool {
        !self.unwatched_kinds().is_empty()
    }

    fn keys_of_unwatched(&self) -> Vec<ResourceKey> {
        let blind = self.unwatched_kinds();
        let sees = |namespace: &str, one: &ObjectRef| {
            blind.iter().any(|w| w.covers_object(namespace, one))
        };
        self.index
            .entries
            .iter()
            .filter(|(_, entry)| entry.owned)
            .filter(|(key, entry)| {
                let mut all = object_refs(&entry.resource).into_iter();
                all.any(|one| sees(&key.namespace, &one))
            })
            .map(|(key, _)| key.clone())
            .collect()
    }

    /// Queues the resources that name objects which no watch covers.
    pub(in crate::kubernetes) fn requeue_unwatched(&mut self) {
        let unwatched = self.keys_of_unwatched();
        self.index.queue.queued.extend(unwatched);
    }

    /// Queues resources whose password the server refused and whose Secret no watch covers: the
    /// Secret may have changed. The pause doubles with each read.
    pub(in crate::kubernetes) fn requeue_refused_passwords(&mut self) {
        for key in self.keys_of_unwatched() {
            let Some(entry) = self.index.entries.get_mut(&key) else {
                continue;
            };
            let health = entry.target.as_ref();
            let health = health.and_then(|target| self.context.health.find_report(target));
            let reason = health.and_then(|one| one.trouble).map(|one| one.kind);
            if reason != Some(TargetErrorKind::AuthenticationFailed) {
                entry.secret_reread = None;
                continue;
            }
            let now = Instant::now();
            let (due, pause) = entry.secret_reread.unwrap_or((now, Duration::from_secs(1)));
            if due <= now {
                entry.secret_reread = Some((now + pause, (pause * 2).min(LONGEST)));
                self.index.queue.queued.insert(key);
            }
        }
    }
}
