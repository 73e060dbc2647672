//! How the socket comes and goes.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use mainstay_control::{Client, Kind, bind};

use crate::fake::{Rig, open_dir};

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn mode_and_group_are_as_asked() {
    let root = rustix::process::geteuid().is_root();
    for mode in [0o600, 0o660, 0o666, 0o700] {
        let dir = open_dir();
        let path = dir.path().join("s.sock");
        // Only root may give a file to any group.
        let group = if root {
            4711
        } else {
            rustix::process::getegid().as_raw()
        };
        let listener = bind(&path, mode, Some(group)).unwrap();
        let meta = fs::symlink_metadata(&path).unwrap();
        assert!(meta.file_type().is_socket());
        assert_eq!(
            (meta.mode() & 0o7777, meta.gid()),
            (mode, group),
            "{mode:o}"
        );
        assert_eq!(names(dir.path()), ["s.sock"]);
        let policy = listener.policy();
        assert_eq!(policy.own_uid, rustix::process::geteuid().as_raw());
        assert_eq!(
            policy.group,
            (mode & 0o020 != 0).then_some(group),
            "{mode:o}"
        );
        assert_eq!(policy.closed_to_others, mode & 0o002 == 0, "{mode:o}");
        drop(listener);
        assert!(names(dir.path()).is_empty());
    }
}

#[test]
fn the_policy_follows_the_file() {
    let dir = open_dir();
    let path = dir.path().join("s.sock");
    let listener = bind(&path, 0o660, None).unwrap();
    assert!(listener.policy().closed_to_others);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
    assert!(
        !listener.policy().closed_to_others,
        "somebody opened it to all"
    );
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(
        listener.policy().group,
        None,
        "somebody closed it to the group"
    );
    fs::rename(&path, dir.path().join("elsewhere")).unwrap();
    assert!(
        !listener.policy().closed_to_others,
        "a file out of sight proves nothing"
    );
}

#[test]
fn a_stale_socket_is_replaced() {
    let dir = open_dir();
    let path = dir.path().join("s.sock");
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    let listener = bind(&path, 0o600, None).unwrap();
    UnixStream::connect(&path).unwrap();
    assert_eq!(names(dir.path()), ["s.sock"]);
    drop(listener);
    assert!(names(dir.path()).is_empty());
}

#[test]
fn a_live_socket_is_refused() {
    let dir = open_dir();
    let path = dir.path().join("s.sock");
    let theirs = UnixListener::bind(&path).unwrap();
    let error = bind(&path, 0o600, None).unwrap_err();
    assert_eq!(
        (error.kind, error.exit_code()),
        (Kind::Locked, 6),
        "{error}"
    );
    assert!(error.message.contains("s.sock"), "{error}");
    assert!(
        error
            .message
            .contains(&format!("pid {}", std::process::id())),
        "{error}"
    );
    assert!(error.help.is_some());
    drop(UnixStream::connect(&path).expect("theirs is untouched"));
    assert_eq!(names(dir.path()), ["s.sock"]);
    drop(theirs);
}

#[test]
fn what_is_not_a_socket_stays() {
    let dir = open_dir();
    let file = dir.path().join("file");
    fs::write(&file, "precious").unwrap();
    let folder = dir.path().join("folder");
    fs::create_dir(&folder).unwrap();
    let link = dir.path().join("link");
    symlink("nowhere", &link).unwrap();
    for (path, says) in [
        (&file, "a file"),
        (&folder, "a directory"),
        (&link, "a symbolic link"),
    ] {
        let error = bind(path, 0o600, None).unwrap_err();
        assert_eq!(error.kind, Kind::Usage, "{error}");
        assert!(error.message.contains(says), "{error}");
        assert!(error.help.is_some());
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), "precious");
    assert_eq!(fs::read_link(&link).unwrap(), Path::new("nowhere"));
    assert_eq!(names(dir.path()), ["file", "folder", "link"]);
}

#[test]
fn a_missing_directory_is_named() {
    let dir = open_dir();
    let error = bind(&dir.path().join("missing/s.sock"), 0o600, None).unwrap_err();
    assert_eq!(error.kind, Kind::Failed);
    assert!(error.help.unwrap().contains("missing"));
}

#[test]
fn a_path_that_only_just_fits_works() {
    let dir = open_dir();
    let name = "x".repeat(107 - dir.path().as_os_str().len() - 1);
    let path = dir.path().join(&name);
    let listener = bind(&path, 0o600, None).unwrap();
    UnixStream::connect(&path).unwrap();
    drop(listener);
    assert!(names(dir.path()).is_empty());
    let error = bind(&dir.path().join(name + "x"), 0o600, None).unwrap_err();
    assert_eq!(error.kind, Kind::Usage, "{error}");
}

#[test]
fn a_long_directory_works() {
    let dir = open_dir();
    // Short enough for the socket, too long for the private directory it is made in.
    let parent = dir
        .path()
        .join("y".repeat(107 - dir.path().as_os_str().len() - 4));
    fs::create_dir(&parent).unwrap();
    let path = parent.join("s");
    assert!(path.as_os_str().len() <= 107);
    let listener = bind(&path, 0o600, None).unwrap();
    UnixStream::connect(&path).unwrap();
    drop(listener);
    assert!(names(&parent).is_empty());
}

