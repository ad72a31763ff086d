//! Peers that let the exporter in, or nearly, and then do what no PostgreSQL does.

use std::io;

use crate::support::hostile::{Guest, Hostile, header, message};

/// What one does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attack {
    /// Announces a message of 64 MiB after login, and sends nothing of it.
    AnnouncesMuch,
    /// Sends notices at login without an end.
    FloodsLogin,
    /// Answers each query with rows without an end.
    SendsRows,
    /// Refuses the login with a text of 60 MB.
    RefusesAtLength,
}

pub const ATTACKS: [Attack; 4] = [
    Attack::AnnouncesMuch,
    Attack::FloodsLogin,
    Attack::SendsRows,
    Attack::RefusesAtLength,
];

/// So many bytes are without an end for the exporter, and leave the machine something for the
/// others.
const WITHOUT_END: usize = 2_000_000_000;

/// Starts a peer that does that to each connection.
pub fn start(attack: Attack) -> Hostile {
    Hostile::start(move |guest| answer(guest, attack))
}

fn answer(guest: &mut Guest, attack: Attack) -> io::Result<()> {
    match attack {
        Attack::RefusesAtLength => {
            let mut body = b"SFATAL\0C28000\0M".to_vec();
            body.resize(60_000_000, b'x');
            body.extend_from_slice(b"\0\0");
            return guest.send(&message(b'E', &body));
        }
        Attack::FloodsLogin => {
            let notice = [&b"SNOTICE\0C00000\0M"[..], &[b'y'; 8000], b"\0\0"].concat();
            return guest.flood(&message(b'N', &notice), WITHOUT_END);
        }
        Attack::AnnouncesMuch | Attack::SendsRows => guest.log_in()?,
    }
    if attack == Attack::SendsRows {
        let row = [&[0, 1, 0, 0, 31, 64][..], &[b'z'; 8000]].concat();
        return guest.flood(&message(b'D', &row), WITHOUT_END);
    }
    guest.send(&header(b'D', 64 << 20))?;
    guest.wait_for_end()
}
