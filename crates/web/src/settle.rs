//! The end of a request's work: all of it holds, or none.
//!
//! Both ends run in a task of their own, so that nobody who leaves can cut them off.

use std::time::Duration;

use mainstay_fault::{Class, Fault, Frame, Verdict};
#[cfg(feature = "database")]
use mainstay_journal::Sealed;
use mainstay_journal::Unit;

#[cfg(feature = "database")]
use crate::error::BoxError;
use crate::report::TARGET;
use crate::scope::Scope;
use crate::stake::{Key, Taken};
#[cfg(feature = "database")]
use crate::transaction::{LIMIT, Open, Pool};

/// How long an answer waits for undos. They go on without it.
const PATIENCE: Duration = Duration::from_secs(2);

/// Commits what there is. `answer` is what is kept for the idempotency key, if there is one.
pub(crate) async fn commit(scope: &Scope, answer: Option<Vec<u8>>) -> Result<(), Fault> {
    let taken = scope.stake.take();
    if taken.is_nothing() {
        return Ok(());
    }
    #[cfg(feature = "database")]
    if taken.transaction.is_err() {
        roll_back(scope, taken, "its transaction was still in use").await;
        return Err(lent("the transaction"));
    }
    if taken.unit.is_err() {
        roll_back(scope, taken, "one of its steps did not end").await;
        return Err(lent("a step"));
    }
    let key = taken.key.zip(answer);
    let unit = taken.unit.unwrap_or_default();
    #[cfg(feature = "database")]
    {
        let mut transaction = taken.transaction.unwrap_or_default();
        if transaction.is_none() && key.is_some() && unit.is_some() {
            // Two writes that must both happen or not.
            transaction = begin(scope.shared.pool.as_deref()).await?;
        }
        if let Some(transaction) = transaction {
            return in_task(scope, together(transaction, unit, key)).await;
        }
    }
    in_task(scope, apart(unit, key)).await
}

/// Rolls back and undoes what there is.
pub(crate) async fn rollback(scope: &Scope, reason: &'static str) {
    let taken = scope.stake.take();
    if !taken.is_nothing() {
        roll_back(scope, taken, reason).await;
    }
}

async fn roll_back(scope: &Scope, taken: Taken, reason: &'static str) {
    let task = tracked(scope, undo(taken, reason));
    if let Err(error) = tokio::spawn(task).await {
        log::error!(target: TARGET, "rolling back a request failed: {error}");
    }
}

/// Rolls back and undoes in the background, for a request whose client has left.
pub(crate) fn abandon(scope: &Scope) {
    let taken = scope.stake.take();
    if taken.is_nothing() {
        return;
    }
    // Without a runtime all of it ends by being dropped: connections are closed, and the journal
    // finds the work by its lease.
    if let Ok(runtime) = tokio::runtime::Handle::try_current() {
        runtime.spawn(tracked(scope, undo(taken, "its client has left")));
    }
}

/// A task that shutdown waits for.
fn tracked<T>(
    scope: &Scope,
    task: impl Future<Output = T> + Send + 'static,
) -> impl Future<Output = T> + Send + 'static {
    let running = scope.shared.gate.task();
    async move {
        let _running = running;
        task.await
    }
}

async fn undo(taken: Taken, reason: &str) {
    let Taken {
        #[cfg(feature = "database")]
        transaction,
        unit,
        key,
    } = taken;
    // The transaction first: undos may want to write what it has locked.
    #[cfg(feature = "database")]
    if let Ok(Some(transaction)) = transaction
        && let Err(error) = transaction.rollback().await
    {
        log::warn!(
            target: TARGET,
            "a transaction could not be rolled back, so that its connection was closed: {error}"
        );
    }
    if let Ok(Some(unit)) = unit {
        let undone = unit.undo(reason);
        if let Ok(Err(error)) = tokio::time::timeout(PATIENCE, undone).await {
            log::warn!(target: TARGET, "{error}; {}", error.help());
        }
    }
    // Only now may somebody else do it again.
    drop(key);
}

async fn in_task(
    scope: &Scope,
    commit: impl Future<Output = Result<(), Fault>> + Send + 'static,
) -> Result<(), Fault> {
    match tokio::spawn(tracked(scope, commit)).await {
        Ok(committed) => committed,
        Err(error) => Err(failed(&error)),
    }
}

/// Without a transaction: what there is to write is one row.
async fn apart(unit: Option<Unit>, key: Option<(Key, Vec<u8>)>) -> Result<(), Fault> {
    if let Some(unit) = unit {
        unit.commit().await.map_err(|error| failed(&error))?;
    }
    if let Some((key, answer)) = key {
        let kept = key.reservation.answer(&answer, key.keep).await;
        kept.map_err(|error| failed(&error))?;
    }
    Ok(())
}

#[cfg(feature = "database")]
async fn begin(pool: Option<&dyn Pool>) -> Result<Option<Box<dyn Open>>, Fault> {
    let Some(pool) = pool else { return Ok(None) };
    let begun = pool.begin(true).await;
    begun.map(Some).map_err(|error| failed(&*error))
}

/// All in the transaction.
#[cfg(feature = "database")]
async fn together(
    mut transaction: Box<dyn Open>,
    unit: Option<Unit>,
    mut key: Option<(Key, Vec<u8>)>,
) -> Result<(), Fault> {
    let written = write(&mut *transaction, unit, &mut key);
    let sealed = match tokio::time::timeout(LIMIT, written).await {
        Ok(Ok(sealed)) => sealed,
        Ok(Err(error)) => {
            let fault = failed(&error);
            if let Err(error) = transaction.rollback().await {
                log::warn!(target: TARGET, "a transaction could not be rolled back: {error}");
            }
            return Err(fault);
        }
        // A statement was cut off: the connection is closed with the transaction.
        Err(error) => return Err(failed(&error)),
    };
    let committed = transaction.commit().await;
    let settled: Result<(), BoxError> = match sealed {
        // What became of a commit whose answer got lost is found out.
        Some(sealed) => sealed.settle(committed).await.map_err(BoxError::from),
        None => committed,
    };
    settled.map_err(|error| failed(&*error))
}

#[cfg(feature = "database")]
async fn write(
    transaction: &mut dyn Open,
    unit: Option<Unit>,
    key: &mut Option<(Key, Vec<u8>)>,
) -> Result<Option<Sealed>, mainstay_journal::Error> {
    let Some(outbox) = transaction.outbox() else {
        return Ok(None);
    };
    let sealed = match unit {
        Some(unit) => Some(unit.commit_in(&mut *outbox).await?),
        None => None,
    };
    if let Some((key, answer)) = key {
        key.reservation.answer_in(outbox, answer, key.keep).await?;
    }
    Ok(sealed)
}

/// Nothing of the request holds, because it could not be committed.
fn failed(error: &(dyn std::error::Error + 'static)) -> Fault {
    let verdict = Verdict::from_error(error);
    let verdict = match verdict.class() {
        // What a constraint says that is looked at by the commit only, or a serialization.
        Class::DatabaseConflict | Class::DatabaseInvalid | Class::DatabaseDeadlock => verdict,
        _ => Verdict::new(Class::DatabaseCommit),
    };
    Fault::from_verdict(verdict, error).at(Frame::default())
}

fn lent(what: &str) -> Fault {
    let text = format!(
        "the handler has returned while {what} of the request was still in use, or was cut off; nothing of the request holds"
    );
    Fault::told(Class::Internal, &text)
}
