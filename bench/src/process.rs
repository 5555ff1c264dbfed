//! What Linux tells about a process: CPU time and memory; and which core a process runs on.

use std::fs;
use std::time::Duration;

use rustix::thread::{CpuSet, sched_setaffinity};

use crate::Outcome;

/// Puts this thread, and every process it starts from now on, on one core.
///
/// # Errors
/// When there is no such core.
pub(crate) fn pin_to(core: usize) -> Outcome<()> {
    let mut cores = CpuSet::new();
    cores.set(core);
    sched_setaffinity(None, &cores).map_err(|error| format!("core {core}: {error}"))?;
    Ok(())
}

/// CPU time of the threads that a process has, in user and kernel mode.
///
/// The scheduler's own account (nanoseconds) is used, not the ticks of `stat`: a measured run lasts half a second. What ended
/// threads used is not in it; see [`cpu_time_with_ended_threads`].
///
/// # Errors
/// When the process is gone.
pub(crate) fn cpu_time(pid: u32) -> Outcome<Duration> {
    let mut nanos = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let path = task?.path().join("schedstat");
        let text = fs::read_to_string(&path)?;
        let running = text.split_whitespace().next().unwrap_or_default();
        nanos += running.parse::<u64>().map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(Duration::from_nanos(nanos))
}

/// CPU time of all threads that a process ever had, in user and kernel mode, in ticks of a hundredth of a second.
///
/// # Errors
/// When the process is gone.
pub(crate) fn cpu_time_with_ended_threads(pid: u32) -> Outcome<Duration> {
    let path = format!("/proc/{pid}/stat");
    let text = fs::read_to_string(&path)?;
    // The name of the program, the second field, stands in parentheses and may hold anything.
    let (_, fields) = text.rsplit_once(')').ok_or(format!("{path}: no name"))?;
    let mut ticks = 0;
    for field in fields.split_whitespace().skip(11).take(2) {
        ticks += field.parse::<u64>().map_err(|error| format!("{path}: {error}"))?;
    }
    Ok(Duration::from_secs(ticks) / u32::try_from(rustix::param::clock_ticks_per_second())?)
}

/// The most memory a process has had resident, in bytes.
///
/// # Errors
/// When the process is gone.
pub(crate) fn peak_resident_bytes(pid: u32) -> Outcome<u64> {
    status_bytes(pid, "VmHWM:")
}

/// What a process has resident now.
///
/// # Errors
/// When the process is gone.
pub(crate) fn resident_bytes(pid: u32) -> Outcome<u64> {
    status_bytes(pid, "VmRSS:")
}

fn status_bytes(pid: u32, key: &str) -> Outcome<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(key));
    let kibibytes =
        line.and_then(|line| line.split_whitespace().next()).ok_or(format!("no {key} in the status"))?;
    Ok(kibibytes.parse::<u64>()? * 1024)
}
