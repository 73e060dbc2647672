//! Following a log as it grows, for one client.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use tokio::sync::{mpsc, watch};

use crate::rpc::logs;

/// How far back it begins.
const BACK: u64 = 1024;

/// The most that is read at once.
const PIECE: u64 = 64 * 1024;

/// What clients are told when the log has become shorter.
const TRUNCATED: &[u8] = b"==> File truncated <==\n";

/// How often it is looked at: at first, and when it has been quiet for a while.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_millis(500));

/// A place in a log.
pub(super) struct Follower {
    path: PathBuf,
    file: File,
    at: u64,
}

impl Follower {
    /// Begins a little before the end.
    ///
    /// # Errors
    /// The file is not there, is no file, or cannot be read.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let file = logs::open(path)?;
        let size = file.metadata()?.len();
        Ok(Self {
            path: path.to_owned(),
            file,
            at: size.saturating_sub(BACK),
        })
    }

    /// When it was last written to.
    pub(super) fn modified(&self) -> Option<Timestamp> {
        let modified = self.file.metadata().ok()?.modified().ok()?;
        Timestamp::try_from(modified).ok()
    }

    /// Reads what is new, up to a piece. Nothing, if there is nothing new.
    fn read(&mut self) -> io::Result<Vec<u8>> {
        let mut size = self.file.metadata()?.len();
        if size == self.at && self.reopen() {
            size = self.file.metadata()?.len();
        }
        if size < self.at {
            self.at = 0;
            return Ok(TRUNCATED.to_vec());
        }
        let mut data = Vec::new();
        if size > self.at {
            self.file.seek(SeekFrom::Start(self.at))?;
            let length = PIECE.min(size - self.at);
            (&mut self.file).take(length).read_to_end(&mut data)?;
            self.at += data.len() as u64;
        }
        Ok(data)
    }

    /// Goes on with the file that now has the name, when the log was rolled. The old one has been
    /// read to its end.
    fn reopen(&mut self) -> bool {
        let same = |file: &File| -> io::Result<bool> {
            let (here, there) = (file.metadata()?, std::fs::metadata(&self.path)?);
            Ok((here.dev(), here.ino()) == (there.dev(), there.ino()))
        };
        // One that was removed may come back.
        if same(&self.file).unwrap_or(true) {
            return false;
        }
        let Ok(file) = logs::open(&self.path) else {
            return false;
        };
        self.file = file;
        self.at = 0;
        true
    }
}

/// Sends what is new until nobody listens any more, the server stops, or the log cannot be read.
pub(super) async fn follow(
    mut follower: Follower,
    sender: mpsc::Sender<Bytes>,
    mut stop: watch::Receiver<bool>,
) {
    let mut pause = PAUSE.0;
    loop {
        let read = tokio::task::spawn_blocking(move || {
            let data = follower.read();
            (follower, data)
        });
        let Ok((back, Ok(data))) = read.await else {
            return;
        };
        follower = back;
        let quiet = data.is_empty();
        let next = async {
            if quiet {
                tokio::time::sleep(pause).await;
                return true;
            }
            sender.send(data.into()).await.is_ok()
        };
        let go_on = tokio::select! {
            go_on = next => go_on,
            () = sender.closed() => false,
            () = super::stopped(&mut stop) => false,
        };
        if !go_on {
            return;
        }
        pause = if quiet {
            (pause * 2).min(PAUSE.1)
        } else {
            PAUSE.0
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn append(path: &Path, text: &[u8]) {
        use std::io::Write as _;
        let mut file = File::options()
            .append(true)
            .create(true)
            .open(path)
            .unwrap();
        file.write_all(text).unwrap();
    }

    #[test]
    fn a_log_is_followed_through_all_that_happens_to_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        append(&path, &[b'x'; 2000]);
        let mut follower = Follower::open(&path).unwrap();
        assert!(follower.modified().is_some());
        let mut read = || String::from_utf8(follower.read().unwrap()).unwrap();
        assert_eq!(read().len(), 1024);
        assert_eq!(read(), "");
        append(&path, b"one\n");
        assert_eq!(read(), "one\n");
        // Rolled: what was written before is not lost.
        append(&path, b"last\n");
        std::fs::rename(&path, dir.path().join("log.1")).unwrap();
        append(&path, b"first\n");
        assert_eq!(read(), "last\n");
        assert_eq!(read(), "first\n");
        // Removed, then there again.
        std::fs::remove_file(&path).unwrap();
        assert_eq!(read(), "");
        append(&path, b"again\n");
        assert_eq!(read(), "again\n");
        // Emptied.
        std::fs::write(&path, b"x").unwrap();
        assert_eq!(read(), "==> File truncated <==\n");
        assert_eq!(read(), "x");
        append(&path, &vec![b'y'; 100_000]);
        assert_eq!(read().len(), 65536);
        assert_eq!(read().len(), 100_000 - 65536);
    }

    #[test]
    fn a_short_log_is_read_from_its_start() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        append(&path, b"abc");
        let mut follower = Follower::open(&path).unwrap();
        assert_eq!(follower.read().unwrap(), b"abc");
        assert!(Follower::open(&dir.path().join("no")).is_err());
        assert!(Follower::open(dir.path()).is_err());
    }
}
