//! Which name is looked up next, and how many at once. No I/O.

use std::collections::VecDeque;

/// What is known of a name before its lookup.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum LookupClass {
    /// It resolved the last time.
    Known,
    /// It was never looked up.
    New,
    /// It failed the last time.
    Failing,
}

impl LookupClass {
    const ALL: [Self; 3] = [Self::Known, Self::New, Self::Failing];

    /// A lookup of this class begins only while fewer than this run. What is left over belongs to
    /// the classes before it. A lookup that waits for a silent name server costs a thread that
    /// sleeps, with some 40 KiB.
    fn most_running(self) -> usize {
        match self {
            Self::Known => 256,
            Self::New => 240,
            Self::Failing => 48,
        }
    }
}

/// Lookups that wait, by class, and the number of those that run.
#[derive(Debug, Default)]
pub(super) struct LookupQueue {
    waiting: [VecDeque<String>; 3],
    running: [usize; 3],
}

impl LookupQueue {
    /// Lets a name wait behind those of its class.
    pub(super) fn push(&mut self, class: LookupClass, host: String) {
        self.waiting[class as usize].push_back(host);
    }

    /// Takes out the name to look up now; `None` when none waits that may begin. Each that was
    /// taken out has to be ended with [`Self::finish`].
    pub(super) fn start_next(&mut self) -> Option<(LookupClass, String)> {
        let running: usize = self.running.iter().sum();
        let class = LookupClass::ALL.into_iter().find(|class| {
            running < class.most_running() && !self.waiting[*class as usize].is_empty()
        })?;
        let host = self.waiting[class as usize].pop_front()?;
        self.running[class as usize] += 1;
        Some((class, host))
    }

    /// A lookup of this class has ended.
    pub(super) fn finish(&mut self, class: LookupClass) {
        self.running[class as usize] = self.running[class as usize].saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn started(queue: &mut LookupQueue) -> Vec<String> {
        std::iter::from_fn(|| queue.start_next())
            .map(|(_, host)| host)
            .collect()
    }

    #[test]
    fn names_that_failed_leave_threads_to_the_others() {
        use LookupClass::{Failing, Known, New};
        let mut queue = LookupQueue::default();
        for at in 0..600 {
            queue.push(Failing, format!("failing{at}"));
        }
        assert_eq!(started(&mut queue).len(), 48);
        for at in 0..600 {
            queue.push(New, format!("new{at}"));
        }
        assert_eq!(started(&mut queue).len(), 240 - 48);
        queue.push(Known, "known".to_owned());
        assert_eq!(started(&mut queue), ["known"]);
        // A thread that is free again goes to those who wait longest in the best class.
        queue.finish(Failing);
        assert_eq!(started(&mut queue), Vec::<String>::new());
        queue.finish(Known);
        assert_eq!(started(&mut queue), ["new192"]);
    }

    #[test]
    fn a_failing_name_waits_behind_one_that_was_never_tried() {
        use LookupClass::{Failing, Known, New};
        let mut queue = LookupQueue::default();
        queue.push(Failing, "failing".to_owned());
        queue.push(New, "new".to_owned());
        queue.push(Known, "known".to_owned());
        assert_eq!(started(&mut queue), ["known", "new", "failing"]);
    }
}
