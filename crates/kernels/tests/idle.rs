//! An idle pool uses no processor time. Alone in this file: other tests' threads would be counted.
#![cfg(target_os = "linux")]

use myriad_kernels::ThreadPool;
use std::time::Duration;

/// Processor time of this process so far, in clock ticks (usually 10 ms).
fn ticks() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux has it");
    let fields: Vec<&str> = stat.rsplit(')').next().expect("one name").split_whitespace().collect();
    // utime and stime are fields 14 and 15 of proc(5); the two before the name's end are gone.
    fields[11].parse::<u64>().expect("utime") + fields[12].parse::<u64>().expect("stime")
}

#[test]
fn an_idle_pool_sleeps() {
    let pool = ThreadPool::new(4);
    pool.run(100, &|_, _| {});
    std::thread::sleep(Duration::from_millis(50)); // the spinning after a loop ends
    let before = ticks();
    std::thread::sleep(Duration::from_millis(500));
    let used = ticks() - before;
    assert!(used <= 2, "{used} ticks in half a second");
    pool.run(100, &|_, _| {});
}
