//! Which jobs of a pipeline are sent together, and in which order. Pure.
//!
//! The server holds back the answers of what stands under one Sync until its end, so that what has
//! not proved quick has one of its own.

use std::time::Duration;

use super::job::JobState;
use super::query::ScheduledQuery;
use super::session_settings::SessionSettings;
use super::statement::Mode;

/// Jobs, by their places in a list, that share settings.
#[derive(Debug, Default)]
pub(super) struct JobGroup {
    /// What is set before.
    pub before: Option<String>,
    /// Each is under one Sync.
    pub batches: Vec<Vec<usize>>,
    /// What is set after.
    pub after: Option<String>,
    /// Text comes as the database holds it.
    pub raw: bool,
}

/// What decides which jobs are sent together, and when.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct BatchClass {
    pub order: BatchOrder,
    /// It has a Sync of its own.
    pub apart: bool,
    /// It is a user's, and runs in a transaction of its own.
    pub users: bool,
    /// Its own `statement_timeout`, where it may not have that of the others.
    pub limit: Option<Duration>,
}

/// The order in which jobs are sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum BatchOrder {
    /// What the server is: known as soon as it is told.
    ServerInfo,
    /// As the session is set.
    #[default]
    Plain,
    /// Users' own, each in a transaction.
    Users,
    /// With settings of its own.
    Special,
    /// What held up the others once waits for them from then on.
    Slow,
}

impl BatchClass {
    /// How the query of a slot is sent.
    pub(super) fn new(slot: &ScheduledQuery, mode: Mode) -> Self {
        let metric = &slot.chosen.metric;
        let users = !metric.builtin;
        let limit = metric.timeout.filter(|_| mode != Mode::Pooled || users);
        let order = match (slot.slow, limit) {
            (true, _) => BatchOrder::Slow,
            (false, Some(_)) => BatchOrder::Special,
            (false, None) if users => BatchOrder::Users,
            (false, None) => BatchOrder::Plain,
        };
        Self {
            order,
            apart: slot.failing,
            users,
            limit,
        }
    }
}

/// What of a session decides how its jobs are sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct BatchRules<'a> {
    pub settings: &'a SessionSettings,
    pub mode: Mode,
    /// Not all queries are known to answer in time.
    pub careful: bool,
    /// Each transaction has to be one message.
    pub whole_transactions: bool,
}

