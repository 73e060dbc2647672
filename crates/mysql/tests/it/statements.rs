//! Statements one after another, several answers, errors, time limits, and what broke.

use std::time::Duration;

use mainstay_mysql::{Cell, Connection, ErrorKind, Param};

use crate::servers::{all, mariadb};

fn number(connection: &mut Connection, statement: &str) -> u64 {
    let rows = connection.fetch(statement).unwrap();
    String::from_utf8(rows[0][0].clone().unwrap())
        .unwrap()
        .parse()
        .unwrap()
}

#[test]
fn one_statement_after_another() {
    let Some(server) = mariadb(&[]) else {
        return;
    };
    let mut connection = server.root();
    all(
        &mut connection,
        &[
            "CREATE DATABASE shop",
            "USE shop",
            "CREATE TABLE t (id INT AUTO_INCREMENT PRIMARY KEY, v INT)",
        ],
    );
    let done = connection
        .run("INSERT INTO t (v) SELECT seq FROM seq_1_to_1000")
        .unwrap();
    assert_eq!((done.affected, done.last_insert_id), (1000, 1));
    assert!(done.info.starts_with("Records: 1000"), "{}", done.info);
    assert_eq!(connection.run("SELECT 1/0").unwrap().warnings, 1);
    // An error of the server's leaves the connection as it was.
    let error = connection.query("SELEC 1").unwrap_err();
    assert_eq!(
        (error.kind(), error.code()),
        (ErrorKind::Server, Some(1064))
    );
    assert_eq!(error.server().unwrap().sqlstate, "42000");
    let error = connection.prepare("SELECT * FROM nowhere").unwrap_err();
    assert_eq!(error.code(), Some(1146));
    assert!(connection.is_ready());
    // One in the middle of rows too.
    let mut results = connection
        .query("SELECT IF(v < 500, v, (SELECT v FROM t)) FROM t")
        .unwrap();
    let mut rows = 0;
    let error = loop {
        match results.next() {
            Ok(Some(_)) => rows += 1,
            Ok(None) => panic!("it must fail"),
            Err(error) => break error,
        }
    };
    assert_eq!((error.code(), rows < 500), (Some(1242), true));
    assert_eq!(number(&mut connection, "SELECT COUNT(*) FROM t"), 1000);
    // Prepared once, run often.
    let statement = connection
        .prepare("SELECT v FROM t WHERE id > ? ORDER BY id LIMIT 10")
        .unwrap();
    let mut last = 0;
    let mut sum = 0;
    loop {
        let mut results = connection.execute(&statement, &[Param::Int(last)]).unwrap();
        let mut count = 0;
        while let Some(row) = results.next().unwrap() {
            let Some(Ok(Cell::Int(value))) = row.cells().next() else {
                panic!("{row:?}")
            };
            sum += value;
            count += 1;
        }
        last += count;
        if count == 0 {
            break;
        }
    }
    assert_eq!(sum, 500_500);
    // Session state is gone after a reset.
    all(
        &mut connection,
        &["SET @x = 1", "CREATE TEMPORARY TABLE temporary (a INT)"],
    );
    connection.reset().unwrap();
    assert_eq!(connection.fetch("SELECT @x").unwrap(), [[None]]);
    assert_eq!(
        connection
            .run("SELECT * FROM temporary")
            .unwrap_err()
            .code(),
        Some(1146)
    );
    assert_eq!(
        connection
            .execute(&statement, &[Param::Int(1)])
            .unwrap_err()
            .code(),
        Some(1243)
    );
    connection.ping().unwrap();
    several_answers(&mut connection);
    unread_rows(server.root());
}

fn several_answers(connection: &mut Connection) {
    all(
        connection,
        &["CREATE PROCEDURE two() BEGIN SELECT 1; SELECT 2, 3 UNION SELECT 4, 5; END"],
    );
    let mut results = connection.query("CALL two()").unwrap();
    assert_eq!(results.columns().len(), 1);
    assert!(results.next().unwrap().is_some());
    assert!(results.next().unwrap().is_none());
    assert!(results.next_result().unwrap());
    assert_eq!(results.columns().len(), 2);
    assert!(results.next().unwrap().is_some());
    // What is not read is skipped; the last answer is that of the procedure itself.
    assert!(results.next_result().unwrap());
    assert!(results.columns().is_empty() && results.next().unwrap().is_none());
    assert!(!results.next_result().unwrap());
    connection.ping().unwrap();
    let statement = connection.prepare("CALL two()").unwrap();
    connection
        .execute(&statement, &[])
        .unwrap()
        .finish()
        .unwrap();
    // Several statements are an error unless they were asked for.
    assert_eq!(
        connection.query("SELECT 1; SELECT 2").unwrap_err().code(),
        Some(1064)
    );
}

fn unread_rows(mut connection: Connection) {
    let mut results = connection.query("SELECT 1 UNION SELECT 2").unwrap();
    results.next().unwrap();
    assert!(!connection.is_ready());
    let error = connection.ping().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unusable);
    assert!(
        error.to_string().contains("not read to their end"),
        "{error}"
    );
}

#[test]
fn a_connection_that_ends_is_told_as_such() {
    let Some(server) = mariadb(&[]) else {
        return;
    };
    let mut options = server.options();
    options.multi_statements = true;
    options.database = Some("mysql".to_owned());
    let mut connection = Connection::open(&options).unwrap();
    let done = connection.run("SELECT 1; DO 2; SELECT DATABASE()").unwrap();
    assert_eq!(done.warnings, 0);
    assert_eq!(
        connection.fetch("SELECT DATABASE()").unwrap()[0][0].as_deref(),
        Some(&b"mysql"[..])
    );
    server
        .root()
        .run(&format!("KILL {}", connection.id()))
        .unwrap();
    let error = connection.ping().unwrap_err();
    // It may say so before it closes.
    assert!(
        matches!(error.kind(), ErrorKind::Lost | ErrorKind::Server),
        "{error}"
    );
    options.database = Some("nowhere".to_owned());
    assert_eq!(Connection::open(&options).unwrap_err().code(), Some(1049));
    options.database = None;
    options.timeouts.read = Some(Duration::from_millis(300));
    let mut connection = Connection::open(&options).unwrap();
    let error = connection.run("SELECT SLEEP(600)").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    assert_eq!(connection.ping().unwrap_err().kind(), ErrorKind::Unusable);
}
