//! Programs of the system that are started: where they are looked for, and what they find around them.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Where programs are looked for. Those of systems that keep one elsewhere are named in the config: what
/// is in our environment decides nothing here.
const SEARCH: [&str; 7] = [
    "/usr/local/sbin",
    "/usr/local/bin",
    "/usr/sbin",
    "/usr/bin",
    "/sbin",
    "/bin",
    "/usr/libexec",
];

/// The first of these programs that there is.
pub(crate) fn find(names: &[&str]) -> Option<PathBuf> {
    names.iter().find_map(|name| {
        (SEARCH.iter())
            .map(|directory| Path::new(directory).join(name))
            .find(|path| path.is_file())
    })
}

/// The environment of a program that works in a private directory: nothing of ours, and no option file
/// in a home directory.
pub(crate) fn environment(private: &Path) -> Vec<(OsString, OsString)> {
    vec![
        ("PATH".into(), SEARCH.join(":").into()),
        ("HOME".into(), private.into()),
        ("TMPDIR".into(), private.into()),
    ]
}
