//! Resource limits, getrlimit(2).

use std::fmt;
use std::io;

use crate::call::check;

/// No limit.
pub const UNLIMITED: u64 = u64::MAX;

/// What can be limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Resource {
    /// Address space, bytes.
    AddressSpace,
    /// Size of a core dump, bytes.
    Core,
    /// Processor time, seconds.
    Cpu,
    /// Data segment, bytes.
    Data,
    /// Size of a file that is written, bytes.
    FileSize,
    /// Memory locked into RAM, bytes.
    Memlock,
    /// POSIX message queues, bytes.
    Msgqueue,
    /// Ceiling of the nice value, as 20 − nice.
    Nice,
    /// Highest descriptor number plus one.
    Nofile,
    /// Processes and threads of the user.
    Processes,
    /// Ceiling of the real-time priority.
    Rtprio,
    /// Queued signals.
    Sigpending,
    /// Stack of the first thread, bytes.
    Stack,
}

/// The C libraries disagree about its sign.
#[cfg(target_env = "gnu")]
pub(crate) type Number = libc::__rlimit_resource_t;
#[cfg(not(target_env = "gnu"))]
pub(crate) type Number = libc::c_int;

/// Our name, other names it goes by, the kernel's number.
#[rustfmt::skip]
const TABLE: [(Resource, &str, &[&str], Number); 13] = [
    (Resource::AddressSpace, "address_space", &["as"],              libc::RLIMIT_AS),
    (Resource::Core,         "core",          &[],                  libc::RLIMIT_CORE),
    (Resource::Cpu,          "cpu",           &[],                  libc::RLIMIT_CPU),
    (Resource::Data,         "data",          &[],                  libc::RLIMIT_DATA),
    (Resource::FileSize,     "file_size",     &["fsize"],           libc::RLIMIT_FSIZE),
    (Resource::Memlock,      "memlock",       &["locked_memory"],   libc::RLIMIT_MEMLOCK),
    (Resource::Msgqueue,     "msgqueue",      &[],                  libc::RLIMIT_MSGQUEUE),
    (Resource::Nice,         "nice",          &[],                  libc::RLIMIT_NICE),
    (Resource::Nofile,       "nofile",        &["open_files"],      libc::RLIMIT_NOFILE),
    (Resource::Processes,    "processes",     &["nproc"],           libc::RLIMIT_NPROC),
    (Resource::Rtprio,       "rtprio",        &[],                  libc::RLIMIT_RTPRIO),
    (Resource::Sigpending,   "sigpending",    &[],                  libc::RLIMIT_SIGPENDING),
    (Resource::Stack,        "stack",         &[],                  libc::RLIMIT_STACK),
];

impl Resource {
    /// Reads a name as the configuration spells it (`nofile`, `processes`, `address_space`, …) or
    /// the short name that limits.conf(5) uses for it.
    pub fn from_name(name: &str) -> Option<Self> {
        TABLE
            .iter()
            .find(|(_, own, others, _)| *own == name || others.contains(&name))
            .map(|row| row.0)
    }

    /// The name as the configuration spells it.
    pub fn name(self) -> &'static str {
        self.row().1
    }

    /// All names of the configuration, for a message about an unknown one.
    pub fn names() -> impl Iterator<Item = &'static str> {
        TABLE.iter().map(|row| row.1)
    }

    pub(crate) fn number(self) -> Number {
        self.row().3
    }

    fn row(self) -> &'static (Self, &'static str, &'static [&'static str], Number) {
        TABLE
            .iter()
            .find(|row| row.0 == self)
            .expect("the table has a row for every resource, a test sees to it")
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

/// The (soft, hard) limit of this process, or of another one of the same user (any if we are root).
pub fn get(pid: Option<i32>, resource: Resource) -> io::Result<(u64, u64)> {
    prlimit(pid, resource, None)
}

/// Sets the (soft, hard) limit of this process or of another, running one, and returns the one
/// before. Raising a hard limit is for root (`EPERM`).
pub fn set(pid: Option<i32>, resource: Resource, soft: u64, hard: u64) -> io::Result<(u64, u64)> {
    prlimit(pid, resource, Some((soft, hard)))
}

/// Raises the soft limit of this process to at least `wanted`, and the hard one too where that is
/// needed and allowed. Never lowers. Returns the soft limit that holds then; `EPERM` when the hard
/// limit is in the way.
pub fn raise(resource: Resource, wanted: u64) -> io::Result<u64> {
    let (soft, hard) = get(None, resource)?;
    if soft >= wanted {
        return Ok(soft);
    }
    set(None, resource, wanted, hard.max(wanted))?;
    Ok(wanted)
}

/// Raises the soft limit of this process as far as its hard one allows. Returns the (soft, hard)
/// limits before. Programs that are started later inherit it, unless they are given another.
pub fn lift(resource: Resource) -> io::Result<(u64, u64)> {
    let (soft, hard) = get(None, resource)?;
    if soft < hard {
        set(None, resource, hard, hard)?;
    }
    Ok((soft, hard))
}

fn prlimit(
    pid: Option<i32>,
    resource: Resource,
    new: Option<(u64, u64)>,
) -> io::Result<(u64, u64)> {
    let new = new.map(|(soft, hard)| libc::rlimit {
        rlim_cur: soft,
        rlim_max: hard,
    });
    let mut old = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    let new_pointer = new.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: the pointers are null or to structures that live through the call.
    check(unsafe {
        libc::prlimit(
            pid.unwrap_or(0),
            resource.number(),
            new_pointer,
            &raw mut old,
        )
    })?;
    Ok((old.rlim_cur, old.rlim_max))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_resource_has_its_row_and_every_name_one_meaning() {
        use Resource::{
            AddressSpace, Core, Cpu, Data, FileSize, Memlock, Msgqueue, Nice, Nofile, Processes,
            Rtprio, Sigpending, Stack,
        };
        let all = [
            AddressSpace,
            Core,
            Cpu,
            Data,
            FileSize,
            Memlock,
            Msgqueue,
            Nice,
            Nofile,
            Processes,
            Rtprio,
            Sigpending,
            Stack,
        ];
        assert_eq!(all.len(), TABLE.len());
        for resource in all {
            assert_eq!(Resource::from_name(resource.name()), Some(resource));
        }
        let mut names: Vec<&str> = TABLE
            .iter()
            .flat_map(|row| row.2.iter().copied().chain([row.1]))
            .collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
        assert_eq!(Resource::from_name("nproc"), Some(Processes));
        assert_eq!(Resource::from_name("NOFILE"), None);
    }

    #[test]
    fn a_soft_limit_can_be_lowered_and_raised_again() {
        let (soft, hard) = get(None, Resource::Core).unwrap();
        assert_eq!(set(None, Resource::Core, 0, hard).unwrap(), (soft, hard));
        assert_eq!(raise(Resource::Core, soft).unwrap(), soft);
        assert_eq!(get(None, Resource::Core).unwrap(), (soft, hard));
        assert_eq!(raise(Resource::Core, 0).unwrap(), soft, "never lowers");
        set(None, Resource::Core, 0, hard).unwrap();
        assert_eq!(lift(Resource::Core).unwrap(), (0, hard));
        assert_eq!(get(None, Resource::Core).unwrap(), (hard, hard));
        set(None, Resource::Core, soft, hard).unwrap();
        let me = i32::try_from(std::process::id()).unwrap();
        assert_eq!(get(Some(me), Resource::Core).unwrap(), (soft, hard));
    }
}
