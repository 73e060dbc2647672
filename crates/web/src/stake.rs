//! What a request has to lose: its transaction, its unit of the journal, its idempotency key. Each is
//! here, lent to the code of the request, or gone; what is lent when the request ends never comes back.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mainstay_journal::{Journal, Reservation, Unit};

use crate::error::{Error, ErrorKind};
use crate::scope::Scope;
#[cfg(feature = "database")]
use crate::transaction::Open;

/// Where one of the things is.
#[derive(Default)]
enum Place<T> {
    /// There was none so far.
    #[default]
    None,
    Here(T),
    Lent,
    /// The request is over.
    Over,
}

impl<T> Place<T> {
    /// Takes it to lend it; `None` if there is none yet.
    fn lend(&mut self, what: &str) -> Result<Option<T>, Error> {
        match std::mem::replace(self, Self::Lent) {
            Self::None => Ok(None),
            Self::Here(thing) => Ok(Some(thing)),
            Self::Lent => Err(Error::new(
                ErrorKind::Busy,
                format!("use the request's {what}"),
                "something else of the request is using it",
                "use it in one place at a time, and let go of it in between",
            )),
            Self::Over => {
                *self = Self::Over;
                Err(Error::new(
                    ErrorKind::Over,
                    format!("use the request's {what}"),
                    "the request has ended",
                    "do it before the handler returns, or with a transaction or a work of your own",
                ))
            }
        }
    }

    /// Whether there never was one.
    const fn is_none(&self) -> bool {
        matches!(self, Self::None)
    }

    /// Takes it for good; `Err` if somebody still has it.
    fn take(&mut self) -> Result<Option<T>, Lent> {
        match std::mem::replace(self, Self::Over) {
            Self::Here(thing) => Ok(Some(thing)),
            Self::None | Self::Over => Ok(None),
            Self::Lent => Err(Lent),
        }
    }
}

/// It is lent, or was lost while it was.
pub(crate) struct Lent;

/// An idempotency key, and for how long its answer is kept.
pub(crate) struct Key {
    pub(crate) reservation: Reservation,
    pub(crate) keep: Duration,
}

/// All that a request has to lose.
#[derive(Default)]
pub(crate) struct Stake(Mutex<Things>);

#[derive(Default)]
struct Things {
    #[cfg(feature = "database")]
    transaction: Place<Box<dyn Open>>,
    unit: Place<Unit>,
    /// The id of the unit, once it has a step.
    work: Option<String>,
    key: Option<Key>,
    /// The handler was stopped where it stood: what comes back now may be in the middle of something.
    cut: bool,
}

/// All of it, for its end.
pub(crate) struct Taken {
    #[cfg(feature = "database")]
    pub(crate) transaction: Result<Option<Box<dyn Open>>, Lent>,
    pub(crate) unit: Result<Option<Unit>, Lent>,
    pub(crate) key: Option<Key>,
}

impl Taken {
    /// Whether there is nothing to commit or undo.
    pub(crate) fn is_nothing(&self) -> bool {
        #[cfg(feature = "database")]
        if !matches!(self.transaction, Ok(None)) {
            return false;
        }
        matches!(self.unit, Ok(None)) && self.key.is_none()
    }
}

impl Stake {
    fn things(&self) -> MutexGuard<'_, Things> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn take(&self) -> Taken {
        let mut things = self.things();
        Taken {
            #[cfg(feature = "database")]
            transaction: things.transaction.take(),
            unit: things.unit.take(),
            key: things.key.take(),
        }
    }

    /// Ends it, if there is nothing to commit or undo; else leaves it as it is.
    pub(crate) fn ends_with_nothing(&self) -> bool {
        let mut things = self.things();
        #[cfg(feature = "database")]
        if !things.transaction.is_none() {
            return false;
        }
        if !things.unit.is_none() || things.key.is_some() {
            return false;
        }
        #[cfg(feature = "database")]
        {
            things.transaction = Place::Over;
        }
        things.unit = Place::Over;
        true
    }

    /// From now on, what is given back is in an unknown state.
    pub(crate) fn cut(&self) {
        self.things().cut = true;
    }

    pub(crate) fn set_key(&self, key: Key) {
        self.things().key = Some(key);
    }

    pub(crate) fn has_key(&self) -> bool {
        self.things().key.is_some()
    }

    /// Whether the transaction has begun.
    #[cfg(feature = "database")]
    pub(crate) fn has_transaction(&self) -> bool {
        !self.things().transaction.is_none()
    }

    /// Lends the transaction; `None` if it has to begin first.
    #[cfg(feature = "database")]
    pub(crate) fn lend_transaction(&self) -> Result<Option<Box<dyn Open>>, Error> {
        self.things().transaction.lend("transaction")
    }

    /// It could not begin: another try may.
    #[cfg(feature = "database")]
    pub(crate) fn no_transaction(&self) {
        let mut things = self.things();
        if matches!(things.transaction, Place::Lent) {
            things.transaction = Place::None;
        }
    }

    /// The transaction is back. One that comes too late, or from a handler that was stopped in the
    /// middle of a statement, is closed with its connection, and stays lost.
    #[cfg(feature = "database")]
    pub(crate) fn give_back(&self, transaction: Box<dyn Open>) {
        let mut things = self.things();
        if matches!(things.transaction, Place::Lent) && !things.cut && !std::thread::panicking() {
            things.transaction = Place::Here(transaction);
        }
    }

    /// The id of its work in the journal, if it did steps; also when it is over.
    pub(crate) fn work(&self) -> Option<String> {
        self.things().work.clone()
    }

    /// A step is about to begin in that work.
    pub(crate) fn set_work(&self, id: &str) {
        let mut things = self.things();
        if things.work.is_none() {
            things.work = Some(id.to_owned());
        }
    }

    fn lend_unit(&self, scope: &Scope, journal: &Journal) -> Result<Unit, Error> {
        let unit = self.things().unit.lend("steps")?;
        Ok(unit.unwrap_or_else(|| {
            let name = scope.facts.as_ref().map(crate::scope::Facts::name);
            // The name is for people; the journal bounds what it stores of a step, not this.
            let name: String = name.unwrap_or_default().chars().take(100).collect();
            journal.work(&name)
        }))
    }

    fn give_unit_back(&self, unit: Unit) {
        let mut things = self.things();
        // Else it is dropped, and the journal undoes it.
        if matches!(things.unit, Place::Lent) && !things.cut {
            things.unit = Place::Here(unit);
        }
    }
}

/// A unit that is lent. Dropped in the middle of a step, it is undone, and the request fails.
pub(crate) struct LentUnit<'a> {
    stake: &'a Stake,
    pub(crate) unit: Unit,
}

impl<'a> LentUnit<'a> {
    pub(crate) fn of(scope: &'a Scope, journal: &Journal) -> Result<Self, Error> {
        let unit = scope.stake.lend_unit(scope, journal)?;
        Ok(Self {
            stake: &scope.stake,
            unit,
        })
    }

    pub(crate) fn give_back(self) {
        self.stake.give_unit_back(self.unit);
    }
}
