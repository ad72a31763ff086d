//! What processes used, from `/proc`.

use std::fs;
use std::time::Duration;

use crate::support::Postgres;

/// Linux gives times to user space in hundredths of a second (`USER_HZ`) on all its platforms.
const TICK: Duration = Duration::from_millis(10);

/// CPU of a process and all its threads, those that have ended included.
pub fn cpu_of(pid: i32) -> Duration {
    stat(pid).map_or(Duration::ZERO, |fields| fields.own)
}

/// CPU of all processes of a server since it was started, those that have ended included.
///
/// A backend's time is read in nanoseconds while it lives; once it has ended it is part of the
/// postmaster's `cutime` and `cstime`.
pub fn cpu_of_server(server: &Postgres) -> Duration {
    let postmaster = server.pid().expect("it runs");
    let alive: Duration = server
        .processes()
        .into_iter()
        .map(|pid| precise(pid).unwrap_or_default())
        .sum();
    alive + stat(postmaster).map_or(Duration::ZERO, |fields| fields.children)
}

/// Gives PostgreSQL the first core, with all that it starts from now on, and this process the
/// second, with the exporters that it starts. Where processes meet on a core is chance otherwise,
/// and the reader of a body pushes the server off its own.
pub fn apart(server: &Postgres) {
    use rustix::process::Pid;
    use rustix::thread::{CpuSet, sched_setaffinity};
    let on = |core| {
        let mut set = CpuSet::new();
        set.set(core);
        set
    };
    let postmaster = server.pid().expect("it runs");
    let pids = [postmaster].into_iter().chain(server.processes());
    for pid in pids.filter_map(Pid::from_raw) {
        // One that has ended meanwhile needs no core.
        let _ = sched_setaffinity(Some(pid), &on(0));
    }
    sched_setaffinity(None, &on(1)).expect("a second core");
}

/// This process on all cores again.
pub fn everywhere() {
    use rustix::thread::{CpuSet, sched_setaffinity};
    let mut set = CpuSet::new();
    (0..CpuSet::MAX_CPU).for_each(|core| set.set(core));
    sched_setaffinity(None, &set).expect("all cores");
}

/// Resident memory in bytes.
pub fn resident(pid: i32) -> u64 {
    kilobytes(&format!("/proc/{pid}/status"), &["VmRSS:"]) * 1024
}

/// Memory that no other process shares, in bytes.
pub fn private(pid: i32) -> u64 {
    let names = ["Private_Clean:", "Private_Dirty:"];
    kilobytes(&format!("/proc/{pid}/smaps_rollup"), &names) * 1024
}

/// `2 cores, 16 GB, AMD EPYC`.
pub fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let memory = kilobytes("/proc/meminfo", &["MemTotal:"]);
    let model = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = model
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or("unknown processor", |(_, name)| name);
    format!(
        "{cores} cores ({model}), {:.0} GB",
        memory as f64 / 1_048_576.0
    )
}

struct Stat {
    own: Duration,
    children: Duration,
}

fn stat(pid: i32) -> Option<Stat> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = text.rsplit_once(") ")?.1.split(' ').collect();
    // utime is field 14 of proc(5), the third one is the first here.
    let ticks = |at: usize| fields.get(at - 3)?.parse::<u32>().ok();
    Some(Stat {
        own: TICK * (ticks(14)? + ticks(15)?),
        children: TICK * (ticks(16)? + ticks(17)?),
    })
}

/// Time on a processor of a process with one thread.
fn precise(pid: i32) -> Option<Duration> {
    let text = fs::read_to_string(format!("/proc/{pid}/schedstat")).ok();
    let nanoseconds = text.and_then(|text| text.split(' ').next()?.parse().ok());
    nanoseconds
        .map(Duration::from_nanos)
        .or_else(|| Some(stat(pid)?.own))
}

fn kilobytes(file: &str, names: &[&str]) -> u64 {
    let text = fs::read_to_string(file).unwrap_or_default();
    text.lines()
        .filter(|line| names.iter().any(|name| line.starts_with(name)))
        .filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok())
        .sum()
}
