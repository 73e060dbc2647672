//! Every type of column, as text and as binary rows.

use mainstay_mysql::{Cell, Connection, DateTime, Flavour, Param, Time};

use crate::servers::{all, mariadb, mysql};

/// A column: its type, a value in SQL, the text that comes back, and the cell of a binary row.
type Case = (&'static str, &'static str, &'static [u8], Cell<'static>);

const DATE: DateTime = DateTime {
    year: 2026,
    month: 11,
    day: 26,
    hour: 23,
    minute: 59,
    second: 58,
    micros: 123_456,
};
const DAY: DateTime = DateTime {
    hour: 0,
    minute: 0,
    second: 0,
    micros: 0,
    ..DATE
};

fn cases() -> Vec<Case> {
    vec![
        ("TINYINT", "-128", b"-128", Cell::Int(-128)),
        ("TINYINT UNSIGNED", "255", b"255", Cell::UInt(255)),
        ("SMALLINT", "-32768", b"-32768", Cell::Int(-32768)),
        ("SMALLINT UNSIGNED", "65535", b"65535", Cell::UInt(65535)),
        ("MEDIUMINT", "-8388608", b"-8388608", Cell::Int(-8_388_608)),
        (
            "MEDIUMINT UNSIGNED",
            "16777215",
            b"16777215",
            Cell::UInt(16_777_215),
        ),
        (
            "INT",
            "-2147483648",
            b"-2147483648",
            Cell::Int(i32::MIN.into()),
        ),
        (
            "INT UNSIGNED",
            "4294967295",
            b"4294967295",
            Cell::UInt(u32::MAX.into()),
        ),
        (
            "BIGINT",
            "-9223372036854775808",
            b"-9223372036854775808",
            Cell::Int(i64::MIN),
        ),
        (
            "BIGINT UNSIGNED",
            "18446744073709551615",
            b"18446744073709551615",
            Cell::UInt(u64::MAX),
        ),
        ("YEAR", "2026", b"2026", Cell::UInt(2026)),
        // Six digits are shown of it; all of them are there.
        ("FLOAT", "16777217", b"16777200", Cell::Float(16_777_216.0)),
        ("DOUBLE", "0.1", b"0.1", Cell::Double(0.1)),
        (
            "DOUBLE",
            "-1.7976931348623157e308",
            b"-1.7976931348623157e308",
            Cell::Double(f64::MIN),
        ),
        (
            "DECIMAL(65,30)",
            "-12345678901234567890123456789012345.000000000000000000000000000001",
            b"-12345678901234567890123456789012345.000000000000000000000000000001",
            Cell::Bytes(b"-12345678901234567890123456789012345.000000000000000000000000000001"),
        ),
        ("DATE", "'2026-11-26'", b"2026-11-26", Cell::DateTime(DAY)),
        (
            "DATE",
            "'0000-00-00'",
            b"0000-00-00",
            Cell::DateTime(DateTime {
                year: 0,
                month: 0,
                day: 0,
                hour: 0,
                minute: 0,
                second: 0,
                micros: 0,
            }),
        ),
        (
            "DATETIME(6)",
            "'2026-11-26 23:59:58.123456'",
            b"2026-11-26 23:59:58.123456",
            Cell::DateTime(DATE),
        ),
        (
            "TIMESTAMP(3)",
            "'2026-11-26 23:59:58.123'",
            b"2026-11-26 23:59:58.123",
            Cell::DateTime(DateTime {
                micros: 123_000,
                ..DATE
            }),
        ),
        (
            "TIME(6)",
            "'-838:59:58.000005'",
            b"-838:59:58.000005",
            Cell::Time(Time {
                negative: true,
                days: 34,
                hours: 22,
                minutes: 59,
                seconds: 58,
                micros: 5,
            }),
        ),
        (
            "TIME",
            "'00:00:00'",
            b"00:00:00",
            Cell::Time(Time {
                negative: false,
                days: 0,
                hours: 0,
                minutes: 0,
                seconds: 0,
                micros: 0,
            }),
        ),
        (
            "CHAR(10) CHARACTER SET utf8mb4",
            "'a\u{1f600}'",
            "a\u{1f600}".as_bytes(),
            Cell::Bytes("a\u{1f600}".as_bytes()),
        ),
        (
            "VARCHAR(300) CHARACTER SET latin1",
            "'\u{e4}'",
            "\u{e4}".as_bytes(),
            Cell::Bytes("\u{e4}".as_bytes()),
        ),
        ("BINARY(3)", "x'0001'", &[0, 1, 0], Cell::Bytes(&[0, 1, 0])),
        (
            "VARBINARY(9)",
            "x'fb00ff'",
            &[0xfb, 0, 0xff],
            Cell::Bytes(&[0xfb, 0, 0xff]),
        ),
        ("TINYTEXT", "''", b"", Cell::Bytes(b"")),
        ("LONGBLOB", "x'fe'", &[0xfe], Cell::Bytes(&[0xfe])),
        ("ENUM('a','','b')", "'b'", b"b", Cell::Bytes(b"b")),
        ("SET('x','y','z')", "'x,z'", b"x,z", Cell::Bytes(b"x,z")),
        (
            "BIT(64)",
            "b'1000000000000000000000000000000000000000000000000000000000000001'",
            &[0x80, 0, 0, 0, 0, 0, 0, 1],
            Cell::Bytes(&[0x80, 0, 0, 0, 0, 0, 0, 1]),
        ),
        (
            "POINT",
            "ST_GeomFromText('POINT(1 2)', 0)",
            POINT,
            Cell::Bytes(POINT),
        ),
        ("INT", "NULL", b"NULL", Cell::Null),
    ]
}

