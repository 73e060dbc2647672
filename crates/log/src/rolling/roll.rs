//! How one file follows another.

use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use mainstay_base::Clock;
use rustix::fs::{Gid, OFlags, RenameFlags, Uid};

use super::{Period, RollingFile, Rolls};
use crate::error::Reason;
use crate::level::Level;
use crate::naming::{Naming, SUFFIXES, rolled_files, rolled_path};
use crate::pack::{self, Compression, Job, NameLock, Surplus};
use crate::retention::doomed;
use crate::target::{Door, Target, options};

impl RollingFile {
    /// The current file is for the period it was written in last, or if it is empty for this one.
    pub(super) fn begin_period(&mut self, metadata: &Metadata) {
        self.period = Period::default();
        let Some(calendar) = &self.calendar else {
            return;
        };
        self.period.moment = self.clock.now();
        if self.position > 0 {
            let modified = metadata
                .modified()
                .ok()
                .and_then(|time| Timestamp::try_from(time).ok());
            self.period.moment = modified.unwrap_or(self.period.moment);
        }
        self.period.text = calendar.period(self.period.moment);
    }

    /// Sees whether the period of the current file is over.
    pub(super) fn look_at_the_calendar(&mut self) {
        let Some(calendar) = &self.calendar else {
            return;
        };
        let now = self.clock.now_coarse();
        if now.as_second() == self.period.looked {
            return;
        }
        self.period.looked = now.as_second();
        let text = calendar.period(now);
        if self.position == 0 && !self.has_dated_name() {
            self.period.text = text;
            self.period.moment = now;
        } else {
            self.period.over = text != self.period.text;
        }
    }

    /// The current file carries its period in its name.
    pub(super) fn has_dated_name(&self) -> bool {
        matches!(self.rolls.naming, Naming::Dated { current: true, .. })
    }

    /// A rolled file of this number, compressed or not.
    pub(super) fn any_variant(&self, number: u32) -> Option<PathBuf> {
        let plain = rolled_path(&self.base, number);
        variants(&plain).find(|path| path.symlink_metadata().is_ok())
    }

    pub(super) fn try_roll(&mut self) -> Result<(), String> {
        let said = |error: io::Error| Reason(&error).to_string();
        let names = if self.rolls.shared || self.rolls.retention.compress.is_some() {
            Some(NameLock::take(&self.base, self.rolls.shared).map_err(said)?)
        } else {
            None
        };
        if !self.is_current() {
            // Another process may have rolled it.
            return self.try_reopen().map_err(said);
        }
        if self.has_dated_name() {
            let next = current_path(&self.base, &self.rolls, &*self.clock);
            if next != self.path {
                self.path = next;
                return self.try_reopen().map_err(said);
            }
        }
        let first = if self.rolls.naming == Naming::Shifted {
            self.make_way()?
        } else {
            let there = rolled_files(&self.base, &self.rolls.naming);
            let base = self.base.file_name().unwrap_or_default();
            let (moment, zone) = (self.period_moment(), &self.rolls.zone);
            let name = self.rolls.naming.next(base, &there, moment, zone);
            let first = self.base.with_file_name(name);
            not_in_the_way(&first)?;
            first
        };
        rename(&self.path, &first)?;
        match create_next(&self.path, &self.file) {
            Ok((file, metadata)) => {
                let door = if metadata.is_file() {
                    Door::Plain
                } else {
                    Door::Stream
                };
                let before = self.file.try_clone();
                self.become_target(Target {
                    file,
                    metadata,
                    door,
                });
                drop(names);
                match (self.rolls.retention.compress, before) {
                    (Some(compression), Ok(file)) => self.pack(compression, file),
                    (Some(_), Err(error)) => self.notice(
                        Level::Warn,
                        format!("{} is not compressed: {}", first.display(), Reason(&error)),
                    ),
                    (None, _) => {}
                }
                Ok(())
            }
            Err(error) => {
                // Back to its name, unless another file has it by now; then the next look at the
                // path finds that this one was moved.
                let _ = rustix::fs::renameat_with(
                    rustix::fs::CWD,
                    &first,
                    rustix::fs::CWD,
                    &self.path,
                    RenameFlags::NOREPLACE,
                );
                Err(format!("creating the next file: {}", Reason(&error)))
            }
        }
    }

    /// A moment in the period of what is in the file.
    fn period_moment(&self) -> Timestamp {
        if self.calendar.is_some() {
            return self.period.moment;
        }
        let modified = self
            .file
            .metadata()
            .and_then(|metadata| metadata.modified());
        let modified = modified
            .ok()
            .and_then(|time| Timestamp::try_from(time).ok());
        modified.unwrap_or_else(|| self.clock.now())
    }

