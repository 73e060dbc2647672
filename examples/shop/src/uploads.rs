//! Files that visitors send: which names are accepted, how they reach the disk, how they go out.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::html::percent;

/// The largest file that is accepted, in bytes.
pub(crate) const LIMIT: u64 = 10_000_000;

/// A file that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Upload {
    pub(crate) name: String,
    /// In bytes.
    pub(crate) size: u64,
    /// When it was last written: RFC 3339, UTC, whole seconds.
    pub(crate) at: String,
}

/// Turns the name a browser sent into the name on disk, or says why it is refused.
///
/// Names that could lead elsewhere are refused, not repaired: who sends them means harm or has
/// made a mistake, and should learn of it. Harmless but awkward characters become `_`.
pub(crate) fn accept(name: &str) -> Result<String, &'static str> {
    if name.is_empty() {
        return Err("a file needs a name");
    }
    if name.contains(['/', '\\']) {
        return Err("a file name must not contain a slash or a backslash");
    }
    if name.starts_with('.') {
        return Err("a file name must not start with a dot");
    }
    if name.chars().any(char::is_control) {
        return Err("a file name must not contain control characters");
    }
    // Most file systems take 255 bytes; some room is left for a number.
    if name.len() > 200 {
        return Err("the file name is too long (200 bytes at most)");
    }
    Ok(name
        .chars()
        .map(|c| {
            if c.is_alphanumeric() || "-_.,+ ()".contains(c) {
                c
            } else {
                '_'
            }
        })
        .collect())
}

/// The name with a number before its ending: `knot.png` becomes `knot-2.png`.
fn numbered(name: &str, number: u32) -> String {
    match name.rsplit_once('.') {
        Some((stem, ending)) => format!("{stem}-{number}.{ending}"),
        None => format!("{name}-{number}"),
    }
}

/// The content type under which a file goes out, and whether a browser may show it in place.
///
/// Only types that cannot carry script are named; all else is bytes to be saved, whatever the
/// uploader called it.
pub(crate) fn content_type(name: &str) -> (&'static str, bool) {
    let ending = name
        .rsplit_once('.')
        .map_or("", |(_, ending)| ending)
        .to_ascii_lowercase();
    match ending.as_str() {
        "png" => ("image/png", true),
        "jpg" | "jpeg" => ("image/jpeg", true),
        "gif" => ("image/gif", true),
        "webp" => ("image/webp", true),
        "txt" | "md" | "log" => ("text/plain; charset=utf-8", true),
        _ => ("application/octet-stream", false),
    }
}

/// The Content-Disposition of a file (RFC 6266, with the extended value of RFC 8187 for names
/// that are not plain ASCII).
pub(crate) fn disposition(name: &str, inline: bool) -> String {
    let plain: String = name
        .chars()
        .map(|c| {
            if (c.is_ascii_graphic() || c == ' ') && !"\"\\".contains(c) {
                c
            } else {
                '_'
            }
        })
        .collect();
    let how = if inline { "inline" } else { "attachment" };
    format!(
        "{how}; filename=\"{plain}\"; filename*=UTF-8''{}",
        percent(name)
    )
}

/// The directory of uploads.
pub(crate) struct Uploads {
    kept: PathBuf,
    /// Where files grow until they are whole: not among the kept ones, so that no backup and no
    /// visitor finds a half.
    incoming: PathBuf,
    next: AtomicU64,
}

/// A file that is being received. Dropped before it is kept, it is gone.
pub(crate) struct Incoming {
    file: File,
    path: PathBuf,
    kept: PathBuf,
}

