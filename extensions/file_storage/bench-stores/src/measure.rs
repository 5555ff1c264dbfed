//! Wall time, CPU time and bytes of this process.

use std::fmt;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::str::FromStr;
use std::time::Instant;

#[derive(Clone, Copy)]
pub struct Measured {
    pub wall_seconds: f64,
    pub cpu_seconds: f64,
    /// What the kernel was given to write to the disk, and was not told to forget again before it did.
    pub written_bytes: f64,
    /// What the folder takes afterwards.
    pub disk_bytes: f64,
}

pub async fn measure(folder: &Path, work: impl Future<Output = ()>) -> Measured {
    let (began, cpu, written) = (Instant::now(), cpu_seconds(), written_bytes());
    work.await;
    Measured {
        wall_seconds: began.elapsed().as_secs_f64(),
        cpu_seconds: cpu_seconds() - cpu,
        written_bytes: written_bytes() - written,
        disk_bytes: disk_bytes(folder),
    }
}

fn cpu_seconds() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

fn written_bytes() -> f64 {
    let io = fs::read_to_string("/proc/self/io").unwrap();
    let value =
        |key: &str| io.lines().find_map(|l| l.strip_prefix(key)).unwrap().trim().parse::<f64>().unwrap();
    value("\nwrite_bytes:".trim_start()) - value("cancelled_write_bytes:")
}

fn disk_bytes(folder: &Path) -> f64 {
    let mut sum = 0.0;
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let found = entry.metadata().unwrap();
        sum += if found.is_dir() { disk_bytes(&entry.path()) } else { found.blocks() as f64 * 512.0 };
    }
    sum
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {} {}", self.wall_seconds, self.cpu_seconds, self.written_bytes, self.disk_bytes)
    }
}

impl FromStr for Measured {
    type Err = std::num::ParseFloatError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let n = text.split(' ').map(str::parse).collect::<Result<Vec<f64>, _>>()?;
        Ok(Self { wall_seconds: n[0], cpu_seconds: n[1], written_bytes: n[2], disk_bytes: n[3] })
    }
}
