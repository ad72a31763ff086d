//! How long this pod may serve a target: without end, or as long as it holds its Lease.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::time::Instant;

/// The term of ownership, shared by all targets that this pod took over with one Lease. Cloning
/// shares it.
///
/// The caller checks it when a scrape begins. A timer would not do: the timers of a process that
/// was frozen fire late, and until then it would serve targets that another pod has taken over.
#[derive(Clone, Debug, Default)]
pub struct OwnershipTerm(Option<Arc<Mutex<Instant>>>);

impl OwnershipTerm {
    /// Without an end.
    #[must_use]
    pub fn unlimited() -> Self {
        Self(None)
    }

    /// One that ends then, unless it is extended before.
    #[must_use]
    pub fn until(end: Instant) -> Self {
        Self(Some(Arc::new(Mutex::new(end))))
    }

    /// Moves the end. A term that is over stays over: its targets may have another owner by now,
    /// and are taken over with a new term only.
    pub fn extend(&self, end: Instant) {
        if let Some(shared) = &self.0 {
            let mut until = shared.lock().unwrap_or_else(PoisonError::into_inner);
            if Instant::now() < *until {
                *until = end;
            }
        }
    }

    /// Whether it goes on.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.0.as_ref().is_none_or(|shared| {
            Instant::now() < *shared.lock().unwrap_or_else(PoisonError::into_inner)
        })
    }
}

/// The same term, not one of the same length.
impl PartialEq for OwnershipTerm {
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (None, None) => true,
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_term_that_is_over_is_not_extended() {
        let now = Instant::now();
        let hour = Duration::from_secs(3_600);
        let over = OwnershipTerm::until(now);
        over.extend(now + hour);
        assert!(!over.holds());
        let present = OwnershipTerm::until(now + hour);
        assert!(present.holds());
        assert!(OwnershipTerm::unlimited().holds());
        assert!(present == present.clone());
        assert!(present != OwnershipTerm::until(now + hour));
    }
}
