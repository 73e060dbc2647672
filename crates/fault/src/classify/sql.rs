//! What the codes of databases mean. Pure: the codes come from whatever library speaks to them.

use crate::class::Class;

/// By the five letters of SQL (`SQLSTATE`), as `PostgreSQL`'s manual lists them in its appendix A, and
/// `MySQL` in its reference of server errors.
#[cfg_attr(not(feature = "sqlx"), allow(dead_code))]
pub(super) fn by_state(state: &str) -> Class {
    match state {
        // Of a statement, and of a lock, in PostgreSQL.
        "40001" | "40P01" | "55P03" => return Class::DatabaseDeadlock,
        "53100" => return Class::DiskFull,
        "53200" => return Class::Resources,
        // Too many connections; a database that does not exist; a statement that took too long.
        "53300" | "3D000" | "57014" => return Class::DatabaseConnection,
        "23505" | "23503" | "23P01" | "23000" => return Class::DatabaseConflict,
        _ => {}
    }
    match state.get(..2) {
        // Connections, passwords, shutdowns.
        // … and what went wrong inside the server.
        Some("08" | "28" | "57" | "58" | "XX") => Class::DatabaseConnection,
        Some("53") => Class::Resources,
        Some("22" | "23") => Class::DatabaseInvalid,
        Some("40") => Class::DatabaseDeadlock,
        _ => Class::DatabaseQuery,
    }
}

/// By the number that `MySQL` and `MariaDB` give; `None`: nothing is known of it.
#[cfg_attr(not(feature = "mysql"), allow(dead_code))]
pub(super) fn by_mysql_number(number: u16) -> Option<Class> {
    Some(match number {
        // Too many connections; who may not come in; no such database; the server leaves, is gone,
        // refuses, is read-only or has cut the connection; a statement that took too long.
        1040
        | 1044
        | 1045
        | 1049
        | 1053
        | 1129
        | 1130
        | 1152..=1161
        | 1203
        | 1226
        | 1290
        | 1317
        | 1836
        | 1927
        | 1969
        | 2002
        | 2003
        | 2006
        | 2013
        | 3024 => Class::DatabaseConnection,
        1205 | 1213 | 1020 | 1614 | 3572 => Class::DatabaseDeadlock,
        1062 | 1169 | 1216 | 1217 | 1451 | 1452 | 1557 | 1586 | 1761 | 1762 => {
            Class::DatabaseConflict
        }
        1048 | 1264 | 1265 | 1292 | 1364 | 1366 | 1367 | 1406 | 1411 | 1441 | 3140 | 3819
        | 4025 => Class::DatabaseInvalid,
        1021 | 1114 => Class::DiskFull,
        1037 | 1038 | 1041 | 1135 => Class::Resources,
        1054 | 1064 | 1146 => Class::DatabaseQuery,
        _ => return None,
    })
}

/// By the result code of `SQLite`, extended or not: <https://sqlite.org/rescode.html>.
#[cfg_attr(not(feature = "sqlx"), allow(dead_code))]
pub(super) fn by_sqlite_code(code: u32) -> Class {
    match (code & 0xff, code >> 8) {
        // SQLITE_CONSTRAINT: CHECK, NOTNULL, DATATYPE; the rest are keys and references.
        (19, 1 | 5 | 12) | (18 | 20 | 25, _) => Class::DatabaseInvalid,
        (19, _) => Class::DatabaseConflict,
        // BUSY, LOCKED, PROTOCOL.
        (5 | 6 | 15, _) => Class::DatabaseDeadlock,
        (13, _) => Class::DiskFull,
        (7, _) => Class::Resources,
        // PERM, READONLY, IOERR, CORRUPT, CANTOPEN, AUTH, NOTADB: the file can't be used.
        (3 | 8 | 10 | 11 | 14 | 23 | 26, _) => Class::DatabaseConnection,
        _ => Class::DatabaseQuery,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Class::{
        DatabaseConflict as Conflict, DatabaseConnection as Connection,
        DatabaseDeadlock as Deadlock, DatabaseInvalid as Invalid, DatabaseQuery as Query, DiskFull,
        Resources,
    };

    #[test]
    fn states() {
        for (state, class) in [
            ("08006", Connection),
            ("08P01", Connection),
            ("28P01", Connection),
            ("3D000", Connection),
            ("57P01", Connection),
            ("57P03", Connection),
            ("53300", Connection),
            ("57014", Connection),
            ("53100", DiskFull),
            ("53200", Resources),
            ("53000", Resources),
            ("42601", Query),
            ("42P01", Query),
            ("42703", Query),
            ("42S02", Query),
            ("25P02", Query),
            ("23505", Conflict),
            ("23503", Conflict),
            ("23P01", Conflict),
            ("23502", Invalid),
            ("23514", Invalid),
            ("22001", Invalid),
            ("22P02", Invalid),
            ("40001", Deadlock),
            ("40P01", Deadlock),
            ("55P03", Deadlock),
            ("XX000", Connection),
            ("", Query),
            ("é", Query),
        ] {
            assert_eq!(by_state(state), class, "{state}");
        }
    }

    #[test]
    fn numbers_of_mysql() {
        for (number, class) in [
            (1040, Some(Connection)),
            (1045, Some(Connection)),
            (1049, Some(Connection)),
            (2002, Some(Connection)),
            (2003, Some(Connection)),
            (2006, Some(Connection)),
            (2013, Some(Connection)),
            (1064, Some(Query)),
            (1054, Some(Query)),
            (1146, Some(Query)),
            (1062, Some(Conflict)),
            (1452, Some(Conflict)),
            (1406, Some(Invalid)),
            (1213, Some(Deadlock)),
            (1205, Some(Deadlock)),
            (1021, Some(DiskFull)),
            (1114, Some(DiskFull)),
            (1041, Some(Resources)),
            (1, None),
        ] {
            assert_eq!(by_mysql_number(number), class, "{number}");
        }
    }

    #[test]
    fn codes_of_sqlite() {
        for (code, class) in [
            (1, Query),
            (5, Deadlock),
            (261, Deadlock),
            (6, Deadlock),
            (13, DiskFull),
            (7, Resources),
            (19, Conflict),
            (2067, Conflict),
            (1555, Conflict),
            (787, Conflict),
            (1299, Invalid),
            (275, Invalid),
            (18, Invalid),
            (20, Invalid),
            (14, Connection),
            (10, Connection),
            (11, Connection),
            (26, Connection),
            (8, Connection),
            (0, Query),
        ] {
            assert_eq!(by_sqlite_code(code), class, "{code}");
        }
    }
}