impl BatchRules<'_> {
    /// The jobs that are `left`, in the order in which they are sent.
    pub(super) fn group(
        &self,
        left: &[usize],
        states: &[JobState],
        batch_classes: &[BatchClass],
    ) -> Vec<JobGroup> {
        let key = |at: &usize| (batch_classes[*at].order, states[*at].raw);
        let mut order = left.to_vec();
        order.sort_by_key(key);
        let mut groups: Vec<JobGroup> = Vec::new();
        for same in order.chunk_by(|a, b| key(a) == key(b)) {
            let (order, raw) = key(&same[0]);
            let alone = order >= BatchOrder::Users;
            if alone {
                groups.extend(same.iter().map(|at| JobGroup {
                    batches: vec![vec![*at]],
                    raw,
                    ..self.settings_around(batch_classes[*at], raw)
                }));
                continue;
            }
            let (apart, together): (Vec<usize>, Vec<usize>) = same
                .iter()
                .partition(|at| self.careful || batch_classes[**at].apart);
            let mut batches = vec![together];
            batches.extend(apart.into_iter().map(|at| vec![at]));
            groups.push(JobGroup {
                batches,
                raw,
                ..self.settings_around(BatchClass::default(), raw)
            });
        }
        groups
    }

    /// What is set before and after those of one group. Behind a pooler each of our own queries
    /// brings its settings along.
    fn settings_around(&self, batch_class: BatchClass, raw: bool) -> JobGroup {
        let pooled = self.mode == Mode::Pooled;
        let limit = batch_class.limit;
        let mut group = JobGroup::default();
        if batch_class.users {
            if pooled && self.whole_transactions {
                return group;
            }
            group.before = Some(self.settings.begin(limit, raw, pooled));
            group.after = Some(SessionSettings::end_transaction().to_owned());
        } else if !pooled && (limit.is_some() || raw) {
            let before = limit.map(|limit| self.settings.limit(limit));
            let mut before = before.unwrap_or_default();
            let mut after = self.settings.usual();
            if raw {
                before += &self.settings.encoding(true);
                after += &self.settings.encoding(false);
            }
            (group.before, group.after) = (Some(before), Some(after));
        }
        group
    }

    /// The one of these `unanswered` jobs that the server was at when it said no more, where that is
    /// known. It works on them in the order in which they were sent; those that are sent again come
    /// behind all others. Of those under one Sync nobody knows which one it was at: the next run
    /// tells.
    pub(super) fn find_at_work(
        &self,
        unanswered: impl Iterator<Item = usize>,
        states: &[JobState],
        batch_classes: &[BatchClass],
    ) -> Option<usize> {
        let place = |at: &usize| {
            let (batch_class, state) = (&batch_classes[*at], &states[*at]);
            let apart = batch_class.apart && !self.careful && batch_class.order < BatchOrder::Users;
            (state.put_off, batch_class.order, state.raw, apart)
        };
        let alone = |at: &usize| {
            self.careful
                || self.mode == Mode::Pooled
                || batch_classes[*at].apart
                || matches!(
                    batch_classes[*at].order,
                    BatchOrder::Special | BatchOrder::Slow
                )
        };
        unanswered.min_by_key(place).filter(alone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::targets::Timeouts;

    const PLAIN: BatchClass = BatchClass {
        order: BatchOrder::Plain,
        apart: false,
        users: false,
        limit: None,
    };

    fn settings() -> SessionSettings {
        let timeouts = Timeouts {
            connect: Duration::from_secs(5),
            query: Duration::from_secs(10),
            lock: Duration::from_secs(1),
        };
        SessionSettings::new(timeouts, false, 17, &[])
    }

    fn rules(settings: &SessionSettings) -> BatchRules<'_> {
        BatchRules {
            settings,
            mode: Mode::Kept,
            careful: false,
            whole_transactions: false,
        }
    }

    fn batches(rules: BatchRules<'_>, classes: &[BatchClass], raw: &[usize]) -> String {
        let left: Vec<usize> = (0..classes.len()).collect();
        let mut states = vec![JobState::default(); classes.len()];
        raw.iter().for_each(|at| states[*at].raw = true);
        let groups = rules.group(&left, &states, classes);
        let text = |group: &JobGroup| {
            let around = if group.before.is_some() { "+" } else { "" };
            let raw = if group.raw { "r" } else { "" };
            format!("{around}{raw}{:?}", group.batches)
        };
        groups.iter().map(text).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn jobs_are_sent_in_the_order_of_what_may_hold_up_others() {
        let class = |order, users| BatchClass {
            order,
            users,
            ..PLAIN
        };
        let limited = BatchClass {
            limit: Some(Duration::from_secs(1)),
            ..class(BatchOrder::Special, false)
        };
        let classes = [
            class(BatchOrder::Slow, false),
            class(BatchOrder::Users, true),
            PLAIN,
            limited,
            class(BatchOrder::ServerInfo, false),
            PLAIN,
            BatchClass {
                apart: true,
                ..PLAIN
            },
            class(BatchOrder::Users, true),
        ];
        let settings = settings();
        let plain = rules(&settings);
        assert_eq!(
            batches(plain, &classes, &[]),
            "[[4]] [[2, 5], [6]] +[[1]] +[[7]] +[[3]] [[0]]"
        );
        let careful = BatchRules {
            careful: true,
            ..plain
        };
        assert_eq!(
            batches(careful, &classes[2..6], &[]),
            "[[], [2]] [[], [0], [3]] +[[1]]"
        );
        assert_eq!(
            batches(plain, &[PLAIN; 4], &[1, 3]),
            "[[0, 2]] +r[[1, 3]]",
            "with text as the database holds it"
        );
    }

    #[test]
    fn behind_a_pooler_settings_stand_around_users_queries_alone_or_nowhere() {
        let users = BatchClass {
            order: BatchOrder::Users,
            users: true,
            ..PLAIN
        };
        let settings = settings();
        for (whole_transactions, expected) in [(false, "[[0]] +[[1]]"), (true, "[[0]] [[1]]")] {
            let pooled = BatchRules {
                mode: Mode::Pooled,
                whole_transactions,
                ..rules(&settings)
            };
            assert_eq!(batches(pooled, &[PLAIN, users], &[]), expected);
        }
    }

    #[test]
    fn the_one_at_work_is_the_first_in_the_order_of_sending_where_that_is_known() {
        let slow = BatchClass {
            order: BatchOrder::Slow,
            ..PLAIN
        };
        let apart = BatchClass {
            apart: true,
            ..PLAIN
        };
        let settings = settings();
        // Whether each has a Sync of its own, the jobs, which of them were put off, the unanswered,
        // the one at work.
        for (careful, classes, put_off, unanswered, expected) in [
            (true, [PLAIN; 3], None, vec![1, 2], Some(1)),
            (true, [PLAIN; 3], Some(1), vec![1, 2], Some(2)),
            (false, [PLAIN; 3], None, vec![1, 2], None),
            (false, [slow, PLAIN, PLAIN], None, vec![0, 1], None),
            (false, [slow, PLAIN, PLAIN], None, vec![0], Some(0)),
            (false, [apart, PLAIN, PLAIN], None, vec![0, 1], None),
            (false, [apart, PLAIN, PLAIN], None, vec![0], Some(0)),
            (true, [slow, PLAIN, PLAIN], None, vec![0, 2], Some(2)),
            (true, [PLAIN; 3], None, vec![], None),
        ] {
            let mut states = [JobState::default(); 3];
            if let Some(at) = put_off {
                states[at].put_off();
            }
            let rules = BatchRules {
                careful,
                ..rules(&settings)
            };
            let what = format!("{careful} {classes:?} {put_off:?} {unanswered:?}");
            let found = rules.find_at_work(unanswered.into_iter(), &states, &classes);
            assert_eq!(found, expected, "{what}");
        }
    }
}
