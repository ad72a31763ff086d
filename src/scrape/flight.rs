//! Single flight: whoever asks while a collection of that target runs shares it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::collected::{Collected, Early};

/// An order for one collection.
#[derive(Debug)]
pub(super) struct Order {
    /// When the last of those who wait stops waiting.
    deadline: Deadline,
    reply: watch::Sender<Progress>,
}

/// How far a collection is.
#[derive(Clone, Debug)]
enum Progress {
    Ordered,
    /// The server answers. What the collection will not change, if that is known.
    Begun(Option<Arc<Early>>),
    Done(Arc<Collected>),
}

impl Order {
    pub(super) fn deadline(&self) -> &Deadline {
        &self.deadline
    }

    /// Tells what this collection will not change, once it is known to bring something.
    pub(super) fn begin(&self, early: Option<Early>) {
        self.reply
            .send_replace(Progress::Begun(early.map(Arc::new)));
    }

    /// Answers everyone who waits. Nobody may wait any more: then nothing happens.
    pub(super) fn answer(self, collected: Collected) {
        self.reply.send_replace(Progress::Done(Arc::new(collected)));
    }
}

/// A place among those who wait for a collection.
#[derive(Debug)]
pub(super) struct Ticket(watch::Receiver<Progress>);

impl Ticket {
    /// What the collection will not change, as soon as that is known. `None`: nothing is known to
    /// stay, or it ended.
    pub(super) async fn early(&mut self) -> Option<Arc<Early>> {
        let begun = |progress: &Progress| !matches!(progress, Progress::Ordered);
        match &*self.0.wait_for(begun).await.ok()? {
            Progress::Begun(early) => early.clone(),
            // What there is comes at once, and all of it.
            Progress::Done(collected) => collected.trouble.is_some().then(Arc::default),
            Progress::Ordered => None,
        }
    }

    /// The answer. `None` when it is not there at `deadline`; the collection goes on then.
    pub(super) async fn answer(&mut self, deadline: Instant) -> Option<Arc<Collected>> {
        let done = |progress: &Progress| matches!(progress, Progress::Done(_));
        match &*timeout_at(deadline, self.0.wait_for(done))
            .await
            .ok()?
            .ok()?
        {
            Progress::Done(collected) => Some(Arc::clone(collected)),
            Progress::Ordered | Progress::Begun(_) => None,
        }
    }
}

/// When a collection has to be over. It moves when somebody more patient joins.
#[derive(Clone, Debug)]
pub(super) struct Deadline(watch::Receiver<Instant>);

impl Deadline {
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
pub(super) struct Flights {
    orders: mpsc::UnboundedSender<Order>,
    current: Mutex<Option<Flight>>,
}

#[derive(Debug)]
struct Flight {
    deadline: watch::Sender<Instant>,
    answer: watch::Receiver<Progress>,
}

impl Flights {
    pub(super) fn new() -> (Self, mpsc::UnboundedReceiver<Order>) {
        // Never more than one order waits: a second one joins it.
        let (orders, receiver) = mpsc::unbounded_channel();
        (
            Self {
                orders,
                current: Mutex::new(None),
            },
            receiver,
        )
    }

    /// A place in the collection that runs, or in a new one.
    pub(super) fn join(&self, deadline: Instant) -> Ticket {
        Ticket(self.order(margin(deadline)))
    }

    fn order(&self, deadline: Instant) -> watch::Receiver<Progress> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(flight) = &*current
            && !matches!(*flight.answer.borrow(), Progress::Done(_))
            // Nor was the order dropped unanswered.
            && flight.answer.has_changed().is_ok()
        {
            flight.deadline.send_if_modified(|latest| {
                let later = deadline > *latest;
                *latest = deadline.max(*latest);
                later
            });
            return flight.answer.clone();
        }
        let (reply, answer) = watch::channel(Progress::Ordered);
        let (sender, deadline) = watch::channel(deadline);
        // The answer before this one goes, and with it the last hold on its buffers.
        *current = Some(Flight {
            deadline: sender,
            answer: answer.clone(),
        });
        // A worker that has ended answers nobody; the deadline does.
        let deadline = Deadline(deadline);
        let _ = self.orders.send(Order { deadline, reply });
        answer
    }
}

/// When the collection has to be over, so that what it brought is there at `deadline`.
fn margin(deadline: Instant) -> Instant {
    let left = deadline.saturating_duration_since(Instant::now());
    let margin = (left / 10).min(Duration::from_millis(100));
    deadline.checked_sub(margin).unwrap_or(deadline)
}
