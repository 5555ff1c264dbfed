//! From `tracing` events to records.

use std::fmt;
use std::time::SystemTime;

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record as SpanRecord};
use tracing::subscriber::Interest;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use super::Logging;
use super::config::LogLevel;
use super::format::{Record, caller};

/// The span of a component ([`spanbridge_component::Settings::span`]): its fields are those of every record within.
const COMPONENT_SPAN: &str = "component";
/// Other projects' crates whose records below `warn` are theirs to read, not the operator's.
const QUIET_CRATES: [&str; 8] = ["h2", "hyper", "hyper_util", "mio", "rustls", "tokio_util", "tower", "ureq"];

/// The layer that turns `tracing` events into log records.
pub struct LogLayer {
    logging: Logging,
}

/// The fields of a span, kept with it.
struct SpanFields(Map<String, Value>);

impl LogLayer {
    pub(super) fn new(logging: Logging) -> Self {
        Self { logging }
    }

    fn wants(&self, metadata: &Metadata<'_>) -> bool {
        // Spans carry the component's identity and are needed at every level.
        metadata.is_span()
            || (*metadata.level() <= self.logging.level()
                && (*metadata.level() <= Level::WARN || !is_quiet(metadata.target())))
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for LogLayer {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        // The answer is cached; `Logging::install` has it asked again when the level changes.
        if self.wants(metadata) { Interest::always() } else { Interest::never() }
    }

    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        self.wants(metadata)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        // The spans of components are of level info.
        Some(self.logging.level().max(LevelFilter::INFO))
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut fields = FieldVisitor::default();
        attributes.record(&mut fields);
        span.extensions_mut().insert(SpanFields(fields.fields));
    }

    fn on_record(&self, id: &Id, values: &SpanRecord<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        if let Some(SpanFields(fields)) = span.extensions_mut().get_mut::<SpanFields>() {
            let mut visitor = FieldVisitor { fields: std::mem::take(fields), message: String::new() };
            values.record(&mut visitor);
            *fields = visitor.fields;
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let metadata = event.metadata();
        let mut visitor = FieldVisitor { fields: span_fields(event, &context), message: String::new() };
        event.record(&mut visitor);
        self.logging.write(Record {
            time: SystemTime::now(),
            level: level_of(*metadata.level()),
            caller: metadata.file().zip(metadata.line()).map(|(file, line)| caller(file, line)),
            message: visitor.message,
            fields: visitor.fields,
        });
    }
}

/// The fields of the spans that the event is in, outermost first, beginning at the innermost component: what called
/// that component is not part of what it says.
fn span_fields<S: Subscriber + for<'a> LookupSpan<'a>>(
    event: &Event<'_>,
    context: &Context<'_, S>,
) -> Map<String, Value> {
    let mut spans = Vec::new();
    for span in context.event_span(event).into_iter().flat_map(|span| span.scope()) {
        let is_component = span.name() == COMPONENT_SPAN;
        spans.push(span);
        if is_component {
            break;
        }
    }
    let mut fields = Map::new();
    for span in spans.iter().rev() {
        if let Some(SpanFields(own)) = span.extensions().get::<SpanFields>() {
            fields.extend(own.clone());
        }
    }
    fields
}

fn is_quiet(target: &str) -> bool {
    let krate = target.split("::").next().unwrap_or(target);
    QUIET_CRATES.contains(&krate)
}

fn level_of(level: Level) -> LogLevel {
    match level {
        Level::ERROR => LogLevel::Error,
        Level::WARN => LogLevel::Warn,
        Level::INFO => LogLevel::Info,
        _ => LogLevel::Debug,
    }
}

/// Collects the fields of an event or span as JSON.
#[derive(Default)]
struct FieldVisitor {
    fields: Map<String, Value>,
    message: String,
}

impl FieldVisitor {
    fn put(&mut self, field: &Field, value: Value) {
        self.fields.insert(field.name().to_owned(), value);
    }
}

impl Visit for FieldVisitor {
    fn record_f64(&mut self, field: &Field, value: f64) {
        // JSON has no NaN and no infinity; zap writes their names.
        self.put(
            field,
            serde_json::Number::from_f64(value).map_or_else(|| value.to_string().into(), Value::Number),
        );
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value.into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            value.clone_into(&mut self.message);
        } else {
            self.put(field, value.into());
        }
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.put(field, value.to_string().into());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record_str(field, &format!("{value:?}"));
    }
}
