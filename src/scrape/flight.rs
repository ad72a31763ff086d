//! Single flight: whoever asks while a collection of that target runs shares it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout_at};

use super::collected::Collected;

/// An order for one collection.
#[derive(Debug)]
pub(super) struct Order {
    /// When the last of those who wait stops waiting.
    deadline: Arc<Mutex<Instant>>,
    reply: watch::Sender<Option<Arc<Collected>>>,
}

/// What is ready at the deadline must still be handed over before those who wait leave.
const HANDOVER: Duration = Duration::from_millis(50);

impl Order {
    /// When the collection must be over, ready or not.
    pub(super) fn deadline(&self) -> Instant {
        let deadline = *self.deadline.lock().unwrap_or_else(PoisonError::into_inner);
        deadline.checked_sub(HANDOVER).unwrap_or(deadline)
    }

    /// Answers everyone who waits. Nobody may wait any more: then nothing happens.
    pub(super) fn answer(self, collected: Collected) {
        self.reply.send_replace(Some(Arc::new(collected)));
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
    deadline: Arc<Mutex<Instant>>,
    answer: watch::Receiver<Option<Arc<Collected>>>,
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

    /// The answer of the collection that runs, or of a new one. `None` when it is not there at
    /// `deadline`; the collection goes on then.
    pub(super) async fn collect(&self, deadline: Instant) -> Option<Arc<Collected>> {
        let mut answer = self.join(deadline);
        let waited = timeout_at(deadline, answer.wait_for(Option::is_some)).await;
        waited.ok()?.ok()?.clone()
    }

    fn join(&self, deadline: Instant) -> watch::Receiver<Option<Arc<Collected>>> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(flight) = &*current
            && flight.answer.borrow().is_none()
            // Nor was the order dropped unanswered.
            && flight.answer.has_changed().is_ok()
        {
            let mut latest = flight
                .deadline
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            *latest = deadline.max(*latest);
            return flight.answer.clone();
        }
        let (reply, answer) = watch::channel(None);
        let deadline = Arc::new(Mutex::new(deadline));
        // The answer before this one goes, and with it the last hold on its buffers.
        *current = Some(Flight {
            deadline: Arc::clone(&deadline),
            answer: answer.clone(),
        });
        // A worker that has ended answers nobody; the deadline does.
        let _ = self.orders.send(Order { deadline, reply });
        answer
    }
}
