//! Streams whose length nobody knows beforehand.

use std::io::{Cursor, Read};
use std::path::Path;

use jiff::Timestamp;

use super::{Content, Entry, Meta};
use crate::error::reason_of_io;

/// Cuts a stream of unknown length into entries `directory/000000`, `000001`, … of `size` bytes each
/// (the last one shorter), after an entry for the directory itself.
///
/// The format of the repository stores the size of a file before its content, and stock restic
/// restores exactly that many bytes. So a stream without a known length cannot be one file; as
/// numbered pieces it needs no temporary file, only `size` bytes of memory for each piece in flight.
/// `cat directory/*` gives the stream back. A stream that fails is an issue, and ends there.
pub fn segments(
    directory: &Path,
    reader: impl Read + Send + 'static,
    size: usize,
    time: Timestamp,
    issues: impl Fn(&Path, String) + Send + 'static,
) -> impl Iterator<Item = Entry> + Send + 'static {
    let directory = directory.to_owned();
    let head = Entry {
        path: directory.clone(),
        meta: Meta {
            mode: 0o700,
            ..Meta::synthetic(0, time)
        },
        content: Content::Directory,
    };
    let mut reader = Some(reader);
    let mut number = 0u32;
    let pieces = std::iter::from_fn(move || {
        let source = reader.as_mut()?;
        let mut piece = Vec::new();
        match source.take(size as u64).read_to_end(&mut piece) {
            Ok(0) => {
                reader = None;
                return None;
            }
            Ok(_) => {}
            Err(error) => {
                issues(
                    &directory,
                    format!("the stream broke off: {}", reason_of_io(&error)),
                );
                reader = None;
                return None;
            }
        }
        let path = directory.join(format!("{number:06}"));
        number += 1;
        Some(Entry {
            path,
            meta: Meta::synthetic(piece.len() as u64, time),
            content: Content::File(Box::new(move || {
                Ok(Box::new(Cursor::new(piece)) as Box<dyn Read + Send>)
            })),
        })
    });
    std::iter::once(head).chain(pieces)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::{Issues, Weight};

    fn sink(issues: &Issues) -> impl Fn(&Path, String) + Send + 'static {
        let issues = issues.clone();
        move |path, what| issues.add(Weight::Missing, path, what)
    }

    fn pieces(text: &[u8], size: usize) -> Vec<(String, Vec<u8>)> {
        let issues = Issues::default();
        let entries = segments(
            Path::new("/db/dump"),
            Cursor::new(text.to_vec()),
            size,
            Timestamp::UNIX_EPOCH,
            sink(&issues),
        );
        let found = entries
            .map(|entry| {
                let mut bytes = Vec::new();
                if let Content::File(open) = entry.content {
                    open().unwrap().read_to_end(&mut bytes).unwrap();
                    assert_eq!(bytes.len() as u64, entry.meta.size);
                }
                (entry.path.display().to_string(), bytes)
            })
            .collect();
        assert!(issues.take().is_empty());
        found
    }

    #[test]
    fn a_stream_becomes_numbered_pieces() {
        assert_eq!(
            pieces(b"abcdefg", 3),
            [
                ("/db/dump".to_owned(), b"".to_vec()),
                ("/db/dump/000000".to_owned(), b"abc".to_vec()),
                ("/db/dump/000001".to_owned(), b"def".to_vec()),
                ("/db/dump/000002".to_owned(), b"g".to_vec()),
            ]
        );
        assert_eq!(pieces(b"abcdef", 3).len(), 3);
        assert_eq!(pieces(b"", 3).len(), 1);
    }

    #[test]
    fn a_stream_that_breaks_is_an_issue() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
                Err(std::io::Error::other("server has gone away"))
            }
        }
        let issues = Issues::default();
        let count = segments(
            Path::new("/db/dump"),
            Cursor::new(b"abc".to_vec()).chain(Broken),
            3,
            Timestamp::UNIX_EPOCH,
            sink(&issues),
        )
        .count();
        assert_eq!(count, 2);
        let issues = issues.take();
        assert_eq!(issues[0].weight, Weight::Missing);
        assert!(issues[0].what.contains("gone away"));
    }
}
