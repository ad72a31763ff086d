//! What a request asks for: how long it waits, and which format it prefers.

use std::time::Duration;

use axum::http::HeaderMap;
use axum::http::header::ACCEPT;

use super::send_margin::SendTime;
use crate::exposition::Format;

/// How long Prometheus waits, in seconds with a fraction.
const SCRAPE_TIMEOUT: &str = "x-prometheus-scrape-timeout-seconds";
/// Nobody reads an answer sooner; who says so is given what is there by then.
const LEAST: Duration = Duration::from_millis(50);

/// How long a scrape may take: what the client says it waits less a margin for the way back
/// ([`SendTime::margin`]) but at least 50 ms, or `longest`, and never more than that. What is no
/// length of time (zero, negative, NaN, infinite, not a number) counts as not said.
pub(super) fn time_limit(headers: &HeaderMap, longest: Duration, sends: &SendTime) -> Duration {
    headers
        .get(SCRAPE_TIMEOUT)
        .and_then(|value| value.to_str().ok())
        .and_then(|text| text.trim().parse::<f64>().ok())
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .filter(|limit| !limit.is_zero())
        .map_or(longest, |limit| {
            let left = limit - sends.margin(limit);
            longest.min(left.max(LEAST))
        })
}

/// The format of the answer: OpenMetrics 1.0 where it is switched on and the client likes it
/// better than the text format by the rules of RFC 9110 section 12.5.1, else the text format,
/// which is also the answer to a client that accepts neither.
pub(super) fn format(headers: &HeaderMap, openmetrics: bool) -> Format {
    if !openmetrics {
        return Format::Text;
    }
    let mut preferences = AcceptPreferences::default();
    let mut place = 0;
    for value in headers.get_all(ACCEPT) {
        for range in split(value.to_str().unwrap_or_default(), ',') {
            preferences.add_range(range, place);
            place += 1;
        }
    }
    preferences.format()
}

/// The range of the header that decides for each format.
#[derive(Debug, Default)]
struct AcceptPreferences {
    openmetrics: Option<AcceptedRange>,
    text: Option<AcceptedRange>,
}

/// One range of the header that fits a format.
#[derive(Clone, Copy, Debug)]
struct AcceptedRange {
    /// A range that names more counts more, whatever its weight.
    precision: u8,
    /// Thousandths.
    weight: u16,
    place: usize,
}

impl AcceptPreferences {
    fn add_range(&mut self, range: &str, place: usize) {
        let mut parts = split(range, ';').into_iter();
        let media = parts.next().unwrap_or_default().to_ascii_lowercase();
        let (mut weight, mut version) = (1000, None);
        for parameter in parts {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            let value = value.trim().trim_matches('"');
            match name.trim().to_ascii_lowercase().as_str() {
                "q" => weight = thousandths(value),
                "version" => version = Some(value.to_owned()),
                _ => {}
            }
        }
        let version = version.as_deref();
        let (slot, precision) = match (media.as_str(), version) {
            ("application/openmetrics-text", Some("1.0.0")) => (&mut self.openmetrics, 4),
            ("application/openmetrics-text", None) => (&mut self.openmetrics, 3),
            ("text/plain", Some("0.0.4")) => (&mut self.text, 4),
            ("text/plain", None) => (&mut self.text, 3),
            ("text/*", _) => (&mut self.text, 2),
            // Whoever takes anything gets the text format, which every reader knows.
            ("*/*", _) => (&mut self.text, 1),
            _ => return,
        };
        let better = slot.is_none_or(|range| {
            precision > range.precision || (precision == range.precision && weight > range.weight)
        });
        if better {
            *slot = Some(AcceptedRange {
                precision,
                weight,
                place,
            });
        }
    }

    fn format(&self) -> Format {
        let Some(openmetrics) = self.openmetrics.filter(|range| range.weight > 0) else {
            return Format::Text;
        };
        match self.text {
            Some(text) if text.weight > openmetrics.weight => Format::Text,
            Some(text) if text.weight == openmetrics.weight && text.place < openmetrics.place => {
                Format::Text
            }
            _ => Format::OpenMetrics,
        }
    }
}

