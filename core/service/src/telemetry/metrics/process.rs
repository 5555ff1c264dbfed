//! Metrics about the process itself (reference: collector-core, 14.3).
//!
//! The three metrics of the Go heap have no counterpart that could be measured at no cost and are left out.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Counter, Gauge, Opts, Registry};

use super::super::Resource;

/// Clock ticks a second in `/proc/<pid>/stat`: `USER_HZ`, 100 on every architecture that Rust's Linux targets know.
const TICKS_PER_SECOND: f64 = 100.0;

/// Registers what describes the process: `target_info` and its uptime, CPU time and resident memory.
pub(super) fn register(registry: &Registry, resource: &Resource) -> Result<(), prometheus::Error> {
    register_target_info(registry, &resource.labels())?;
    registry.register(Box::new(ProcessMetrics::new()?))
}

fn register_target_info(
    registry: &Registry,
    labels: &BTreeMap<String, String>,
) -> Result<(), prometheus::Error> {
    let options =
        labels.iter().fold(Opts::new("target_info", "Target metadata"), |options, (name, value)| {
            options.const_label(name, value)
        });
    let target_info = Gauge::with_opts(options)?;
    target_info.set(1.0);
    registry.register(Box::new(target_info))
}

/// Reads the process's figures each time the metrics are gathered.
struct ProcessMetrics {
    started: Instant,
    uptime: Counter,
    cpu: Counter,
    memory: Gauge,
    /// Two scrapes at once must not both add the difference to a counter.
    gathering: Mutex<()>,
}

impl ProcessMetrics {
    fn new() -> Result<Self, prometheus::Error> {
        Ok(Self {
            started: Instant::now(),
            uptime: Counter::new("otelcol_process_uptime", "Uptime of the process [Alpha]")?,
            cpu: Counter::new(
                "otelcol_process_cpu_seconds",
                "Total CPU user and system time in seconds [Alpha]",
            )?,
            memory: Gauge::new(
                "otelcol_process_memory_rss",
                "Total physical memory (resident set size) [Alpha]",
            )?,
            gathering: Mutex::new(()),
        })
    }
}

impl Collector for ProcessMetrics {
    fn desc(&self) -> Vec<&Desc> {
        [self.uptime.desc(), self.cpu.desc(), self.memory.desc()].concat()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let _gathering = self.gathering.lock().unwrap_or_else(PoisonError::into_inner);
        raise_to(&self.uptime, self.started.elapsed().as_secs_f64());
        let mut families = self.uptime.collect();
        if let Some(seconds) = read_proc("stat").as_deref().and_then(cpu_seconds) {
            raise_to(&self.cpu, seconds);
            families.extend(self.cpu.collect());
        }
        if let Some(bytes) = read_proc("status").as_deref().and_then(resident_bytes) {
            self.memory.set(bytes);
            families.extend(self.memory.collect());
        }
        families
    }
}

fn raise_to(counter: &Counter, value: f64) {
    let difference = value - counter.get();
    if difference > 0.0 {
        counter.inc_by(difference);
    }
}

fn read_proc(file: &str) -> Option<String> {
    std::fs::read_to_string(format!("/proc/self/{file}")).ok()
}

/// User and system time of `/proc/self/stat`.
///
/// proc(5): fields 14 and 15, in clock ticks. The second field is the command in parentheses and may hold blanks, so
/// counting begins behind the last parenthesis, where field 3 stands.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let mut fields = stat.get(stat.rfind(')')? + 1..)?.split_ascii_whitespace().skip(11);
    let user: u32 = fields.next()?.parse().ok()?;
    let system: u32 = fields.next()?.parse().ok()?;
    Some((f64::from(user) + f64::from(system)) / TICKS_PER_SECOND)
}

/// `VmRSS` of `/proc/self/status`, which is in units of 1024 bytes.
fn resident_bytes(status: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u32 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(f64::from(kibibytes) * 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_found_behind_a_command_with_blanks_and_parentheses() {
        let stat = "7 (a b) c) S 1 7 7 0 -1 4194560 9 0 0 0 150 50 0 0 20 0";
        assert_eq!(cpu_seconds(stat), Some(2.0));
        assert_eq!(cpu_seconds("garbage"), None);
    }

    #[test]
    fn resident_memory_is_in_bytes() {
        assert_eq!(resident_bytes("VmSize:\t  9 kB\nVmRSS:\t   12 kB\n"), Some(12_288.0));
        assert_eq!(resident_bytes(""), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_process_has_all_three_figures() {
        let names: Vec<_> =
            ProcessMetrics::new().unwrap().collect().iter().map(|f| f.name().to_owned()).collect();
        assert_eq!(
            names,
            ["otelcol_process_uptime", "otelcol_process_cpu_seconds", "otelcol_process_memory_rss"]
        );
    }
}
