//! Errors of sqlx.

use http::StatusCode;
use sqlx::Error;
use sqlx::error::{DatabaseError, ErrorKind};

use super::{exhausted, sql};
use crate::class::Class;
use crate::verdict::Verdict;

pub(super) fn verdict(error: &Error) -> Verdict {
    if let Some(verdict) = exhausted(error) {
        return verdict;
    }
    let class = match error {
        Error::Database(error) => database(&**error),
        Error::Io(_)
        | Error::Tls(_)
        | Error::Protocol(_)
        | Error::PoolTimedOut
        | Error::PoolClosed
        | Error::WorkerCrashed
        | Error::BeginFailed => Class::DatabaseConnection,
        Error::Configuration(_) => Class::Config,
        // Who asks for one row by a key that a visitor gave, and gets none, has no such page.
        Error::RowNotFound => return Verdict::from_status(StatusCode::NOT_FOUND),
        _ => Class::DatabaseQuery,
    };
    Verdict::new(class)
}

fn database(error: &dyn DatabaseError) -> Class {
    #[cfg(feature = "mysql")]
    if let Some(error) = error.try_downcast_ref::<sqlx::mysql::MySqlDatabaseError>() {
        let by_number = sql::by_mysql_number(error.number());
        return by_number.unwrap_or_else(|| sql::by_state(error.code().unwrap_or_default()));
    }
    match error.code().as_deref() {
        // States have five letters, `SQLite`'s numbers have fewer.
        Some(code) if code.len() < 5 => code
            .parse()
            .map_or(Class::DatabaseQuery, sql::by_sqlite_code),
        Some(state) => sql::by_state(state),
        None => match error.kind() {
            ErrorKind::UniqueViolation
            | ErrorKind::ForeignKeyViolation
            | ErrorKind::ExclusionViolation => Class::DatabaseConflict,
            ErrorKind::NotNullViolation | ErrorKind::CheckViolation => Class::DatabaseInvalid,
            _ => Class::DatabaseQuery,
        },
    }
}
