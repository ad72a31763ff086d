//! Handles watch events: stores resources in the index, and queues those whose reconcile could now
//! have another result.

use kube::core::ObjectMeta;
use kube::runtime::watcher::Event;

use super::services::service_to_target;
use super::watch_states::WatchStates;
use super::watches::{ResourceWatch, WatchEvent, WatchSubject};
use crate::kubernetes::api::{
    ObjectKind, ObjectRef, PostgresTarget, Rejection, ResourceKey, ResourceSource,
};
use crate::kubernetes::index::Index;

/// Handles one event. Resources that it may affect are queued afterwards.
pub(crate) fn handle_event(
    index: &mut Index,
    states: &mut WatchStates,
    watch: &ResourceWatch,
    event: WatchEvent,
) {
    match (event, watch.subject) {
        (WatchEvent::Failed(error), _) => states.record_failure(watch, &error),
        (WatchEvent::Target(event), _) => {
            handle_resource_event(index, states, watch, *event, |target| {
                let key = ResourceKey::new(ResourceSource::Target, &target.metadata);
                (key, Some((target, None)))
            });
        }
        (WatchEvent::Metadata(event), WatchSubject::Objects(kind)) => {
            handle_object_event(index, states, watch, kind, *event);
        }
        (WatchEvent::Metadata(event), _) => {
            handle_resource_event(index, states, watch, *event, |service| {
                let key = ResourceKey::new(ResourceSource::Service, &service);
                // One whose annotation is gone, or that never had one, is no resource.
                (key, service_to_target(&service))
            });
        }
    }
}

/// Handles an event of objects that are resources, which `read` makes of them.
fn handle_resource_event<T>(
    index: &mut Index,
    states: &mut WatchStates,
    watch: &ResourceWatch,
    event: Event<T>,
    read: impl Fn(T) -> (ResourceKey, Option<(PostgresTarget, Option<Rejection>)>),
) {
    states.record_answer(watch, matches!(event, Event::Init));
    match event {
        Event::Init => {}
        Event::InitApply(object) => {
            if let (key, Some((resource, rejection))) = read(object) {
                states.note_listed(watch, key.clone());
                index.apply_resource(key, resource, rejection);
            }
        }
        Event::Apply(object) => match read(object) {
            (key, Some((resource, rejection))) => index.apply_resource(key, resource, rejection),
            (key, None) => index.remove_resource(&key),
        },
        Event::Delete(object) => index.remove_resource(&read(object).0),
        Event::InitDone => {
            let listed = states.finish_list(watch);
            index.remove_resources(|key| watch.covers_key(key) && !listed.contains(key));
        }
    }
}

/// Handles an event of objects that resources may name.
fn handle_object_event(
    index: &mut Index,
    states: &mut WatchStates,
    watch: &ResourceWatch,
    kind: ObjectKind,
    event: Event<ObjectMeta>,
) {
    states.record_answer(watch, matches!(event, Event::Init));
    // Object and resource of one name have one key: they are told apart by their watch.
    let key = |object: &ObjectMeta| ResourceKey::new(ResourceSource::Target, object);
    let mut requeue = |object: &ObjectMeta, version: Option<&str>| {
        let ResourceKey {
            namespace, name, ..
        } = key(object);
        index.requeue_dependents(&namespace, &ObjectRef { kind, name }, version)
    };
    match event {
        Event::Init => {}
        Event::InitApply(object) => {
            if requeue(&object, object.resource_version.as_deref()) {
                states.note_listed(watch, key(&object));
            }
        }
        Event::Apply(object) => {
            requeue(&object, object.resource_version.as_deref());
        }
        Event::Delete(object) => {
            requeue(&object, None);
        }
        Event::InitDone => {
            let listed = states.finish_list(watch);
            index.requeue_if_gone(|namespace, named| {
                let key = ResourceKey::named(ResourceSource::Target, namespace, &named.name);
                watch.covers_object(namespace, named) && !listed.contains(&key)
            });
        }
    }
}
