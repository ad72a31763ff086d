//! Names to addresses, as the system resolves them (`getaddrinfo`: hosts file, search domains,
//! whatever `nsswitch.conf` says), on threads of their own.
//!
//! `getaddrinfo` blocks, for tens of seconds when a name server is silent, and cannot be stopped.
//! So lookups have their own bounded number of threads, one name is never looked up twice at once,
//! and nobody waits longer than a limit. Names that resolved before go first and names that failed
//! last, on a part of the threads only: a name server that is silent for some names holds up no
//! other. The last good answer of a name is used for a while when a lookup fails or is late.

mod queue;

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use self::queue::{LookupClass, LookupQueue};

/// An answer is used for this long after it came, when later lookups are late or fail for now.
const KEPT: Duration = Duration::from_secs(300);
/// The same when the resolver says that there is no such name.
const KEPT_WITHOUT_NAME: Duration = Duration::from_secs(60);
/// A name that nobody has asked for is forgotten after this long.
const FORGOTTEN: Duration = Duration::from_secs(900);
/// Stack of a thread, in bytes. It is reserved and not used up: `getaddrinfo` and the modules of
/// `nsswitch.conf` take some tens of KiB.
const STACK: usize = 512 * 1024;

/// Why a name has no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ResolveError {
    /// What the system said.
    #[error("{0}")]
    Failed(String),
    /// Nothing came in time.
    #[error("no answer of the name server within {0:?}")]
    Late(Duration),
}

/// What looks one name up, blocking.
type Lookup = dyn Fn(&str) -> io::Result<Vec<SocketAddr>> + Send + Sync;

/// Resolves the names of all targets. Cloning gives another handle on the same resolver.
#[derive(Clone)]
pub(super) struct NameResolver(Arc<ResolverState>);

struct ResolverState {
    lookup: Box<Lookup>,
    names: Mutex<Names>,
}

#[derive(Default)]
struct Names {
    known: HashMap<String, KnownName>,
    queue: LookupQueue,
}

/// The outcome of a lookup; `None` while it is queued or runs.
type LookupOutcome = Option<Result<Arc<[SocketAddr]>, ResolveError>>;

struct KnownName {
    last_good: Option<(Instant, Arc<[SocketAddr]>)>,
    /// The last lookup ended with an error.
    failing: bool,
    /// A lookup that is queued or runs.
    pending: Option<watch::Sender<LookupOutcome>>,
    asked: Instant,
}

impl fmt::Debug for NameResolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("NameResolver").finish_non_exhaustive()
    }
}

impl Default for NameResolver {
    /// Asks the system.
    fn default() -> Self {
        Self::with_lookup(|name| Ok((name, 0).to_socket_addrs()?.collect()))
    }
}

