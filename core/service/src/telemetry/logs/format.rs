//! A record as a line of text, in zap's two layouts.

use std::io;
use std::time::SystemTime;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::ser::{CompactFormatter, Formatter};
use serde_json::{Map, Serializer, Value};

use super::config::{Encoding, LogLevel};

/// One log record.
#[derive(Debug, Clone)]
pub(super) struct Record {
    /// When it was made.
    pub(super) time: SystemTime,
    /// How important it is.
    pub(super) level: LogLevel,
    /// File and line, as [`caller`] shortens them.
    pub(super) caller: Option<String>,
    /// What happened.
    pub(super) message: String,
    /// The fields of the component's span, then the record's own.
    pub(super) fields: Map<String, Value>,
}

/// How lines look.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    /// Which of zap's encoders.
    pub(super) encoding: Encoding,
    /// Whether lines have the column `caller`.
    pub(super) with_caller: bool,
    /// Fields before those of the record: the initial fields and the resource.
    pub(super) first_fields: Map<String, Value>,
}

impl Layout {
    /// The line of a record, with its end.
    pub(super) fn line(&self, record: &Record) -> Vec<u8> {
        let mut line = match self.encoding {
            Encoding::Console => self.console(record),
            Encoding::Json => self.json(record),
        };
        line.push(b'\n');
        line
    }

    fn console(&self, record: &Record) -> Vec<u8> {
        let mut line = format!("{}\t{}", iso8601(record.time), record.level.name());
        if let Some(caller) = self.caller_of(record) {
            line.push('\t');
            line.push_str(caller);
        }
        line.push('\t');
        line.push_str(&record.message);
        let fields = self.fields_of(record);
        let mut line = line.into_bytes();
        if !fields.is_empty() {
            line.push(b'\t');
            append_json(&mut line, &fields, SpacedFormatter);
        }
        line
    }

    fn json(&self, record: &Record) -> Vec<u8> {
        let mut object = Map::new();
        object.insert("level".into(), record.level.name().into());
        object.insert("ts".into(), iso8601(record.time).into());
        if let Some(caller) = self.caller_of(record) {
            object.insert("caller".into(), caller.into());
        }
        object.insert("msg".into(), record.message.as_str().into());
        object.extend(self.fields_of(record));
        let mut line = Vec::new();
        append_json(&mut line, &object, CompactFormatter);
        line
    }

    fn caller_of<'r>(&self, record: &'r Record) -> Option<&'r str> {
        record.caller.as_deref().filter(|_| self.with_caller)
    }

    fn fields_of(&self, record: &Record) -> Map<String, Value> {
        let mut fields = self.first_fields.clone();
        fields.extend(record.fields.clone());
        fields
    }
}

/// Where a record comes from: `service/graph/lifecycle.rs:12` of `core/service/src/graph/lifecycle.rs`.
///
/// zap prints the last folder and the file; the folder here would mostly be `src`, so it is the crate's folder instead.
pub(super) fn caller(file: &str, line: u32) -> String {
    let short = match file.split_once("/src/") {
        Some((krate, inside)) => {
            let krate = krate.rsplit('/').next().unwrap_or(krate);
            format!("{krate}/{inside}")
        }
        None => file.rsplit('/').take(2).collect::<Vec<_>>().into_iter().rev().collect::<Vec<_>>().join("/"),
    };
    format!("{short}:{line}")
}

/// `2006-01-02T15:04:05.000Z`: the layout of zap's ISO 8601 encoder, in UTC.
fn iso8601(time: SystemTime) -> String {
    let time = Timestamp::try_from(time).unwrap_or(Timestamp::UNIX_EPOCH);
    time.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

fn append_json(line: &mut Vec<u8>, fields: &Map<String, Value>, formatter: impl Formatter) {
    // Writing a JSON value to memory cannot fail.
    let _ = fields.serialize(&mut Serializer::with_formatter(line, formatter));
}

/// zap's console encoder puts a blank after each colon and comma.
struct SpacedFormatter;

impl Formatter for SpacedFormatter {
    fn begin_array_value<W: io::Write + ?Sized>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_key<W: io::Write + ?Sized>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_value<W: io::Write + ?Sized>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b": ")
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;

    fn fields(value: &Value) -> Map<String, Value> {
        value.as_object().cloned().unwrap()
    }

    fn record() -> Record {
        Record {
            time: SystemTime::UNIX_EPOCH + Duration::from_millis(1_136_214_245_007),
            level: LogLevel::Warn,
            caller: Some("otlp/server.rs:7".into()),
            message: "two\nlines \"quoted\"".into(),
            fields: fields(&json!({ "otelcol.component.id": "otlp/2", "n": 3, "list": [1, 2] })),
        }
    }

    fn line(encoding: Encoding, with_caller: bool, first: &Value, record: &Record) -> String {
        let layout = Layout { encoding, with_caller, first_fields: fields(first) };
        String::from_utf8(layout.line(record)).unwrap()
    }

    #[test]
    fn console_lines_have_the_columns_and_blanks_of_zap() {
        assert_eq!(
            line(Encoding::Console, true, &json!({ "resource": { "service.name": "s" } }), &record()),
            "2006-01-02T15:04:05.007Z\twarn\totlp/server.rs:7\ttwo\nlines \"quoted\"\t\
             {\"resource\": {\"service.name\": \"s\"}, \"otelcol.component.id\": \"otlp/2\", \"n\": 3, \
             \"list\": [1, 2]}\n"
        );
    }

    #[test]
    fn console_lines_end_after_the_message_when_there_are_no_fields() {
        let bare = Record { fields: Map::new(), caller: None, message: "m".into(), ..record() };
        assert_eq!(line(Encoding::Console, true, &json!({}), &bare), "2006-01-02T15:04:05.007Z\twarn\tm\n");
    }

    #[test]
    fn json_lines_are_compact_and_begin_with_the_keys_of_zap() {
        assert_eq!(
            line(Encoding::Json, true, &json!({ "resource": { "a": "b" } }), &record()),
            "{\"level\":\"warn\",\"ts\":\"2006-01-02T15:04:05.007Z\",\"caller\":\"otlp/server.rs:7\",\
             \"msg\":\"two\\nlines \\\"quoted\\\"\",\"resource\":{\"a\":\"b\"},\
             \"otelcol.component.id\":\"otlp/2\",\"n\":3,\"list\":[1,2]}\n"
        );
    }

    #[test]
    fn the_caller_can_be_left_out() {
        assert!(!line(Encoding::Console, false, &json!({}), &record()).contains("server.rs"));
        assert!(!line(Encoding::Json, false, &json!({}), &record()).contains("caller"));
    }

    #[test]
    fn callers_are_the_crate_and_the_file_inside_it() {
        assert_eq!(caller("core/service/src/graph/build.rs", 3), "service/graph/build.rs:3");
        assert_eq!(caller("/registry/h2-0.4.2/src/codec/mod.rs", 3), "h2-0.4.2/codec/mod.rs:3");
        assert_eq!(caller("a/b/c.rs", 3), "b/c.rs:3");
    }
}
