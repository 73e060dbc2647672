//! Writes the tree of a snapshot into a new directory.
//!
//! The directory is created by the writer and private until it is done; every name was checked to be one
//! name, and nothing is ever opened that already exists. So whatever a snapshot holds, nothing outside
//! of that directory is written.

use std::collections::HashMap;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mainstay_base::counted;
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, XattrFlags};

use crate::error::{Error, ErrorKind, reason_of_io};
use crate::progress::Progress;
use crate::repository::{FileContent, Item, ItemKind, Visit};
use crate::source::{Issue, Meta, Weight};
use crate::verify::write_file;

/// What was written.
pub(crate) struct Written {
    pub(crate) files: u64,
    pub(crate) directories: u64,
    pub(crate) bytes: u64,
    pub(crate) issues: Vec<Issue>,
}

pub(crate) struct Writer<'a> {
    root: PathBuf,
    only: &'a [PathBuf],
    attempt: &'a str,
    progress: &'a Arc<dyn Progress>,
    links: HashMap<(u64, u64), PathBuf>,
    done: Written,
    /// Owners that could not be set: one issue for all of them.
    foreign: u64,
}

impl<'a> Writer<'a> {
    /// A writer to `root`, which it creates; only the chosen parts if there are any, with the
    /// directories above them.
    pub(crate) fn new(
        root: &Path,
        only: &'a [PathBuf],
        attempt: &'a str,
        progress: &'a Arc<dyn Progress>,
    ) -> Self {
        Self {
            root: root.to_owned(),
            only,
            attempt,
            progress,
            links: HashMap::new(),
            done: Written {
                files: 0,
                directories: 0,
                bytes: 0,
                issues: Vec::new(),
            },
            foreign: 0,
        }
    }

    /// One step of the walk.
    pub(crate) fn visit(&mut self, visit: Visit<'_>) -> Result<(), Error> {
        if self.progress.cancelled() {
            return Err(Error::new(
                ErrorKind::Cancelled,
                self.attempt,
                "the caller asked to stop",
            ));
        }
        let (Visit::Enter(item) | Visit::Leave(item) | Visit::Item(item, _)) = visit;
        let path = if item.path.as_os_str().is_empty() {
            self.root.clone()
        } else {
            self.root.join(&item.path)
        };
        if !self.wants(&item.path, matches!(item.kind, ItemKind::Directory)) {
            return Ok(());
        }
        let result = match visit {
            Visit::Enter(_) => {
                self.done.directories += 1;
                DirBuilder::new().mode(0o700).create(&path)
            }
            // Last: its content may have to go into a directory that is not writable.
            Visit::Leave(item) => {
                self.dress(&path, item);
                Ok(())
            }
            Visit::Item(item, content) => match &item.kind {
                ItemKind::File => return self.file(&path, item, content),
                ItemKind::Symlink(target) => symlink(target, &path).map(|()| {
                    // Counted as the format counts when it stores.
                    self.done.files += 1;
                    self.dress(&path, item);
                }),
                ItemKind::Other(what) => {
                    self.issue(&item.path, format!("is a {what}; not restored"));
                    Ok(())
                }
                ItemKind::Directory => Ok(()),
            },
        };
        result.map_err(|error| Error::io(self.attempt, &path, &error))
    }

    fn wants(&self, path: &Path, directory: bool) -> bool {
        self.only.is_empty()
            || self
                .only
                .iter()
                .any(|only| path.starts_with(only) || (directory && only.starts_with(path)))
    }

    fn file(&mut self, path: &Path, item: &Item, content: &dyn FileContent) -> Result<(), Error> {
        let fail = |error: &io::Error| Error::io(self.attempt, path, error);
        if let Some(first) = item.meta.hard_link.and_then(|key| self.links.get(&key)) {
            fs::hard_link(first, path).map_err(|error| fail(&error))?;
            self.done.files += 1;
            return Ok(());
        }
        write_file(path, self.attempt, self.progress, |target| {
            content.write_to(target)
        })?;
        let size = fs::symlink_metadata(path)
            .map_err(|error| fail(&error))?
            .len();
        if size != item.meta.size {
            return Err(Error::new(
                ErrorKind::Damaged,
                self.attempt,
                format!(
                    "{} has {size} bytes, and {} when it was stored",
                    item.path.display(),
                    item.meta.size
                ),
            ));
        }
        self.done.files += 1;
        self.done.bytes += size;
        self.dress(path, item);
        if let Some(key) = item.meta.hard_link {
            self.links.insert(key, path.to_owned());
        }
        Ok(())
    }

