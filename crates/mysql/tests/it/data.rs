//! Much at once: rows of more than one packet, streams of rows, and data of our own.

use std::fmt::Write as _;
use std::io::{Cursor, Read};

use mainstay_mysql::{Cell, Connection, ErrorKind, Param};

use crate::servers::{all, mariadb};

/// Lengths around the borders of packets.
const LONG: [usize; 5] = [0xff_fff0, 0xff_fffb, 0xff_ffff, 0x100_0000, 35_000_000];

fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_u32;
    (0..length)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            state.to_le_bytes()[1]
        })
        .collect()
}

fn connection(server: &crate::servers::Server) -> Connection {
    let mut options = server.options();
    options.local_infile = true;
    let mut connection = Connection::open(&options).unwrap();
    all(
        &mut connection,
        &["CREATE DATABASE IF NOT EXISTS d", "USE d"],
    );
    connection
}

#[test]
fn rows_of_more_than_16_megabytes() {
    let Some(server) = mariadb(&["--max-allowed-packet=100M", "--innodb-log-file-size=512M"])
    else {
        return;
    };
    let mut connection = connection(&server);
    all(
        &mut connection,
        &["CREATE TABLE t (id INT PRIMARY KEY, b LONGBLOB, after INT)"],
    );
    let insert = connection
        .prepare("INSERT INTO t VALUES (?, ?, ?)")
        .unwrap();
    let data = noise(LONG[4]);
    for (id, length) in (0i64..).zip(LONG) {
        let params = [
            Param::Int(id),
            Param::Bytes(&data[..length]),
            Param::Int(-id),
        ];
        connection
            .execute(&insert, &params)
            .unwrap()
            .finish()
            .unwrap();
    }
    let select = connection
        .prepare("SELECT b, after FROM t ORDER BY id")
        .unwrap();
    for binary in [true, false] {
        let mut results = if binary {
            connection.execute(&select, &[]).unwrap()
        } else {
            connection
                .query("SELECT b, after FROM t ORDER BY id")
                .unwrap()
        };
        for (id, length) in (0i64..).zip(LONG) {
            let row = results.next().unwrap().unwrap();
            let cells: Vec<Cell<'_>> = row.cells().map(Result::unwrap).collect();
            assert!(
                cells[0].bytes().unwrap() == &data[..length],
                "{binary} {length}"
            );
            let expected = (-id).to_string();
            assert_eq!(
                cells[1],
                if binary {
                    Cell::Int(-id)
                } else {
                    Cell::Bytes(expected.as_bytes())
                }
            );
        }
        assert!(results.next().unwrap().is_none());
    }
    // What is longer than the server takes is an error, and the connection may be gone with it.
    let error = connection
        .execute(
            &insert,
            &[Param::Int(9), Param::Bytes(&noise(101 << 20)), Param::Null],
        )
        .and_then(|results| results.finish().map(drop))
        .unwrap_err();
    assert!(
        matches!(error.code(), Some(1153)) || error.kind() == ErrorKind::Lost,
        "{error}"
    );
}

/// Gives some and then fails.
struct Fails(Cursor<Vec<u8>>);

impl Read for Fails {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match self.0.read(buffer)? {
            0 => Err(std::io::Error::other("the repository is gone")),
            read => Ok(read),
        }
    }
}

#[test]
fn data_of_our_own_is_loaded_whole_or_not_at_all() {
    let Some(server) = mariadb(&["--local-infile=1"]) else {
        return;
    };
    let mut connection = connection(&server);
    all(
        &mut connection,
        &["CREATE TABLE t (id INT PRIMARY KEY, b VARCHAR(100)) ENGINE=InnoDB"],
    );
    let mut lines = String::new();
    for id in 0..200_000 {
        writeln!(lines, "{id}\tvalue {id}").unwrap();
    }
    let load = "LOAD DATA LOCAL INFILE 'x' INTO TABLE t";
    let done = connection
        .load(load, &mut Cursor::new(lines.clone().into_bytes()))
        .unwrap();
    assert_eq!(done.affected, 200_000);
    let mut results = connection.query("SELECT id, b FROM t ORDER BY id").unwrap();
    let mut count = 0;
    while let Some(row) = results.next().unwrap() {
        let cells: Vec<_> = row
            .cells()
            .map(|cell| cell.unwrap().bytes().unwrap())
            .collect();
        assert_eq!(cells[0], count.to_string().as_bytes());
        assert_eq!(cells[1], format!("value {count}").as_bytes());
        count += 1;
    }
    assert_eq!(count, 200_000);
    all(&mut connection, &["DELETE FROM t"]);
    assert_eq!(
        connection
            .load(load, &mut Cursor::new(Vec::new()))
            .unwrap()
            .affected,
        0
    );
    // No rows, no data: and nothing of a reader that failed.
    let error = connection
        .load("DO 1", &mut Cursor::new(Vec::new()))
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Setup, "{error}");
    connection.ping().unwrap();
    let error = connection
        .load(load, &mut Fails(Cursor::new(lines.into_bytes())))
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Input);
    assert!(
        error.to_string().contains("the repository is gone"),
        "{error}"
    );
    assert!(!connection.is_ready());
    let mut other = server.root();
    let begun = std::time::Instant::now();
    loop {
        let rows = other.fetch("SELECT COUNT(*) FROM d.t").unwrap();
        let running = other
            .fetch("SELECT 1 FROM information_schema.PROCESSLIST WHERE INFO LIKE 'LOAD DATA%'")
            .unwrap();
        assert_eq!(rows[0][0].as_deref(), Some(&b"0"[..]));
        if running.is_empty() {
            break;
        }
        assert!(begun.elapsed().as_secs() < 120, "the server still waits");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    // A server that does not allow it says so before anything else.
    let mut plain = Connection::open(&server.options()).unwrap();
    let error = plain.load(
        "LOAD DATA LOCAL INFILE 'x' INTO TABLE d.t",
        &mut Cursor::new(Vec::new()),
    );
    assert_eq!(error.unwrap_err().kind(), ErrorKind::Server);
}
