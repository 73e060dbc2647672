//! What the shop keeps in `SQLite`: products and feedback.
//!
//! One connection behind a mutex, in WAL mode, so that a backup can read the database while the
//! shop writes it. Every method blocks; the web part calls them away from its async threads.

use std::fmt;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, Row, params};

/// Something that is sold.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Product {
    pub(crate) id: i64,
    /// Names the drawing.
    pub(crate) slug: String,
    pub(crate) name: String,
    /// In cents.
    pub(crate) price: i64,
    pub(crate) summary: String,
    pub(crate) story: String,
}

/// What became of handing a piece of feedback to the partner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Not known yet; if it stays so, the shop died between storing and sending.
    Pending,
    /// The partner confirmed it.
    Sent,
    /// The partner refused it, was not there, or did not answer in time.
    Failed,
}

impl Outcome {
    /// The word in the database and on the pages.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Outcome::Pending => "pending",
            Outcome::Sent => "sent",
            Outcome::Failed => "failed",
        }
    }

    fn from_word(word: &str) -> Outcome {
        match word {
            "sent" => Outcome::Sent,
            "failed" => Outcome::Failed,
            // The table's CHECK admits no other word.
            _ => Outcome::Pending,
        }
    }
}

/// What a visitor wrote, checked but not stored yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Draft {
    /// The product it is about; none: the shop as a whole.
    pub(crate) product: Option<i64>,
    pub(crate) name: String,
    /// 1 to 5.
    pub(crate) rating: u8,
    pub(crate) message: String,
}

/// Stored feedback.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Feedback {
    pub(crate) id: i64,
    /// Id and name of the product it is about.
    pub(crate) product: Option<(i64, String)>,
    pub(crate) name: String,
    pub(crate) rating: u8,
    pub(crate) message: String,
    /// RFC 3339, UTC, whole seconds.
    pub(crate) at: String,
    pub(crate) outcome: Outcome,
    /// The partner's reference, or why it failed.
    pub(crate) note: String,
}

/// A database operation that failed.
#[derive(Debug)]
pub(crate) struct StoreError {
    doing: &'static str,
    cause: rusqlite::Error,
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {}: {}", self.doing, self.cause)
    }
}

impl std::error::Error for StoreError {}

/// Names the operation that a `SQLite` error belongs to.
fn while_doing(doing: &'static str) -> impl FnOnce(rusqlite::Error) -> StoreError {
    move |cause| StoreError { doing, cause }
}

/// The newest feedback that a page shows at most.
const SHOWN: u32 = 200;

const FEEDBACK: &str = "SELECT f.id, f.product, p.name, f.name, f.rating, f.message, f.at, \
     f.partner, f.note FROM feedback f LEFT JOIN product p ON p.id = f.product";

/// The open database.
pub(crate) struct Store {
    connection: Mutex<Connection>,
}

impl Store {
    /// Opens the database; makes the file, the tables and, if there is no product, the seeds.
    pub(crate) fn open(path: &Path) -> Result<Store, StoreError> {
        let mut connection =
            Connection::open(path).map_err(while_doing("open the database file"))?;
        let prepare = |connection: &mut Connection| -> rusqlite::Result<()> {
            connection.busy_timeout(Duration::from_secs(5))?;
            connection.pragma_update(None, "journal_mode", "WAL")?;
            // A visitor who was thanked must find the words again after a power cut.
            connection.pragma_update(None, "synchronous", "FULL")?;
            connection.pragma_update(None, "foreign_keys", true)?;
            connection.execute_batch(include_str!("../assets/schema.sql"))?;
            // Immediate: of two shops started at once only one may find the table empty.
            let seeding =
                connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
            if seeding.query_row("SELECT count(*) FROM product", [], |row| {
                row.get::<_, i64>(0)
            })? == 0
            {
                seeding.execute_batch(include_str!("../assets/seed.sql"))?;
            }
            seeding.commit()
        };
        prepare(&mut connection).map_err(while_doing("prepare the database"))?;
        Ok(Store {
            connection: Mutex::new(connection),
        })
    }

    fn connection(&self) -> MutexGuard<'_, Connection> {
        // A panic while the lock was held left no transaction behind: dropping one rolls it back.
        self.connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks the database a question it can only answer when it works.
    pub(crate) fn check(&self) -> Result<(), StoreError> {
        self.connection()
            .query_row("SELECT count(*) FROM product", [], |_| Ok(()))
            .map_err(while_doing("read the database"))
    }

    /// All products in the order of their ids.
    pub(crate) fn products(&self) -> Result<Vec<Product>, StoreError> {
        let read = |connection: &Connection| -> rusqlite::Result<Vec<_>> {
            connection
                .prepare_cached(
                    "SELECT id, slug, name, price, summary, story FROM product ORDER BY id",
                )?
                .query_map([], product)?
                .collect()
        };
        read(&self.connection()).map_err(while_doing("read the products"))
    }

    /// One product, if there is such an id.
    pub(crate) fn product(&self, id: i64) -> Result<Option<Product>, StoreError> {
        self.connection()
            .query_row(
                "SELECT id, slug, name, price, summary, story FROM product WHERE id = ?1",
                [id],
                product,
            )
            .optional()
            .map_err(while_doing("read a product"))
    }

