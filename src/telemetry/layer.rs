//! From an event of `tracing` to a line in the queue and a step of a counter.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde_json::Value;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::registry::LookupSpan;

use super::line::{self, Content};
use super::queue::LogQueue;
use super::settings::LogState;
use super::{LogCounters, LogLevel};

/// Crates whose lines below WARN are left out.
const CHATTY: [&str; 13] = [
    "axum",
    "h2",
    "hyper",
    "hyper_util",
    "kube_client",
    "mio",
    "rustls",
    "tokio_postgres",
    "tokio_rustls",
    "tokio_util",
    "tower",
    "tower_http",
    "want",
];

/// The one layer above the registry.
pub(super) struct LogLayer {
    shared: Arc<LogState>,
    queue: Arc<LogQueue>,
    counters: Arc<LogCounters>,
}

impl LogLayer {
    pub(super) fn new(
        shared: Arc<LogState>,
        queue: Arc<LogQueue>,
        counters: Arc<LogCounters>,
    ) -> Self {
        Self {
            shared,
            queue,
            counters,
        }
    }
}

impl Drop for LogLayer {
    fn drop(&mut self) {
        self.queue.close();
    }
}

impl<S> Layer<S> for LogLayer
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        let wanted = self.shared.level();
        if *metadata.level() > ceiling(wanted) {
            return false;
        }
        // This module logs whole responses that it cannot parse, which may hold Secrets.
        if metadata.target() == "kube_client::client" && *metadata.level() > Level::ERROR {
            return false;
        }
        wanted == LogLevel::Trace || *metadata.level() <= loudest(metadata.target())
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(ceiling(self.shared.level()))
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut fields = EventFields::default();
        attributes.record(&mut fields);
        span.extensions_mut().insert(fields);
    }

    fn on_record(&self, id: &Id, record: &Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        // Formatted before the span is locked: formatting may log.
        let mut news = EventFields::default();
        record.record(&mut news);
        let mut extensions = span.extensions_mut();
        if let Some(fields) = extensions.get_mut::<EventFields>() {
            for (name, value) in news.pairs {
                fields.pairs.retain(|(old, _)| *old != name);
                fields.pairs.push((name, value));
            }
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = EventFields::default();
        event.record(&mut fields);
        let level = match *event.metadata().level() {
            Level::TRACE => LogLevel::Trace,
            Level::DEBUG => LogLevel::Debug,
            Level::INFO => LogLevel::Info,
            Level::WARN => LogLevel::Warn,
            Level::ERROR if fields.fatal => LogLevel::Fatal,
            Level::ERROR => LogLevel::Error,
        };
        if level < self.shared.level() {
            return;
        }
        for span in context.event_scope(event).into_iter().flatten() {
            if let Some(outer) = span.extensions().get::<EventFields>() {
                fields.add_missing(outer);
            }
        }
        self.count(level);
        let shape = self.shared.shape();
        let content = Content {
            level,
            target: fields
                .target
                .as_deref()
                .unwrap_or(event.metadata().target()),
            message: &fields.message,
            fields: &fields.pairs,
        };
        self.queue
            .push(level, line::format(&shape, &self.shared.now(), &content));
    }
}

impl LogLayer {
    fn count(&self, level: LogLevel) {
        let counter = match level {
            LogLevel::Trace | LogLevel::Debug => return,
            LogLevel::Info => &self.counters.info,
            LogLevel::Warn => &self.counters.warn,
            LogLevel::Error => &self.counters.error,
            LogLevel::Fatal => &self.counters.fatal,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

fn ceiling(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Trace => LevelFilter::TRACE,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Error | LogLevel::Fatal => LevelFilter::ERROR,
    }
}

/// The finest level at which a module is heard.
fn loudest(target: &str) -> Level {
    match target.split("::").next().unwrap_or(target) {
        // Warns at each try of a watch that fails; the controller tells it once.
        "kube_runtime" => Level::ERROR,
        root if CHATTY.contains(&root) => Level::WARN,
        _ => Level::TRACE,
    }
}

/// The fields of an event or of a span.
#[derive(Default)]
struct EventFields {
    message: String,
    /// The target of a record of `log`, whose events all have the target "log".
    target: Option<String>,
    fatal: bool,
    pairs: Vec<(&'static str, Value)>,
}

impl EventFields {
    fn add_missing(&mut self, outer: &EventFields) {
        for (name, value) in &outer.pairs {
            if !self.pairs.iter().any(|(known, _)| known == name) {
                self.pairs.push((name, value.clone()));
            }
        }
    }

    fn add(&mut self, field: &Field, value: Value) {
        match (field.name(), value) {
            ("message", Value::String(text)) => self.message = text,
            ("log.target", Value::String(text)) => self.target = Some(text),
            (name, _) if name.starts_with("log.") => {}
            (name, Value::String(text)) => self.pairs.push((name, line::shorten(text).into())),
            (name, value) => self.pairs.push((name, value)),
        }
    }
}

impl Visit for EventFields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field, format!("{value:?}").into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, value.into());
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.add(field, value.to_string().into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        if field.name() == "fatal" {
            self.fatal = value;
        } else {
            self.add(field, value.into());
        }
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field, value.into());
    }
}
