//! Single flight: whoever asks while a collection of that target runs shares it.
//!
//! A collection is one success or one failure, however many wait for it: its [`CollectRequest`] is counted
//! once, by the target's own task. How long it may take is decided by those who wait long enough to have a say.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::collection_result::CollectionResult;

/// Who waits less than this has no say in how long a collection takes: no server can be judged by
/// it, and what a query works on must not be thrown away for it.
const LEAST_SAY: Duration = Duration::from_millis(500);
/// How long a collection may take that nobody with a say waits for.
const UNHURRIED: Duration = Duration::from_secs(10);

/// An order for one collection.
#[derive(Debug)]
pub(super) struct CollectRequest {
    /// When the last of those who wait stops waiting.
    deadline: SharedDeadline,
    reply: watch::Sender<Option<Arc<CollectionResult>>>,
    /// Somebody who waited until the end had no answer.
    missed: Arc<AtomicBool>,
    /// Part of it was given up for want of time.
    cut: Arc<AtomicBool>,
}

impl CollectRequest {
    pub(super) fn deadline(&self) -> &SharedDeadline {
        &self.deadline
    }

    /// Part of it was given up for want of time: it is nothing any more for those who wait much
    /// longer than all before them.
    pub(super) fn note_cut(&self) {
        self.cut.store(true, Ordering::Release);
    }

    /// Whether somebody who waited until the end had no answer.
    pub(super) fn was_missed(&self) -> bool {
        self.missed.load(Ordering::Acquire)
    }

    /// Answers everyone who waits. Nobody may wait any more: then nothing happens.
    pub(super) fn answer(self, collected: CollectionResult) {
        self.reply.send_replace(Some(Arc::new(collected)));
    }
}

/// A place among those who wait for a collection.
#[derive(Debug)]
pub(super) struct Waiter {
    answer: watch::Receiver<Option<Arc<CollectionResult>>>,
    deadline: watch::Receiver<Instant>,
    missed: Arc<AtomicBool>,
}

impl Waiter {
    /// The answer. `None` when it is not there at `deadline`; the collection goes on then.
    pub(super) async fn answer(&mut self, deadline: Instant) -> Option<Arc<CollectionResult>> {
        let answered = self.answer.wait_for(Option::is_some);
        timeout_at(deadline, answered).await.ok()?.ok()?.clone()
    }

    /// Whoever waited had no answer. It is the server's failure if the collection is over for
    /// everybody; the target's own task counts it, once.
    pub(super) fn note_missed(&self) {
        if *self.deadline.borrow() <= Instant::now() {
            self.missed.store(true, Ordering::Release);
        }
    }
}

/// When a collection has to be over. It moves when somebody joins who has a say.
#[derive(Clone, Debug)]
pub(super) struct SharedDeadline(watch::Receiver<Instant>);

impl SharedDeadline {
    /// One that does not move.
    pub(super) fn fixed(at: Instant) -> Self {
        Self(watch::channel(at).1)
    }

    /// As it stands now.
    pub(super) fn at(&self) -> Instant {
        *self.0.borrow()
    }

    /// Whether it is over.
    pub(super) fn is_over(&self) -> bool {
        self.at() <= Instant::now()
    }

    /// Completes when it is over.
    pub(super) async fn passed(&self) {
        self.passed_share(|at| at).await;
    }

    /// Completes when the `share` of it is over that this gives for the deadline, which may move
    /// meanwhile.
    pub(super) async fn passed_share(&self, share: impl Fn(Instant) -> Instant) {
        let mut moves = self.0.clone();
        loop {
            let at = share(*moves.borrow_and_update());
            tokio::select! {
                biased;
                Ok(()) = moves.changed() => {}
                () = sleep_until(at) => return,
            }
        }
    }
}

/// Where a target's collections are ordered.
#[derive(Debug)]
pub(super) struct SingleFlight {
    requests: mpsc::UnboundedSender<CollectRequest>,
    current: Mutex<Option<SharedCollection>>,
}

#[derive(Debug)]
struct SharedCollection {
    span: WaitSpan,
    deadline: watch::Sender<Instant>,
    answer: watch::Receiver<Option<Arc<CollectionResult>>>,
    missed: Arc<AtomicBool>,
    cut: Arc<AtomicBool>,
}

impl SharedCollection {
    fn waiter(&self) -> Waiter {
        Waiter {
            answer: self.answer.clone(),
            deadline: self.deadline.subscribe(),
            missed: Arc::clone(&self.missed),
        }
    }

    /// Whether who comes now and waits until `deadline` can still share it.
    fn is_under_way(&self, now: Instant, deadline: Instant) -> bool {
        let too_late = self.cut.load(Ordering::Acquire) && self.span.is_outlasted(now, deadline);
        !too_late && self.answer.borrow().is_none()
            // Nor was the order dropped unanswered.
            && self.answer.has_changed().is_ok()
            && self.span.ends_at() > now
    }
}

/// How long a collection may take, by those who wait for it.
#[derive(Clone, Copy, Debug)]
struct WaitSpan {
    begun: Instant,
    /// The longest that one of those with a say waits.
    longest: Option<Duration>,
    /// When the last of them stops waiting.
    last: Instant,
}

impl WaitSpan {
    fn new(begun: Instant) -> Self {
        Self {
            begun,
            longest: None,
            last: begun,
        }
    }

    /// Somebody waits from now on.
    fn join(&mut self, now: Instant, deadline: Instant) {
        let waits = deadline.saturating_duration_since(now);
        if waits >= LEAST_SAY {
            self.longest = self.longest.max(Some(waits));
            self.last = self.last.max(deadline);
        }
    }

