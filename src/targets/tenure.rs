//! How long a target may be served: for ever, or as long as this pod holds its Lease.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::time::Instant;

/// A term, shared by all targets that were taken in it. Cloning shares it.
///
/// It is looked at when a scrape begins, not by a timer: a process that was frozen wakes up with
/// its timers late, and must not serve what others have taken meanwhile.
#[derive(Clone, Debug, Default)]
pub struct Tenure(Option<Arc<Mutex<Instant>>>);

impl Tenure {
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

    /// Moves the end. One that is over stays so: what was given up is not taken back, but taken
    /// anew.
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
impl PartialEq for Tenure {
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
        let over = Tenure::until(now);
        over.extend(now + hour);
        assert!(!over.holds());
        let present = Tenure::until(now + hour);
        assert!(present.holds());
        assert!(Tenure::unlimited().holds());
        assert!(present == present.clone());
        assert!(present != Tenure::until(now + hour));
    }
}
