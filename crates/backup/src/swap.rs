//! Putting something in the place of something else without ever having neither.
//!
//! A swap is a list of renames on one file system: the old is set aside, the new is put into place. If
//! one of them fails, those before it are taken back. The list is written down before it begins, so
//! that after a crash the same can be done from the list alone: renames leave a trace, what is there
//! and what is not.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

/// One rename.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Move {
    /// What is moved.
    pub from: PathBuf,
    /// Where it goes. Nothing is there before.
    pub to: PathBuf,
}

/// rename(2), but never over a file: what is there came there meanwhile, and is somebody's.
pub(crate) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    // Over a directory the kernel lets only directories go, and only over one that is empty.
    if fs::symlink_metadata(from)?.is_dir() {
        return fs::rename(from, to);
    }
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // Not with every file system.
        Err(Errno::INVAL | Errno::NOSYS) if fs::symlink_metadata(to).is_err() => {
            fs::rename(from, to)
        }
        Err(Errno::INVAL | Errno::NOSYS) => Err(io::ErrorKind::AlreadyExists.into()),
        done => done.map_err(io::Error::from),
    }
}

/// Why a swap did not happen.
#[derive(Debug)]
pub(crate) struct Failed {
    /// The rename that failed.
    pub(crate) step: Move,
    pub(crate) error: io::Error,
    /// Renames that could not be taken back: where something is, and where it belongs.
    pub(crate) stuck: Vec<Move>,
}

/// Renames that could not be taken back.
pub(crate) type Stuck = Vec<Move>;

/// Does all moves, or none. `rename` is [`rename`], except in tests.
pub(crate) fn perform(
    moves: &[Move],
    rename: &mut dyn FnMut(&Path, &Path) -> io::Result<()>,
) -> Result<(), Failed> {
    for (done, step) in moves.iter().enumerate() {
        if let Err(error) = rename(&step.from, &step.to) {
            let stuck = take_back(&moves[..done], rename);
            return Err(Failed {
                step: step.clone(),
                error,
                stuck,
            });
        }
    }
    Ok(())
}

fn take_back(moves: &[Move], rename: &mut dyn FnMut(&Path, &Path) -> io::Result<()>) -> Stuck {
    moves
        .iter()
        .rev()
        .filter(|step| rename(&step.to, &step.from).is_err())
        .cloned()
        .collect()
}

/// What a crash left of a swap.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// It was done; only the word of it is missing.
    Done,
    /// It was not done, or only partly, and everything is back where it was.
    TakenBack,
    /// Some things could not be put back.
    Stuck(Stuck),
}

/// Finishes with a swap that a crash interrupted.
pub(crate) fn recover(
    moves: &[Move],
    rename: &mut dyn FnMut(&Path, &Path) -> io::Result<()>,
) -> Found {
    let there = |path: &Path| fs::symlink_metadata(path).is_ok();
    let was_done = |step: &Move| !there(&step.from) && there(&step.to);
    match moves.last() {
        // The last move puts the new into place: with it, everything before it was done too.
        Some(last) if was_done(last) => return Found::Done,
        _ => {}
    }
    let done: Vec<Move> = moves
        .iter()
        .filter(|step| was_done(step))
        .cloned()
        .collect();
    let stuck = take_back(&done, rename);
    if stuck.is_empty() {
        Found::TakenBack
    } else {
        Found::Stuck(stuck)
    }
}