impl NameResolver {
    fn with_lookup(
        lookup: impl Fn(&str) -> io::Result<Vec<SocketAddr>> + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(ResolverState {
            lookup: Box::new(lookup),
            names: Mutex::default(),
        }))
    }

    /// The addresses of `host`, with `port`, in the system's order. An address instead of a name
    /// needs no lookup. Otherwise each call asks for a new lookup, or joins the one that is queued
    /// or runs, and waits for it no longer than `limit`; it goes on then for those who come later.
    ///
    /// # Errors
    /// [`ResolveError`], when there is no recent answer either.
    pub(super) async fn resolve(
        &self,
        host: &str,
        port: u16,
        limit: Duration,
    ) -> Result<Vec<SocketAddr>, ResolveError> {
        if let Ok(address) = host.parse() {
            return Ok(vec![SocketAddr::new(address, port)]);
        }
        let mut pending = self.ask(host);
        let answered = timeout(limit, pending.wait_for(Option::is_some)).await;
        let outcome = match answered {
            Ok(Ok(outcome)) => outcome.clone(),
            // Late, or the system gave no thread.
            Ok(Err(_)) | Err(_) => None,
        };
        let addresses = match outcome.unwrap_or(Err(ResolveError::Late(limit))) {
            Ok(addresses) => addresses,
            Err(error) => self.last_good(host, &error).ok_or(error)?,
        };
        let with_port = |address: &SocketAddr| {
            let mut address = *address;
            address.set_port(port);
            address
        };
        Ok(addresses.iter().map(with_port).collect())
    }

    fn ask(&self, host: &str) -> watch::Receiver<LookupOutcome> {
        let now = Instant::now();
        let mut names = self.names();
        let Names { known, queue } = &mut *names;
        if !known.contains_key(host) {
            known.retain(|_, name| name.pending.is_some() || name.asked + FORGOTTEN > now);
        }
        let name = known.entry(host.to_owned()).or_insert_with(|| KnownName {
            last_good: None,
            failing: false,
            pending: None,
            asked: now,
        });
        name.asked = now;
        if let Some(pending) = &name.pending {
            return pending.subscribe();
        }
        let (pending, outcome) = watch::channel(None);
        name.pending = Some(pending);
        let class = match (name.failing, &name.last_good) {
            (true, _) => LookupClass::Failing,
            (false, Some(_)) => LookupClass::Known,
            (false, None) => LookupClass::New,
        };
        queue.push(class, host.to_owned());
        let next = queue.start_next();
        drop(names);
        if let Some((class, host)) = next {
            self.start_thread(class, host);
        }
        outcome
    }

    fn last_good(&self, host: &str, error: &ResolveError) -> Option<Arc<[SocketAddr]>> {
        let kept = if is_without_name(error) {
            KEPT_WITHOUT_NAME
        } else {
            KEPT
        };
        let names = self.names();
        let (since, addresses) = names.known.get(host)?.last_good.as_ref()?;
        (since.elapsed() < kept).then(|| Arc::clone(addresses))
    }

    /// Looks a name up on a new thread, and then those that wait.
    fn start_thread(&self, class: LookupClass, host: String) {
        let (this, first) = (self.clone(), host.clone());
        let thread = thread::Builder::new()
            .name("names".to_owned())
            .stack_size(STACK)
            .spawn(move || {
                let mut next = Some((class, first));
                while let Some((class, host)) = next {
                    // A lookup that panics gives its place back like any other that fails.
                    let lookup = AssertUnwindSafe(|| (this.0.lookup)(&host));
                    let result = catch_unwind(lookup)
                        .unwrap_or_else(|_| Err(io::Error::other("the lookup failed")));
                    next = this.finish(class, &host, result);
                }
            });
        if let Err(error) = thread {
            // The system is out of threads. Those who wait are told; a later call tries again.
            let error = io::Error::other(format!("no thread for the lookup: {error}"));
            let mut failed = self.finish(class, &host, Err(error));
            while let Some((class, host)) = failed {
                failed = self.finish(class, &host, Err(io::Error::other("no thread")));
            }
        }
    }

    /// Records what came of a lookup. Returns the next one, for the same thread.
    fn finish(
        &self,
        class: LookupClass,
        host: &str,
        result: io::Result<Vec<SocketAddr>>,
    ) -> Option<(LookupClass, String)> {
        let mut names = self.names();
        names.queue.finish(class);
        if let Some(name) = names.known.get_mut(host) {
            let result = match result {
                Ok(addresses) if addresses.is_empty() => {
                    Err(ResolveError::Failed("the name has no address".to_owned()))
                }
                Ok(addresses) => Ok(Arc::<[SocketAddr]>::from(addresses)),
                Err(error) => Err(ResolveError::Failed(error.to_string())),
            };
            name.failing = result.is_err();
            if let Ok(addresses) = &result {
                name.last_good = Some((Instant::now(), Arc::clone(addresses)));
            }
            if let Some(pending) = name.pending.take() {
                pending.send_replace(Some(result));
            }
        }
        names.queue.start_next()
    }

    fn names(&self) -> MutexGuard<'_, Names> {
        self.0.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether the resolver says that there is no such name, and not that it does not know for now. The
/// standard library hands on no more than libc's text (gai_strerror(3), in the C locale that a Rust
/// program keeps).
fn is_without_name(error: &ResolveError) -> bool {
    let ResolveError::Failed(text) = error else {
        return false;
    };
    [
        "Name or service not known",
        "No address associated",
        "does not resolve",
    ]
    .iter()
    .any(|words| text.contains(words))
}

#[cfg(test)]
mod tests;
