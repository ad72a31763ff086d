//! Whether a session that ended in a walk is replaced. Pure.

use crate::model::TargetErrorKind;

/// Whether a session that ended in a visit is replaced by another one at once. A query may have ended
/// it, which is not to be run again and again.
#[derive(Debug, Default)]
pub(crate) struct SessionReplacement {
    /// The visit may be repeated: once for each database.
    pub(crate) of_visit: bool,
    /// Also where the connection broke and nobody said why: once for each walk, for what stands
    /// between may break every connection.
    pub(crate) of_broken: bool,
    /// The visit is to be repeated.
    pub(crate) is_due: bool,
}

impl SessionReplacement {
    /// A session ended for this reason.
    pub(crate) fn record_end(&mut self, reason: TargetErrorKind) {
        let may = std::mem::take(&mut self.of_visit);
        self.is_due = may
            && match reason {
                TargetErrorKind::NotReady => true,
                TargetErrorKind::ConnectionLost => std::mem::take(&mut self.of_broken),
                _ => false,
            };
    }

    /// Whether the visit that has just ended is to be repeated.
    pub(crate) fn take_due(&mut self) -> bool {
        self.of_visit = false;
        std::mem::take(&mut self.is_due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_database_is_visited_again_once_and_one_of_a_walk_whose_connection_broke() {
        use TargetErrorKind::{ConnectionLost, NotReady, Timeout};
        // A visit, or its repetition: how its session ended, and whether it is repeated.
        let cases: [(&str, &[(TargetErrorKind, bool)]); 5] = [
            ("ended twice", &[(NotReady, true), (NotReady, false)]),
            (
                "broke after that",
                &[(NotReady, true), (ConnectionLost, false)],
            ),
            (
                "broke twice",
                &[(ConnectionLost, true), (ConnectionLost, false)],
            ),
            ("the next database", &[(ConnectionLost, false)]),
            ("no answer", &[(Timeout, false)]),
        ];
        let mut replacement = SessionReplacement {
            of_broken: true,
            ..SessionReplacement::default()
        };
        for (name, ends) in cases {
            replacement.of_visit = true;
            for (reason, repeated) in ends {
                replacement.record_end(*reason);
                assert_eq!(replacement.take_due(), *repeated, "{name} {reason:?}");
            }
        }
    }
}