#[test]
fn only_our_own_socket_is_removed() {
    let dir = open_dir();
    let path = dir.path().join("s.sock");
    let listener = bind(&path, 0o600, None).unwrap();
    fs::remove_file(&path).unwrap();
    let theirs = UnixListener::bind(&path).unwrap();
    drop(listener);
    assert_eq!(names(dir.path()), ["s.sock"]);
    drop(UnixStream::connect(&path).unwrap());
    drop(theirs);
}

#[test]
fn many_at_once_leave_one_winner() {
    let dir = open_dir();
    let path = dir.path().join("s.sock");
    drop(UnixListener::bind(&path).unwrap());
    let found: Vec<_> = std::thread::scope(|scope| {
        let running: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| bind(&path, 0o600, None)))
            .collect();
        running
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    let (winners, losers): (Vec<_>, Vec<_>) = found.into_iter().partition(Result::is_ok);
    assert_eq!(winners.len(), 1, "{losers:?}");
    for loser in losers {
        assert_eq!(loser.unwrap_err().kind, Kind::Locked);
    }
    UnixStream::connect(&path).unwrap();
    assert_eq!(names(dir.path()), ["s.sock"]);
    drop(winners);
    assert!(names(dir.path()).is_empty());
}

#[test]
fn a_daemon_killed_while_binding_is_no_obstacle() {
    let dir = open_dir();
    let path = dir.path().join("s.sock");
    let room = dir.path().join(".s.sock.making");
    fs::create_dir(&room).unwrap();
    fs::set_permissions(&room, fs::Permissions::from_mode(0o700)).unwrap();
    drop(UnixListener::bind(room.join("s")).unwrap());
    let listener = bind(&path, 0o600, None).unwrap();
    assert_eq!(names(dir.path()), ["s.sock"]);
    drop(listener);

    // One that others could enter is not trusted, and left as it is.
    fs::create_dir(&room).unwrap();
    fs::set_permissions(&room, fs::Permissions::from_mode(0o755)).unwrap();
    let error = bind(&path, 0o600, None).unwrap_err();
    assert_eq!(error.kind, Kind::Failed);
    assert!(error.message.contains(".s.sock.making"), "{error}");
    assert!(error.help.is_some());
    assert_eq!(names(dir.path()), [".s.sock.making"]);
}

#[tokio::test]
async fn nobody_there_is_told_apart() {
    let dir = open_dir();
    let missing = Client::new(dir.path().join("missing"))
        .ping()
        .await
        .unwrap_err();
    assert_eq!(missing.kind, Kind::NotReachable);
    assert!(missing.message.contains("no such socket"), "{missing}");

    let stale = dir.path().join("stale");
    drop(UnixListener::bind(&stale).unwrap());
    let stale = Client::new(stale).ping().await.unwrap_err();
    assert_eq!(stale.kind, Kind::NotReachable);
    assert!(stale.message.contains("nobody listens"), "{stale}");

    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    let file = Client::new(file).ping().await.unwrap_err();
    assert_eq!(file.kind, Kind::Usage);
    assert!(file.message.contains("not a socket"), "{file}");
}

#[tokio::test]
async fn something_else_listens_there() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let dir = open_dir();
    let path = dir.path().join("other");
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    let answers = [
        ("nonsense\r\n\r\n", Kind::NotReachable),
        ("", Kind::NotReachable),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi",
            Kind::Failed,
        ),
        (
            "HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\n\r\nhi",
            Kind::Failed,
        ),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 20\r\n\r\nhi",
            Kind::NotReachable,
        ),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 12\r\n\r\n{\"schema\":2}",
            Kind::OtherVersion,
        ),
        (
            "HTTP/1.1 500 No\r\ncontent-length: 12\r\n\r\n{\"schema\":2}",
            Kind::OtherVersion,
        ),
    ];
    for (answer, kind) in answers {
        let client = Client::new(&path);
        let asking = tokio::spawn(async move { client.ping().await });
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut question = [0; 1024];
        assert!(stream.read(&mut question).await.unwrap() > 0);
        stream.write_all(answer.as_bytes()).await.unwrap();
        drop(stream);
        let error = asking.await.unwrap().unwrap_err();
        assert_eq!(error.kind, kind, "{answer:?}: {error}");
        assert!(error.message.contains("other"), "{error}");
        assert!(error.help.is_some(), "{error}");
    }
}

#[tokio::test]
async fn a_served_socket_is_refused_to_the_next() {
    let rig = Rig::start();
    let path = rig.path.clone();
    let second = tokio::task::spawn_blocking(move || bind(&path, 0o600, None))
        .await
        .unwrap();
    assert_eq!(second.unwrap_err().kind, Kind::Locked);
    rig.client().ping().await.unwrap();
    rig.end().await;
}
