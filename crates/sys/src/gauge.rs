//! Measuring processes and disks.

use std::io;
use std::path::Path;
use std::time::Duration;

use crate::proc;

/// What a process uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Process {
    /// Memory in use that is not swapped out, in bytes, shared pages counted whole.
    pub rss_bytes: u64,
    /// Processor time, its own and the kernel's for it, of all its threads; without its children.
    pub cpu_time: Duration,
    /// Open descriptors; `None` when we may not look (another user's process and no
    /// `CAP_SYS_PTRACE`).
    pub open_fds: Option<u64>,
    /// Threads.
    pub threads: u64,
}

/// Measures a process; `ESRCH` when there is none. A zombie uses nothing.
pub fn process(pid: i32) -> io::Result<Process> {
    let stat = proc::stat(pid)?;
    let open_fds = match std::fs::read_dir(format!("/proc/{pid}/fd")) {
        Ok(entries) => Some(entries.count() as u64),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => None,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Some(0),
        Err(error) => return Err(error),
    };
    Ok(Process {
        rss_bytes: stat.rss_pages * rustix::param::page_size() as u64,
        cpu_time: proc::ticks(stat.user_ticks.saturating_add(stat.system_ticks)),
        open_fds,
        threads: stat.threads,
    })
}

/// The room of a file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Disk {
    /// Its size in bytes.
    pub total: u64,
    /// Bytes that an ordinary user can still write (some file systems keep a reserve for root).
    pub free: u64,
    /// How many files it can hold; 0 when it has no such limit.
    pub total_files: u64,
    /// How many more files it can hold.
    pub free_files: u64,
}

/// Measures the file system that `path` lies on (statvfs(3)).
pub fn disk(path: &Path) -> io::Result<Disk> {
    let found = rustix::fs::statvfs(path)?;
    let block = if found.f_frsize == 0 {
        found.f_bsize
    } else {
        found.f_frsize
    };
    Ok(Disk {
        total: found.f_blocks.saturating_mul(block),
        free: found.f_bavail.saturating_mul(block),
        total_files: found.f_files,
        free_files: found.f_favail,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn we_use_something_and_what_we_open_is_counted() {
        let me = i32::try_from(std::process::id()).unwrap();
        let found = process(me).unwrap();
        assert!(found.rss_bytes > 4096 && found.threads >= 1, "{found:?}");
        let files: Vec<_> = (0..50)
            .map(|_| std::fs::File::open("/dev/null").unwrap())
            .collect();
        assert!(process(me).unwrap().open_fds.unwrap() >= 50);
        drop(files);
        assert_eq!(
            process(i32::MAX).unwrap_err().raw_os_error(),
            Some(libc::ESRCH)
        );
    }

    #[test]
    fn a_disk_has_no_more_free_than_it_has() {
        let found = disk(Path::new("/")).unwrap();
        assert!(found.total > 0 && found.free <= found.total, "{found:?}");
        assert!(disk(Path::new("/no such place")).is_err());
    }
}
