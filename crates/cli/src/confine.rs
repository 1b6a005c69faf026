//! Turns this process into one that can compute, read what is open and write there, and no more.
//!
//! For work on files of strangers: whatever breaks their reader finds no files, no network, no
//! other program, and little memory and time.

use anyhow::Result;

/// Memory of the process. The largest file, unpacked, with its text takes some hundred megabytes.
#[cfg(unix)]
const MEMORY_BYTES_MAX: u64 = 1 << 30;

/// Seconds of a core: thick books take one.
#[cfg(unix)]
const CPU_SECONDS_MAX: u64 = 20;

/// Gives up what the process may do, as far as the system knows how.
///
/// # Errors
/// Where the system knows how, and refuses.
pub fn confine() -> Result<()> {
    #[cfg(unix)]
    limit_resources()?;
    #[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
    calls::forbid()?;
    Ok(())
}

/// Limits that hold on every Unix: a process over one of them is ended by the system.
#[cfg(unix)]
fn limit_resources() -> Result<()> {
    use rustix::process::{Resource, Rlimit, setrlimit};
    for (resource, limit) in [
        (Resource::As, MEMORY_BYTES_MAX),
        (Resource::Cpu, CPU_SECONDS_MAX),
        // It writes to a pipe alone, and leaves no picture of its memory.
        (Resource::Fsize, 0),
        (Resource::Core, 0),
    ] {
        setrlimit(resource, Rlimit { current: Some(limit), maximum: Some(limit) })?;
    }
    Ok(())
}

#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
mod calls {
    use std::env::consts::ARCH;

    use anyhow::{Context, Result};
    use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter};

    /// What a program needs that computes, and talks by what is open already. All else is refused:
    /// opening, sockets, processes, signals to others.
    const ALLOWED: &[libc::c_long] = &[
        libc::SYS_read,
        libc::SYS_write,
        libc::SYS_writev,
        libc::SYS_close,
        libc::SYS_brk,
        libc::SYS_mmap,
        libc::SYS_mremap,
        libc::SYS_munmap,
        libc::SYS_mprotect,
        libc::SYS_madvise,
        libc::SYS_futex,
        libc::SYS_sched_yield,
        libc::SYS_clock_gettime,
        libc::SYS_getrandom,
        libc::SYS_rt_sigaction,
        libc::SYS_rt_sigprocmask,
        libc::SYS_rt_sigreturn,
        libc::SYS_sigaltstack,
        libc::SYS_restart_syscall,
        libc::SYS_exit,
        libc::SYS_exit_group,
    ];

    /// Leaves this thread, and those that it starts, the calls of [`ALLOWED`].
    pub fn forbid() -> Result<()> {
        let rules = ALLOWED.iter().map(|call| (*call, Vec::new())).collect();
        let refused = SeccompAction::Errno(libc::EPERM as u32);
        let filter = SeccompFilter::new(rules, refused, SeccompAction::Allow, ARCH.try_into()?)?;
        let program: BpfProgram = filter.try_into()?;
        apply_filter(&program).context("giving up the system's calls (seccomp)")
    }

    #[cfg(test)]
    mod tests {
        use super::*;
        use std::fs::File;
        use std::io::ErrorKind;
        use std::net::{TcpStream, UdpSocket};
        use std::process::Command;
        use std::thread;

        #[test]
        fn a_confined_thread_opens_nothing_and_starts_nothing() {
            let found = thread::spawn(|| {
                forbid().unwrap();
                [
                    File::open("/etc/passwd").err(),
                    File::create("/tmp/myriad-confined").err(),
                    TcpStream::connect("127.0.0.1:9").err(),
                    UdpSocket::bind("127.0.0.1:0").err(),
                    Command::new("/bin/true").spawn().err(),
                ]
                .map(|error| error.map(|error| error.kind()))
            });
            let found = found.join().unwrap();
            assert_eq!(found, [Some(ErrorKind::PermissionDenied); 5]);
        }
    }
}
