//! What the library says of snapshots and damage, in our words.

use std::path::PathBuf;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use mainstay_base::{Clock, SystemClock};
use rustic_core::repofile::{DeleteOption, SnapshotFile};
use rustic_core::{CheckResults, RusticError};

use super::archive::Archived;
use super::{PARTIAL, PINNED, TAG, message};
use crate::repository::{Finding, Snapshot};
use crate::source::Facts;

/// How the library speaks of a pack that nothing needs any more; that it is gone is no damage.
const MARKED: &str = "marked to-delete: true";
/// How the library begins when it speaks of another error.
const PREAMBLE: &str = "`rustic_core` experienced an error related to";

pub(super) fn findings(results: CheckResults) -> Vec<Finding> {
    results
        .0
        .into_iter()
        .map(|(level, what)| Finding {
            // The library does not export the type of the level.
            damage: format!("{level:?}") != "Warn" && !what.to_string().contains(MARKED),
            what: one_line(&what),
        })
        .collect()
}

/// A finding and its causes on one line.
fn one_line(what: &(dyn std::error::Error + 'static)) -> String {
    let text = what.to_string();
    let line = text.lines().next().unwrap_or_default();
    // That the library has met an error is no news; which one is told by the cause.
    let (line, _) = line.split_once(PREAMBLE).unwrap_or((line, ""));
    let line = line.trim_end_matches([' ', ':']);
    if let Some(cause) = what.source() {
        let cause = cause
            .downcast_ref::<Box<RusticError>>()
            .map(|error| message(error))
            .or_else(|| cause.downcast_ref::<RusticError>().map(message));
        if let Some(cause) = cause {
            return format!("{line}: {cause}");
        }
    }
    line.to_owned()
}

/// A snapshot file as ours, or nothing if another program made it.
pub(super) fn ours(file: &SnapshotFile) -> Option<Snapshot> {
    let backup = file
        .tags
        .iter()
        .find_map(|tag| tag.strip_prefix("backup="))?;
    if !file.tags.contains(TAG) || file.delete != DeleteOption::NotSet {
        return None;
    }
    // Anybody can give tags; what another program writes has no facts in it. What is not known to be
    // ours is neither restored as the latest nor forgotten.
    let facts: Facts = file
        .description
        .as_deref()
        .and_then(|text| serde_json::from_str(text).ok())
        .filter(|facts: &Facts| !facts.kind.is_empty())?;
    let summary = file.summary.as_ref();
    Some(Snapshot {
        id: file.id.to_hex().as_str().to_owned(),
        backup: backup.to_owned(),
        host: file.hostname.clone(),
        time: file.time.timestamp(),
        path: file.paths.iter().next().map(PathBuf::from)?,
        complete: !file.tags.contains(PARTIAL),
        pinned: file.tags.contains(PINNED),
        files: summary.map_or(0, |summary| summary.total_files_processed),
        bytes: summary.map_or(0, |summary| summary.total_bytes_processed),
        facts,
    })
}

/// What a snapshot says of itself, as restic has it.
pub(super) fn summarise(file: &mut SnapshotFile, archived: &Archived, begun: Timestamp) {
    let now = SystemClock::new().now();
    let seconds = now.duration_since(begun).as_secs_f64();
    let mut summary = file.summary.take().unwrap_or_default();
    summary.files_new = archived.files_new;
    summary.files_changed = archived.files_changed;
    summary.files_unmodified = archived.files_unchanged;
    summary.total_files_processed = archived.files;
    summary.total_bytes_processed = archived.bytes;
    summary.total_dirs_processed = archived.directories;
    summary.data_blobs = archived.data_blobs;
    summary.tree_blobs = archived.tree_blobs;
    summary.data_added = archived.added;
    summary.data_added_packed = archived.added_packed;
    summary.backup_start = begun.to_zoned(TimeZone::UTC);
    summary.backup_end = now.to_zoned(TimeZone::UTC);
    summary.backup_duration = seconds;
    summary.total_duration = seconds;
    file.summary = Some(summary);
}