    /// The newest feedback, newest first: about one product, or all of it.
    pub(crate) fn feedback(&self, about: Option<i64>) -> Result<Vec<Feedback>, StoreError> {
        let read = |connection: &Connection| -> rusqlite::Result<Vec<_>> {
            connection
                .prepare_cached(&format!(
                    "{FEEDBACK} WHERE ?1 IS NULL OR f.product = ?1 ORDER BY f.id DESC LIMIT ?2"
                ))?
                .query_map(params![about, SHOWN], feedback)?
                .collect()
        };
        read(&self.connection()).map_err(while_doing("read the feedback"))
    }

    /// How many pieces of feedback were stored but never confirmed or refused by the partner.
    pub(crate) fn pending(&self) -> Result<i64, StoreError> {
        self.connection()
            .query_row(
                "SELECT count(*) FROM feedback WHERE partner = 'pending'",
                [],
                |r| r.get(0),
            )
            .map_err(while_doing("count pending feedback"))
    }

    /// Stores what a visitor wrote, as pending, and returns it as stored; none: there is no such
    /// product.
    pub(crate) fn add(&self, draft: &Draft) -> Result<Option<Feedback>, StoreError> {
        let write = |connection: &mut Connection| -> rusqlite::Result<Option<Feedback>> {
            let transaction =
                connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
            if let Some(id) = draft.product {
                let known = transaction
                    .query_row("SELECT 1 FROM product WHERE id = ?1", [id], |_| Ok(()))
                    .optional()?;
                if known.is_none() {
                    return Ok(None);
                }
            }
            transaction.execute(
                "INSERT INTO feedback (product, name, rating, message) VALUES (?1, ?2, ?3, ?4)",
                params![draft.product, draft.name, draft.rating, draft.message],
            )?;
            let stored = transaction.query_row(
                &format!("{FEEDBACK} WHERE f.id = ?1"),
                [transaction.last_insert_rowid()],
                feedback,
            )?;
            transaction.commit()?;
            Ok(Some(stored))
        };
        write(&mut self.connection()).map_err(while_doing("store the feedback"))
    }

    /// Notes what became of handing feedback to the partner.
    pub(crate) fn settle(&self, id: i64, outcome: Outcome, note: &str) -> Result<(), StoreError> {
        self.connection()
            .execute(
                "UPDATE feedback SET partner = ?2, note = ?3 WHERE id = ?1",
                params![id, outcome.word(), note],
            )
            .map(|_| ())
            .map_err(while_doing("note the partner's answer"))
    }
}

fn product(row: &Row<'_>) -> rusqlite::Result<Product> {
    Ok(Product {
        id: row.get(0)?,
        slug: row.get(1)?,
        name: row.get(2)?,
        price: row.get(3)?,
        summary: row.get(4)?,
        story: row.get(5)?,
    })
}

fn feedback(row: &Row<'_>) -> rusqlite::Result<Feedback> {
    let product: Option<i64> = row.get(1)?;
    let product_name: Option<String> = row.get(2)?;
    Ok(Feedback {
        id: row.get(0)?,
        product: product.zip(product_name),
        name: row.get(3)?,
        rating: row.get(4)?,
        message: row.get(5)?,
        at: row.get(6)?,
        outcome: Outcome::from_word(&row.get::<_, String>(7)?),
        note: row.get(8)?,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::{Draft, Outcome, Store};

    fn draft(product: Option<i64>) -> Draft {
        Draft {
            product,
            name: "Ada".into(),
            rating: 4,
            message: "'; DROP TABLE feedback; --".into(),
        }
    }

    #[test]
    fn seeds_once_and_only_when_empty() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("shop.db");
        let store = Store::open(&path).unwrap();
        assert_eq!(store.products().unwrap().len(), 8);
        let seeded = store.feedback(None).unwrap().len();
        store.add(&draft(None)).unwrap().unwrap();
        drop(store);
        let again = Store::open(&path).unwrap();
        assert_eq!(again.products().unwrap().len(), 8);
        assert_eq!(again.feedback(None).unwrap().len(), seeded + 1);
    }

    #[test]
    fn feedback_is_stored_before_it_is_settled() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("shop.db")).unwrap();
        let stored = store.add(&draft(Some(3))).unwrap().unwrap();
        assert_eq!(stored.outcome, Outcome::Pending);
        assert_eq!(stored.product, Some((3, "Pocket compass".into())));
        assert_eq!(stored.message, "'; DROP TABLE feedback; --");
        assert_eq!(store.pending().unwrap(), 1);
        for (outcome, note) in [(Outcome::Failed, "no answer"), (Outcome::Sent, "P-1")] {
            store.settle(stored.id, outcome, note).unwrap();
            let newest = store.feedback(Some(3)).unwrap().remove(0);
            assert_eq!((newest.id, newest.outcome), (stored.id, outcome));
            assert_eq!(newest.note, note);
        }
        assert_eq!(store.pending().unwrap(), 0);
        assert!(
            store
                .feedback(Some(4))
                .unwrap()
                .iter()
                .all(|f| f.id != stored.id)
        );
    }

    #[test]
    fn feedback_about_an_unknown_product_is_not_stored() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("shop.db")).unwrap();
        let before = store.feedback(None).unwrap().len();
        assert_eq!(store.add(&draft(Some(99))).unwrap(), None);
        assert_eq!(store.feedback(None).unwrap().len(), before);
        assert_eq!(store.product(99).unwrap(), None);
    }

    #[test]
    fn a_directory_is_not_a_database() {
        let dir = tempfile::tempdir().unwrap();
        let error = Store::open(dir.path()).err().unwrap().to_string();
        assert!(
            error.starts_with("cannot open the database file"),
            "{error}"
        );
    }
}
