//! Idempotency keys: the answer to a request that comes twice is given twice, and its work is done
//! once.

use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::error::{Error, ErrorKind};
use crate::held::{Orphan, Shared, millis};
use crate::journal::Journal;
use crate::store::{Kind, Millis, Outbox, Row, Status};
use crate::work::check_id;

const HASH: usize = 32;

/// What a request is recognised by, other than its key: a hash over its parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint([u8; HASH]);

impl Fingerprint {
    /// Of these parts, such as method, path and body. Where one ends and the next begins counts.
    pub fn of<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut hash = Sha256::new();
        for part in parts {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        Self(hash.finalize().into())
    }
}

/// What came of asking for a key.
#[derive(Debug)]
pub enum Reserved {
    /// It is yours: do the work and answer.
    Fresh(Reservation),
    /// It was done: this was the answer.
    Answered(Vec<u8>),
    /// Somebody is at it, and for so long at least nobody else may be.
    Busy(Duration),
    /// It was used for another request.
    Mismatch,
}

/// What a stored row means for a request.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    /// Take it over this version; zero where there is none.
    Take(u64),
    Answered,
    Busy(Millis),
    Mismatch,
}

fn verdict(row: Option<&Row>, fingerprint: Fingerprint, now: Millis) -> Verdict {
    let Some(row) = row else {
        return Verdict::Take(0);
    };
    // Expired, or its process is gone.
    if row.wake <= now {
        return Verdict::Take(row.version);
    }
    if row.body.get(..HASH) != Some(&fingerprint.0) {
        return Verdict::Mismatch;
    }
    match row.status {
        Status::Ended => Verdict::Answered,
        Status::Live | Status::Stuck => Verdict::Busy(row.wake - now),
    }
}

impl Journal {
    /// Asks for an idempotency key, for a request with this fingerprint. The key is printable ASCII
    /// of at most 200 bytes; put the user's id in front, so that users do not meet.
    pub async fn reserve(&self, key: &str, fingerprint: Fingerprint) -> Result<Reserved, Error> {
        check_id("key", key)?;
        let shared = &self.shared;
        loop {
            let stored = shared.store.get(Kind::Key, key).await?;
            let expected = match verdict(stored.as_ref(), fingerprint, shared.now()) {
                Verdict::Take(version) => version,
                Verdict::Answered => {
                    let body = stored.map(|row| row.body).unwrap_or_default();
                    return Ok(Reserved::Answered(
                        body.get(HASH..).unwrap_or_default().to_vec(),
                    ));
                }
                Verdict::Busy(left) => return Ok(Reserved::Busy(Duration::from_millis(left))),
                Verdict::Mismatch => return Ok(Reserved::Mismatch),
            };
            let row = Row {
                kind: Kind::Key,
                id: key.to_owned(),
                version: expected + 1,
                status: Status::Live,
                owner: shared.owner.clone(),
                wake: shared.lease_end(),
                body: fingerprint.0.to_vec(),
            };
            // From here on a drop gives the key back, whatever became of the write.
            let reservation = Reservation {
                shared: Arc::clone(shared),
                row,
                open: true,
            };
            if shared.put(&reservation.row).await? {
                shared.keep(Kind::Key, key);
                return Ok(Reserved::Fresh(reservation));
            }
            // Somebody was faster: see what they did.
            reservation.close();
        }
    }
}

/// A key that is this process's to answer. Dropped without an answer, it is free again.
pub struct Reservation {
    shared: Arc<Shared>,
    row: Row,
    open: bool,
}

impl std::fmt::Debug for Reservation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reservation")
            .field("row", &self.row)
            .finish_non_exhaustive()
    }
}

impl Reservation {
    /// Nothing is left to be given back.
    fn close(mut self) {
        self.open = false;
    }

