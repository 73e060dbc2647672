//! A server that is none: whatever it says, it gets no file, no password in clear, and no panic.

use std::io::{Cursor, Read, Write};
use std::sync::{Arc, Mutex};

use mainstay_base::Secret;
use mainstay_mysql::{Connection, Endpoint, Error, ErrorKind, Options};

/// Says what it was given, and keeps what it hears.
struct Script {
    says: Cursor<Vec<u8>>,
    hears: Arc<Mutex<Vec<u8>>>,
}

impl Read for Script {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.says.read(buffer)
    }
}

impl Write for Script {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.hears.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn packet(sequence: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = u32::try_from(payload.len()).unwrap().to_le_bytes().to_vec();
    bytes[3] = sequence;
    bytes.extend_from_slice(payload);
    bytes
}

fn greeting(plugin: &str) -> Vec<u8> {
    let mut bytes = b"\x0a8.0.30\0\x01\0\0\0abcdefgh\0".to_vec();
    bytes.extend_from_slice(&[0xff, 0xf7, 45, 2, 0, 0xff, 0xdf, 21]);
    bytes.extend_from_slice(&[0; 10]);
    bytes.extend_from_slice(b"ijklmnopqrst\0");
    bytes.extend_from_slice(plugin.as_bytes());
    bytes.push(0);
    packet(0, &bytes)
}

const OK: &[u8] = &[0, 0, 0, 2, 0, 0, 0];

fn connect(says: &[Vec<u8>]) -> (Result<Connection, Error>, Arc<Mutex<Vec<u8>>>) {
    let hears = Arc::new(Mutex::new(Vec::new()));
    let script = Script {
        says: Cursor::new(says.concat()),
        hears: Arc::clone(&hears),
    };
    let endpoint = Endpoint::Tcp {
        host: "db.example".to_owned(),
        port: 3306,
    };
    let mut options = Options::new(endpoint, "root");
    options.password = Secret::new("hunter2");
    options.local_infile = true;
    (Connection::over(Box::new(script), &options), hears)
}

#[test]
fn it_gets_no_file() {
    let says = [
        greeting("mysql_native_password"),
        packet(2, OK),
        packet(1, b"\xfb/etc/passwd"),
    ];
    let (connection, hears) = connect(&says);
    let mut connection = connection.unwrap();
    let before = hears.lock().unwrap().len();
    let error = connection.query("SELECT 1").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Protocol);
    assert!(error.to_string().contains("asks for a file"), "{error}");
    assert_eq!(
        hears.lock().unwrap().len(),
        before + 4 + 1 + "SELECT 1".len()
    );
    assert_eq!(connection.ping().unwrap_err().kind(), ErrorKind::Unusable);
}

#[test]
fn it_gets_no_password_in_clear() {
    for (plugin, sequence) in [("mysql_clear_password", 2), ("sha256_password", 2)] {
        let switch = [b"\xfe", plugin.as_bytes(), b"\0abcdefghijklmnopqrst\0"].concat();
        let (connection, hears) =
            connect(&[greeting("mysql_native_password"), packet(sequence, &switch)]);
        let error = connection.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Insecure, "{plugin}: {error}");
        let heard = hears.lock().unwrap();
        assert!(
            !heard.windows(7).any(|seven| seven == b"hunter2"),
            "{plugin}"
        );
    }
    let asks = [greeting("caching_sha2_password"), packet(2, &[1, 4])];
    let (connection, hears) = connect(&asks);
    assert_eq!(connection.unwrap_err().kind(), ErrorKind::Insecure);
    assert!(
        !hears
            .lock()
            .unwrap()
            .windows(7)
            .any(|seven| seven == b"hunter2")
    );
    let (connection, _) = connect(&[
        greeting("mysql_native_password"),
        packet(2, b"\xfedialog\0x\0"),
    ]);
    let error = connection.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("`dialog`"), "{error}");
}

#[test]
fn what_it_says_too_much_or_too_little_is_refused() {
    let says = |answer: Vec<Vec<u8>>| {
        let mut all = vec![greeting("mysql_native_password"), packet(2, OK)];
        all.extend(answer);
        let (connection, _) = connect(&all);
        let mut connection = connection.unwrap();
        let mut read = || -> Result<(), Error> {
            let mut results = connection.query("SELECT 1")?;
            while let Some(row) = results.next()? {
                row.to_texts()?;
            }
            Ok(())
        };
        read().unwrap_err().kind()
    };
    let columns = |count: u64| {
        let mut bytes = vec![0xfe];
        bytes.extend_from_slice(&count.to_le_bytes());
        packet(1, &bytes)
    };
    assert_eq!(says(vec![columns(u64::MAX)]), ErrorKind::Limit);
    assert_eq!(says(vec![columns(3)]), ErrorKind::Lost);
    assert_eq!(says(vec![packet(1, &[])]), ErrorKind::Protocol);
    assert_eq!(says(vec![packet(5, OK)]), ErrorKind::Protocol);
    assert_eq!(
        says(vec![packet(1, b"\x01"), packet(2, b"\x03")]),
        ErrorKind::Protocol
    );
    let long = [greeting("mysql_native_password"), vec![255, 255, 255, 2]];
    let (connection, _) = connect(&long);
    assert_eq!(connection.unwrap_err().kind(), ErrorKind::Limit);
    let endless: Vec<Vec<u8>> = std::iter::once(greeting("mysql_native_password"))
        .chain((0..100).map(|turn| {
            packet(
                2 + 2 * turn,
                b"\xfemysql_native_password\0abcdefghijklmnopqrst\0",
            )
        }))
        .collect();
    let (connection, _) = connect(&endless);
    assert_eq!(connection.unwrap_err().kind(), ErrorKind::Protocol);
}
