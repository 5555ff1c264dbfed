//! The layouts against texts that the Go collector's debug exporter printed for the same requests.

use super::*;

/// What `telemetry` prints, all records joined.
fn printed(telemetry: &Decoded, layout: Layout) -> String {
    let mut all = String::new();
    write(telemetry, layout, &mut |record| {
        all.push_str(record);
        Ok(())
    })
    .unwrap();
    all
}

#[track_caller]
fn assert_same(printed: &str, golden: &str) {
    for (number, (ours, theirs)) in printed.split('\n').zip(golden.split('\n')).enumerate() {
        assert_eq!(ours, theirs, "line {}", number + 1);
    }
    assert_eq!(printed.len(), golden.len());
}

#[test]
fn detailed_traces_print_as_in_go() {
    let telemetry = Decoded::Traces(samples::traces());
    assert_same(&printed(&telemetry, Layout::Detailed), include_str!("../../testdata/traces.detailed.txt"));
}

#[test]
fn detailed_metrics_print_as_in_go() {
    let telemetry = Decoded::Metrics(samples::metrics());
    assert_same(&printed(&telemetry, Layout::Detailed), include_str!("../../testdata/metrics.detailed.txt"));
}

#[test]
fn detailed_logs_print_as_in_go() {
    let telemetry = Decoded::Logs(samples::logs());
    assert_same(&printed(&telemetry, Layout::Detailed), include_str!("../../testdata/logs.detailed.txt"));
}

#[test]
fn normal_traces_print_as_in_go() {
    let telemetry = Decoded::Traces(samples::traces());
    assert_same(&printed(&telemetry, Layout::Normal), include_str!("../../testdata/traces.normal.txt"));
}

#[test]
fn normal_metrics_print_as_in_go() {
    let telemetry = Decoded::Metrics(samples::metrics());
    assert_same(&printed(&telemetry, Layout::Normal), include_str!("../../testdata/metrics.normal.txt"));
}

#[test]
fn normal_logs_print_as_in_go() {
    let telemetry = Decoded::Logs(samples::logs());
    assert_same(&printed(&telemetry, Layout::Normal), include_str!("../../testdata/logs.normal.txt"));
}

/// Not a test: the first half of recording the golden texts anew, see `testdata/record/main.go`.
#[test]
#[ignore = "writes files"]
fn writes_the_requests_to_record() {
    use prost::Message;
    let dir = std::path::PathBuf::from(std::env::var("RECORD_DIR").unwrap());
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::write(dir.join("traces.pb"), samples::traces().encode_to_vec()).unwrap();
    std::fs::write(dir.join("metrics.pb"), samples::metrics().encode_to_vec()).unwrap();
    std::fs::write(dir.join("logs.pb"), samples::logs().encode_to_vec()).unwrap();
}

#[test]
fn texts_past_a_mebibyte_come_in_several_records_and_lose_nothing() {
    let mut traces = samples::traces();
    let spans = &mut traces.resource_spans[0].scope_spans[0].spans;
    *spans = vec![spans[0].clone(); 1000];
    let telemetry = Decoded::Traces(traces);
    let mut records = Vec::new();
    write(&telemetry, Layout::Detailed, &mut |record| {
        records.push(record.to_owned());
        Ok(())
    })
    .unwrap();
    assert!(records.len() > 1);
    assert!(
        records
            .iter()
            .all(|record| record.len() < RECORD_BYTES_MAX + LINE_BYTES_MAX && record.ends_with('\n'))
    );
    let all = records.concat();
    assert_eq!(all.matches("\nSpan #").count(), 1000);
}

#[test]
fn overlong_lines_are_cut_at_a_character_and_say_so() {
    let mut text = String::new();
    let mut emit = |record: &str| {
        text.push_str(record);
        Ok(())
    };
    let mut lines = Text::new(&mut emit);
    lines.line(format_args!("x{}tail", "é".repeat(LINE_BYTES_MAX)));
    lines.line(format_args!("next"));
    lines.finish().unwrap();
    let (first, rest) = text.split_once('\n').unwrap();
    assert!(first.starts_with("xéé"));
    assert!(
        first.ends_with(&format!("é [line cut: {} more bytes]", LINE_BYTES_MAX + 1 + 1 + 4)),
        "{}",
        &first[first.len() - 60..]
    );
    assert_eq!(rest, "next\n");
}

#[test]
fn writing_stops_at_the_first_error() {
    let mut calls = 0;
    let mut emit = |_: &str| {
        calls += 1;
        Err(io::Error::other("full"))
    };
    let mut text = Text::new(&mut emit);
    let long = "x".repeat(RECORD_BYTES_MAX);
    text.line(format_args!("{long}"));
    text.line(format_args!("{long}"));
    assert_eq!(text.finish().unwrap_err().to_string(), "full");
    assert_eq!(calls, 1);
}
