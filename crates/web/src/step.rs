//! Steps outside of the database, each with its undo, and actions after the commit.

use mainstay_journal::{Act, Args, Failure, Journal};

use crate::error::{Error, ErrorKind};
use crate::scope::Scope;
use crate::stake::LentUnit;
use crate::work::Work;

impl<D> Work<D> {
    /// A step that the database knows nothing of, by the name that its undo is registered under in the
    /// journal, and what the undo has to know.
    ///
    /// It holds if the request does, and is undone if not. Do steps before the first statement of the
    /// transaction: locks should not wait for third parties, and while a request writes in `SQLite`
    /// its steps can't.
    pub fn step(&mut self, name: &str, args: impl Into<Args>) -> Step<'_> {
        Step {
            scope: self.scope(),
            name: name.to_owned(),
            args: args.into(),
            resends: 0,
        }
    }

    /// Something to happen after the commit, at least once, by the name that it is registered under.
    pub fn after_commit(&mut self, name: &str, args: impl Into<Args>) -> Result<(), Error> {
        let scope = self.scope();
        let mut lent = LentUnit::of(scope, journal(scope)?)?;
        let queued = lent.unit.after_commit(name, args);
        lent.give_back();
        Ok(queued?)
    }
}

/// A step that is about to run.
#[must_use = "a step does nothing before run"]
pub struct Step<'w> {
    scope: &'w Scope,
    name: String,
    args: Args,
    resends: u32,
}

impl Step<'_> {
    /// Acts again, up to so many times, when nobody knows whether it happened. Only for acts that the
    /// other side takes once however often it gets them, by their [key](Act::key).
    pub fn resend(mut self, times: u32) -> Self {
        self.resends = times;
        self
    }

    /// Writes down what is going to happen, acts, and writes down how it went.
    ///
    /// An error of the act comes back as [`ErrorKind::Refused`] or [`ErrorKind::Unknown`], with its
    /// own error as the source. After the first the request may go on, and be committed.
    pub async fn run<T, F, R>(self, act: F) -> Result<T, Error>
    where
        F: FnMut(Act) -> R,
        R: Future<Output = Result<T, Failure>>,
    {
        let Self {
            scope,
            name,
            args,
            resends,
        } = self;
        let journal = journal(scope)?;
        #[cfg(feature = "database")]
        if scope.stake.has_transaction()
            && (scope.shared.pool.as_ref()).is_some_and(|pool| pool.has_one_writer())
        {
            return Err(Error::new(
                ErrorKind::Busy,
                format!("begin step `{name}`"),
                "the request's transaction has begun, and this database has one writer at a time",
                "do the steps first, and call tx() after them",
            ));
        }
        let mut lent = LentUnit::of(scope, journal)?;
        scope.stake.set_work(lent.unit.id());
        let result = lent.unit.step(&name, args).resend(resends).run(act).await;
        lent.give_back();
        Ok(result?)
    }
}

fn journal(scope: &Scope) -> Result<&Journal, Error> {
    scope.shared.journal.as_ref().ok_or_else(|| {
        Error::new(
            ErrorKind::Missing,
            "do a step or an action of the request",
            "the guard has no journal",
            "give the guard one: Guard::builder().journal(Journal::with(store))",
        )
    })
}
