//! Against a server that plays a script: what a real one does seldom, or never.

use std::io::BufReader;
use std::net::TcpListener;
use std::thread::JoinHandle;

use super::super::client::{Address, Dial};
use super::super::crc64;
use super::super::resp;
use super::*;
use crate::progress::Quiet;

fn sound() -> Vec<u8> {
    let mut bytes = b"REDIS0010\xfe\x00\xfb\x01\x00\x00\x03key\x05value\xff".to_vec();
    let crc = crc64::update(0, &bytes);
    bytes.extend(crc.to_le_bytes());
    bytes
}

/// Answers the introduction, and then says these things, each in a piece of its own.
fn play(rdb_only: bool, script: Vec<Vec<u8>>) -> (Address, JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = Address::Tcp("127.0.0.1".into(), listener.local_addr().unwrap().port());
    let player = std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        stream.set_nodelay(true).unwrap();
        let mut input = BufReader::new(stream.try_clone().unwrap());
        let mut output = stream;
        let mut heard = Vec::new();
        loop {
            let Ok(command) = resp::read(&mut input) else {
                return heard;
            };
            let words: Vec<String> = command
                .items()
                .iter()
                .filter_map(resp::Value::text)
                .collect();
            let said = words.join(" ");
            heard.push(said.clone());
            match said.as_str() {
                "REPLCONF rdb-only 1" if !rdb_only => {
                    output
                        .write_all(b"-ERR Unrecognized REPLCONF option: rdb-only\r\n")
                        .unwrap();
                }
                "PSYNC ? -1" => break,
                _ => output.write_all(b"+OK\r\n").unwrap(),
            }
        }
        for piece in script {
            if output.write_all(&piece).is_err() {
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        // The other side may have left.
        let _ = output.shutdown(std::net::Shutdown::Write);
        while let Ok(command) = resp::read(&mut input) {
            heard.push(format!("{command:?}"));
        }
        heard
    });
    (address, player)
}

fn attempt(rdb_only: bool, script: &[&[u8]]) -> (Result<Pulled, Error>, Vec<u8>, Vec<String>) {
    let script = script.iter().map(|piece| piece.to_vec()).collect();
    let (address, player) = play(rdb_only, script);
    let dial = Dial {
        user: None,
        password: None,
        tls: None,
    };
    let client = Client::connect(&address, &dial).unwrap();
    let scratch = tempfile::tempdir().unwrap();
    let to = scratch.path().join("dump");
    let progress: Arc<dyn Progress> = Arc::new(Quiet);
    let result = pull(client, &to, "pull", &progress);
    let file = std::fs::read(&to).unwrap_or_default();
    (result, file, player.join().unwrap())
}

const RESYNC: &[u8] = b"+FULLRESYNC 8371445fb8d3b2b6b1e9b4c0e4d1b0f3c2a19586 1234\r\n";
const MARK_LINE: &[u8] = b"$EOF:0123456789012345678901234567890123456789\r\n";
const MARK_TEXT: &[u8] = b"0123456789012345678901234567890123456789";

#[test]
fn both_forms_come_through_whatever_the_pieces() {
    let file = sound();
    let length = format!("${}\r\n", file.len()).into_bytes();
    let (head, tail) = file.split_at(13);
    let (mark_head, mark_tail) = MARK_TEXT.split_at(17);
    let whole = [file.as_slice(), MARK_TEXT].concat();
    let scripts: Vec<(&str, Vec<&[u8]>)> = vec![
        ("length", vec![RESYNC, &length, &file]),
        (
            "length, slowly and with signs of life",
            vec![b"\n", b"\n", RESYNC, b"\n\n", &length, head, tail],
        ),
        (
            "length, and writes after it",
            vec![RESYNC, &length, &file, b"*1\r\n$4\r\nPING\r\n"],
        ),
        ("mark", vec![RESYNC, MARK_LINE, &whole]),
        (
            "mark, slowly",
            vec![
                b"\n", RESYNC, b"\n", MARK_LINE, head, tail, mark_head, mark_tail,
            ],
        ),
        (
            "mark, torn over the end",
            vec![
                RESYNC,
                MARK_LINE,
                &whole[..=file.len()],
                &whole[file.len() + 1..],
            ],
        ),
    ];
    for (name, script) in scripts {
        for rdb_only in [true, false] {
            let (result, written, heard) = attempt(rdb_only, &script);
            let pulled = result.unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(written, file, "{name}");
            assert_eq!(pulled.offset, 1234);
            assert_eq!(pulled.rdb_only, rdb_only);
            assert_eq!(pulled.contents.databases[&0].keys, 1);
            assert_eq!(pulled.sha256.len(), 64);
            assert!(heard.contains(&"REPLCONF capa eof capa psync2".to_owned()));
            assert!(!heard.iter().any(|said| said.contains("listening-port")));
        }
    }
}

#[test]
fn what_is_not_whole_is_refused() {
    let file = sound();
    let mut damaged = file.clone();
    damaged[20] ^= 1;
    let length = format!("${}\r\n", file.len()).into_bytes();
    let longer = format!("${}\r\n", file.len() + 4).into_bytes();
    let more = [file.as_slice(), b"more"].concat();
    let scripts: Vec<(&str, Vec<&[u8]>, &str)> = vec![
        (
            "cut",
            vec![RESYNC, &length, &file[..15]],
            "closed in the middle",
        ),
        (
            "cut before the mark",
            vec![RESYNC, MARK_LINE, &file],
            "closed in the middle",
        ),
        ("cut before the head", vec![RESYNC], "closed in the middle"),
        (
            "damaged",
            vec![RESYNC, &length, &damaged],
            "not a whole RDB file",
        ),
        ("too long", vec![RESYNC, &longer, &more], "follows its end"),
        ("nothing", vec![RESYNC, b"$0\r\n"], "not a whole RDB file"),
        (
            "goes on",
            vec![RESYNC, b"+CONTINUE\r\n"],
            "neither a length nor a mark",
        ),
        (
            "not asked for",
            vec![b"+CONTINUE\r\n"],
            "an answer to PSYNC that is none",
        ),
        (
            "loading",
            vec![b"-LOADING Redis is loading the dataset in memory\r\n"],
            "LOADING",
        ),
        (
            "no link",
            vec![b"-NOMASTERLINK Can't SYNC while not connected with my master\r\n"],
            "NOMASTERLINK",
        ),
        (
            "short mark",
            vec![RESYNC, b"$EOF:0123\r\n"],
            "neither a length nor a mark",
        ),
        (
            "larger than any disk",
            vec![RESYNC, b"$18446744073709551615\r\n"],
            "no storage space",
        ),
    ];
    for (name, script, expected) in scripts {
        let (result, ..) = attempt(true, &script);
        let error = result.expect_err(name);
        assert!(error.to_string().contains(expected), "{name}: {error}");
        assert!(error.help().is_some(), "{name}");
    }
}

#[test]
fn a_server_that_never_ends_is_left() {
    let file = sound();
    let mut script = vec![RESYNC, MARK_LINE, file.as_slice(), MARK_TEXT];
    script.insert(3, &[b'x'; 4096]);
    script.extend(vec![[b'y'; 4096].as_slice(); 50]);
    let (result, ..) = attempt(true, &script);
    let error = result.unwrap_err();
    assert!(error.to_string().contains("follows its end"), "{error}");
}
