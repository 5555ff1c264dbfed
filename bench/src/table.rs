//! The results as a table in Markdown.

use std::fmt::Write;

use crate::forwarder::Kind;
use crate::load::Shape;
use crate::run::Measured;

/// A row a forwarder: of its runs the one in the middle by CPU time.
pub(crate) fn markdown(results: &[Measured], shape: &Shape, request_bytes: usize) -> String {
    let middle = middles(results);
    let mut text = format!(
        "{} rich spans, requests of 100 spans and {request_bytes} bytes, {} connections x {} in flight, frames of up to \
         {} bytes, uncompressed\n\n",
        shape.spans, shape.connections, shape.in_flight, shape.frame_bytes
    );
    text.push_str(
        "| forwarder | M spans per CPU s | to nginx | CPU s per M spans | spread | peak RSS MiB | M spans/s | p50 ms | p99 ms \
         | missing | doubled |\n|---|---|---|---|---|---|---|---|---|---|---|\n",
    );
    for measured in middle {
        let ratio = ratio(results, measured.kind).map_or("-".to_owned(), |ratio| format!("{ratio:.2}"));
        let rate = measured.spans_per_cpu_second() / 1e6;
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "| {} | {rate:.2} | {ratio} | {:.3} | {} | {:.1} | {:.2} | {:.2} | {:.2} | {} | {} |",
            measured.kind.title(),
            1.0 / rate,
            spread(results, measured.kind),
            mebibytes(measured.peak_resident_bytes),
            per_second(measured) / 1e6,
            measured.report.latency(0.5).as_secs_f64() * 1e3,
            measured.report.latency(0.99).as_secs_f64() * 1e3,
            measured.account.missing,
            measured.account.doubled,
        );
    }
    text
}

/// For each forwarder, in order of appearance, the run with the median CPU time.
fn middles(results: &[Measured]) -> Vec<&Measured> {
    let mut kinds: Vec<Kind> = results.iter().map(|measured| measured.kind).collect();
    kinds.dedup();
    let mut seen = Vec::new();
    for kind in kinds {
        if !seen.contains(&kind) {
            seen.push(kind);
        }
    }
    seen.into_iter()
        .filter_map(|kind| {
            let mut runs: Vec<&Measured> = results.iter().filter(|m| m.kind == kind).collect();
            runs.sort_by_key(|measured| measured.cpu);
            runs.get(runs.len() / 2).copied()
        })
        .collect()
}

/// The ratio to nginx. Runs of one round are neighbours in time, so what slows the machine down slows both of them: of the
/// ratios of all rounds, the one in the middle is taken.
fn ratio(results: &[Measured], kind: Kind) -> Option<f64> {
    let nginx = |round| results.iter().find(|m| m.round == round && m.kind == Kind::Nginx);
    let mut ratios: Vec<f64> = results
        .iter()
        .filter(|m| m.kind == kind)
        .filter_map(|m| Some(m.spans_per_cpu_second() / nginx(m.round)?.spans_per_cpu_second()))
        .collect();
    ratios.sort_by(f64::total_cmp);
    ratios.get(ratios.len() / 2).copied()
}

/// How far the runs of a forwarder lie apart: lowest to highest, in M spans per CPU second.
fn spread(results: &[Measured], kind: Kind) -> String {
    let rates = results.iter().filter(|m| m.kind == kind).map(|m| m.spans_per_cpu_second() / 1e6);
    let (low, high) =
        rates.fold((f64::INFINITY, 0.0_f64), |(low, high), rate| (low.min(rate), high.max(rate)));
    format!("{low:.2} to {high:.2}")
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
fn per_second(measured: &Measured) -> f64 {
    measured.spans as f64 / measured.report.elapsed.as_secs_f64()
}
