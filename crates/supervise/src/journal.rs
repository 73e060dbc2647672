//! The re-adoption journal: what the next daemon must know about the processes of this one.
//!
//! One append-only file in the state directory. It is its own small thing, not a database,
//! because it must work when the disk or the database does not. The file is a magic, then
//! records of `length: u32 LE, CRC-32 of length and payload: u32 LE, payload`. The last record
//! of a slot wins. A torn or damaged stretch is skipped: the replay goes on at the next record whose
//! checksum is right, so that a damaged byte costs the record it is in and no other. A new file holds
//! every record twice, one half after the other, so that it costs nothing at all there.
//!
//! The page cache survives the death of the daemon, so that plain writes are enough for
//! re-adoption; only what a person decided (stopped by hand, started by hand) is synced, because
//! that must survive the loss of power too.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::hash::{DefaultHasher, Hasher as _};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::machine::{Counters, Exit, Phase};

/// What the file starts with; the last byte is the version of the format. Version 1 had no
/// [`SlotRecord::trouble`], version 2 nothing about groups and inputs; the tag of a record says
/// which it is.
const MAGIC: &[u8; 8] = b"MSTJRNL\x03";
const MAGIC_1: &[u8; 8] = b"MSTJRNL\x01";
const MAGIC_2: &[u8; 8] = b"MSTJRNL\x02";
/// No record is longer; a longer length is damage.
const LONGEST: usize = 256 * 1024;
/// Below this size the file is never rewritten for being large.
const SMALL: u64 = 256 * 1024;

const TAG_BOOT: u8 = 1;
const TAG_SLOT: u8 = 2;
const TAG_FORGET: u8 = 3;
const TAG_CLOSED: u8 = 4;
/// A slot with its trouble, since version 2.
const TAG_TROUBLED_SLOT: u8 = 5;
/// A slot with its group, its input and what it does as an event listener, since version 3.
const TAG_GROUPED_SLOT: u8 = 6;
/// No trouble is kept longer than so many bytes.
const LONGEST_TROUBLE: usize = 4096;

/// One record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// The boot the following process ids belong to.
    Boot(String),
    /// All there is to know about a slot.
    Slot(Box<SlotRecord>),
    /// The slot with this process name is no more.
    Forget(String),
    /// The daemon shut down in order; every process it had is gone.
    Closed,
}

/// A process that was spawned, or is about to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProcessRecord {
    /// The spawn is under way: the process, if it came to be, is the one that holds the pipes.
    Intent,
    /// It runs (or ran) under this id.
    Live {
        /// The process id.
        pid: u32,
        /// Field 22 of `/proc/PID/stat`, in clock ticks since boot: with the boot id it makes
        /// the process id unique.
        start_ticks: u64,
    },
}

/// What the journal keeps about one slot.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SlotRecord {
    /// The process name, unique among slots.
    pub process: String,
    /// The program it belongs to.
    pub program: String,
    /// The instance number.
    pub instance: u32,
    /// What a person decided: `Some(false)` stopped by hand, `Some(true)` started by hand.
    pub decided: Option<bool>,
    /// The phase, as far as the next daemon needs it.
    pub phase: Phase,
    /// Whether a restart was due by itself in that phase.
    pub waiting: bool,
    /// The process, if there is one.
    pub live: Option<ProcessRecord>,
    /// Hash of the part of the spec that the process was spawned with.
    pub spec_hash: u64,
    /// Inode of the pipe at its fd 1, or 0.
    pub stdout_pipe: u64,
    /// Inode of the pipe at its fd 2, or 0.
    pub stderr_pipe: u64,
    /// Where its stdout goes, or empty. Needed when the program has left the config.
    pub stdout_log: PathBuf,
    /// Where its stderr goes, or empty.
    pub stderr_log: PathBuf,
    /// The signal that asks it to stop.
    pub stop_signal: i32,
    /// How long that may take, in milliseconds.
    pub stop_wait_ms: u64,
    /// Whether the stop signal goes to the group.
    pub stop_group: bool,
    /// Whether SIGKILL goes to the group.
    pub kill_group: bool,
    /// Failures and restarts so far.
    pub counters: Counters,
    /// What is wrong with it, in words, or empty.
    pub trouble: String,
    /// Its group; empty in records of old versions.
    pub group: String,
    /// Inode of the pipe at its fd 0, or 0.
    pub stdin_pipe: u64,
    /// What it does as an event listener, see `events::ListenerRecord`; else empty.
    pub listener: Vec<u8>,
}

