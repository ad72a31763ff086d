//! Watches that start again with a list after the cluster's state went back to an older one.
//!
//! A watch is only as true as the versions it counts by. After a restore of etcd versions go on from
//! an older one: a watch may wait for a version that is long to come, and show nothing meanwhile. So
//! the present version is asked for twice a minute. One that is older than one before begins all lists
//! anew, as does one in a watch, and one that the API server does not know yet. At the latest every
//! ten minutes there is a list that asks for the present state.

use std::future::ready;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::{self, Stream};
use kube::api::ListParams;
use kube::runtime::watcher::{self, Event, ListSemantic};
use kube::{Api, Resource};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::jitter::random_fraction;
use crate::kubernetes::api::PostgresTarget;
use crate::kubernetes::client::exceeds_answer_limit;
use crate::kubernetes::client::explain_watch_error;
use crate::shutdown::Shutdown;

/// A new list is taken this often, and up to a tenth later.
const RELIST: Duration = Duration::from_secs(600);
/// How often the present version is asked for.
const PROBE: Duration = Duration::from_secs(30);
/// So many objects are asked for at a time, as long as they fit into an answer.
const PAGE_SIZE: u32 = 250;
/// Where they do not, the next page has so many times fewer.
const SMALLER: u32 = 8;
/// How long an answer of the API server may take.
const ANSWER: Duration = Duration::from_secs(10);

/// Counts how often the cluster's state was found to be older than before.
pub(super) type RestoreCount = tokio::sync::watch::Receiver<u64>;

/// Watches, and begins anew with a list when versions go backwards, and after [`RELIST`]. `begin`
/// starts a watch. A page of a list that is larger than an answer may be is asked for anew with fewer
/// objects, and so are all pages after it.
pub(super) fn relisting<K, S>(
    begin: impl Fn(watcher::Config) -> S + Send,
    config: watcher::Config,
    restored: RestoreCount,
) -> impl Stream<Item = Result<Event<K>, watcher::Error>> + Send
where
    K: Resource + Send,
    S: Stream<Item = Result<Event<K>, watcher::Error>> + Send,
{
    let mut first = true;
    let page_size = Arc::new(AtomicU32::new(PAGE_SIZE));
    stream::repeat_with(move || {
        let size = page_size.load(Ordering::Relaxed);
        // The first list is shared by all that start; a later one asks for what is true.
        let list_semantic = match std::mem::take(&mut first) {
            true => config.list_semantic.clone(),
            false => ListSemantic::MostRecent,
        };
        let config = watcher::Config {
            list_semantic,
            page_size: Some(size),
            ..config.clone()
        };
        let (mut newest, over) = (NewestVersion::default(), CancellationToken::new());
        let (mut restored, ended) = (restored.clone(), over.clone());
        restored.borrow_and_update();
        let end = async move {
            tokio::select! {
                () = tokio::time::sleep(RELIST + RELIST.mul_f64(random_fraction() / 10.0)) => {}
                () = ended.cancelled() => {}
                Ok(()) = restored.changed() => {}
            }
        };
        let page_size = Arc::clone(&page_size);
        let look = move |event: Result<Event<K>, watcher::Error>| {
            let back = match &event {
                Ok(Event::Apply(object) | Event::Delete(object)) => {
                    newest.is_older(object.meta().resource_version.as_deref())
                }
                Ok(_) => false,
                Err(watcher::Error::InitialListFailed(error))
                    if size > 1 && exceeds_answer_limit(error) =>
                {
                    page_size.store((size / SMALLER).max(1), Ordering::Relaxed);
                    over.cancel();
                    return ready(None);
                }
                Err(error) => is_too_new(error),
            };
            if back {
                over.cancel();
            }
            ready(Some(event))
        };
        begin(config).filter_map(look).take_until(Box::pin(end))
    })
    .flatten()
}

/// Asks for the present version now and then, and says so when it is older than one before.
pub(crate) async fn follow_version(
    api: Api<PostgresTarget>,
    restored: tokio::sync::watch::Sender<u64>,
    shutdown: Shutdown,
) {
    let mut newest = NewestVersion::default();
    let mut ticks = tokio::time::interval(PROBE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = shutdown.begun() => return,
            _ = ticks.tick() => {}
        }
        let parameters = ListParams::default().limit(1);
        let answer = tokio::time::timeout(ANSWER, api.list_metadata(&parameters));
        // Without an answer there is no news.
        let Ok(Ok(list)) = answer.await else { continue };
        if newest.is_older(list.metadata.resource_version.as_deref()) {
            warn!(
                "the cluster's state is older than before, as after a restore; the exporter reads \
                 all of it again"
            );
            newest = NewestVersion::default();
            restored.send_modify(|times| *times += 1);
        }
    }
}

/// The newest version of a watch. Versions of one kind of object rise (Kubernetes API concepts,
/// "Resource versions").
#[derive(Debug, Default)]
struct NewestVersion(u128);

impl NewestVersion {
    /// Whether this one is older than one before.
    fn is_older(&mut self, version: Option<&str>) -> bool {
        // What is no number says nothing.
        let Some(version) = version.and_then(|text| text.parse().ok()) else {
            return false;
        };
        let back = version < self.0;
        self.0 = self.0.max(version);
        back
    }
}

/// Whether the API server does not know the version yet that a watch goes on from.
fn is_too_new(error: &watcher::Error) -> bool {
    explain_watch_error(error).contains("Too large resource version")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_that_goes_backwards_is_noticed() {
        let mut newest = NewestVersion::default();
        for (version, back) in [
            (Some("10"), false),
            (Some("10"), false),
            (Some("900"), false),
            (Some("1000"), false),
            (None, false),
            (Some("x"), false),
            (Some("999"), true),
        ] {
            assert_eq!(newest.is_older(version), back, "{version:?}");
        }
    }
}