    fn answered(&self, answer: &[u8], keep: Duration) -> Result<Row, Error> {
        let limit = self.shared.settings.work_limit;
        if answer.len() > limit {
            return Err(Error::new(
                ErrorKind::Limit,
                format!("keep the answer to key {}", self.row.id),
                format!("it has {} bytes, the limit is {limit}", answer.len()),
                "keep where it is found instead",
            ));
        }
        let mut body = self.row.body.clone();
        body.extend_from_slice(answer);
        Ok(Row {
            version: self.row.version + 1,
            status: Status::Ended,
            owner: String::new(),
            wake: self.shared.now().saturating_add(millis(keep)),
            body,
            ..self.row.clone()
        })
    }

    /// Keeps the answer for so long. An error of kind [`ErrorKind::Lost`] says that this took longer
    /// than the lease and somebody else has the key.
    pub async fn answer(self, answer: &[u8], keep: Duration) -> Result<(), Error> {
        let row = self.answered(answer, keep)?;
        if self.shared.put(&row).await? {
            self.shared.forget(Kind::Key, &self.row.id);
            self.close();
            Ok(())
        } else {
            Err(Error::lost(format!("answer key {}", self.row.id)))
        }
    }

    /// The same inside of the caller's transaction in the store's database: the answer is kept if
    /// and only if it is committed. Drop the reservation after the transaction has ended.
    pub async fn answer_in<C: Outbox + ?Sized>(
        &mut self,
        connection: &mut C,
        answer: &[u8],
        keep: Duration,
    ) -> Result<(), Error> {
        let row = self.answered(answer, keep)?;
        // The row is locked until the transaction ends: no renewal should wait for that.
        self.shared.forget(Kind::Key, &row.id);
        if connection.put(&row, row.version - 1).await? {
            Ok(())
        } else {
            Err(Error::lost(format!("answer key {}", self.row.id)))
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if self.open {
            let orphan = Orphan::Key(self.row.id.clone(), self.row.version);
            let _ = self.shared.orphans.send(orphan);
        }
    }
}

/// Gives a key back that this process has not answered. If that fails, the end of its lease does it.
pub(crate) async fn release(shared: &Shared, key: &str, version: u64) {
    let Ok(Some(mut row)) = shared.store.get(Kind::Key, key).await else {
        return;
    };
    if row.status == Status::Live && row.owner == shared.owner && row.version == version {
        row.version += 1;
        row.owner.clear();
        row.wake = shared.now();
        let _ = shared.store.put(&row, row.version - 1).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_taken_answered_busy_or_somebody_elses() {
        let mine = Fingerprint::of([b"a".as_slice()]);
        let other = Fingerprint::of([b"b".as_slice()]);
        let row = |status, wake, print: Fingerprint| Row {
            kind: Kind::Key,
            id: "k".into(),
            version: 4,
            status,
            owner: "o".into(),
            wake,
            body: print.0.to_vec(),
        };
        for (name, row, expected) in [
            ("new", None, Verdict::Take(0)),
            (
                "in work",
                Some(row(Status::Live, 150, mine)),
                Verdict::Busy(50),
            ),
            (
                "its process is gone",
                Some(row(Status::Live, 100, mine)),
                Verdict::Take(4),
            ),
            (
                "answered",
                Some(row(Status::Ended, 150, mine)),
                Verdict::Answered,
            ),
            (
                "answered long ago",
                Some(row(Status::Ended, 99, mine)),
                Verdict::Take(4),
            ),
            (
                "another request",
                Some(row(Status::Ended, 150, other)),
                Verdict::Mismatch,
            ),
            (
                "another in work",
                Some(row(Status::Live, 150, other)),
                Verdict::Mismatch,
            ),
            (
                "another long ago",
                Some(row(Status::Ended, 99, other)),
                Verdict::Take(4),
            ),
        ] {
            assert_eq!(verdict(row.as_ref(), mine, 100), expected, "{name}");
        }
    }

    #[test]
    fn parts_do_not_run_into_each_other() {
        let print =
            |parts: &[&'static str]| Fingerprint::of(parts.iter().map(|part| part.as_bytes()));
        assert_eq!(print(&["POST", "/a"]), print(&["POST", "/a"]));
        assert_ne!(print(&["POST", "/a"]), print(&["POST/", "a"]));
        assert_ne!(print(&["POST"]), print(&["POST", ""]));
    }
}