/// What the journal says of a slot, as far as it must be known to see that this has changed: the records
/// themselves would be a good part of the memory of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Noted {
    pub(crate) decided: Option<bool>,
    fingerprint: u64,
}

impl Noted {
    /// Of a record as it is written.
    pub(crate) fn new(decided: Option<bool>, encoded: &[u8]) -> Self {
        let mut hasher = DefaultHasher::new();
        hasher.write(encoded);
        Self {
            decided,
            fingerprint: hasher.finish(),
        }
    }

    pub(crate) fn of(record: SlotRecord) -> Self {
        let decided = record.decided;
        let mut bytes = Vec::new();
        encode(&Record::Slot(Box::new(record)), &mut bytes);
        Self::new(decided, &bytes)
    }
}

/// Appends `record` to `out`.
pub fn encode(record: &Record, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(&[0; 8]);
    match record {
        Record::Boot(id) => {
            out.push(TAG_BOOT);
            put_text(out, id.as_bytes());
        }
        Record::Forget(process) => {
            out.push(TAG_FORGET);
            put_text(out, process.as_bytes());
        }
        Record::Closed => out.push(TAG_CLOSED),
        Record::Slot(slot) => {
            out.push(TAG_GROUPED_SLOT);
            put_slot(out, slot);
            let end = slot.trouble.floor_char_boundary(LONGEST_TROUBLE);
            put_text(out, &slot.trouble.as_bytes()[..end]);
            put_text(out, slot.group.as_bytes());
            out.extend_from_slice(&slot.stdin_pipe.to_le_bytes());
            put_text(out, &slot.listener);
        }
    }
    let length = u32::try_from(out.len() - start - 8)
        .unwrap_or(u32::MAX)
        .to_le_bytes();
    out[start..start + 4].copy_from_slice(&length);
    let crc = checksum(length, &out[start + 8..]);
    out[start + 4..start + 8].copy_from_slice(&crc.to_le_bytes());
}

fn checksum(length: [u8; 4], payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&length);
    hasher.update(payload);
    hasher.finalize()
}

fn put_text(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&u32::try_from(bytes.len()).unwrap_or(0).to_le_bytes());
    out.extend_from_slice(bytes);
}

fn put_slot(out: &mut Vec<u8>, slot: &SlotRecord) {
    use std::os::unix::ffi::OsStrExt;
    put_text(out, slot.process.as_bytes());
    put_text(out, slot.program.as_bytes());
    out.extend_from_slice(&slot.instance.to_le_bytes());
    out.push(match slot.decided {
        None => 0,
        Some(false) => 1,
        Some(true) => 2,
    });
    out.extend_from_slice(&slot.phase.code().to_le_bytes());
    out.push(u8::from(slot.waiting));
    match slot.live {
        None => out.push(0),
        Some(ProcessRecord::Intent) => out.push(1),
        Some(ProcessRecord::Live { pid, start_ticks }) => {
            out.push(2);
            out.extend_from_slice(&pid.to_le_bytes());
            out.extend_from_slice(&start_ticks.to_le_bytes());
        }
    }
    out.extend_from_slice(&slot.spec_hash.to_le_bytes());
    out.extend_from_slice(&slot.stdout_pipe.to_le_bytes());
    out.extend_from_slice(&slot.stderr_pipe.to_le_bytes());
    put_text(out, slot.stdout_log.as_os_str().as_bytes());
    put_text(out, slot.stderr_log.as_os_str().as_bytes());
    out.extend_from_slice(&slot.stop_signal.to_le_bytes());
    out.extend_from_slice(&slot.stop_wait_ms.to_le_bytes());
    out.push(u8::from(slot.stop_group));
    out.push(u8::from(slot.kill_group));
    out.extend_from_slice(&slot.counters.failures.to_le_bytes());
    out.extend_from_slice(&slot.counters.streak.to_le_bytes());
    out.extend_from_slice(&slot.counters.restarts.to_le_bytes());
    let (kind, number) = match slot.counters.last_exit {
        None => (0, 0),
        Some(Exit::Code(code)) => (1, code),
        Some(Exit::Signal {
            number,
            core: false,
        }) => (2, number),
        Some(Exit::Signal { number, core: true }) => (3, number),
        Some(Exit::Unknown) => (4, 0),
    };
    out.push(kind);
    out.extend_from_slice(&number.to_le_bytes());
}

