//! Answers that are being sent. Each holds the samples of its collection until its client has read
//! them, and a client may read as slowly as it likes: so there is a limit of how many collections
//! are held for clients, and whoever still reads the oldest is cut off.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use axum::body::Bytes;

use crate::exposition::Format;
use crate::scrape::Exposition;

/// For so many collections there may be clients that still read them. A Prometheus reads one at a
/// time, and those that come together share one.
const COLLECTIONS: usize = 4;
/// A warning about clients that were cut off is logged this often at most.
const WARN_EVERY: Duration = Duration::from_secs(60);

/// All answers that are being sent. Cloning shares them.
#[derive(Clone, Debug, Default)]
pub(super) struct SentAnswers(Arc<Mutex<SentState>>);

#[derive(Debug, Default)]
struct SentState {
    /// From the oldest to the newest.
    answers: VecDeque<Weak<Mutex<Option<Unsent>>>>,
    warned: Option<Instant>,
}

/// What a client has yet to read.
struct Unsent {
    /// The collections that it holds, one number for each server.
    of: Vec<usize>,
    pieces: Pieces,
}

type Pieces = Box<dyn Iterator<Item = Bytes> + Send>;

impl fmt::Debug for Unsent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Unsent")
    }
}

/// The pieces of one answer; an error where it was cut off.
#[derive(Debug)]
pub(super) struct SentAnswer {
    unsent: Arc<Mutex<Option<Unsent>>>,
    ended: bool,
}

/// Whether two answers hold the same collection of at least one server.
fn shares(one: &[usize], other: &[usize]) -> bool {
    one.is_empty() || one.iter().zip(other).any(|(one, other)| one == other)
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl SentAnswers {
    /// Begins an answer, and cuts off those of the oldest collection if there are too many.
    pub(super) fn begin(&self, exposition: &Exposition, format: Format) -> SentAnswer {
        self.begin_pieces(
            exposition.collections(),
            Box::new(exposition.chunks(format)),
        )
    }

    fn begin_pieces(&self, of: Vec<usize>, pieces: Pieces) -> SentAnswer {
        let unsent = Arc::new(Mutex::new(Some(Unsent { of, pieces })));
        let mut state = locked(&self.0);
        state.answers.push_back(Arc::downgrade(&unsent));
        let mut kept: Vec<Vec<usize>> = Vec::new();
        let mut cut = 0;
        let mut answers = VecDeque::new();
        for answer in state.answers.iter().rev().filter_map(Weak::upgrade) {
            let mut inside = locked(&answer);
            let Some(unsent) = &*inside else { continue };
            if !kept.iter().any(|one| shares(one, &unsent.of)) {
                if kept.len() == COLLECTIONS {
                    *inside = None;
                    cut += 1;
                    continue;
                }
                kept.push(unsent.of.clone());
            }
            answers.push_front(Arc::downgrade(&answer));
        }
        state.answers = answers;
        let due = state
            .warned
            .is_none_or(|warned| warned.elapsed() > WARN_EVERY);
        if cut > 0 && due {
            state.warned = Some(Instant::now());
            tracing::warn!(
                clients = cut,
                "disconnected clients that were still reading a scrape after {COLLECTIONS} newer \
                 ones"
            );
        }
        SentAnswer {
            unsent,
            ended: false,
        }
    }
}

impl Iterator for SentAnswer {
    type Item = io::Result<Bytes>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let mut unsent = locked(&self.unsent);
        let piece = match &mut *unsent {
            Some(unsent) => unsent.pieces.next().map(Ok),
            None => Some(Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "the client reads too slowly",
            ))),
        };
        if !matches!(piece, Some(Ok(_))) {
            *unsent = None;
            self.ended = true;
        }
        piece
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_of_the_oldest_collection_are_cut_off_and_those_that_share_one_are_not() {
        let answers = SentAnswers::default();
        // The first server was down: each answer has a stand-in of its own for it.
        let mut down = 1000;
        let mut begin = |collection: usize| {
            down += 1;
            let pieces = std::iter::repeat_n(Bytes::from_static(b"x"), 3);
            answers.begin_pieces(vec![down, collection], Box::new(pieces))
        };
        let mut first: Vec<SentAnswer> = (0..50).map(|_| begin(1)).collect();
        let mut others: Vec<SentAnswer> = (2..5).map(&mut begin).collect();
        let good = |answer: &mut SentAnswer| matches!(answer.next(), Some(Ok(_)));
        assert!(first.iter_mut().all(good));
        // One that is read to its end no longer counts.
        assert_eq!(others[0].by_ref().count(), 3);
        let mut fifth = begin(5);
        assert!(first.iter_mut().all(good));
        let mut sixth = begin(6);
        for answer in &mut first {
            assert!(matches!(answer.next(), Some(Err(_))));
            assert!(answer.next().is_none());
        }
        assert!([&mut fifth, &mut sixth].into_iter().all(good));
        assert!(good(&mut others[1]) && good(&mut others[2]));
    }
}
