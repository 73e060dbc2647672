//! A scratch place with a config, and ways to compare trees.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;
use mainstay_backup::{
    Backups, Config, Error, Outcome, Progress, Quiet, RestoreReport, RestoreRequest, RunReport,
    Selector, Target,
};
use mainstay_base::config::Document;
use mainstay_base::{ManualClock, Resolver, Secrets};
use tempfile::TempDir;

pub(crate) const PASSWORD: &str = "correct horse";

/// A directory of its own, a clock that stands still, and one repository `local`.
pub(crate) struct Bench {
    pub(crate) directory: TempDir,
    pub(crate) clock: Arc<ManualClock>,
}

pub(crate) fn quiet() -> Arc<dyn Progress> {
    Arc::new(Quiet)
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
            clock: Arc::new(ManualClock::new("2026-11-22T03:00:00Z".parse().unwrap())),
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The backups of a config that has the repository `local` and this besides; `@` stands for the
    /// scratch directory.
    pub(crate) fn backups(&self, config: &str) -> Backups {
        self.backups_with(config, PASSWORD)
    }

    pub(crate) fn backups_with(&self, config: &str, password: &str) -> Backups {
        self.backups_in(config, password, self.directory.path(), "shop1")
    }

    /// The backups of another scratch directory.
    pub(crate) fn backups_at(&self, config: &str, directory: &Path) -> Backups {
        self.backups_in(config, PASSWORD, directory, "shop1")
    }

    /// The backups of another host that uses the same repository.
    pub(crate) fn backups_on(&self, host: &str, config: &str) -> Backups {
        self.backups_in(config, PASSWORD, self.directory.path(), host)
    }

    fn backups_in(&self, config: &str, password: &str, directory: &Path, host: &str) -> Backups {
        let text = format!(
            "[repository.local]\npath = \"@/repo\"\npassword = \"${{env.PASSWORD}}\"\n{config}"
        )
        .replace('@', directory.to_str().unwrap());
        let document = Document::parse("mainstay.toml", text).unwrap();
        let mut root = document.root();
        let config = Config::read(&mut root, host, &TimeZone::UTC);
        root.finish();
        let said = document.take_diagnostics();
        assert!(!said.has_errors(), "{said}");
        let environment = BTreeMap::from([("PASSWORD".to_owned(), password.to_owned())]);
        Backups::new(
            config,
            directory.join(if host == "shop1" {
                "state".to_owned()
            } else {
                format!("state-{host}")
            }),
            Resolver::new(Secrets::default(), environment),
            Arc::clone(&self.clock) as Arc<dyn mainstay_base::Clock>,
        )
        .unwrap()
    }

    /// The same with an initialised repository.
    pub(crate) fn ready(&self, config: &str) -> Backups {
        let backups = self.backups(config);
        backups.init("local", &quiet()).unwrap();
        backups
    }

    /// Sets the clock right.
    pub(crate) fn clock_now(&self) {
        self.clock.set(jiff::Timestamp::now());
    }

    pub(crate) fn advance(&self, hours: u64) {
        self.clock.advance(Duration::from_secs(hours * 3600));
    }

    /// No staging directory is left anywhere.
    pub(crate) fn assert_clean(&self) {
        let mut stack = vec![self.directory.path().to_owned()];
        while let Some(directory) = stack.pop() {
            for entry in fs::read_dir(&directory).unwrap().flatten() {
                let name = entry.file_name().to_string_lossy().into_owned();
                assert!(
                    !name.contains(".mainstay-restore"),
                    "{}",
                    entry.path().display()
                );
                if entry.file_type().unwrap().is_dir() && name != "repo" {
                    stack.push(entry.path());
                }
            }
        }
        let staging = self.path("state/staging");
        if staging.exists() {
            assert_eq!(fs::read_dir(staging).unwrap().count(), 0);
        }
    }
}

pub(crate) const FILES: &str = "[backup.files]\nfiles = { path = \"@/data\" }\nto = [\"local\"]\n";
pub(crate) const DATABASE: &str =
    "[backup.db]\nsqlite = { path = \"@/shop.db\" }\nto = [\"local\"]\n";

pub(crate) fn run(backups: &Backups, name: &str) -> RunReport {
    backups.run(name, &quiet()).unwrap()
}

pub(crate) fn run_ok(backups: &Backups, name: &str) -> String {
    let report = run(backups, name);
    assert_eq!(report.outcome, Outcome::Ok, "{report:#?}");
    report.repositories[0].snapshot.clone().unwrap().id
}

pub(crate) fn request(backup: &str, target: Target) -> RestoreRequest {
    RestoreRequest {
        backup: backup.to_owned(),
        snapshot: Selector::Latest,
        repository: None,
        target,
        only: Vec::new(),
    }
}

pub(crate) fn restore(backups: &Backups, request: &RestoreRequest) -> Result<RestoreReport, Error> {
    let plan = backups.plan_restore(request, &quiet())?;
    backups.restore(&plan, &quiet())
}

/// Everything that a copy of a tree must have in common with it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) kind: &'static str,
    pub(crate) mode: u32,
    pub(crate) mtime: (i64, i64),
    pub(crate) content: Vec<u8>,
    pub(crate) links: u64,
}

/// What is below a directory, by its relative path; the directory itself is the empty path.
pub(crate) fn look(root: &Path) -> BTreeMap<PathBuf, Seen> {
    let mut seen = BTreeMap::new();
    let mut stack = vec![root.to_owned()];
    while let Some(path) = stack.pop() {
        let metadata = fs::symlink_metadata(&path).unwrap();
        let kind = metadata.file_type();
        let (kind, content) = if kind.is_symlink() {
            use std::os::unix::ffi::OsStringExt;
            let target = fs::read_link(&path).unwrap();
            ("symlink", target.into_os_string().into_vec())
        } else if kind.is_dir() {
            stack.extend(fs::read_dir(&path).unwrap().map(|e| e.unwrap().path()));
            ("directory", Vec::new())
        } else {
            ("file", fs::read(&path).unwrap())
        };
        seen.insert(
            path.strip_prefix(root).unwrap().to_owned(),
            Seen {
                kind,
                mode: metadata.permissions().mode() & 0o7777,
                mtime: (metadata.mtime(), metadata.mtime_nsec()),
                content,
                links: if kind == "file" { metadata.nlink() } else { 0 },
            },
        );
    }
    seen
}

/// Bytes that do not compress and are always the same (splitmix64).
pub(crate) fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(length + 8);
    let mut state = seed << 32;
    while bytes.len() < length {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bytes.extend((z ^ (z >> 31)).to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}
