//! What a server of MySQL sends: a login, rows of text, a prepared statement and its binary rows.

#![no_main]

use std::io::{Cursor, Read, Write};

use libfuzzer_sys::fuzz_target;
use mainstay_base::Secret;
use mainstay_mysql::{Connection, Endpoint, Error, Options, Param};

/// Says what it was given, whatever it is told.
struct Server(Cursor<Vec<u8>>);

impl Read for Server {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for Server {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn talk(bytes: &[u8]) -> Result<(), Error> {
    let mut options = Options::new(
        Endpoint::Tcp {
            host: "db.example".to_owned(),
            port: 3306,
        },
        "root",
    );
    options.password = Secret::new("hunter2");
    let mut connection = Connection::over(Box::new(Server(Cursor::new(bytes.to_vec()))), &options)?;
    let mut results = connection.query("SELECT 1")?;
    loop {
        while let Some(row) = results.next()? {
            let cells = row.cells().count();
            assert!(cells <= row.columns().len());
        }
        if !results.next_result()? {
            break;
        }
    }
    let statement = connection.prepare("SELECT ?")?;
    let mut results = connection.execute(&statement, &[Param::Int(1)])?;
    while let Some(row) = results.next()? {
        let size = row.size();
        for cell in row.cells() {
            assert!(cell?.bytes().is_none_or(|bytes| bytes.len() <= size));
        }
    }
    results.finish()?;
    connection.ping()
}

fuzz_target!(|bytes: &[u8]| {
    if let Err(error) = talk(bytes) {
        let shown = format!("{error} {error:?}");
        assert!(!shown.contains("hunter2"));
    }
});
