//! The local time.

use jiff::tz::TimeZone;
use jiff::{Timestamp, ZonedDateTime};

/// Now, in the zone of `TZ`, else that of the machine.
///
/// Without `TZ` the zone's file is read as it is: to find its name, all the zones of the machine
/// would be looked through, which takes longer than to ask an exporter.
pub(super) fn local_time() -> ZonedDateTime {
    let named = std::env::var_os("TZ").is_some();
    let zone = std::fs::read("/etc/localtime").ok();
    match zone.and_then(|zone| TimeZone::tzif("", &zone).ok()) {
        Some(zone) if !named => ZonedDateTime::new(Timestamp::now(), zone),
        _ => ZonedDateTime::now(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_time_of_this_machine() {
        let (ours, theirs) = (local_time(), ZonedDateTime::now());
        assert_eq!(ours.offset(), theirs.offset());
        assert!(ours.duration_until(&theirs).as_secs() < 60);
    }
}