const POINT: &[u8] = &[
    0, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f, 0, 0, 0, 0, 0, 0, 0, 0x40,
];

fn every_type(connection: &mut Connection) {
    all(
        connection,
        &[
            "SET sql_mode = '', time_zone = '+00:00'",
            "CREATE DATABASE kinds",
            "USE kinds",
        ],
    );
    let cases = cases();
    let columns: Vec<String> = cases
        .iter()
        .enumerate()
        .map(|(at, case)| format!("c{at} {} NULL", case.0))
        .collect();
    let values: Vec<&str> = cases.iter().map(|case| case.1).collect();
    connection
        .run(&format!("CREATE TABLE kinds ({})", columns.join(", ")))
        .unwrap();
    connection
        .run(&format!("INSERT INTO kinds VALUES ({})", values.join(", ")))
        .unwrap();
    let mut results = connection.query("SELECT * FROM kinds").unwrap();
    assert_eq!(results.columns().len(), cases.len());
    assert!(
        results
            .columns()
            .iter()
            .all(|column| column.table == "kinds")
    );
    let row = results.next().unwrap().unwrap();
    for (case, text) in cases.iter().zip(row.to_texts().unwrap()) {
        let shown = text.unwrap_or_else(|| b"NULL".to_vec());
        assert_eq!(
            String::from_utf8_lossy(&shown),
            String::from_utf8_lossy(case.2),
            "{}",
            case.0
        );
    }
    assert!(results.next().unwrap().is_none());
    let statement = connection.prepare("SELECT * FROM kinds").unwrap();
    for _ in 0..2 {
        let mut results = connection.execute(&statement, &[]).unwrap();
        let row = results.next().unwrap().unwrap();
        for (case, cell) in cases.iter().zip(row.cells()) {
            assert_eq!(cell.unwrap(), case.3, "{}", case.0);
        }
        assert!(results.next().unwrap().is_none());
    }
    connection.close(statement).unwrap();
    values_go_in(connection);
}

fn values_go_in(connection: &mut Connection) {
    let statement = connection
        .prepare("SELECT ?, ?, ?, ?, CAST(? AS BINARY), ?, ? + 1, ?")
        .unwrap();
    let params = [
        Param::Int(i64::MIN),
        Param::UInt(u64::MAX),
        Param::Double(0.1),
        Param::Text("\u{1f600}'"),
        Param::Bytes(&[0, 0xff]),
        Param::Null,
        Param::Int(41),
        Param::Text("after"),
    ];
    let mut results = connection.execute(&statement, &params).unwrap();
    let row = results.next().unwrap().unwrap();
    let cells: Vec<Cell<'_>> = row.cells().map(Result::unwrap).collect();
    assert_eq!(
        cells,
        [
            Cell::Int(i64::MIN),
            Cell::UInt(u64::MAX),
            Cell::Double(0.1),
            Cell::Bytes("\u{1f600}'".as_bytes()),
            Cell::Bytes(&[0, 0xff]),
            Cell::Null,
            Cell::Int(42),
            Cell::Bytes(b"after"),
        ]
    );
    results.finish().unwrap();
    let error = connection.execute(&statement, &params[1..]).unwrap_err();
    assert!(error.to_string().contains("7 values were given"), "{error}");
    connection.ping().unwrap();
}

#[test]
fn every_type_of_mariadb_is_read() {
    let Some(server) = mariadb(&[]) else {
        return;
    };
    every_type(&mut server.root());
    let mut connection = server.root();
    all(
        &mut connection,
        &[
            "USE kinds",
            "CREATE TABLE own (u UUID, a INET6, j JSON)",
            "INSERT INTO own VALUES ('6ccd780c-baba-1026-9564-5b8c656024db', '2001:db8::1', '{\"a\": 1}')",
        ],
    );
    let statement = connection.prepare("SELECT * FROM own").unwrap();
    let mut results = connection.execute(&statement, &[]).unwrap();
    let row = results.next().unwrap().unwrap();
    let cells: Vec<_> = row
        .cells()
        .map(|cell| cell.unwrap().bytes().unwrap())
        .collect();
    assert_eq!(
        cells,
        [
            &b"6ccd780c-baba-1026-9564-5b8c656024db"[..],
            b"2001:db8::1",
            b"{\"a\": 1}"
        ]
    );
}

#[test]
fn every_type_of_mysql_is_read() {
    let Some(server) = mysql(&[]) else {
        return;
    };
    every_type(&mut server.root());
    let mut connection = server.root();
    assert_eq!(connection.version().flavour, Flavour::MySql);
    all(
        &mut connection,
        &[
            "USE kinds",
            "CREATE TABLE own (j JSON, v VECTOR(2))",
            "INSERT INTO own VALUES ('{\"a\": 1}', TO_VECTOR('[1,2]'))",
        ],
    );
    let statement = connection.prepare("SELECT * FROM own").unwrap();
    let mut results = connection.execute(&statement, &[]).unwrap();
    let row = results.next().unwrap().unwrap();
    let cells: Vec<_> = row
        .cells()
        .map(|cell| cell.unwrap().bytes().unwrap())
        .collect();
    assert_eq!(
        cells,
        [&b"{\"a\": 1}"[..], &[0, 0, 0x80, 0x3f, 0, 0, 0, 0x40]]
    );
}
