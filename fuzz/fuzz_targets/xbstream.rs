//! What a `mariadb-backup` that is none may stream.

#![no_main]

use std::collections::HashSet;
use std::path::{Component, Path, PathBuf};

use libfuzzer_sys::fuzz_target;
use mainstay_backup::source::mysql::xbstream::{Event, PIECE, Reader};

fuzz_target!(|bytes: &[u8]| {
    let mut reader = Reader::new(bytes);
    let mut open: HashSet<PathBuf> = HashSet::new();
    let inside = |path: &Path| {
        let mut parts = path.components();
        assert!(
            parts.all(|part| matches!(part, Component::Normal(_))),
            "{path:?}"
        );
    };
    let mut given = 0;
    loop {
        match reader.next() {
            Err(_) => return,
            Ok(None) => break,
            Ok(Some(Event::Bytes(path, piece))) => {
                inside(&path);
                assert!(!piece.is_empty() && piece.len() <= PIECE);
                given += piece.len();
                open.insert(path);
            }
            Ok(Some(Event::Zeros(path, count))) => {
                inside(&path);
                assert!(count > 0);
                open.insert(path);
            }
            Ok(Some(Event::End(path))) => {
                inside(&path);
                open.remove(&path);
            }
            Ok(Some(Event::Gone(path))) => {
                inside(&path);
                assert!(open.iter().all(|file| !file.starts_with(&path)));
            }
            Ok(Some(Event::Moved(from, to))) => {
                inside(&from);
                inside(&to);
                assert!(
                    open.iter()
                        .all(|file| !file.starts_with(&from) && !file.starts_with(&to))
                );
            }
        }
    }
    assert!(
        open.is_empty(),
        "a whole stream has no file without its end"
    );
    assert!(given <= bytes.len());
});