    /// Whether somebody who comes now waits so much longer than all others that what was given up
    /// for them is worth another collection to him.
    fn is_outlasted(&self, now: Instant, deadline: Instant) -> bool {
        let longest = self.longest.unwrap_or(UNHURRIED);
        deadline.saturating_duration_since(now) > longest * 2
    }

    /// When it has to be over. Those who come one after the other do not draw it out: it never
    /// takes longer than the most patient of them waits.
    fn ends_at(&self) -> Instant {
        match self.longest {
            Some(longest) => self.last.min(self.begun + longest),
            None => self.begun + UNHURRIED,
        }
    }
}

impl SingleFlight {
    pub(super) fn new() -> (Self, mpsc::UnboundedReceiver<CollectRequest>) {
        // Never more than one order waits: a second one joins it.
        let (requests, receiver) = mpsc::unbounded_channel();
        (
            Self {
                requests,
                current: Mutex::new(None),
            },
            receiver,
        )
    }

    /// A place in the collection that runs, or in a new one.
    pub(super) fn join(&self, deadline: Instant) -> Waiter {
        let (deadline, now) = (margin(deadline), Instant::now());
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(flight) = current
            .as_mut()
            .filter(|one| one.is_under_way(now, deadline))
        {
            flight.span.join(now, deadline);
            let end = flight.span.ends_at();
            flight.deadline.send_if_modified(|known| {
                let moved = *known != end;
                *known = end;
                moved
            });
            return flight.waiter();
        }
        let mut span = WaitSpan::new(now);
        span.join(now, deadline);
        let (reply, answer) = watch::channel(None);
        let (sender, deadline) = watch::channel(span.ends_at());
        let (missed, cut) = (Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default());
        let flight = SharedCollection {
            span,
            deadline: sender,
            answer,
            missed: Arc::clone(&missed),
            cut: Arc::clone(&cut),
        };
        let waiter = flight.waiter();
        // The answer before this one goes, and with it the last hold on its buffers.
        *current = Some(flight);
        // A task that has ended answers nobody; the deadline does.
        let _ = self.requests.send(CollectRequest {
            deadline: SharedDeadline(deadline),
            reply,
            missed,
            cut,
        });
        waiter
    }
}

/// When the collection has to be over, so that what it brought is there at `deadline`.
fn margin(deadline: Instant) -> Instant {
    let left = deadline.saturating_duration_since(Instant::now());
    let margin = (left / 10).min(Duration::from_millis(100));
    deadline.checked_sub(margin).unwrap_or(deadline)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_collection_takes_as_long_as_those_with_a_say_wait() {
        let begun = Instant::now();
        let at = |seconds: f64| begun + Duration::from_secs_f64(seconds);
        // Each joins at a time and waits until another; when the collection has to be over.
        let cases: &[(&[(f64, f64)], f64)] = &[
            (&[(0.0, 8.0)], 8.0),
            // An impatient client alone spoils nothing, and has no part in the choice.
            (&[(0.0, 0.0)], 10.0),
            (&[(0.0, 0.3), (0.1, 0.2)], 10.0),
            (&[(0.0, 0.3), (1.0, 4.0)], 3.0),
            (&[(0.0, 8.0), (1.0, 1.1)], 8.0),
            // Who is more patient is waited for.
            (&[(0.0, 1.0), (0.5, 30.0)], 29.5),
            (&[(0.0, 30.0), (5.0, 6.0)], 30.0),
            // One after the other they do not draw it out for ever.
            (&[(0.0, 8.0), (7.0, 15.0), (7.5, 15.5)], 8.0),
        ];
        for (joins, end) in cases {
            let mut span = WaitSpan::new(begun);
            for (from, until) in *joins {
                span.join(at(*from), at(*until));
            }
            assert_eq!(span.ends_at(), at(*end), "{joins:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_more_patient_does_not_share_what_was_given_up_for_others() {
        let (single_flight, mut requests) = SingleFlight::new();
        let within = |seconds| Instant::now() + Duration::from_secs(seconds);
        let _first = single_flight.join(within(2));
        let request = requests.recv().await.expect("one order");
        let _alike = single_flight.join(within(30));
        assert!(requests.try_recv().is_err(), "nothing was given up yet");
        drop(request);
        let _first = single_flight.join(within(2));
        let request = requests.recv().await.expect("one order");
        request.note_cut();
        let _alike = single_flight.join(within(3));
        assert!(requests.try_recv().is_err(), "he would have no more of it");
        let _patient = single_flight.join(within(30));
        let _other = single_flight.join(within(30));
        requests.try_recv().expect("one of their own");
        assert!(requests.try_recv().is_err(), "which they share");
    }

    #[tokio::test(start_paused = true)]
    async fn a_collection_is_counted_once_and_only_when_it_is_over_for_all() {
        let (single_flight, mut requests) = SingleFlight::new();
        let now = Instant::now();
        let hurried = single_flight.join(now);
        let mut short = single_flight.join(now + Duration::from_secs(2));
        let mut long = single_flight.join(now + Duration::from_secs(8));
        let request = requests.recv().await.expect("one order");
        assert!(requests.try_recv().is_err(), "all share it");
        assert!(short.answer(now + Duration::from_secs(2)).await.is_none());
        short.note_missed();
        hurried.note_missed();
        assert!(!request.was_missed(), "it goes on for the third");
        assert!(long.answer(now + Duration::from_secs(8)).await.is_none());
        long.note_missed();
        assert!(request.was_missed());
        // Who comes then does not share what is over.
        let _next = single_flight.join(Instant::now() + Duration::from_secs(8));
        assert!(!requests.recv().await.expect("another").was_missed());
    }
}