    /// Moves rolled files up to the first free number; gives the path of number one.
    fn make_way(&self) -> Result<PathBuf, String> {
        // What is in the way is seen before anything moves.
        let last = self
            .rolls
            .retention
            .files
            .map_or(u32::MAX, |files| files.max(1));
        let mut free = 1;
        loop {
            not_in_the_way(&rolled_path(&self.base, free))?;
            match self.any_variant(free) {
                None => break,
                Some(_) if free >= last => break,
                Some(_) => free += 1,
            }
        }
        // What one of another suffix would stay beside.
        for doomed in variants(&rolled_path(&self.base, free)).skip(1) {
            match fs::remove_file(&doomed) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(format!("deleting {}: {}", doomed.display(), Reason(&error)));
                }
                _ => {}
            }
        }
        // From the oldest down: where this stops half way it leaves a free number and nothing else.
        for number in (1..free).rev() {
            let (from, to) = (
                rolled_path(&self.base, number),
                rolled_path(&self.base, number + 1),
            );
            for (from, to) in variants(&from).zip(variants(&to)) {
                if from.symlink_metadata().is_ok() {
                    rename(&from, &to)?;
                }
            }
        }
        Ok(rolled_path(&self.base, 1))
    }

    fn pack(&self, compression: Compression, file: File) {
        pack::pack(Job {
            path: self.base.clone(),
            naming: self.rolls.naming.clone(),
            compression,
            shared: self.rolls.shared,
            file,
            notices: Arc::clone(&self.packs),
        });
    }

    /// Has rolled files compressed that an earlier run left.
    pub(super) fn pack_what_is_left(&self) {
        let Some(compression) = self.rolls.retention.compress else {
            return;
        };
        let rolled = rolled_files(&self.base, &self.rolls.naming);
        for file in rolled.iter().rev().filter(|file| !file.packed) {
            let path = self.base.with_file_name(&file.name);
            if path != self.path
                && let Ok(file) = File::open(path)
            {
                self.pack(compression, file);
            }
        }
    }

    /// Deletes the rolled files that retention does not keep. What cannot be deleted is noticed.
    pub(super) fn prune(&mut self) {
        self.pruned = self.clock.monotonic();
        let keeps_all = self.rolls.retention.files.is_none()
            && self.rolls.retention.age.is_none()
            && self.rolls.retention.total.is_none();
        // Without rolling, files with numbers are somebody else's.
        if keeps_all || !self.rolls() || !self.door.is_plain() {
            return;
        }
        let mut rolled = rolled_files(&self.base, &self.rolls.naming);
        if self.has_dated_name() {
            let own = self.path.file_name();
            rolled.retain(|file| Some(&*file.name) != own);
            for (index, file) in rolled.iter_mut().enumerate() {
                file.place = index as u64 + 1;
            }
        }
        // Room for the current file to grow into, so that the total holds until the next roll too.
        let current = self.position.max(self.rolls.retention.size.unwrap_or(0));
        let doomed = doomed(&rolled, current, &self.rolls.retention, self.clock.now());
        let doomed: Vec<PathBuf> = doomed
            .into_iter()
            .rev()
            .map(|file| self.base.with_file_name(&file.name))
            .collect();
        if let Some(archive) = &self.rolls.archive {
            if !doomed.is_empty() {
                pack::put_away(Surplus {
                    path: self.base.clone(),
                    files: doomed,
                    archive: archive.clone(),
                    zone: self.rolls.zone.clone(),
                    shared: self.rolls.shared,
                    failing: Arc::clone(&self.archive_fails),
                    notices: Arc::clone(&self.packs),
                });
            }
            return;
        }
        for path in doomed {
            if let Err(error) = fs::remove_file(&path)
                && error.kind() != io::ErrorKind::NotFound
            {
                self.notice(
                    Level::Warn,
                    format!("cannot delete {}: {}", path.display(), Reason(&error)),
                );
            }
        }
    }
}

/// The path of the current file at this moment.
pub(super) fn current_path(base: &Path, rolls: &Rolls, clock: &dyn Clock) -> PathBuf {
    let name = base.file_name().unwrap_or_default();
    base.with_file_name(rolls.naming.current(name, clock.now(), &rolls.zone))
}

/// A rolled file as it is, and as it may be called compressed.
fn variants(plain: &Path) -> impl Iterator<Item = PathBuf> {
    let packed = SUFFIXES.map(|suffix| {
        let mut name = plain.as_os_str().to_owned();
        name.push(suffix);
        name.into()
    });
    std::iter::once(plain.to_owned()).chain(packed)
}

/// An error if no file could be renamed to this path.
fn not_in_the_way(path: &Path) -> Result<(), String> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(format!("{}: {}", path.display(), Reason(&error))),
        Ok(there) if there.is_dir() => Err(format!(
            "a directory is in the way, {}; move it away",
            path.display()
        )),
        Ok(_) => Ok(()),
    }
}

fn rename(from: &Path, to: &Path) -> Result<(), String> {
    fs::rename(from, to).map_err(|error| {
        format!(
            "renaming {} to {}: {}",
            from.display(),
            to.display(),
            Reason(&error)
        )
    })
}

/// Creates the file that follows `before`, with its mode and, where we may, its owner.
fn create_next(path: &Path, before: &File) -> io::Result<(File, Metadata)> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    let flags = flags.bits().cast_signed();
    let file = match options().create_new(true).custom_flags(flags).open(path) {
        // Somebody was faster; it is the current file now.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let file = options().custom_flags(flags).open(path)?;
            let metadata = file.metadata()?;
            return Ok((file, metadata));
        }
        other => other?,
    };
    let metadata = file.metadata()?;
    if let Ok(old) = before.metadata() {
        if (old.uid(), old.gid()) != (metadata.uid(), metadata.gid()) {
            // Only root may; where it fails the file is ours, which is no worse than before.
            let _ = rustix::fs::fchown(
                &file,
                Some(Uid::from_raw(old.uid())),
                Some(Gid::from_raw(old.gid())),
            );
        }
        if old.mode() != metadata.mode() {
            let _ = file.set_permissions(old.permissions());
        }
    }
    Ok((file, metadata))
}
