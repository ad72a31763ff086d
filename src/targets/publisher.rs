//! The one writer of the server list: the servers of the file and those of the cluster, merged.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use super::{Target, TargetList};

/// Merges both lists and publishes them. Cloning gives another handle on the same list.
///
/// A server of the file keeps its name against one of the cluster.
#[derive(Clone, Debug)]
pub struct Publisher(Arc<PublisherState>);

#[derive(Debug)]
struct PublisherState {
    list: watch::Sender<TargetList>,
    lists: Mutex<TargetLists>,
}

#[derive(Debug, Default)]
struct TargetLists {
    file: TargetList,
    cluster: TargetList,
}

impl Publisher {
    /// Publishes the servers of the file, and none of the cluster yet.
    #[must_use]
    pub fn new(file: TargetList) -> Self {
        let (list, _) = watch::channel(Arc::clone(&file));
        let lists = TargetLists {
            file,
            cluster: TargetList::default(),
        };
        Self(Arc::new(PublisherState {
            list,
            lists: Mutex::new(lists),
        }))
    }

    /// Follows the merged list.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<TargetList> {
        self.0.list.subscribe()
    }

    /// The servers of the file.
    #[must_use]
    pub fn file(&self) -> TargetList {
        self.lock(|lists| Arc::clone(&lists.file))
    }

    /// Takes other servers of the file, all at once.
    pub fn set_file(&self, file: TargetList) {
        self.change(|lists| lists.file = file);
    }

    /// Takes other servers of the cluster, all at once. Those that are as they were stay the same
    /// [`Arc`].
    pub fn set_cluster(&self, cluster: Vec<Arc<Target>>) {
        self.change(|lists| lists.cluster = Arc::new(cluster));
    }

    fn change(&self, change: impl FnOnce(&mut TargetLists)) {
        self.lock(|lists| {
            change(lists);
            let taken = |one: &&Arc<Target>| lists.file.iter().all(|own| own.name != one.name);
            let merged: Vec<Arc<Target>> = lists
                .file
                .iter()
                .chain(lists.cluster.iter().filter(taken))
                .cloned()
                .collect();
            self.0.list.send_if_modified(|list| {
                // An equal list would only make readers look it through again.
                let changed = **list != merged;
                if changed {
                    *list = Arc::new(merged);
                }
                changed
            });
        });
    }

    fn lock<T>(&self, inside: impl FnOnce(&mut TargetLists) -> T) -> T {
        inside(&mut self.0.lists.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
