//! What the stream of a backup tells of the server while it passes by.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use mainstay_base::{Clock, SystemClock};

use super::super::manifest::Position;
use super::super::objects::OWN;
use super::super::xbstream::Event;

/// Files that tell of the backup, under their older and their newer names.
const CHECKPOINTS: [&str; 2] = ["xtrabackup_checkpoints", "mariadb_backup_checkpoints"];
const BINLOG: [&str; 2] = ["xtrabackup_binlog_info", "mariadb_backup_binlog_info"];
/// None of them is longer.
const LONGEST: usize = 64 << 10;
/// The number of the engine MEMORY in the head of a `.frm` file.
const MEMORY: u8 = 6;

/// What a `.frm` file is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Frm {
    Table,
    /// A table whose rows are in no file.
    Memory,
    View,
}

/// What was told.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// The moment that the data is of: that in which the place in the binary log was noted.
    pub(super) taken: Option<Timestamp>,
    checkpoints: Vec<u8>,
    binlog: Vec<u8>,
    frms: BTreeMap<PathBuf, Frm>,
}

impl Told {
    /// Looks at what comes.
    pub(super) fn hear(&mut self, event: &Event) {
        match event {
            Event::Bytes(path, bytes) => {
                if is(path, &BINLOG) {
                    self.taken.get_or_insert_with(now);
                    keep(&mut self.binlog, bytes);
                } else if is(path, &CHECKPOINTS) {
                    self.taken.get_or_insert_with(now);
                    keep(&mut self.checkpoints, bytes);
                } else if let Some(frm) = frm(path, bytes) {
                    self.frms.entry(path.clone()).or_insert(frm);
                }
            }
            Event::Gone(path) => self.frms.retain(|file, _| !file.starts_with(path)),
            Event::Moved(from, to) => {
                self.frms.retain(|file, _| !file.starts_with(to));
                let frms = std::mem::take(&mut self.frms);
                self.frms = (frms.into_iter())
                    .map(|(file, frm)| match file.strip_prefix(from) {
                        Ok(rest) => (to.join(rest).components().collect(), frm),
                        Err(_) => (file, frm),
                    })
                    .collect();
            }
            Event::Zeros(..) | Event::End(_) => {}
        }
    }

    /// The tables whose rows are not there.
    pub(super) fn memory(&self) -> impl Iterator<Item = &Path> {
        self.finished()
            .filter(|(_, frm)| *frm == Frm::Memory)
            .map(|(path, _)| path)
    }

    /// How many databases have something in them, and how many tables; the server's own are not counted.
    pub(super) fn counts(&self) -> (u64, u64) {
        let databases: BTreeSet<_> = self.finished().map(|(path, _)| path.parent()).collect();
        let tables = self.finished().filter(|(_, frm)| *frm != Frm::View);
        (databases.len() as u64, tables.count() as u64)
    }

    /// Without what statements that were under way had begun.
    fn finished(&self) -> impl Iterator<Item = (&Path, Frm)> {
        let begun = |path: &Path| {
            let name = path.file_name().unwrap_or_default();
            name.to_string_lossy().starts_with("#sql")
        };
        (self.frms.iter())
            .map(|(path, frm)| (path.as_path(), *frm))
            .filter(move |(path, _)| !begun(path))
    }

    /// Where the binary log was, if there is one: file, offset and, where there is one, GTID.
    pub(super) fn position(&self) -> Option<Position> {
        let text = String::from_utf8_lossy(&self.binlog);
        let mut parts = text.lines().next()?.split('\t');
        let (file, offset) = (parts.next()?, parts.next()?.trim().parse().ok()?);
        (!file.is_empty()).then(|| Position {
            file: file.to_owned(),
            offset,
            gtid: parts.next().unwrap_or_default().trim().to_owned(),
        })
    }

    /// Up to where the pages must be brought, and up to where the log goes.
    pub(super) fn checkpoint(&self) -> Option<(u64, u64)> {
        let to: u64 = self.value("to_lsn")?.parse().ok()?;
        let last = self.value("last_lsn").and_then(|lsn| lsn.parse().ok());
        Some((to, last.unwrap_or(to)))
    }

    /// That all has come that a backup has at its end.
    pub(super) fn whole(&self) -> Result<(), String> {
        match (self.value("backup_type").as_deref(), self.checkpoint()) {
            (Some("full-backuped"), Some(_)) => Ok(()),
            (Some("full-backuped") | None, _) => {
                Err("mariadb-backup does not say up to where it has read the log".to_owned())
            }
            (Some(other), _) => Err(format!("what came is no full backup, but {other:?}")),
        }
    }

    fn value(&self, name: &str) -> Option<String> {
        let text = String::from_utf8_lossy(&self.checkpoints);
        text.lines().find_map(|line| {
            let (known, value) = line.split_once('=')?;
            (known.trim() == name).then(|| value.trim().to_owned())
        })
    }
}

