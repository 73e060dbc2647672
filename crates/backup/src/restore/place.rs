//! The place that something is restored to: names beside it, room in it, and who uses it.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::COMPANIONS;
use crate::catalog::with_suffix;
use crate::error::{Error, ErrorKind};

/// `NAME.before-restore-TIME`, or with a number behind it where that exists already.
pub(super) fn aside_name(path: &Path, now: Timestamp) -> PathBuf {
    let stamp = now.strftime("%Y%m%dT%H%M%SZ");
    let mut aside = with_suffix(path, &format!(".before-restore-{stamp}"));
    let mut number = 2;
    while fs::symlink_metadata(&aside).is_ok() {
        aside = with_suffix(path, &format!(".before-restore-{stamp}-{number}"));
        number += 1;
    }
    aside
}

/// The directories above the target that do not exist, created, outermost first.
pub(super) fn create_parents(parent: &Path) -> io::Result<Vec<PathBuf>> {
    let missing: Vec<PathBuf> = parent
        .ancestors()
        .take_while(|path| fs::symlink_metadata(path).is_err())
        .map(Path::to_owned)
        .collect();
    fs::create_dir_all(parent)?;
    Ok(missing.into_iter().rev().collect())
}

/// Gives the new the owner and the mode of the old, where there is an old one.
pub(super) fn keep_owner(old: &Path, new: &Path) {
    if let Ok(metadata) = fs::metadata(old) {
        let _ = std::os::unix::fs::lchown(new, Some(metadata.uid()), Some(metadata.gid()));
        let mode = fs::Permissions::from_mode(metadata.mode() & 0o7777);
        let _ = fs::set_permissions(new, mode);
    }
}

/// Bytes that this process may still write on the file system of a path that may not exist yet.
pub(crate) fn free_space(path: &Path) -> io::Result<u64> {
    let existing = path
        .ancestors()
        .find(|path| path.exists())
        .unwrap_or(Path::new("/"));
    let about = rustix::fs::statvfs(existing)?;
    Ok(about.f_bavail.saturating_mul(about.f_frsize))
}

/// A mount point cannot be renamed, and what is beside it is another file system.
pub(super) fn refuse_mount_point(target: &Path, attempt: &str) -> Result<(), Error> {
    let device = |path: &Path| fs::metadata(path).map(|metadata| metadata.dev());
    match (device(target), target.parent().map(device)) {
        (Ok(inside), Some(Ok(outside))) if inside != outside => Err(Error::new(
            ErrorKind::Io,
            attempt,
            format!("{} is a mount point, which cannot be set aside", target.display()),
        )
        .with_help("restore into an empty directory on that file system and move the content, or restore single parts of it in place")),
        _ => Ok(()),
    }
}

/// Writes everything of a file system to its disk: one call instead of one for each file.
pub(super) fn sync_all(path: &Path) -> io::Result<()> {
    rustix::fs::syncfs(fs::File::open(path)?)?;
    Ok(())
}

/// The processes that have a file, or something in a directory, open. Those that may not be looked at
/// are not seen: this is a safeguard against a slip, not a lock.
pub(super) fn users_of(path: &Path) -> Vec<(u32, String)> {
    let mut users = Vec::new();
    let names: Vec<PathBuf> = std::iter::once(path.to_owned())
        .chain(COMPANIONS.iter().map(|suffix| with_suffix(path, suffix)))
        .collect();
    let uses = |open: &Path| names.iter().any(|name| open.starts_with(name));
    for process in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let name = process.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let open = fs::read_dir(process.path().join("fd"))
            .into_iter()
            .flatten()
            .flatten()
            .any(|fd| fs::read_link(fd.path()).is_ok_and(|open| uses(&open)));
        if open {
            let comm = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            users.push((pid, comm.trim().to_owned()));
        }
    }
    users
}

/// A program that goes on using a database that was set aside writes into the one that nobody reads.
pub(super) fn refuse_if_in_use(target: &Path, attempt: &str) -> Result<(), Error> {
    let users = users_of(target);
    if users.is_empty() {
        return Ok(());
    }
    let list: Vec<String> = users
        .iter()
        .map(|(pid, name)| format!("process {pid} ({name})"))
        .collect();
    Err(Error::new(
        ErrorKind::InUse,
        attempt,
        format!("{} is open in {}", target.display(), list.join(", ")),
    )
    .with_help(
        "stop the programs that use it, and name them in the config: `restore = { stop = [\"NAME\"] }`; nothing was changed",
    ))
}
