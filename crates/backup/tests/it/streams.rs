//! Sources that have no files: named streams straight into a snapshot.

use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use mainstay_backup::config::PlaceConfig;
use mainstay_backup::repository::{Draft, Repository, Visit};
use mainstay_backup::restic::Restic;
use mainstay_backup::source::{Entry, Facts, Reading, segments};
use mainstay_backup::{Depth, Issue, Weight};
use mainstay_base::{Resolver, Template};

use crate::bench::{noise, quiet};

/// A dump that a server sends, of a length nobody knows.
struct Dump {
    root: PathBuf,
    length: usize,
    breaks: bool,
    /// Where snapshots are, and how many there were before.
    snapshots: (PathBuf, usize),
    issues: std::sync::Arc<std::sync::Mutex<Vec<Issue>>>,
}

struct Breaks(bool);

impl Read for Breaks {
    fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
        if self.0 {
            Err(std::io::Error::other("server has gone away"))
        } else {
            Ok(0)
        }
    }
}

impl Reading for Dump {
    fn root(&self) -> &Path {
        &self.root
    }
    fn total(&self) -> Option<u64> {
        None
    }
    fn entries(&self) -> Box<dyn Iterator<Item = Entry> + Send> {
        let stream = Cursor::new(noise(self.length, 5)).chain(Breaks(self.breaks));
        let issues = std::sync::Arc::clone(&self.issues);
        Box::new(segments(
            &self.root,
            stream,
            1 << 20,
            Timestamp::UNIX_EPOCH,
            move |path, what| {
                issues.lock().unwrap().push(Issue {
                    weight: Weight::Missing,
                    path: path.to_owned(),
                    what,
                });
            },
        ))
    }
    fn take_issues(&self) -> Vec<Issue> {
        // There is no moment in which a snapshot that lacks something does not say so.
        let (directory, before) = &self.snapshots;
        assert_eq!(std::fs::read_dir(directory).unwrap().count(), *before);
        std::mem::take(&mut *self.issues.lock().unwrap())
    }
    fn facts(&self) -> Facts {
        Facts {
            kind: "stream".to_owned(),
            ..Facts::default()
        }
    }
    fn unchanged_by_times(&self) -> bool {
        false
    }
}

#[test]
fn a_stream_of_unknown_length_needs_no_file() {
    let directory = tempfile::tempdir().unwrap();
    let repository = Restic::new(
        "local".to_owned(),
        PlaceConfig::Local(directory.path().join("repo")),
        Template::literal("secret"),
        Resolver::default(),
    );
    repository.init(None, &quiet()).unwrap();
    let opened = repository.open(&quiet()).unwrap();
    let draft = Draft {
        backup: "dump".to_owned(),
        host: "shop1".to_owned(),
        time: Timestamp::UNIX_EPOCH,
        usual: None,
    };
    for breaks in [false, true] {
        let dump = Dump {
            root: "/mysql/shop/orders".into(),
            length: 5_500_000,
            breaks,
            snapshots: (directory.path().join("repo/snapshots"), usize::from(breaks)),
            issues: std::sync::Arc::default(),
        };
        let stored = opened.backup(&draft, &dump).unwrap();
        assert_eq!(stored.snapshot.complete, !breaks);
        assert_eq!(stored.issues.len(), usize::from(breaks));
        if breaks {
            // The second one found almost everything there already.
            assert!(stored.added < 3_000_000, "{}", stored.added);
            continue;
        }
        let mut back = Vec::new();
        opened
            .walk(&stored.snapshot, &stored.snapshot.path, &mut |visit| {
                if let Visit::Item(_, content) = visit {
                    content.write_to(&mut back)?;
                }
                Ok(())
            })
            .unwrap();
        assert!(back == noise(5_500_000, 5));
    }
    let snapshots = opened.snapshots().unwrap();
    assert_eq!(snapshots.len(), 2);
    assert_eq!(snapshots.iter().filter(|s| s.complete).count(), 1);
    assert!(
        opened
            .check(Depth::All)
            .unwrap()
            .iter()
            .all(|found| !found.damage)
    );
}
