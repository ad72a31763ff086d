//! Whether the time of a login that fails tells who is an admin.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use postgres_protocol::authentication::sasl::{ChannelBinding, SCRAM_SHA_256, ScramSha256};
use postgres_protocol::message::backend::Message;
use postgres_protocol::message::frontend;
use socket2::{Domain, Socket, Type};

use crate::Rounds;
use crate::support::Exporter;
use crate::table::{Table, ms, percentile};

/// Nobody can tell two kinds apart when a guess by their order is right this often, of one half.
const CHANCE: f64 = 0.03;
/// Parts that the times are sorted into to see how far two kinds overlap.
const PARTS: usize = 20;

/// Wrong passwords of an admin against those of strangers, each from an address of its own: who
/// guesses from one address is slowed down.
pub fn measure(table: &mut Table, rounds: Rounds) {
    let exporter = Exporter::builder()
        .set("management = {management}")
        .section("[nobody]\nhost = 127.0.0.1\nport = 1\nuser = nobody\n")
        .file("admins/anna", "correct horse battery\n")
        .argument("-A")
        .argument("{dir}/admins")
        // Each refusal is a line at WARN.
        .set("log_level = error")
        .start();
    let (mut wrong, mut unknown) = (Vec::new(), Vec::new());
    let mut address = 0_u32;
    for round in 0..rounds.logins + 20 {
        let mut time = |user: &str| {
            address += 1;
            let [_, a, b, c] = address.to_be_bytes();
            fails(&exporter, Ipv4Addr::new(127, a + 1, b, c), user).expect("it answers")
        };
        let (admin, stranger) = match round % 2 {
            0 => (time("anna"), time("emma")),
            _ => {
                let stranger = time("emma");
                (time("anna"), stranger)
            }
        };
        // The first find nothing warm.
        if round >= 20 {
            wrong.push(admin);
            unknown.push(stranger);
        }
    }
    let better = above(&wrong, &unknown);
    table.add(
        &format!(
            "{} logins each, wrong password and unknown user: how often the first takes longer",
            rounds.logins
        ),
        "50 % ± 3",
        format!(
            "{:.1} %; the distributions overlap by {:.0} %",
            better * 100.0,
            overlap(&wrong, &unknown) * 100.0
        ),
        (better - 0.5).abs() <= CHANCE,
    );
    for (name, times) in [
        ("Wrong password", &mut wrong),
        ("Unknown user", &mut unknown),
    ] {
        table.tell(
            &format!("{name}: what the exporter takes, median (p5 to p95)"),
            format!(
                "{} ({} to {})",
                ms(percentile(times, 50)),
                ms(percentile(times, 5)),
                ms(percentile(times, 95))
            ),
        );
    }
}

/// Logs in with a wrong password; gives how long the exporter took for its answers. The client's
/// own work, which is thousands of rounds, is none of it.
fn fails(exporter: &Exporter, from: Ipv4Addr, user: &str) -> io::Result<Duration> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&SocketAddr::new(IpAddr::V4(from), 0).into())?;
    socket.connect(&SocketAddr::from(([127, 0, 0, 1], exporter.port("management"))).into())?;
    let mut stream = TcpStream::from(socket);
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;

    let mut out = BytesMut::new();
    frontend::startup_message([("user", user), ("database", "admin")], &mut out)?;
    let (Message::AuthenticationSasl(_), first) = answer(&mut stream, &out)? else {
        return Err(io::Error::other("no offer of SASL"));
    };
    let mut scram = ScramSha256::new(b"wrong password", ChannelBinding::unsupported());
    let mut out = BytesMut::new();
    frontend::sasl_initial_response(SCRAM_SHA_256, scram.message(), &mut out)?;
    let (Message::AuthenticationSaslContinue(body), second) = answer(&mut stream, &out)? else {
        return Err(io::Error::other("no answer of SCRAM"));
    };
    scram.update(body.data())?;
    let mut out = BytesMut::new();
    frontend::sasl_response(scram.message(), &mut out)?;
    let (Message::ErrorResponse(_), third) = answer(&mut stream, &out)? else {
        return Err(io::Error::other("no refusal"));
    };
    Ok(first + second + third)
}

fn answer(stream: &mut TcpStream, message: &[u8]) -> io::Result<(Message, Duration)> {
    let begin = Instant::now();
    stream.write_all(message)?;
    let mut inbox = BytesMut::new();
    loop {
        let mut bytes = [0; 1024];
        let read = stream.read(&mut bytes)?;
        let took = begin.elapsed();
        inbox.extend_from_slice(&bytes[..read]);
        if let Some(message) = Message::parse(&mut inbox)? {
            return Ok((message, took));
        }
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

/// How often one of the first is longer than one of the second, over all pairs (Mann and Whitney's
/// U over the number of pairs).
fn above(first: &[Duration], second: &[Duration]) -> f64 {
    let mut sorted = second.to_vec();
    sorted.sort();
    let wins: f64 = first
        .iter()
        .map(|time| {
            let less = sorted.partition_point(|other| other < time);
            let same = sorted.partition_point(|other| other <= time) - less;
            less as f64 + same as f64 / 2.0
        })
        .sum();
    wins / (first.len() as f64 * second.len() as f64)
}

/// What two histograms share, whose parts hold equally many of both together: 1 when they are the
/// same, 0 when they have nothing in common.
fn overlap(first: &[Duration], second: &[Duration]) -> f64 {
    let mut all = [first, second].concat();
    all.sort();
    let part = |time: &Duration| {
        let at = all.partition_point(|other| other < time);
        (at * PARTS / all.len()).min(PARTS - 1)
    };
    let histogram = |times: &[Duration]| {
        let mut counts = [0.0; PARTS];
        for time in times {
            counts[part(time)] += 1.0 / times.len() as f64;
        }
        counts
    };
    let (first, second) = (histogram(first), histogram(second));
    first
        .iter()
        .zip(&second)
        .map(|(a, b)| f64::min(*a, *b))
        .sum()
}