impl Uploads {
    /// Makes the directories below `data`, and removes what uploads cut off by a crash left.
    pub(crate) fn open(data: &Path) -> io::Result<Uploads> {
        let uploads = Uploads {
            kept: data.join("uploads"),
            incoming: data.join("incoming"),
            next: AtomicU64::new(0),
        };
        fs::create_dir_all(&uploads.kept)?;
        fs::create_dir_all(&uploads.incoming)?;
        for entry in fs::read_dir(&uploads.incoming)? {
            let entry = entry?;
            // Of a shop that is no more, or of an earlier one with our pid; another that still
            // runs may be receiving into the same directory.
            let abandoned = entry.file_name().to_str().is_none_or(|name| {
                let pid = name.split('-').next().unwrap_or_default();
                pid == std::process::id().to_string() || !Path::new("/proc").join(pid).exists()
            });
            if abandoned {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(uploads)
    }

    /// All files, by name.
    pub(crate) fn list(&self) -> io::Result<Vec<Upload>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.kept)? {
            let entry = entry?;
            // Of the entry itself, not of what a link points to.
            let Ok(metadata) = entry.metadata() else {
                continue;
            };
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            if metadata.is_file() && accept(&name).as_ref() == Ok(&name) {
                files.push(Upload {
                    name,
                    size: metadata.len(),
                    at: when(&metadata),
                });
            }
        }
        files.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(files)
    }

    /// The bytes of one file; none: there is no such file, or the name is not one of ours.
    pub(crate) fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        if accept(name).as_deref() != Ok(name) {
            return Ok(None);
        }
        let path = self.kept.join(name);
        match fs::symlink_metadata(&path) {
            Ok(metadata) if metadata.is_file() => fs::read(&path).map(Some),
            Ok(_) => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Begins to receive a file.
    pub(crate) fn receive(&self) -> io::Result<Incoming> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let path = self
            .incoming
            .join(format!("{}-{number}", std::process::id()));
        // Not create_new: an earlier process of the same pid may have left one behind.
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .open(&path)?;
        Ok(Incoming {
            file,
            path,
            kept: self.kept.clone(),
        })
    }
}

impl Incoming {
    /// Appends bytes.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)
    }

    /// Puts the whole file among the kept ones, under this name or, if it is taken, under the
    /// next free number of it; never over another file. `name` must come from [`accept`].
    pub(crate) fn keep(self, name: &str) -> io::Result<String> {
        self.file.sync_all()?;
        for number in 1..=1000 {
            let name = if number == 1 {
                name.to_owned()
            } else {
                numbered(name, number)
            };
            // A hard link, unlike a rename, does not replace what is there.
            match fs::hard_link(&self.path, self.kept.join(&name)) {
                Ok(()) => {
                    File::open(&self.kept)?.sync_all()?;
                    return Ok(name);
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            "a thousand files have this name",
        ))
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        // Kept or given up, this name of it is no longer needed; if it cannot be removed, the
        // next start does it.
        let _ = fs::remove_file(&self.path);
    }
}

