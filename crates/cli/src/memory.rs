//! Turns what the system tells into the memory, and the room on disks, that is free for us.

use std::fs;
use std::path::Path;

/// Bytes that a new process may take without swapping: what the system has available, and no more
/// than its control group (a container) allows. None where the system does not tell.
pub fn free_bytes() -> Option<u64> {
    let meminfo = fs::read_to_string("/proc/meminfo").ok()?;
    let system = available_of(&meminfo)?;
    let group = group_folder(&fs::read_to_string("/proc/self/cgroup").unwrap_or_default());
    let read = |name: &str| fs::read_to_string(format!("{group}/{name}")).ok();
    let limit = read("memory.max").as_deref().and_then(whole_number);
    let used = read("memory.current").as_deref().and_then(whole_number).unwrap_or(0);
    // The group's file cache is given back when memory runs short.
    let cache = read("memory.stat").and_then(|stat| field(&stat, "inactive_file ")).unwrap_or(0);
    let allowed = limit.map(|limit| limit.saturating_sub(used.saturating_sub(cache)));
    Some(allowed.map_or(system, |allowed| allowed.min(system)))
}

/// Bytes that a user may still write to the disk of a folder. None where the system does not tell.
#[cfg(unix)]
pub fn free_disk_bytes(folder: &Path) -> Option<u64> {
    let disk = rustix::fs::statvfs(folder).ok()?;
    disk.f_bavail.checked_mul(disk.f_frsize)
}

/// As above: here, the system is not asked.
#[cfg(not(unix))]
pub fn free_disk_bytes(_folder: &Path) -> Option<u64> {
    None
}

fn available_of(meminfo: &str) -> Option<u64> {
    field(meminfo, "MemAvailable:").map(|kibibytes| kibibytes * 1024)
}

/// The folder of our group in the unified hierarchy: `0::/path`.
fn group_folder(cgroup: &str) -> String {
    let path = cgroup.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or("/");
    format!("/sys/fs/cgroup{}", path.trim_end_matches('/'))
}

/// The first number of the line that begins with `name`.
fn field(text: &str, name: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
    rest.split_whitespace().next().and_then(whole_number)
}

/// A number; `max`, which stands for none, is none.
fn whole_number(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_systems_files_are_read() {
        let meminfo = "MemTotal:       24000 kB\nMemFree:   1 kB\nMemAvailable:   20000 kB\n";
        assert_eq!(available_of(meminfo), Some(20_480_000));
        assert_eq!(group_folder("0::/\n"), "/sys/fs/cgroup");
        assert_eq!(group_folder("1:cpu:/x\n0::/user/one\n"), "/sys/fs/cgroup/user/one");
        assert_eq!(whole_number("max\n"), None);
        assert_eq!(field("active_file 3\ninactive_file 77\n", "inactive_file "), Some(77));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_machine_has_memory_and_a_disk() {
        assert!(free_disk_bytes(Path::new(".")).is_some_and(|bytes| bytes > 0));
        assert_eq!(free_disk_bytes(Path::new("./is/not/there")), None);
        assert!(free_bytes().is_some_and(|bytes| bytes > 1 << 20));
    }
}