/// What a replay found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Replay {
    /// The records in order.
    pub records: Vec<Record>,
    /// How many bytes of the file are damaged or torn and were skipped.
    pub skipped: usize,
}

/// Reads every whole record of a journal's bytes. Never fails: what is damaged is skipped, byte by
/// byte, up to the next record whose checksum is right; bytes that are not a journal are an empty one.
pub fn replay(bytes: &[u8]) -> Replay {
    let mut out = Replay::default();
    let whole = bytes
        .strip_prefix(MAGIC)
        .or_else(|| bytes.strip_prefix(MAGIC_2))
        .or_else(|| bytes.strip_prefix(MAGIC_1));
    // With a damaged magic the records behind it still are what they are.
    let mut rest = whole.unwrap_or(bytes);
    let mut searching = whole.is_none();
    while !rest.is_empty() {
        let first = first_record(rest, searching);
        searching = first.is_none();
        if let Some((record, length)) = first {
            out.records.extend(record);
            rest = &rest[length..];
        } else {
            out.skipped += 1;
            rest = &rest[1..];
        }
    }
    out
}

/// The record at the very beginning (`None` inside: one of a later version) and its length. While
/// searching only the tags of this version count, which spares most of the checksums.
fn first_record(bytes: &[u8], searching: bool) -> Option<(Option<Record>, usize)> {
    let (length_bytes, after) = bytes.split_first_chunk::<4>()?;
    let (crc, after) = after.split_first_chunk::<4>()?;
    let length = u32::from_le_bytes(*length_bytes) as usize;
    if length > LONGEST {
        return None;
    }
    let payload = after.get(..length)?;
    if searching && !(TAG_BOOT..=TAG_GROUPED_SLOT).contains(payload.first()?) {
        return None;
    }
    if checksum(*length_bytes, payload).to_le_bytes() != *crc {
        return None;
    }
    match decode(payload) {
        Decoded::Record(record) => Some((Some(record), 8 + length)),
        // Whole, but not for us.
        Decoded::Foreign => Some((None, 8 + length)),
        Decoded::Damaged => None,
    }
}

enum Decoded {
    Record(Record),
    Foreign,
    Damaged,
}

fn decode(payload: &[u8]) -> Decoded {
    let mut input = Input(payload);
    let record = match input.byte() {
        Some(TAG_BOOT) => input.text().map(Record::Boot),
        Some(TAG_FORGET) => input.text().map(Record::Forget),
        Some(TAG_CLOSED) => Some(Record::Closed),
        Some(TAG_SLOT) => input.slot().map(|slot| Record::Slot(Box::new(slot))),
        Some(TAG_TROUBLED_SLOT) => input.slot().and_then(|mut slot| {
            slot.trouble = input.text()?;
            Some(Record::Slot(Box::new(slot)))
        }),
        Some(TAG_GROUPED_SLOT) => input.slot().and_then(|mut slot| {
            slot.trouble = input.text()?;
            slot.group = input.text()?;
            slot.stdin_pipe = input.u64()?;
            slot.listener = input.bytes()?;
            Some(Record::Slot(Box::new(slot)))
        }),
        Some(_) => return Decoded::Foreign,
        None => None,
    };
    record.map_or(Decoded::Damaged, Decoded::Record)
}

struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*head)
    }

    fn byte(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn flag(&mut self) -> Option<bool> {
        self.byte().map(|byte| byte != 0)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn i32(&mut self) -> Option<i32> {
        self.array().map(i32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn bytes(&mut self) -> Option<Vec<u8>> {
        let length = self.u32()? as usize;
        let (head, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(head.to_vec())
    }

    fn text(&mut self) -> Option<String> {
        String::from_utf8(self.bytes()?).ok()
    }

    fn path(&mut self) -> Option<PathBuf> {
        use std::os::unix::ffi::OsStringExt;
        Some(PathBuf::from(std::ffi::OsString::from_vec(self.bytes()?)))
    }

    fn slot(&mut self) -> Option<SlotRecord> {
        Some(SlotRecord {
            process: self.text()?,
            program: self.text()?,
            instance: self.u32()?,
            decided: match self.byte()? {
                0 => None,
                1 => Some(false),
                _ => Some(true),
            },
            phase: {
                let code = self.array().map(u16::from_le_bytes)?;
                Phase::ALL.into_iter().find(|phase| phase.code() == code)?
            },
            waiting: self.flag()?,
            live: match self.byte()? {
                0 => None,
                1 => Some(ProcessRecord::Intent),
                _ => Some(ProcessRecord::Live {
                    pid: self.u32()?,
                    start_ticks: self.u64()?,
                }),
            },
            spec_hash: self.u64()?,
            stdout_pipe: self.u64()?,
            stderr_pipe: self.u64()?,
            stdout_log: self.path()?,
            stderr_log: self.path()?,
            stop_signal: self.i32()?,
            stop_wait_ms: self.u64()?,
            stop_group: self.flag()?,
            kill_group: self.flag()?,
            counters: Counters {
                failures: self.u32()?,
                streak: self.u32()?,
                restarts: self.u32()?,
                last_exit: {
                    let kind = self.byte()?;
                    let number = self.i32()?;
                    match kind {
                        0 => None,
                        1 => Some(Exit::Code(number)),
                        2 | 3 => Some(Exit::Signal {
                            number,
                            core: kind == 3,
                        }),
                        _ => Some(Exit::Unknown),
                    }
                },
            },
            trouble: String::new(),
            group: String::new(),
            stdin_pipe: 0,
            listener: Vec::new(),
        })
    }
}

/// What an earlier daemon left.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Inherited {
    /// Whether it ran in this boot, so that its process ids mean something.
    pub same_boot: bool,
    /// Whether it shut down in order.
    pub closed: bool,
    /// The slots by process name.
    pub slots: BTreeMap<String, SlotRecord>,
    /// How many bytes of the file were damaged or torn and are not believed.
    pub damaged: usize,
}

/// Folds a replay into what it says about each slot, seen from boot `boot_id`.
pub fn inherit(replay: Replay, boot_id: &str) -> Inherited {
    let mut out = Inherited {
        damaged: replay.skipped,
        ..Inherited::default()
    };
    for record in replay.records {
        out.closed = matches!(record, Record::Closed);
        match record {
            Record::Boot(id) => out.same_boot = id == boot_id,
            Record::Slot(slot) => {
                out.slots.insert(slot.process.clone(), *slot);
            }
            Record::Forget(process) => {
                out.slots.remove(&process);
            }
            Record::Closed => {}
        }
    }
    if !out.same_boot || out.closed {
        for slot in out.slots.values_mut() {
            slot.live = None;
        }
    }
    out
}

/// The journal, open for appending.
///
/// A write that fails (a full disk) leaves the journal *behind*: the caller reports it, goes on
/// supervising and calls [`Journal::rewrite`] with all slots when [`Journal::is_behind`] says so.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    boot_id: String,
    file: Option<File>,
    /// The length of what is known to be whole.
    length: u64,
    /// The length right after the last rewrite.
    base: u64,
    behind: bool,
}

impl Journal {
    /// Reads what an earlier daemon left at `path` (nothing, if there is no file), and gets ready
    /// to write. The caller decides about what was inherited and then calls
    /// [`Journal::rewrite`], which starts the file anew.
    pub fn open(path: &Path, boot_id: &str) -> io::Result<(Self, Inherited)> {
        let mut bytes = Vec::new();
        match File::open(path) {
            Ok(mut file) => {
                file.read_to_end(&mut bytes)?;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let inherited = inherit(replay(&bytes), boot_id);
        let journal = Self {
            path: path.to_owned(),
            boot_id: boot_id.to_owned(),
            file: None,
            length: 0,
            base: 0,
            behind: true,
        };
        Ok((journal, inherited))
    }

    /// Replaces the file by one that holds exactly `slots`, atomically: a crash leaves the old
    /// or the new one.
    pub fn rewrite<'a>(
        &mut self,
        slots: impl IntoIterator<Item = &'a SlotRecord>,
    ) -> io::Result<()> {
        self.behind = true;
        let mut bytes = MAGIC.to_vec();
        encode(&Record::Boot(self.boot_id.clone()), &mut bytes);
        for slot in slots {
            encode(&Record::Slot(Box::new(slot.clone())), &mut bytes);
        }
        // Each a second time, against damage.
        bytes.extend_from_within(MAGIC.len()..);
        mainstay_base::fs::replace(&self.path, &bytes, 0o600)?;
        let file = OpenOptions::new()
            .append(true)
            .mode(0o600)
            .open(&self.path)?;
        self.length = bytes.len() as u64;
        self.base = self.length;
        self.file = Some(file);
        self.behind = false;
        Ok(())
    }

    /// Appends one record; with `sync` it is on the disk when this returns. When the journal is
    /// behind it does nothing: the rewrite to come holds it all.
    pub fn append(&mut self, record: &Record, sync: bool) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(256);
        encode(record, &mut bytes);
        self.append_encoded(&bytes, sync)
    }

    /// [`append`](Self::append) for what [`encode`] has made.
    pub(crate) fn append_encoded(&mut self, bytes: &[u8], sync: bool) -> io::Result<()> {
        if self.behind {
            return Ok(());
        }
        let Some(file) = &mut self.file else {
            return Ok(());
        };
        let result = file.write_all(bytes).and_then(|()| {
            self.length += bytes.len() as u64;
            if sync { file.sync_data() } else { Ok(()) }
        });
        if result.is_err() {
            // Half a record would hide all that come after it. If the cut fails too, nothing
            // is appended before the file was rewritten.
            self.behind = true;
            if file.set_len(self.length).is_err() {
                self.file = None;
            }
        }
        result
    }

    /// Whether the file does not hold everything and wants a [`Journal::rewrite`].
    pub fn is_behind(&self) -> bool {
        self.behind
    }

    /// Whether the file has grown so much that a rewrite pays.
    pub fn is_large(&self) -> bool {
        self.length > SMALL && self.length > self.base.saturating_mul(8)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn exits() -> impl Strategy<Value = Option<Exit>> {
        prop_oneof![
            Just(None),
            (0_i32..256).prop_map(|code| Some(Exit::Code(code))),
            (1_i32..65, any::<bool>())
                .prop_map(|(number, core)| Some(Exit::Signal { number, core })),
            Just(Some(Exit::Unknown)),
        ]
    }

    fn slots() -> impl Strategy<Value = SlotRecord> {
        (
            (
                "[a-z:0-9]{1,12}",
                ".{0,6}",
                any::<u32>(),
                any::<Option<bool>>(),
            ),
            (0_usize..8, any::<bool>()),
            proptest::option::of(any::<(u32, u64)>()),
            any::<(u64, u64, u64, i32, u64, bool, bool)>(),
            ("/[a-z/]{0,20}", "[^\u{0}]{0,5}"),
            any::<(u32, u32, u32)>(),
            (
                exits(),
                ".{0,9}",
                ".{0,6}",
                any::<u64>(),
                proptest::collection::vec(any::<u8>(), 0..20),
            ),
        )
            .prop_map(
                |(
                    names,
                    phase,
                    live,
                    numbers,
                    logs,
                    counters,
                    (last_exit, trouble, group, stdin_pipe, listener),
                )| SlotRecord {
                    process: names.0,
                    program: names.1,
                    instance: names.2,
                    decided: names.3,
                    phase: Phase::ALL[phase.0],
                    waiting: phase.1,
                    live: live.map(|(pid, start_ticks)| {
                        if pid % 4 == 0 {
                            ProcessRecord::Intent
                        } else {
                            ProcessRecord::Live { pid, start_ticks }
                        }
                    }),
                    spec_hash: numbers.0,
                    stdout_pipe: numbers.1,
                    stderr_pipe: numbers.2,
                    stdout_log: logs.0.into(),
                    stderr_log: logs.1.into(),
                    stop_signal: numbers.3,
                    stop_wait_ms: numbers.4,
                    stop_group: numbers.5,
                    kill_group: numbers.6,
                    counters: Counters {
                        failures: counters.0,
                        streak: counters.1,
                        restarts: counters.2,
                        last_exit,
                    },
                    trouble,
                    group,
                    stdin_pipe,
                    listener,
                },
            )
    }

    fn records() -> impl Strategy<Value = Record> {
        prop_oneof![
            "[0-9a-f-]{36}".prop_map(Record::Boot),
            slots().prop_map(|slot| Record::Slot(Box::new(slot))),
            "[a-z:0-9]{1,12}".prop_map(Record::Forget),
            Just(Record::Closed),
        ]
    }

    /// The file of these records, and where each record ends.
    fn file(records: &[Record]) -> (Vec<u8>, Vec<usize>) {
        let mut bytes = MAGIC.to_vec();
        let mut ends = vec![bytes.len()];
        for record in records {
            encode(record, &mut bytes);
            ends.push(bytes.len());
        }
        (bytes, ends)
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(records in proptest::collection::vec(records(), 0..12)) {
            let (bytes, _) = file(&records);
            let replay = replay(&bytes);
            prop_assert_eq!(replay.skipped, 0);
            prop_assert_eq!(replay.records, records);
        }

        #[test]
        fn a_torn_tail_costs_only_the_torn_record(
            records in proptest::collection::vec(records(), 1..8),
            cut in any::<proptest::sample::Index>(),
            zeros in 0_usize..20,
        ) {
            let (mut bytes, ends) = file(&records);
            let cut = cut.index(bytes.len() + 1);
            bytes.truncate(cut);
            let whole = ends.iter().filter(|end| **end <= cut).count().saturating_sub(1);
            // Some file systems leave zeros where a write was lost.
            let torn = !ends.contains(&cut);
            bytes.extend(std::iter::repeat_n(0, zeros));
            let replay = replay(&bytes);
            if zeros == 0 || !torn {
                prop_assert_eq!(&replay.records[..], &records[..whole]);
                let skipped = if cut < MAGIC.len() { cut } else { cut - ends[whole] };
                prop_assert_eq!(replay.skipped, skipped + zeros);
            } else {
                // The zeros may by chance be what was cut off.
                prop_assert!(replay.records.len() >= whole);
                prop_assert!(records.starts_with(&replay.records));
            }
        }

        #[test]
        fn a_flipped_byte_costs_at_most_the_record_it_is_in(
            records in proptest::collection::vec(records(), 1..8),
            at in any::<proptest::sample::Index>(),
            flip in 1_u8..=255,
        ) {
            let (mut bytes, ends) = file(&records);
            let at = at.index(bytes.len());
            bytes[at] ^= flip;
            let replay = replay(&bytes);
            let mut expected = records.clone();
            if at >= MAGIC.len() {
                let hit = ends.iter().filter(|end| **end <= at).count() - 1;
                expected.remove(hit);
                prop_assert_eq!(replay.skipped, ends[hit + 1] - ends[hit]);
            } else {
                // Another version's magic is no damage.
                prop_assert!(replay.skipped == MAGIC.len() || bytes.starts_with(MAGIC_1));
            }
            prop_assert_eq!(replay.records, expected);
        }

        #[test]
        fn damage_of_any_length_never_makes_a_wrong_record(
            records in proptest::collection::vec(records(), 1..8),
            at in any::<proptest::sample::Index>(),
            noise in proptest::collection::vec(any::<u8>(), 1..300),
        ) {
            let (mut bytes, ends) = file(&records);
            let at = at.index(bytes.len());
            let end = (at + noise.len()).min(bytes.len());
            bytes[at..end].copy_from_slice(&noise[..end - at]);
            let replay = replay(&bytes);
            let spared: Vec<Record> = records
                .iter()
                .enumerate()
                .filter(|(i, _)| ends[i + 1] <= at || ends[*i] >= end)
                .map(|(_, record)| record.clone())
                .collect();
            // The noise may by chance be what was there.
            let mut left = records.iter();
            prop_assert!(replay.records.iter().all(|seen| left.any(|record| record == seen)));
            let mut seen = replay.records.iter();
            prop_assert!(spared.iter().all(|record| seen.any(|other| other == record)));
        }

        #[test]
        fn noise_is_no_record(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(replay(&bytes).records.is_empty());
            let mut with_magic = MAGIC.to_vec();
            with_magic.extend(bytes);
            prop_assert!(replay(&with_magic).records.is_empty());
        }
    }

    #[test]
    fn the_first_version_is_read() {
        let mut old = slot("web", 7);
        let mut bytes = MAGIC_1.to_vec();
        let mut payload = vec![TAG_SLOT];
        put_slot(&mut payload, &old);
        let length = u32::try_from(payload.len()).unwrap().to_le_bytes();
        bytes.extend(length);
        bytes.extend(checksum(length, &payload).to_le_bytes());
        bytes.extend(payload);
        let replay = replay(&bytes);
        assert_eq!(replay.skipped, 0);
        old.trouble = String::new();
        assert_eq!(replay.records, [Record::Slot(Box::new(old))]);
    }

    #[test]
    fn the_second_version_is_read() {
        let mut old = slot("web", 7);
        old.trouble = "why".into();
        let mut payload = vec![TAG_TROUBLED_SLOT];
        put_slot(&mut payload, &old);
        put_text(&mut payload, b"why");
        let length = u32::try_from(payload.len()).unwrap().to_le_bytes();
        let mut bytes = MAGIC_2.to_vec();
        bytes.extend(length);
        bytes.extend(checksum(length, &payload).to_le_bytes());
        bytes.extend(payload);
        let replay = replay(&bytes);
        assert_eq!(replay.skipped, 0);
        assert_eq!(replay.records, [Record::Slot(Box::new(old))]);
    }

    #[test]
    fn a_damaged_byte_in_a_new_file_costs_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("programs.journal");
        let (mut journal, _) = Journal::open(&path, "b").unwrap();
        let slots = [slot("web", 1), slot("db", 2)];
        journal.rewrite(&slots).unwrap();
        let whole = std::fs::read(&path).unwrap();
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 4;
            let seen = inherit(super::replay(&bytes), "b");
            assert!(seen.same_boot && seen.damaged > 0, "byte {at}");
            assert_eq!(seen.slots["web"], slots[0], "byte {at}");
            assert_eq!(seen.slots["db"], slots[1], "byte {at}");
        }
    }

    fn slot(process: &str, pid: u32) -> SlotRecord {
        SlotRecord {
            process: process.to_owned(),
            live: Some(ProcessRecord::Live {
                pid,
                start_ticks: 5,
            }),
            ..SlotRecord::default()
        }
    }

    #[test]
    fn the_last_record_wins_and_other_boots_have_no_processes() {
        let records = vec![
            Record::Boot("b1".into()),
            Record::Slot(Box::new(slot("web", 1))),
            Record::Slot(Box::new(slot("db", 2))),
            Record::Slot(Box::new(slot("web", 3))),
            Record::Forget("db".into()),
        ];
        let of = |boot: &str, records: &[Record]| {
            let (bytes, _) = file(records);
            inherit(replay(&bytes), boot)
        };
        let same = of("b1", &records);
        assert!(same.same_boot && !same.closed);
        assert_eq!(same.slots.values().collect::<Vec<_>>(), [&slot("web", 3)]);
        let other = of("b2", &records);
        assert!(!other.same_boot);
        assert_eq!(other.slots["web"].live, None);
        let mut closed = records.clone();
        closed.push(Record::Closed);
        let closed = of("b1", &closed);
        assert!(closed.closed);
        assert_eq!(closed.slots["web"].live, None);
    }

    #[test]
    fn a_damaged_file_is_started_anew_and_appends_survive() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("programs.journal");
        let (mut journal, inherited) = Journal::open(&path, "b").unwrap();
        assert!(inherited.slots.is_empty() && journal.is_behind());
        journal.rewrite([&slot("web", 1)]).unwrap();
        journal
            .append(&Record::Slot(Box::new(slot("web", 2))), true)
            .unwrap();
        drop(journal);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes.extend_from_slice(b"torn");
        std::fs::write(&path, &bytes).unwrap();
        let (mut journal, inherited) = Journal::open(&path, "b").unwrap();
        assert_eq!(inherited.damaged, 4);
        assert_eq!(inherited.slots["web"], slot("web", 2));
        journal.rewrite(inherited.slots.values()).unwrap();
        let (_, again) = Journal::open(&path, "b").unwrap();
        assert_eq!(again.damaged, 0);
        assert_eq!(again.slots, inherited.slots);
    }
}