fn when(metadata: &fs::Metadata) -> String {
    metadata
        .modified()
        .ok()
        .and_then(|at| jiff::Timestamp::try_from(at).ok())
        .map_or_else(
            || "unknown".to_owned(),
            |at| at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        )
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::{Uploads, accept, content_type, disposition, numbered};

    #[test]
    fn names() {
        for (name, want) in [
            ("knot.png", Some("knot.png")),
            ("my knot (2).PNG", Some("my knot (2).PNG")),
            ("結び目.jpg", Some("結び目.jpg")),
            ("a<b>\"c\".txt", Some("a_b__c_.txt")),
            ("100%&.txt", Some("100__.txt")),
            ("no ending", Some("no ending")),
            ("a..b", Some("a..b")),
            ("", None),
            (".", None),
            ("..", None),
            (".htaccess", None),
            ("../shop.db", None),
            ("a/b", None),
            ("/etc/passwd", None),
            ("..\\shop.db", None),
            ("C:\\x", None),
            ("nul\0.txt", None),
            ("line\nbreak", None),
        ] {
            assert_eq!(accept(name).ok().as_deref(), want, "{name:?}");
        }
        assert!(accept(&"x".repeat(200)).is_ok());
        assert!(accept(&"x".repeat(201)).is_err());
    }

    #[test]
    fn an_accepted_name_is_accepted_as_it_is() {
        for name in ["a<b>.txt", "100%.txt", "船 & Co.jpg"] {
            let once = accept(name).unwrap();
            assert_eq!(accept(&once).as_ref(), Ok(&once));
        }
    }

    #[test]
    fn only_harmless_types_are_shown_in_place() {
        for (name, want) in [
            ("a.png", ("image/png", true)),
            ("a.JPEG", ("image/jpeg", true)),
            ("a.txt", ("text/plain; charset=utf-8", true)),
            ("a.html", ("application/octet-stream", false)),
            ("a.svg", ("application/octet-stream", false)),
            ("a.png.html", ("application/octet-stream", false)),
            ("png", ("application/octet-stream", false)),
        ] {
            assert_eq!(content_type(name), want, "{name}");
        }
    }

    #[test]
    fn dispositions() {
        for (name, inline, want) in [
            (
                "a b.png",
                true,
                "inline; filename=\"a b.png\"; filename*=UTF-8''a%20b.png",
            ),
            (
                "船.bin",
                false,
                "attachment; filename=\"_.bin\"; filename*=UTF-8''%E8%88%B9.bin",
            ),
            (
                "a\"b",
                false,
                "attachment; filename=\"a_b\"; filename*=UTF-8''a%22b",
            ),
        ] {
            assert_eq!(disposition(name, inline), want);
        }
    }

    #[test]
    fn a_taken_name_gets_a_number_and_nothing_is_replaced() {
        assert_eq!(numbered("a.tar.gz", 2), "a.tar-2.gz");
        assert_eq!(numbered("a", 3), "a-3");
        let dir = tempfile::tempdir().unwrap();
        let uploads = Uploads::open(dir.path()).unwrap();
        for (bytes, want) in [(b"one", "k.png"), (b"two", "k-2.png"), (b"six", "k-3.png")] {
            let mut incoming = uploads.receive().unwrap();
            incoming.write(bytes).unwrap();
            assert_eq!(incoming.keep("k.png").unwrap(), want);
            assert_eq!(uploads.read(want).unwrap().unwrap(), bytes);
        }
        let names: Vec<String> = uploads
            .list()
            .unwrap()
            .into_iter()
            .map(|u| u.name)
            .collect();
        assert_eq!(names, ["k-2.png", "k-3.png", "k.png"]);
    }

    #[test]
    fn what_is_not_kept_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let uploads = Uploads::open(dir.path()).unwrap();
        let mut incoming = uploads.receive().unwrap();
        incoming.write(b"half").unwrap();
        drop(incoming);
        assert_eq!(uploads.list().unwrap(), []);
        assert_eq!(
            std::fs::read_dir(dir.path().join("incoming"))
                .unwrap()
                .count(),
            0
        );
    }

    #[test]
    fn what_a_crash_left_is_removed_at_the_next_start() {
        let dir = tempfile::tempdir().unwrap();
        let incoming = dir.path().join("incoming");
        std::fs::create_dir(&incoming).unwrap();
        // Pids end at 2^22 (proc_pid_sys_kernel(5)); 1 always runs.
        for name in ["99999999-0", &format!("{}-3", std::process::id()), "1-0"] {
            std::fs::write(incoming.join(name), "half").unwrap();
        }
        Uploads::open(dir.path()).unwrap();
        let left: Vec<_> = std::fs::read_dir(&incoming)
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(left, ["1-0"]);
    }

    #[test]
    fn links_and_directories_are_no_uploads() {
        let dir = tempfile::tempdir().unwrap();
        let uploads = Uploads::open(dir.path()).unwrap();
        std::fs::write(dir.path().join("secret"), "s").unwrap();
        std::os::unix::fs::symlink("../secret", dir.path().join("uploads/link")).unwrap();
        std::fs::create_dir(dir.path().join("uploads/dir")).unwrap();
        assert_eq!(uploads.list().unwrap(), []);
        for name in ["link", "dir", "../secret", "missing"] {
            assert_eq!(uploads.read(name).unwrap(), None, "{name}");
        }
    }
}
