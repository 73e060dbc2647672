//! Rows in memory, with the rules of a [`Store`]: the whole of the memory store, and what the file
//! store keeps beside its file.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use crate::error::Error;
use crate::store::{Kind, Millis, Pending, Row, Status, Store};

/// Rows by kind and id.
#[derive(Default)]
pub(crate) struct Table(BTreeMap<(Kind, String), Row>);

impl Table {
    pub(crate) fn rows(&self) -> impl Iterator<Item = &Row> {
        self.0.values()
    }

    pub(crate) fn get(&self, kind: Kind, id: &str) -> Option<&Row> {
        self.0.get(&(kind, id.to_owned()))
    }

    pub(crate) fn set(&mut self, row: Row) -> Option<Row> {
        self.0.insert((row.kind, row.id.clone()), row)
    }

    pub(crate) fn remove(&mut self, kind: Kind, id: &str) -> Option<Row> {
        self.0.remove(&(kind, id.to_owned()))
    }

    /// Whether a row may be written over that version.
    pub(crate) fn accepts(&self, row: &Row, expected: u64) -> bool {
        self.get(row.kind, &row.id).map_or(0, |row| row.version) == expected
    }

    /// The rows that a claim gives away, as they are afterwards.
    pub(crate) fn claimed(
        &self,
        owner: &str,
        now: Millis,
        until: Millis,
        limit: usize,
    ) -> Vec<Row> {
        let mut due: Vec<&Row> = self
            .rows()
            .filter(|row| row.kind == Kind::Work && row.status == Status::Live && row.wake <= now)
            .collect();
        due.sort_by_key(|row| row.wake);
        due.into_iter()
            .take(limit)
            .map(|row| Row {
                version: row.version + 1,
                owner: owner.to_owned(),
                wake: until,
                ..row.clone()
            })
            .collect()
    }

    /// The rows that a renewal changes, as they are afterwards.
    pub(crate) fn renewed(&self, owner: &str, rows: &[(Kind, String)], until: Millis) -> Vec<Row> {
        rows.iter()
            .filter_map(|key| self.0.get(key))
            .filter(|row| row.status == Status::Live && row.owner == owner)
            .map(|row| Row {
                wake: until,
                ..row.clone()
            })
            .collect()
    }

    pub(crate) fn listed(&self, status: Option<Status>, limit: usize) -> Vec<Row> {
        self.0
            .values()
            .rev()
            .filter(|row| {
                row.kind == Kind::Work && status.is_none_or(|status| row.status == status)
            })
            .take(limit)
            .cloned()
            .collect()
    }

    /// The rows that a purge removes.
    pub(crate) fn purged(&self, now: Millis) -> Vec<(Kind, String)> {
        self.rows()
            .filter(|row| row.wake <= now && (row.status == Status::Ended || row.kind == Kind::Key))
            .map(|row| (row.kind, row.id.clone()))
            .collect()
    }
}

/// A store that is gone with the process: for tests of apps.
#[derive(Default)]
pub struct MemoryStore(Mutex<Table>);

impl MemoryStore {
    fn with<'a, T: Send + 'a>(&self, work: impl FnOnce(&mut Table) -> T) -> Pending<'a, T> {
        let done = work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
        Box::pin(std::future::ready(Ok::<T, Error>(done)))
    }
}

impl Store for MemoryStore {
    fn put<'a>(&'a self, row: &'a Row, expected: u64) -> Pending<'a, bool> {
        self.with(|table| {
            let accepts = table.accepts(row, expected);
            if accepts {
                table.set(row.clone());
            }
            accepts
        })
    }

    fn get<'a>(&'a self, kind: Kind, id: &'a str) -> Pending<'a, Option<Row>> {
        self.with(|table| table.get(kind, id).cloned())
    }

    fn claim<'a>(
        &'a self,
        owner: &'a str,
        now: Millis,
        until: Millis,
        limit: usize,
    ) -> Pending<'a, Vec<Row>> {
        self.with(|table| {
            let rows = table.claimed(owner, now, until, limit);
            for row in &rows {
                table.set(row.clone());
            }
            rows
        })
    }

    fn renew<'a>(
        &'a self,
        owner: &'a str,
        rows: &'a [(Kind, String)],
        until: Millis,
    ) -> Pending<'a, ()> {
        self.with(|table| {
            for row in table.renewed(owner, rows, until) {
                table.set(row);
            }
        })
    }

    fn list(&self, status: Option<Status>, limit: usize) -> Pending<'_, Vec<Row>> {
        self.with(|table| table.listed(status, limit))
    }

    fn purge(&self, now: Millis) -> Pending<'_, u64> {
        self.with(|table| {
            let gone = table.purged(now);
            for (kind, id) in &gone {
                table.remove(*kind, id);
            }
            gone.len() as u64
        })
    }
}
