//! What happens to a target, and what is done about it: the language between the
//! [machine](super::machine) and the [driver](super::driver).

use std::time::Duration;

use tokio::time::Instant;

use crate::model::TargetErrorKind;
use crate::targets::TargetError;

/// How long a request waits for a session that a scrape before it left at work.
pub(crate) const MOMENT: Duration = Duration::from_secs(1);

/// Why a target has no session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum DownCause {
    /// All connections of the exporter are in use. Nothing is wrong with the server, and that
    /// connections are short is logged for all servers together.
    NoPlace,
    /// The server, or the way to it.
    Server(TargetError),
}

impl DownCause {
    pub(crate) fn reason(&self) -> TargetErrorKind {
        match self {
            DownCause::NoPlace => TargetErrorKind::TooManyConnections,
            DownCause::Server(trouble) => trouble.kind,
        }
    }

    pub(crate) fn message(&self) -> &str {
        match self {
            DownCause::NoPlace => "max_connections of the exporter is used up; raise it",
            DownCause::Server(trouble) => &trouble.message,
        }
    }

    pub(crate) fn is_no_place(&self) -> bool {
        matches!(self, DownCause::NoPlace)
    }

    pub(crate) fn to_trouble(&self) -> TargetError {
        TargetError {
            kind: self.reason(),
            message: self.message().to_owned(),
        }
    }
}

impl From<TargetError> for DownCause {
    fn from(trouble: TargetError) -> Self {
        DownCause::Server(trouble)
    }
}

/// Which of two attempts to connect that are under way at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AttemptSlot {
    First,
    /// Beside one that has had no answer for two scrapes.
    Second,
}

/// What the machine cannot know by itself and depends on when it decides.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct TargetView {
    /// When the collection that is waited for has to be over: it moves as others join.
    pub deadline: Option<Instant>,
    /// All connections of the process for sessions are in use.
    pub is_crowded: bool,
    /// When the first attempt was given its connection; `None` while it queues.
    pub first_began: Option<Instant>,
}

/// Something that happened to a target.
#[derive(Clone, Debug)]
pub(crate) enum TargetEvent {
    /// A collection is waited for.
    Requested,
    /// A profile is wanted until that time.
    ProfileRequested(Instant),
    /// It was answered.
    ProfileEnded,
    /// The target was changed in a way that its session outlives.
    Changed { keeps_session: bool },
    /// The configuration was read again: what refused us may have been mended.
    Reloaded,
    /// Every target is to renew its session: the name may lead elsewhere by now.
    RenewalRequested,
    /// The session is to be renewed at that time.
    RenewAt(Instant),
    /// An attempt was begun.
    AttemptStarted(AttemptSlot),
    /// None was begun: all connections are in use, and nobody waits.
    NoPlace,
    /// None was begun beside what does not answer: there is no other way to the server.
    NoOtherWay,
    /// An attempt takes longer than it may; it goes on.
    AttemptLate(AttemptSlot, DownCause),
    /// There is no attempt any more in that place.
    AttemptGone(AttemptSlot),
    /// An attempt has led to a connection, which is looked over.
    Connected,
    /// An attempt failed.
    ConnectFailed(AttemptSlot, DownCause, Abandoned),
    /// The new session is ready and takes the place of the one before it.
    Ready {
        /// How long it may live; zero is for ever.
        max_age: Duration,
        /// The name has other addresses, which are to be tried soon.
        look_around: bool,
    },
    /// The new session is not needed: the one before it stays, or is still waited for.
    SessionKept {
        max_age: Duration,
        /// More connections are needed to tell which server is to be shown.
        try_again: bool,
    },
    /// The new session is of no use.
    NotRenewed(DownCause, Abandoned),
    /// What the session was asked has no answer: it is drained beside what comes next, and `keep`
    /// is whether it is of use then.
    DrainBegan { keep: bool },
    /// The new session reached the server of the one that is drained, which has more time.
    DrainGoesOn { again_at: Instant },
    /// The drained session has answered and is of use.
    Drained,
    /// The session is idle again.
    Returned,
    /// A server that nobody scrapes has said that it is there.
    Checked,
    /// The server ended a session that nobody used.
    EndedIdle,
    /// The session ended in use.
    Lost(DownCause),
    /// There is no session any more: it was closed, or its end is waited for beside.
    Closed,
    /// There is no session, for this reason.
    Down(DownCause),
}

/// Whether a connection that was given up may still count at the server.
pub(crate) type Abandoned = bool;

/// How a collection ended.
#[derive(Clone, Debug, Default)]
pub(crate) struct CollectionEnd {
    /// How many sessions its request had before.
    pub replacements: u32,
    /// Why it brought nothing.
    pub trouble: Option<TargetError>,
    /// Why the session ended, if it did.
    pub ended: Option<TargetError>,
    /// The session still owes answers.
    pub must_drain: bool,
}

/// What is to be done next.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum TargetAction {
    /// Connect. Where somebody waits, the attempt queues for a connection until that is over.
    Connect,
    /// Connect beside the session, which is to be renewed.
    Renew,
    /// Connect beside a session or an attempt that does not answer, to another address of the name
    /// if it has one; `first` is when that attempt began.
    ConnectElsewhere {
        slot: AttemptSlot,
        first: Option<Instant>,
    },
    /// Leave the renewal to itself: a request waits for the session.
    LeaveAttempt,
    /// Give up the attempt, so that others have its connection.
    DropAttempt,
    /// Collect with the session. It may be given up for another one if it ends, and a request that
    /// comes back after that has had this many sessions.
    Collect { replacements: u32 },
    /// Answer the request: this is known already.
    Refuse(TargetError),
    /// Nobody waits for the request any more.
    Expire(Option<TargetError>),
    /// Ask a server that nobody has scraped for a while how it is.
    Check,
    /// Close the session, which is not kept.
    Close,
    /// Answer the profile; `None` is no answer in time.
    EndProfile(Option<TargetError>),
    /// Nothing before that time, unless something happens. `profile`: a step of a profile may be
    /// taken if nothing has happened.
    Wait {
        until: Option<Instant>,
        profile: bool,
    },
}

/// What became of the session and the request after a collection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AfterCollection {
    /// The session ended, and the request is to have another one.
    Replace,
    /// The request is answered; the session has ended.
    Lost,
    /// The request is answered; the session must answer before it is of use.
    Drain,
    /// The request is answered; the session is kept.
    Keep,
    /// The request is answered; the session is closed.
    Close,
}

/// A change of a target's state that is logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum StateNotice {
    /// It is down. `is_known`: the same goes on, and was logged.
    Down { cause: DownCause, is_known: bool },
    /// It is up again after that.
    Up { cause: DownCause, is_known: bool },
    /// Floods of data that was not asked for are over.
    FloodsOver,
}
