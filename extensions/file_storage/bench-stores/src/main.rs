//! Measures the log of `file_storage` beside embedded stores, as the queue of an exporter uses them.
//!
//! `file_storage_bench_stores` runs every case in a process of its own and prints a table. Each store gets what one would
//! build around it: one writer thread that commits what has come together in one transaction, and removals that ride along.

mod measure;
mod stores;

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use bytes::Bytes;
use measure::{Measured, measure};
use stores::{Queue, open};

/// The body of the request that the other measurements of the project use.
const RECORD_BYTES: usize = 57_800;
const STORES: [&str; 3] = ["log", "redb", "fjall"];
/// Fsync, appenders, records.
const CASES: [(bool, usize, usize); 4] =
    [(false, 1, 10_000), (false, 32, 10_000), (true, 1, 1_000), (true, 32, 5_000)];
const PHASES: [&str; 3] = ["keep up", "fill", "drain"];
const ROUNDS: usize = 3;

fn main() {
    let args: Vec<String> = std::env::args().collect();
    match &args[1..] {
        [] => run_all(),
        [store, fsync, appenders, records, phase, folder] => {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
            let (fsync, appenders, records) =
                (fsync == "true", appenders.parse().unwrap(), records.parse().unwrap());
            let measured =
                runtime.unwrap().block_on(run(store, fsync, appenders, records, phase, Path::new(folder)));
            println!("{measured}");
        }
        _ => panic!("usage: file_storage_bench_stores [store fsync appenders records phase folder]"),
    }
}

/// Rounds on the outside, so that a slow minute of the machine hits every store.
fn run_all() {
    let program = std::env::current_exe().unwrap();
    let mut results = vec![Vec::new(); CASES.len() * PHASES.len() * STORES.len()];
    for round in 0..ROUNDS {
        for (c, (fsync, appenders, records)) in CASES.into_iter().enumerate() {
            for (s, store) in STORES.into_iter().enumerate() {
                let kept = tempfile::tempdir_in(".").unwrap();
                for (p, phase) in PHASES.into_iter().enumerate() {
                    let fresh = tempfile::tempdir_in(".").unwrap();
                    let folder = if phase == "keep up" { fresh.path() } else { kept.path() };
                    let output = Command::new(&program)
                        .args([
                            store,
                            &fsync.to_string(),
                            &appenders.to_string(),
                            &records.to_string(),
                            phase,
                        ])
                        .arg(folder)
                        .output()
                        .unwrap();
                    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
                    let line = String::from_utf8(output.stdout).unwrap();
                    eprintln!("{round} {store} fsync={fsync} x{appenders} {phase}: {}", line.trim());
                    let at = (c * PHASES.len() + p) * STORES.len() + s;
                    results[at].push(line.trim().parse::<Measured>().unwrap());
                }
            }
        }
    }
    print_table(&mut results);
}

fn print_table(results: &mut [Vec<Measured>]) {
    println!(
        "| phase | fsync | appenders | store | records a second | CPU us a record | KiB written a record | MiB on disk after |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    for (c, (fsync, appenders, records)) in CASES.into_iter().enumerate() {
        for (p, phase) in PHASES.into_iter().enumerate() {
            for (s, store) in STORES.into_iter().enumerate() {
                let runs = &mut results[(c * PHASES.len() + p) * STORES.len() + s];
                runs.sort_by(|a, b| a.wall_seconds.total_cmp(&b.wall_seconds));
                let run = &runs[runs.len() / 2];
                let n = records as f64;
                println!(
                    "| {phase} | {} | {appenders} | {store} | {:.0} | {:.0} | {:.1} | {:.1} |",
                    if fsync { "on" } else { "off" },
                    n / run.wall_seconds,
                    run.cpu_seconds * 1e6 / n,
                    run.written_bytes.max(0.0) / 1024.0 / n,
                    run.disk_bytes / 1024.0 / 1024.0,
                );
            }
        }
    }
}

async fn run(
    store: &str,
    fsync: bool,
    appenders: usize,
    records: usize,
    phase: &str,
    folder: &Path,
) -> Measured {
    // Telemetry compresses; the stores shall not be judged by their compression.
    let mut body = vec![0; RECORD_BYTES];
    fastrand::Rng::with_seed(1).fill(&mut body);
    let body = Bytes::from(body);
    match phase {
        "keep up" => {
            let queue = open(store, folder, fsync).await;
            measure(folder, async {
                let appending = append_all(&queue, appenders, records, &body);
                let taking = take_all(&queue, records);
                tokio::join!(appending, taking);
                queue.close().await;
            })
            .await
        }
        "fill" => {
            let queue = open(store, folder, fsync).await;
            measure(folder, async {
                append_all(&queue, appenders, records, &body).await;
                queue.close().await;
            })
            .await
        }
        "drain" => {
            measure(folder, async {
                let queue = open(store, folder, fsync).await;
                take_all(&queue, records).await;
                queue.close().await;
            })
            .await
        }
        other => panic!("no phase {other}"),
    }
}

async fn append_all(queue: &Arc<dyn Queue>, appenders: usize, records: usize, body: &Bytes) {
    let mut tasks = tokio::task::JoinSet::new();
    for appender in 0..appenders {
        let (queue, body) = (queue.clone(), body.clone());
        let mine = records / appenders + usize::from(appender < records % appenders);
        tasks.spawn(async move {
            for _ in 0..mine {
                queue.append(body.clone()).await;
            }
        });
    }
    tasks.join_all().await;
}

async fn take_all(queue: &Arc<dyn Queue>, records: usize) {
    for _ in 0..records {
        let (key, bytes) = queue.take().await;
        assert_eq!(bytes, RECORD_BYTES);
        queue.remove(key).await;
    }
}
