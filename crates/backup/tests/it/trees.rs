//! Directories: everything in, everything out.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use mainstay_backup::{ItemKind, Outcome, Selector, Target, Weight};
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps};

use crate::bench::{Bench, FILES, look, noise, quiet, request, restore, run, run_ok};

fn set_time(path: &Path, seconds: i64, nanoseconds: i64) {
    let time = Timespec {
        tv_sec: seconds,
        tv_nsec: nanoseconds,
    };
    let times = Timestamps {
        last_access: time,
        last_modification: time,
    };
    rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

/// A tree with everything that is odd about trees.
pub(crate) fn odd_tree(root: &Path) {
    fs::create_dir_all(root.join("empty directory")).unwrap();
    fs::create_dir_all(root.join("deep/er/still")).unwrap();
    let names: Vec<Vec<u8>> = vec![
        b"plain".to_vec(),
        b"with space".to_vec(),
        b"new\nline".to_vec(),
        b"quote\" back\\slash 'single' `tick`".to_vec(),
        b"tab\tbell\x07\x01".to_vec(),
        b"not utf-8 \xff\xfe".to_vec(),
        b"cut utf-8 \xe4\xb8".to_vec(),
        "中文名字".as_bytes().to_vec(),
        b"-rf".to_vec(),
        b"..hidden".to_vec(),
        b"\\n".to_vec(),
        b"\\xff".to_vec(),
        vec![b'x'; 255],
    ];
    for name in &names {
        let path = root.join(OsStr::from_bytes(name));
        fs::write(&path, name).unwrap();
        set_time(&path, 1_234_567_890, 123_456_789);
        fs::write(root.join("deep").join(OsStr::from_bytes(name)), b"again").unwrap();
    }
    fs::write(root.join("empty"), b"").unwrap();
    fs::write(root.join("large"), noise(3_000_000, 1)).unwrap();
    fs::write(root.join("deep/er/still/twin"), noise(3_000_000, 1)).unwrap();
    fs::write(root.join("sparse"), vec![0; 2_000_000]).unwrap();
    fs::hard_link(root.join("large"), root.join("deep/linked")).unwrap();
    symlink("plain", root.join("link")).unwrap();
    symlink("/nowhere/at all", root.join("broken link")).unwrap();
    symlink(OsStr::from_bytes(b"not utf-8 \xff"), root.join("odd link")).unwrap();
    symlink("deep", root.join("link to directory")).unwrap();
    symlink(".", root.join("link to itself")).unwrap();
    for (name, mode) in [
        ("plain", 0o600),
        ("with space", 0o4755),
        ("empty", 0o444),
        ("deep/er", 0o2750),
        ("empty directory", 0o1777),
        ("-rf", 0o000),
    ] {
        fs::set_permissions(root.join(name), fs::Permissions::from_mode(mode)).unwrap();
    }
    set_time(&root.join("empty"), -1_000_000, 250_000_000);
    set_time(&root.join("link"), 1_000_000_000, 1);
    set_time(&root.join("deep/er"), 1_500_000_000, 999_999_999);
    set_time(root, 1_600_000_000, 5);
}

#[test]
fn an_odd_tree_comes_back_byte_for_byte() {
    let bench = Bench::new();
    odd_tree(&bench.path("data"));
    let before = look(&bench.path("data"));
    let backups = bench.ready(FILES);
    let id = run_ok(&backups, "files");
    let report = restore(
        &backups,
        &request("files", Target::Into(bench.path("back"))),
    )
    .unwrap();
    let after = look(&bench.path("back"));
    for (path, seen) in &before {
        assert!(after.get(path) == Some(seen), "{path:?} differs");
    }
    assert_eq!(before.len(), after.len());
    assert!(report.issues.is_empty(), "{:?}", report.issues);
    // Links count, and a run, a plan and a restore count alike.
    let files = before
        .values()
        .filter(|seen| seen.kind != "directory")
        .count();
    assert_eq!(report.files, files as u64);
    let listed = backups.list(Some("files"), None, &quiet()).unwrap();
    assert_eq!(listed.snapshots[0].snapshot.files, files as u64);

    let (located, items) = backups
        .show("files", &Selector::from(&id[..12]), None, &quiet())
        .unwrap();
    assert_eq!(located.snapshot.id, id);
    assert_eq!(items.len(), before.len());
    assert!(items.iter().all(|item| before.contains_key(&item.path)));
    assert!(
        items
            .iter()
            .any(|item| item.kind == ItemKind::Symlink(PathBuf::from("/nowhere/at all")))
    );
    bench.assert_clean();
}

#[test]
fn an_unchanged_tree_adds_next_to_nothing_and_a_changed_file_is_seen() {
    let bench = Bench::new();
    odd_tree(&bench.path("data"));
    let backups = bench.ready(FILES);
    let first = run(&backups, "files");
    assert!(first.repositories[0].added > 3_000_000);
    bench.advance(1);
    let second = run(&backups, "files");
    assert!(
        second.repositories[0].added < 20_000,
        "{}",
        second.repositories[0].added
    );
    // Same size, same mtime: only the ctime tells.
    let path = bench.path("data/plain");
    let time = fs::metadata(&path).unwrap().modified().unwrap();
    fs::write(&path, b"PLAIN").unwrap();
    fs::File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .set_modified(time)
        .unwrap();
    bench.advance(1);
    run_ok(&backups, "files");
    restore(
        &backups,
        &request("files", Target::Into(bench.path("back"))),
    )
    .unwrap();
    assert_eq!(fs::read(bench.path("back/plain")).unwrap(), b"PLAIN");
    let listing = backups.list(Some("files"), None, &quiet()).unwrap();
    assert_eq!(listing.snapshots.len(), 3);
    assert!(listing.failed.is_empty());
}

#[test]
fn excluded_and_special_files_are_left_out_and_said() {
    let bench = Bench::new();
    let data = bench.path("data");
    fs::create_dir_all(data.join("cache/deep")).unwrap();
    fs::create_dir_all(data.join("sub/cache")).unwrap();
    for name in ["a.txt", "a.tmp", "cache/x", "cache/deep/y", "sub/cache/z"] {
        fs::write(data.join(name), name).unwrap();
    }
    let _socket = UnixListener::bind(data.join("socket")).unwrap();
    rustix::fs::mknodat(
        CWD,
        data.join("pipe"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    let backups = bench.ready(
        "[backup.files]\nfiles = { path = \"@/data\", exclude = [\"*.tmp\", \"/cache\"] }\nto = [\"local\"]\n",
    );
    let report = run(&backups, "files");
    // Nothing that can be stored is missing.
    assert_eq!(report.outcome, Outcome::Ok);
    let issues = &report.repositories[0].issues;
    let said: Vec<String> = issues
        .iter()
        .map(|issue| {
            format!(
                "{} {}",
                issue.path.file_name().unwrap().display(),
                issue.what
            )
        })
        .collect();
    assert_eq!(
        said,
        [
            "pipe is a named pipe; not stored",
            "socket is a socket; not stored"
        ]
    );
    restore(
        &backups,
        &request("files", Target::Into(bench.path("back"))),
    )
    .unwrap();
    let names: Vec<String> = look(&bench.path("back"))
        .keys()
        .map(|path| path.display().to_string())
        .collect();
    assert_eq!(names, ["", "a.txt", "sub", "sub/cache", "sub/cache/z"]);
}

#[test]
fn a_link_as_the_directory_itself_is_followed_and_kept() {
    let bench = Bench::new();
    fs::create_dir(bench.path("real")).unwrap();
    fs::write(bench.path("real/file"), "old").unwrap();
    symlink(bench.path("real"), bench.path("data")).unwrap();
    let backups = bench.ready(FILES);
    run_ok(&backups, "files");
    fs::write(bench.path("real/file"), "new").unwrap();
    let report = restore(&backups, &request("files", Target::InPlace)).unwrap();
    assert!(
        fs::symlink_metadata(bench.path("data"))
            .unwrap()
            .is_symlink()
    );
    assert_eq!(fs::read(bench.path("data/file")).unwrap(), b"old");
    assert_eq!(
        fs::read(report.set_aside[0].to.join("file")).unwrap(),
        b"new"
    );
}

#[test]
fn extended_attributes_come_back() {
    let bench = Bench::new();
    fs::create_dir(bench.path("data")).unwrap();
    let path = bench.path("data/file");
    fs::write(&path, "x").unwrap();
    let value = [0u8, 255, 7, 10];
    if let Err(error) = rustix::fs::lsetxattr(
        &path,
        "user.mainstay",
        &value,
        rustix::fs::XattrFlags::empty(),
    ) {
        eprintln!("skipped: no extended attributes here: {error}");
        return;
    }
    let backups = bench.ready(FILES);
    run_ok(&backups, "files");
    restore(
        &backups,
        &request("files", Target::Into(bench.path("back"))),
    )
    .unwrap();
    let mut buffer = [0u8; 64];
    let length =
        rustix::fs::lgetxattr(bench.path("back/file"), "user.mainstay", &mut buffer).unwrap();
    assert_eq!(&buffer[..length], value);
}

#[test]
fn a_missing_or_wrong_source_is_a_failed_run_that_says_so() {
    let bench = Bench::new();
    let backups = bench.ready(FILES);
    let report = run(&backups, "files");
    assert_eq!(report.outcome, Outcome::Failed);
    let error = report.repositories[0].error.as_ref().unwrap();
    assert_eq!(error.kind(), mainstay_backup::ErrorKind::SourceMissing);
    assert!(error.help().unwrap().contains("files.path"));
    fs::write(bench.path("data"), "a file").unwrap();
    let report = run(&backups, "files");
    assert!(
        report.repositories[0]
            .error
            .as_ref()
            .unwrap()
            .to_string()
            .contains("not a directory")
    );
    let status = backups.status().unwrap().remove(0);
    assert!(!status.is_well());
    assert_eq!(status.last_outcome, Some(Outcome::Failed));
    assert!(status.last_error.unwrap().contains("not a directory"));
    assert!(
        backups
            .list(None, None, &quiet())
            .unwrap()
            .snapshots
            .is_empty()
    );
}

#[test]
fn files_that_change_meanwhile_are_told_apart() {
    use mainstay_backup::config::SourceConfig;
    use mainstay_backup::source::{Content, Context, Source, files::Files};
    use std::io::Read;

    let bench = Bench::new();
    let data = bench.path("data");
    fs::create_dir(&data).unwrap();
    for name in ["a-grows", "b-shrinks", "c-vanishes", "d-stays"] {
        fs::write(data.join(name), vec![b'x'; 100_000]).unwrap();
    }
    let backups = bench.backups(FILES);
    let SourceConfig::Files { path, exclude } = &backups.config().backups[0].source else {
        panic!("not files");
    };
    let progress = quiet();
    let context = Context {
        staging: bench.directory.path(),
        progress: &progress,
    };
    let reading = Files::new(path.clone(), exclude.clone())
        .open(&context)
        .unwrap();
    let mut lengths = Vec::new();
    for entry in reading.entries() {
        if entry.path == data {
            fs::remove_file(data.join("c-vanishes")).unwrap();
        }
        let Content::Late(open) = entry.content else {
            continue;
        };
        let (meta, mut reader) = open().unwrap();
        assert_eq!(meta.size, 100_000);
        let name = entry.path.file_name().unwrap().to_str().unwrap().to_owned();
        let changed = fs::File::options().append(true).open(&entry.path).unwrap();
        match name.as_str() {
            "a-grows" => changed.set_len(150_000).unwrap(),
            "b-shrinks" => changed.set_len(50_000).unwrap(),
            _ => {}
        }
        let mut bytes = Vec::new();
        let read = reader.read_to_end(&mut bytes).is_ok();
        lengths.push((name, read, bytes.len()));
    }
    // What was promised when the file was opened, or nothing.
    let expected = [
        ("a-grows", true, 100_000),
        ("b-shrinks", false, 50_000),
        ("d-stays", true, 100_000),
    ];
    assert_eq!(
        lengths,
        expected.map(|(name, read, length)| (name.to_owned(), read, length))
    );
    let issues: Vec<(Weight, String)> = reading
        .take_issues()
        .into_iter()
        .map(|issue| {
            (
                issue.weight,
                format!(
                    "{} {}",
                    issue.path.file_name().unwrap().display(),
                    issue.what
                ),
            )
        })
        .collect();
    assert_eq!(issues.len(), 3, "{issues:?}");
    assert_eq!(issues[0].0, Weight::Missing);
    assert!(issues[0].1.starts_with("b-shrinks became shorter"));
    assert!(issues[1].1.starts_with("a-grows changed while"));
    assert!(issues[2].1.starts_with("c-vanishes vanished"));
}

/// Not a test of its own for root: the one below runs it as somebody else.
#[test]
fn helper_that_may_not_read_everything() {
    if rustix::process::geteuid().is_root() {
        return;
    }
    let bench = Bench::new();
    let data = bench.path("data");
    fs::create_dir_all(data.join("closed")).unwrap();
    for name in ["open", "secret", "closed/inside"] {
        fs::write(data.join(name), name).unwrap();
    }
    let backups = bench.ready(&format!("{FILES}keep = {{ last = 1 }}\n"));
    let complete = run_ok(&backups, "files");
    let close = |name: &str, mode| {
        fs::set_permissions(data.join(name), fs::Permissions::from_mode(mode)).unwrap();
    };
    close("secret", 0o000);
    close("closed", 0o000);
    bench.advance(1);
    let report = run(&backups, "files");
    assert_eq!(report.outcome, Outcome::Partial);
    let done = &report.repositories[0];
    let said: Vec<String> = done
        .issues
        .iter()
        .map(|issue| {
            format!(
                "{} {}",
                issue.path.file_name().unwrap().display(),
                issue.what
            )
        })
        .collect();
    assert_eq!(
        said,
        [
            "closed permission denied; not stored",
            "secret permission denied; not stored"
        ]
    );
    // It says so itself, removes nothing, and is not what "latest" means.
    assert!(done.forgotten.is_empty());
    let listing = backups.list(None, None, &quiet()).unwrap();
    let flags: Vec<bool> = listing
        .snapshots
        .iter()
        .map(|s| s.snapshot.complete)
        .collect();
    assert_eq!(flags, [true, false]);
    let latest = backups
        .find("files", &Selector::Latest, None, &quiet())
        .unwrap();
    assert_eq!(latest.snapshot.id, complete);
    let status = backups.status().unwrap().remove(0);
    assert!(status.last_error.unwrap().contains("(and 1 more)"));
    restore(
        &backups,
        &request("files", Target::Into(bench.path("back"))),
    )
    .unwrap();
    assert_eq!(fs::read(bench.path("back/secret")).unwrap(), b"secret");
    close("closed", 0o755);
    close("secret", 0o644);
    bench.advance(1);
    // The complete run after it removes both.
    run_ok(&backups, "files");
    assert_eq!(
        backups.list(None, None, &quiet()).unwrap().snapshots.len(),
        1
    );
    // A repository that may not be written to says who is in the way.
    fs::set_permissions(
        bench.path("repo/snapshots"),
        fs::Permissions::from_mode(0o500),
    )
    .unwrap();
    bench.advance(1);
    let report = run(&backups, "files");
    let error = report.repositories[0].error.as_ref().unwrap();
    assert_eq!(error.kind(), mainstay_backup::ErrorKind::Denied, "{error}");
    assert!(error.to_string().contains("repo/snapshots"), "{error}");
    assert_eq!(report.outcome, Outcome::Failed);
    eprintln!("looked at as somebody who is not root");
}

#[test]
fn what_may_not_be_read_makes_the_run_partial() {
    let binary = std::env::current_exe().unwrap();
    let mut command = if rustix::process::geteuid().is_root() {
        let mut command = std::process::Command::new("setpriv");
        command
            .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
            .arg(&binary);
        command
    } else {
        std::process::Command::new(&binary)
    };
    let output = command
        .args([
            "--exact",
            "trees::helper_that_may_not_read_everything",
            "--nocapture",
        ])
        .output();
    let Ok(output) = output else {
        eprintln!("skipped: setpriv(1) is not installed");
        return;
    };
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if said.contains("setpriv: failed to execute") {
        eprintln!("skipped: somebody else may not run {}", binary.display());
        return;
    }
    assert!(output.status.success(), "{said}");
    assert!(said.contains("looked at as somebody"), "{said}");
}
