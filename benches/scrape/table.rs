//! The figures as a table, on the console and in `docs/performance.md`.

use std::fmt::Write as _;
use std::time::Duration;

/// One line.
pub struct Figure {
    what: String,
    bar: String,
    measured: String,
    /// `None`: there is no bar, it is told only.
    good: Option<bool>,
}

/// All lines.
#[derive(Default)]
pub struct Table {
    figures: Vec<Figure>,
}

impl Table {
    /// A figure with a bar.
    pub fn add(&mut self, what: &str, bar: &str, measured: String, good: bool) {
        self.push(what, bar, measured, Some(good));
    }

    /// A figure without one.
    pub fn tell(&mut self, what: &str, measured: String) {
        self.push(what, "report", measured, None);
    }

    fn push(&mut self, what: &str, bar: &str, measured: String, good: Option<bool>) {
        eprintln!("  {what}: {measured}");
        self.figures.push(Figure {
            what: what.to_owned(),
            bar: bar.to_owned(),
            measured,
            good,
        });
    }

    /// How many bars were missed.
    pub fn missed(&self) -> usize {
        let missed = |figure: &&Figure| figure.good == Some(false);
        self.figures.iter().filter(missed).count()
    }

    /// The table in Markdown.
    pub fn markdown(&self) -> String {
        let mut text = "| Figure | Bar | Measured | |\n| --- | --- | --- | --- |\n".to_owned();
        for figure in &self.figures {
            let verdict = match figure.good {
                None => "",
                Some(true) => "holds",
                Some(false) => "**missed**",
            };
            // Writing to a String cannot fail.
            let _ = writeln!(
                text,
                "| {} | {} | {} | {verdict} |",
                figure.what, figure.bar, figure.measured
            );
        }
        text
    }
}

/// `1.23 ms`.
pub fn ms(time: Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1e3)
}

/// `12.3 MB`.
pub fn mb(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}

/// The time that so many of a hundred do not pass.
pub fn percentile(times: &mut [Duration], percent: usize) -> Duration {
    times.sort();
    let at = (times.len() * percent / 100).min(times.len().saturating_sub(1));
    times.get(at).copied().unwrap_or_default()
}

/// The median of ratios.
pub fn middle(mut ratios: Vec<f64>) -> f64 {
    ratios.sort_by(f64::total_cmp);
    ratios.get(ratios.len() / 2).copied().unwrap_or_default()
}

/// How many times `a` is `b`.
pub fn ratio(a: Duration, b: Duration) -> f64 {
    a.as_secs_f64() / b.as_secs_f64().max(1e-9)
}
