//! Words, numbers and times as people read them in HTML.

use std::fmt;
use std::time::{Duration, SystemTime};

use crate::text::escaped;

/// Text that stays text, between tags and in quoted attributes (HTML Living Standard, 13.1.4).
pub(super) struct Escaped<'a>(pub(super) &'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What a person reads: nothing in it turns its direction around.
        let safe = escaped(self.0);
        let mut rest = safe.as_ref();
        while let Some(at) = rest.find(['&', '<', '>', '"', '\'']) {
            f.write_str(&rest[..at])?;
            f.write_str(match rest.as_bytes()[at] {
                b'&' => "&amp;",
                b'<' => "&lt;",
                b'>' => "&gt;",
                b'"' => "&quot;",
                _ => "&#39;",
            })?;
            rest = &rest[at + 1..];
        }
        f.write_str(rest)
    }
}

/// A number with a comma before each three digits.
pub(super) struct Grouped(pub(super) usize);

impl fmt::Display for Grouped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.0.to_string();
        for (at, digit) in digits.chars().enumerate() {
            if at > 0 && (digits.len() - at).is_multiple_of(3) {
                f.write_str(",")?;
            }
            write!(f, "{digit}")?;
        }
        Ok(())
    }
}

/// How long ago that was. A clock that was set back makes it now.
pub(super) fn ago(then: SystemTime, now: SystemTime) -> String {
    let seconds = now.duration_since(then).unwrap_or_default().as_secs();
    match seconds {
        0 => "just now".to_owned(),
        1..120 => format!("{seconds} s ago"),
        120..7_200 => format!("{} min ago", seconds / 60),
        7_200..172_800 => format!("{} h ago", seconds / 3_600),
        _ => format!("{} days ago", seconds / 86_400),
    }
}

/// A duration in the unit that suits it.
pub(super) fn took(duration: Duration) -> String {
    match duration.as_secs_f64() {
        seconds if seconds >= 60.0 => format!("{:.1} min", seconds / 60.0),
        seconds if seconds >= 1.0 => format!("{seconds:.1} s"),
        seconds if seconds >= 0.001 => format!("{:.0} ms", seconds * 1_000.0),
        _ => "under 1 ms".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_by_three() {
        let table = [
            (0, "0"),
            (999, "999"),
            (1_000, "1,000"),
            (12_345, "12,345"),
            (1_234_567, "1,234,567"),
        ];
        for (number, text) in table {
            assert_eq!(Grouped(number).to_string(), text);
        }
    }

    #[test]
    fn times_are_in_the_unit_that_suits_them() {
        let start = SystemTime::UNIX_EPOCH;
        let table = [
            (0, "just now"),
            (1, "1 s ago"),
            (119, "119 s ago"),
            (120, "2 min ago"),
            (7_199, "119 min ago"),
            (7_200, "2 h ago"),
            (172_800, "2 days ago"),
        ];
        for (seconds, text) in table {
            assert_eq!(ago(start, start + Duration::from_secs(seconds)), text);
        }
        assert_eq!(ago(start + Duration::from_secs(5), start), "just now");
        let table = [
            (0, "under 1 ms"),
            (999, "under 1 ms"),
            (1_000, "1 ms"),
            (23_400, "23 ms"),
            (1_440_000, "1.4 s"),
            (90_000_000, "1.5 min"),
        ];
        for (micros, text) in table {
            assert_eq!(took(Duration::from_micros(micros)), text);
        }
    }
}
