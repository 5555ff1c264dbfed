//! What the operating system says about memory.

use std::fs;
use std::path::{Path, PathBuf};

/// How much memory there is, and for whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Total {
    /// Bytes.
    pub(crate) bytes: u64,
    /// Who sets the limit.
    pub(crate) source: &'static str,
}

/// The memory of the control group this process is in, or of the machine where that has no limit or a larger one.
///
/// `root` is `/` outside of tests. A control group is as small as the smallest one around it, so every level from the
/// process's own up to the root is looked at.
pub(crate) fn total_memory(root: &Path) -> Result<Total, String> {
    let machine = machine(root)?;
    let (group, source) = if root.join("sys/fs/cgroup/cgroup.controllers").exists() {
        (group_limit(root, "sys/fs/cgroup", &own_group(root, ""), "memory.max"), "cgroup v2")
    } else {
        let own = own_group(root, "memory");
        (group_limit(root, "sys/fs/cgroup/memory", &own, "memory.limit_in_bytes"), "cgroup v1")
    };
    Ok(match group {
        Some(bytes) if bytes < machine => Total { bytes, source },
        _ => Total { bytes: machine, source: "MemTotal" },
    })
}

/// Resident memory of this process in bytes: `VmRSS` of `/proc/self/status`, which is in units of 1024 bytes.
pub(crate) fn resident_bytes(root: &Path) -> Option<u64> {
    let status = fs::read_to_string(root.join("proc/self/status")).ok()?;
    kibibytes(&status, "VmRSS:")
}

fn machine(root: &Path) -> Result<u64, String> {
    let path = root.join("proc/meminfo");
    let text = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    kibibytes(&text, "MemTotal:").ok_or_else(|| format!("{}: no MemTotal", path.display()))
}

fn kibibytes(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let value: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    value.checked_mul(1024)
}

/// The path of the process's group in the hierarchy of `controller`; the empty one is that of version 2.
///
/// cgroups(7): each line of `/proc/[pid]/cgroup` is `hierarchy-ID:controller-list:cgroup-path`.
fn own_group(root: &Path, controller: &str) -> String {
    let lines = fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    let own = lines.lines().find_map(|line| {
        let (_, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        controllers.split(',').any(|name| name == controller).then(|| path.to_owned())
    });
    own.unwrap_or_default()
}

/// The smallest limit from the group `own` up to the root of the hierarchy. A path that leads out of the hierarchy (the
/// process sees another part of it than it is in, as in a container) leaves its root.
fn group_limit(root: &Path, hierarchy: &str, own: &str, file: &str) -> Option<u64> {
    let top = root.join(hierarchy);
    let own: PathBuf =
        Path::new(own).components().filter(|part| matches!(part, std::path::Component::Normal(_))).collect();
    let limits = top.join(own).ancestors().map(Path::to_owned).collect::<Vec<_>>();
    limits
        .iter()
        .take_while(|level| level.starts_with(&top))
        .filter_map(|level| limit(&level.join(file)))
        .min()
}

/// `memory.max` is a number or `max`; version 1 writes a number near 2^63 for no limit, which is larger than any machine.
fn limit(file: &Path) -> Option<u64> {
    fs::read_to_string(file).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    /// A root with these files.
    fn root(files: &[(&str, &str)]) -> TempDir {
        let root = TempDir::new().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    const MEMINFO: (&str, &str) = ("proc/meminfo", "MemTotal:        1000 kB\nMemFree: 3 kB\n");
    const V2: (&str, &str) = ("sys/fs/cgroup/cgroup.controllers", "cpu memory\n");

    fn total(files: &[(&str, &str)]) -> (u64, &'static str) {
        let root = root(files);
        let total = total_memory(root.path()).unwrap();
        (total.bytes, total.source)
    }

    #[test]
    fn without_a_group_it_is_the_machines() {
        assert_eq!(total(&[MEMINFO]), (1_024_000, "MemTotal"));
        assert!(total_memory(root(&[]).path()).unwrap_err().contains("proc/meminfo"));
        assert!(total_memory(root(&[("proc/meminfo", "MemFree: 1 kB")]).path()).is_err());
    }

    #[test]
    fn a_container_sees_its_own_limit_at_the_root() {
        let files = [MEMINFO, V2, ("proc/self/cgroup", "0::/\n"), ("sys/fs/cgroup/memory.max", "500000\n")];
        assert_eq!(total(&files), (500_000, "cgroup v2"));
    }

    #[test]
    fn the_smallest_limit_on_the_way_up_counts() {
        let files = [
            MEMINFO,
            V2,
            ("proc/self/cgroup", "0::/system.slice/spanbridge.service\n"),
            ("sys/fs/cgroup/memory.max", "max\n"),
            ("sys/fs/cgroup/system.slice/memory.max", "300000\n"),
            ("sys/fs/cgroup/system.slice/spanbridge.service/memory.max", "400000\n"),
        ];
        assert_eq!(total(&files), (300_000, "cgroup v2"));
    }

    #[test]
    fn a_group_out_of_sight_leaves_the_root_of_the_hierarchy() {
        let own = ("proc/self/cgroup", "0::/../../kubepods/pod1\n");
        assert_eq!(
            total(&[MEMINFO, V2, own, ("sys/fs/cgroup/memory.max", "500000")]),
            (500_000, "cgroup v2")
        );
    }

    #[test]
    fn an_unlimited_group_is_as_large_as_the_machine() {
        let v2 = ("sys/fs/cgroup/memory.max", "max\n");
        assert_eq!(total(&[MEMINFO, V2, v2]), (1_024_000, "MemTotal"));
        let v1 = ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
        assert_eq!(total(&[MEMINFO, v1]), (1_024_000, "MemTotal"));
    }

    #[test]
    fn version_1_has_a_hierarchy_of_its_own_for_memory() {
        let files = [
            MEMINFO,
            ("proc/self/cgroup", "5:cpu,cpuacct:/a\n4:memory:/docker/x\n"),
            ("sys/fs/cgroup/memory/docker/x/memory.limit_in_bytes", "200000\n"),
        ];
        assert_eq!(total(&files), (200_000, "cgroup v1"));
    }

    #[test]
    fn resident_memory_is_in_bytes() {
        let root = root(&[("proc/self/status", "VmHWM:\t 99 kB\nVmRSS:\t   12 kB\n")]);
        assert_eq!(resident_bytes(root.path()), Some(12_288));
        assert_eq!(resident_bytes(Path::new("/nowhere")), None);
    }
}