/// Makes the renames durable: syncs every directory that had one.
pub(crate) fn sync(moves: &[Move]) -> io::Result<()> {
    let mut directories: Vec<&Path> = moves
        .iter()
        .flat_map(|step| [step.from.parent(), step.to.parent()])
        .flatten()
        .collect();
    directories.sort_unstable();
    directories.dedup();
    for directory in directories {
        File::open(directory)?.sync_all()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Scene {
        directory: tempfile::TempDir,
        moves: Vec<Move>,
    }

    /// An old database with its log, and a new one beside it.
    fn scene() -> Scene {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        for name in ["db", "db-wal", "new"] {
            fs::write(at(name), name).unwrap();
        }
        let moves = vec![
            Move {
                from: at("db-wal"),
                to: at("db.old-wal"),
            },
            Move {
                from: at("db"),
                to: at("db.old"),
            },
            Move {
                from: at("new"),
                to: at("db"),
            },
        ];
        Scene { directory, moves }
    }

    impl Scene {
        fn files(&self) -> Vec<(String, String)> {
            let mut files: Vec<_> = fs::read_dir(self.directory.path())
                .unwrap()
                .flatten()
                .map(|e| {
                    let content = fs::read_to_string(e.path()).unwrap();
                    (e.file_name().into_string().unwrap(), content)
                })
                .collect();
            files.sort();
            files
        }
    }

    fn plain(from: &Path, to: &Path) -> io::Result<()> {
        rename(from, to)
    }

    #[test]
    fn nothing_is_moved_over_what_is_there() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        for name in ["new", "there", "dir/file", "full/file"] {
            fs::create_dir_all(at(name).parent().unwrap()).unwrap();
            fs::write(at(name), name).unwrap();
        }
        fs::create_dir(at("empty")).unwrap();
        std::os::unix::fs::symlink("nowhere", at("link")).unwrap();
        for (from, to) in [
            ("new", "there"),
            ("new", "link"),
            ("new", "empty"),
            ("dir", "there"),
            ("dir", "link"),
            ("dir", "full"),
        ] {
            assert!(rename(&at(from), &at(to)).is_err(), "{from} {to}");
        }
        assert_eq!(fs::read_to_string(at("there")).unwrap(), "there");
        assert_eq!(fs::read_to_string(at("full/file")).unwrap(), "full/file");
        rename(&at("new"), &at("free")).unwrap();
        rename(&at("dir"), &at("empty")).unwrap();
        assert_eq!(fs::read_to_string(at("free")).unwrap(), "new");
        assert_eq!(fs::read_to_string(at("empty/file")).unwrap(), "dir/file");
    }

    #[test]
    fn a_failure_at_any_move_puts_everything_back() {
        for failing in 0..3 {
            let scene = scene();
            let before = scene.files();
            let mut count = 0;
            let failed = perform(&scene.moves, &mut |from, to| {
                count += 1;
                if count == failing + 1 {
                    return Err(io::Error::from_raw_os_error(5));
                }
                fs::rename(from, to)
            })
            .unwrap_err();
            assert_eq!(failed.step, scene.moves[failing]);
            assert!(failed.stuck.is_empty());
            assert_eq!(scene.files(), before, "failing at move {failing}");
        }
        let scene = scene();
        perform(&scene.moves, &mut plain).unwrap();
        sync(&scene.moves).unwrap();
        let names: Vec<_> = scene.files().into_iter().collect();
        let text = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert_eq!(
            names,
            [
                text("db", "new"),
                text("db.old", "db"),
                text("db.old-wal", "db-wal")
            ]
        );
    }

    #[test]
    fn a_crash_after_any_move_is_recovered_from_the_list() {
        for done in 0..=3 {
            let scene = scene();
            let before = scene.files();
            for step in &scene.moves[..done] {
                plain(&step.from, &step.to).unwrap();
            }
            let found = recover(&scene.moves, &mut plain);
            if done == 3 {
                assert_eq!(found, Found::Done);
                assert_eq!(scene.files()[0].1, "new");
            } else {
                assert_eq!(found, Found::TakenBack);
                assert_eq!(scene.files(), before, "after {done} moves");
            }
        }
    }

    #[test]
    fn what_cannot_be_taken_back_is_named() {
        let scene = scene();
        let mut count = 0;
        let failed = perform(&scene.moves, &mut |from, to| {
            count += 1;
            if count > 1 {
                return Err(io::Error::from_raw_os_error(5));
            }
            fs::rename(from, to)
        })
        .unwrap_err();
        assert_eq!(failed.stuck, [scene.moves[0].clone()]);
    }
}