fn now() -> Timestamp {
    SystemClock::new().now()
}

fn is(path: &Path, names: &[&str]) -> bool {
    names.iter().any(|name| path == Path::new(name))
}

fn keep(kept: &mut Vec<u8>, bytes: &[u8]) {
    let room = LONGEST.saturating_sub(kept.len());
    kept.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
}

/// What a `.frm` file is of, by its first bytes; nothing for other files, and for the server's own.
fn frm(path: &Path, bytes: &[u8]) -> Option<Frm> {
    let database = path.parent()?.to_str()?;
    if path.extension()? != "frm" || OWN.contains(&database) {
        return None;
    }
    Some(match bytes {
        [b'T', b'Y', b'P', b'E', b'=', b'V', ..] => Frm::View,
        [0xfe, 0x01, _, MEMORY, ..] => Frm::Memory,
        _ => Frm::Table,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(files: &[(&str, &[u8])]) -> Told {
        let mut told = Told::default();
        for (path, bytes) in files {
            told.hear(&Event::Bytes(PathBuf::from(path), bytes.to_vec()));
            told.hear(&Event::End(PathBuf::from(path)));
        }
        told
    }

    #[test]
    fn the_place_in_the_logs_is_read() {
        let heard = told(&[
            (
                "xtrabackup_checkpoints",
                b"backup_type = full-backuped\nfrom_lsn = 0\nto_lsn = 46846\nlast_lsn = 46862\n",
            ),
            (
                "xtrabackup_binlog_info",
                b"log.000003\t1234\t0-1-55,1-1-2\n",
            ),
        ]);
        assert_eq!(heard.checkpoint(), Some((46846, 46862)));
        assert_eq!(heard.whole(), Ok(()));
        assert!(heard.taken.is_some());
        let position = heard.position().unwrap();
        assert_eq!(
            (
                position.file.as_str(),
                position.offset,
                position.gtid.as_str()
            ),
            ("log.000003", 1234, "0-1-55,1-1-2")
        );
        let newer = told(&[
            (
                "mariadb_backup_checkpoints",
                b"backup_type = full-backuped\nto_lsn = 7\n",
            ),
            ("mariadb_backup_binlog_info", b"log.000003\t1234\n"),
        ]);
        assert_eq!(newer.checkpoint(), Some((7, 7)));
        assert_eq!(newer.position().unwrap().gtid, "");
    }

    #[test]
    fn what_is_not_whole_is_said() {
        for (text, expected) in [
            (&b""[..], "does not say"),
            (b"backup_type = full-backuped\nto_lsn = x\n", "does not say"),
            (b"backup_type = incremental\nto_lsn = 7\n", "no full backup"),
            (b"backup_type = log-applied\nto_lsn = 7\n", "log-applied"),
        ] {
            let heard = told(&[("xtrabackup_checkpoints", text)]);
            let why = heard.whole().unwrap_err();
            assert!(why.contains(expected), "{why}");
            assert_eq!(heard.position(), None);
        }
        // One in a database is somebody's table.
        let elsewhere = told(&[("d/xtrabackup_checkpoints", b"backup_type = full-backuped\n")]);
        assert!(elsewhere.whole().is_err());
    }

    #[test]
    fn tables_are_counted_as_they_come_and_go() {
        let table = [0xfe, 0x01, 0x0a, 12, 0];
        let memory = [0xfe, 0x01, 0x0a, 6, 0];
        let mut heard = told(&[
            ("shop/orders.frm", &table),
            ("shop/orders.ibd", &memory),
            ("shop/#sql-1.frm", &table),
            ("shop/zz.frm", b"TYPE=VIEW\nquery=x"),
            ("other/seen.frm", &memory),
            ("mysql/user.frm", b"TYPE=VIEW\n"),
            ("mysql/db.frm", &table),
        ]);
        assert_eq!(heard.counts(), (2, 2));
        let memory: Vec<&Path> = heard.memory().collect();
        assert_eq!(memory, [Path::new("other/seen.frm")]);
        heard.hear(&Event::Gone("shop/orders.frm".into()));
        heard.hear(&Event::Moved(
            "other/seen.frm".into(),
            "other/new.frm".into(),
        ));
        assert_eq!(heard.counts(), (2, 1));
        let memory: Vec<&Path> = heard.memory().collect();
        assert_eq!(memory, [Path::new("other/new.frm")]);
        heard.hear(&Event::Gone("other".into()));
        assert_eq!(heard.counts(), (1, 0));
        heard.hear(&Event::Moved(
            "shop/#sql-1.frm".into(),
            "shop/orders.frm".into(),
        ));
        assert_eq!(heard.counts(), (1, 1));
    }
}