    fn issue(&mut self, path: &Path, what: String) {
        self.done.issues.push(Issue {
            weight: Weight::Warning,
            path: path.to_owned(),
            what,
        });
    }

    fn dress(&mut self, path: &Path, item: &Item) {
        let link = matches!(item.kind, ItemKind::Symlink(_));
        let mut found = Vec::new();
        dress(path, &item.meta, link, &mut |what| found.push(what));
        for what in found {
            if what.starts_with(OWNER) {
                self.foreign += 1;
            } else {
                self.issue(&item.path, what);
            }
        }
    }

    /// What was written, after a look that it is all there.
    pub(crate) fn finish(mut self) -> Result<Written, Error> {
        if self.foreign > 0 {
            let what = format!(
                "{OWNER} of {} could not be set; that takes root",
                counted(self.foreign, "entry")
            );
            self.issue(Path::new(""), what);
        }
        let (mut files, mut directories) = (0, 0);
        let mut stack = vec![self.root.clone()];
        while let Some(directory) = stack.pop() {
            directories += 1;
            let fail = |error: &io::Error| Error::io(self.attempt, &directory, error);
            for entry in fs::read_dir(&directory).map_err(|error| fail(&error))? {
                let entry = entry.map_err(|error| fail(&error))?;
                let kind = entry.file_type().map_err(|error| fail(&error))?;
                if kind.is_dir() {
                    stack.push(entry.path());
                } else {
                    files += 1;
                }
            }
        }
        if (files, directories) != (self.done.files, self.done.directories) {
            return Err(Error::new(
                ErrorKind::Internal,
                self.attempt,
                format!(
                    "{} files in {} directories were written, and {files} in {directories} are there",
                    self.done.files, self.done.directories
                ),
            ));
        }
        Ok(self.done)
    }
}

const OWNER: &str = "the owner";

/// The mode of a file that may have got another owner than it had: it must not lend that one's rights.
fn permitted(mode: u32, is_owner: bool) -> u32 {
    if is_owner { mode } else { mode & !0o6000 }
}

/// Gives a new file, directory or link its metadata; what cannot be had is reported and left.
pub(crate) fn dress(path: &Path, meta: &Meta, link: bool, report: &mut dyn FnMut(String)) {
    let mut check = |what: &str, result: io::Result<()>| {
        if let Err(error) = result {
            report(format!("{what}: {}", reason_of_io(&error)));
        }
    };
    // The owner first: a change of owner clears set-user-id and file capabilities.
    let owned = std::os::unix::fs::lchown(path, Some(meta.uid), Some(meta.gid));
    let mode = permitted(meta.mode, owned.is_ok());
    check(OWNER, owned);
    for (name, value) in &meta.attributes {
        check(
            &format!("extended attribute {name}"),
            rustix::fs::lsetxattr(path, name.as_str(), value, XattrFlags::empty())
                .map_err(io::Error::from),
        );
    }
    if !link {
        let permissions = fs::Permissions::from_mode(mode);
        check("the mode", fs::set_permissions(path, permissions));
        if mode != meta.mode {
            let lent = io::Error::other("without set-user-id and set-group-id, for another owner");
            check("the mode", Err(lent));
        }
    }
    let time = Timespec {
        tv_sec: meta.mtime.as_second(),
        tv_nsec: meta.mtime.subsec_nanosecond().into(),
    };
    // Before 1970 the nanoseconds of a Timestamp are negative, and those of utimensat(2) are not.
    let time = if time.tv_nsec < 0 {
        Timespec {
            tv_sec: time.tv_sec - 1,
            tv_nsec: time.tv_nsec + 1_000_000_000,
        }
    } else {
        time
    };
    let times = Timestamps {
        last_access: time,
        last_modification: time,
    };
    check(
        "the time",
        rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(io::Error::from),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rights_of_another_owner_are_not_lent() {
        for (mode, is_owner, expected) in [
            (0o4755, true, 0o4755),
            (0o4755, false, 0o755),
            (0o2775, false, 0o775),
            (0o1777, false, 0o1777),
            (0o640, false, 0o640),
        ] {
            assert_eq!(permitted(mode, is_owner), expected, "{mode:o} {is_owner}");
        }
    }
}
