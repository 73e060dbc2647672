//! What the machine and the process are, as `/proc` tells; what it does not tell is left out.

use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use serde::Serialize;

/// Where and when the figures were taken.
#[derive(Debug, Clone, Serialize)]
pub struct Machine {
    /// Local date and time with the zone.
    pub date: String,
    /// The processor's name.
    pub processor: String,
    /// How many processors this process may use.
    pub processors: usize,
    /// The kernel's release.
    pub kernel: String,
    /// The kind of file system that the output lands on.
    pub file_system: String,
    /// The commit of mainstay, if git tells.
    pub commit: String,
    /// Names and versions of what is measured.
    pub versions: Vec<(String, String)>,
}

impl Machine {
    /// Looks around; `directory` is where the output lands, `packages` what versions are told of.
    pub fn look(directory: &Path, packages: &[&str]) -> Self {
        Self {
            date: jiff::Zoned::now().strftime("%Y-%m-%d %H:%M %Z").to_string(),
            processor: read("/proc/cpuinfo")
                .lines()
                .find_map(|line| line.strip_prefix("model name"))
                .map_or("unknown processor", |rest| {
                    rest.trim_matches([' ', '\t', ':'])
                })
                .to_owned(),
            processors: std::thread::available_parallelism().map_or(1, usize::from),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            file_system: file_system(&read("/proc/self/mounts"), directory),
            commit: commit(),
            versions: packages
                .iter()
                .map(|package| ((*package).to_owned(), version(LOCK, package)))
                .collect(),
        }
    }
}

const LOCK: &str = include_str!("../Cargo.lock");

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

/// How many nanoseconds a line of memory takes from one processor to another and back, at least.
///
/// Where processors share a cache that is some ten, elsewhere several hundred; in a virtual machine it
/// changes with where the host has its processors run. It is what threads that log at once pay with.
pub fn exchange() -> f64 {
    const TURNS: u64 = 2000;
    const ROUNDS: usize = 20;
    #[repr(align(128))]
    struct Line(AtomicU64);
    let round = || {
        let line = Line(AtomicU64::new(0));
        let turn = |other: u64| {
            for number in 0..TURNS {
                let mut looks = 0_u32;
                while line.0.load(Ordering::Acquire) != number * 2 + other {
                    looks += 1;
                    if looks.is_multiple_of(10_000) {
                        // The other one may be waiting for this very processor.
                        std::thread::yield_now();
                    }
                    std::hint::spin_loop();
                }
                line.0.store(number * 2 + other + 1, Ordering::Release);
            }
        };
        let begun = Instant::now();
        std::thread::scope(|scope| {
            scope.spawn(|| turn(1));
            turn(0);
        });
        begun.elapsed().as_secs_f64() * 1e9 / TURNS as f64
    };
    (0..ROUNDS).map(|_| round()).fold(f64::INFINITY, f64::min)
}

/// The load averages, as the kernel writes them.
pub fn load() -> String {
    read("/proc/loadavg")
        .split(' ')
        .take(3)
        .collect::<Vec<_>>()
        .join(" ")
}

/// The version of a package in a lock file.
fn version(lock: &str, package: &str) -> String {
    lock.split("[[package]]")
        .filter_map(|block| {
            let value = |key: &str| {
                block
                    .lines()
                    .find_map(|line| line.strip_prefix(key)?.strip_prefix(" = "))
            };
            Some((
                value("name")?.trim_matches('"'),
                value("version")?.trim_matches('"'),
            ))
        })
        .find(|(name, _)| *name == package)
        .map_or_else(|| "unknown".to_owned(), |(_, version)| version.to_owned())
}

/// The kind of the file system that is mounted nearest above `directory`.
fn file_system(mounts: &str, directory: &Path) -> String {
    mounts
        .lines()
        .filter_map(|line| {
            let mut words = line.split(' ').skip(1);
            Some((words.next()?, words.next()?))
        })
        .filter(|(place, _)| directory.starts_with(place))
        // Of two mounts at one place the later one is seen.
        .max_by_key(|(place, _)| place.len())
        .map_or_else(|| "unknown".to_owned(), |(_, kind)| kind.to_owned())
}

fn commit() -> String {
    let told = Command::new("git")
        .args(["-C", env!("CARGO_MANIFEST_DIR")])
        .args(["describe", "--always", "--dirty", "--exclude=*"])
        .output();
    match told {
        Ok(told) if told.status.success() => {
            String::from_utf8_lossy(&told.stdout).trim().to_owned()
        }
        _ => "unknown".to_owned(),
    }
}

/// The number after `key` in one of the process's own files.
fn number(path: &str, key: &str) -> Option<u64> {
    read(path).lines().find_map(|line| {
        line.strip_prefix(key)?
            .split_whitespace()
            .next()?
            .parse()
            .ok()
    })
}

/// Calls of write(2) and its kin that this process has made.
pub fn write_calls() -> Option<u64> {
    number("/proc/self/io", "syscw:")
}

/// The most memory that this process had resident, in bytes.
pub fn peak_memory() -> Option<u64> {
    number("/proc/self/status", "VmHWM:").map(|kilobytes| kilobytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_come_from_the_lock_file() {
        let lock = "[[package]]\nname = \"one-more\"\nversion = \"9.0.0\"\n\n\
                    [[package]]\nname = \"one\"\nversion = \"1.2.3\"\n";
        assert_eq!(version(lock, "one"), "1.2.3");
        assert_eq!(version(lock, "two"), "unknown");
        assert_ne!(version(LOCK, "tracing-appender"), "unknown");
    }

    #[test]
    fn the_nearest_mount_tells_the_file_system() {
        let mounts = "a / ext4 rw 0 0\nb /srv tmpfs rw 0 0\nc /srv/logs xfs rw 0 0\n\
                      d /srv/logs btrfs rw 0 0\n";
        let cases = [
            ("/srv/logs/x", "btrfs"),
            ("/srv/logsx", "tmpfs"),
            ("/var", "ext4"),
        ];
        for (directory, kind) in cases {
            assert_eq!(
                file_system(mounts, Path::new(directory)),
                kind,
                "{directory}"
            );
        }
    }
}