/// A weight (RFC 9110 section 12.4.2); one that is none counts as nothing wanted.
fn thousandths(text: &str) -> u16 {
    match text.parse::<f32>() {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        Ok(q) if (0.0..=1.0).contains(&q) => (q * 1000.0).round() as u16,
        _ => 0,
    }
}

/// Splits at a separator outside quotes, and trims.
fn split(text: &str, separator: char) -> Vec<&str> {
    let mut quoted = false;
    text.split(|c| {
        quoted ^= c == '"';
        c == separator && !quoted
    })
    .map(str::trim)
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: &'static str, values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn the_time_limit_is_what_the_client_waits_less_a_margin() {
        let longest = Duration::from_secs(30);
        let sends = SendTime::default();
        let table = [
            ("10", 9_500),
            ("10.000000", 9_500),
            (" 4 ", 3_800),
            ("1", 900),
            ("0.3", 200),
            ("0.1", 50),
            ("0.001", 50),
            ("1e-7", 50),
            ("1e-12", 30_000),
            ("-inf", 30_000),
            ("-1e-7", 30_000),
            ("60", 30_000),
            ("30.2", 29_700),
            ("1e300", 30_000),
            ("0", 30_000),
            ("-1", 30_000),
            ("NaN", 30_000),
            ("inf", 30_000),
            ("ten", 30_000),
            ("", 30_000),
        ];
        for (given, millis) in table {
            let limit = time_limit(&headers(SCRAPE_TIMEOUT, &[given]), longest, &sends);
            assert_eq!(limit.as_secs_f64(), f64::from(millis) / 1000.0, "{given:?}");
        }
        assert_eq!(time_limit(&HeaderMap::new(), longest, &sends), longest);
    }

    const PROMETHEUS_3: &str = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
        application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;\
        escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";

    #[test]
    fn openmetrics_is_served_to_who_prefers_it() {
        let table: &[&[&str]] = &[
            &[PROMETHEUS_3],
            &["application/openmetrics-text"],
            &["application/openmetrics-text; version=1.0.0; charset=utf-8"],
            &["Application/OpenMetrics-Text;Version=\"1.0.0\""],
            &["application/openmetrics-text, text/plain"],
            &["application/openmetrics-text, text/plain;q=0.9, */*"],
            &["text/plain;q=0.5, application/openmetrics-text;q=0.6"],
            &["text/plain;q=0.5", "application/openmetrics-text"],
            &["text/plain;version=1.0.0, application/openmetrics-text;q=0.1"],
            &["text/html;x=\"a,text/plain;q=1\", application/openmetrics-text;q=0.2"],
        ];
        for values in table {
            let headers = headers("accept", values);
            assert_eq!(format(&headers, true), Format::OpenMetrics, "{values:?}");
            assert_eq!(format(&headers, false), Format::Text, "{values:?}");
        }
    }

    #[test]
    fn everybody_else_gets_the_text_format() {
        let table: &[&[&str]] = &[
            &[],
            &[""],
            &["*/*"],
            &["text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"],
            &["text/plain"],
            &["text/plain, application/openmetrics-text"],
            &["text/plain;version=0.0.4, application/openmetrics-text;q=0.9"],
            &["application/openmetrics-text;version=0.0.1"],
            &["application/openmetrics-text;version=2.0.0"],
            &["application/openmetrics-text;q=0"],
            &["application/openmetrics-text;q=0.0, */*"],
            &["application/openmetrics-text;q=nonsense"],
            &["application/openmetrics-text;q=0.5, */*;q=0.6"],
            &["application/*"],
            &["application/json"],
            &[";;;,,,===\"\"\""],
        ];
        for values in table {
            let headers = headers("accept", values);
            assert_eq!(format(&headers, true), Format::Text, "{values:?}");
        }
    }
}
