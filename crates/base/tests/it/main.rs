//! What base does to the file system.
#![allow(clippy::unwrap_used)]

use std::os::unix::fs::PermissionsExt;

use mainstay_base::config::Document;
use mainstay_base::fs;

fn mode(path: &std::path::Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn replace_puts_the_new_bytes_and_mode_and_leaves_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state");
    fs::replace(&path, b"one", 0o600).unwrap();
    fs::replace(&path, b"two", 0o600).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), b"two");
    assert_eq!(mode(&path), 0o600);
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
}

#[test]
fn a_replace_that_fails_leaves_the_old_file_and_no_other() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("taken");
    std::fs::create_dir(&path).unwrap();
    std::fs::write(path.join("inside"), "x").unwrap();
    assert!(fs::replace(&path, b"new", 0o600).is_err());
    assert!(path.join("inside").exists());
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
    assert!(fs::replace(&directory.path().join("no/such/dir"), b"x", 0o600).is_err());
}

#[test]
fn private_directories_keep_an_existing_one_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a/b");
    fs::create_dir_private(&path, 0o700).unwrap();
    assert_eq!(mode(&path), 0o700);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    fs::create_dir_private(&path, 0o700).unwrap();
    assert_eq!(mode(&path), 0o755);
}

#[test]
fn a_config_that_cannot_be_read_says_why_and_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x.toml");
    let said = Document::load(&path).unwrap_err().to_string();
    assert!(
        said.contains("No such file") && said.contains("help: name the config with -c"),
        "{said}"
    );
    let said = Document::load(directory.path()).unwrap_err().to_string();
    assert!(said.contains("it is not a file"), "{said}");
    std::fs::write(&path, b"a = 1\nb = \"\xff\"\n").unwrap();
    let said = Document::load(&path).unwrap_err().to_string();
    assert!(said.contains("line 2 is not UTF-8"), "{said}");
    std::fs::write(&path, "\u{feff}schema = 1\n").unwrap();
    assert!(
        Document::load(&path).is_ok(),
        "a byte order mark is skipped"
    );
}
