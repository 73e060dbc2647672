//! Repositories in a bucket: of a real server of S3, which checks each signature, and of servers that
//! refuse, are busy, cut connections or are none.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};

use mainstay_backup::{Backups, Depth, Error, ErrorKind, Outcome, Target};

use crate::bench::{Bench, PASSWORD, look, noise, quiet, request, restore, run, run_ok};
use crate::places::{Server, files, free_port, whole_life};
use crate::trees::odd_tree;

/// Where `cargo xtask test` puts it.
const RCLONE: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/../tools/bin/rclone");
const ID: &str = "AKIA+shop.1";
/// With all that a signature could stumble over.
const SECRET: &str = "wJalr/XUtn+FEMI=K7 %2F&<bPxRfi>?\"'ü";

/// A server with the bucket `shop`, in `s3/shop`.
fn s3_server(bench: &Bench) -> Option<Server> {
    if !Path::new(RCLONE).exists() {
        println!(
            "SKIPPED: there is no {RCLONE} (cargo xtask test installs it, where the network is)"
        );
        return None;
    }
    fs::create_dir_all(bench.path("s3/shop")).unwrap();
    let port = free_port();
    let mut command = Command::new(RCLONE);
    command
        .args(["serve", "s3", "--config", "", "--addr"])
        .arg(format!("127.0.0.1:{port}"))
        .args(["--auth-key", &format!("{ID},{SECRET}")])
        .arg(bench.path("s3"))
        .env_clear()
        .env("HOME", bench.directory.path());
    Some(Server::start(&mut command, port))
}

/// A config with the repository `cloud` behind that port; the keys are in files, and the environment of
/// the bench has the password alone.
fn cloud(bench: &Bench, port: u16) -> Backups {
    cloud_at(bench, port, "shop", "backup/all")
}

fn cloud_at(bench: &Bench, port: u16, bucket: &str, prefix: &str) -> Backups {
    let key = |name: &str, text: &str| {
        let file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(bench.path(name));
        // Some tests have keys of their own.
        if let Ok(mut file) = file {
            file.write_all(text.as_bytes()).unwrap();
        }
    };
    key("id", ID);
    key("secret", SECRET);
    bench.backups(&format!(
        "[repository.cloud]\npassword = \"${{env.PASSWORD}}\"\n\
         s3 = {{ endpoint = \"http://127.0.0.1:{port}\", bucket = \"{bucket}\", prefix = '''{prefix}''', access_key = {{ file = \"@/id\" }}, secret_key = {{ file = \"@/secret\" }} }}\n\
         [backup.files]\nfiles = {{ path = \"@/data\" }}\nto = [\"cloud\"]\nkeep = {{ last = 1, verified = 0 }}\n"
    ))
}

/// Stock restic on the repository through S3, if it is installed.
fn restic(bench: &Bench, port: u16, arguments: &[&str]) -> Option<Output> {
    let output = Command::new("restic")
        .args(["--no-cache", "-r"])
        .arg(format!("s3:http://127.0.0.1:{port}/shop/backup/all"))
        .args(arguments)
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .env("HOME", bench.directory.path())
        .env("RESTIC_PASSWORD", PASSWORD)
        .env("AWS_ACCESS_KEY_ID", ID)
        .env("AWS_SECRET_ACCESS_KEY", SECRET)
        .output();
    let Ok(output) = output else {
        println!("SKIPPED: restic is not installed");
        return None;
    };
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    Some(output)
}

fn sound(backups: &Backups) {
    let verified = backups
        .verify(&["files".to_owned()], Depth::All, &quiet())
        .unwrap();
    assert!(verified.is_sound(), "{verified:#?}");
}

fn listed(backups: &Backups) -> usize {
    let listed = backups.list(None, Some("cloud"), &quiet()).unwrap();
    assert!(listed.failed.is_empty(), "{:?}", listed.failed);
    listed.snapshots.len()
}

/// What a listing fails with.
fn list_error(backups: &Backups) -> Error {
    let mut listed = backups.list(None, Some("cloud"), &quiet()).unwrap();
    listed.failed.remove(0).1
}

#[test]
fn a_bucket_is_a_repository_that_stock_restic_reads_and_writes() {
    let bench = Bench::new();
    let Some(server) = s3_server(&bench) else {
        return;
    };
    files(&bench);
    let backups = cloud(&bench, server.port);
    whole_life(&bench, &backups, "cloud");
    let Some(checked) = restic(&bench, server.port, &["check", "--read-data"]) else {
        return;
    };
    let said = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert!(said.contains("no errors"), "{said}");
    // What restic wrote there, in larger files than ours.
    fs::write(bench.path("huge"), noise(70_000_000, 4)).unwrap();
    let huge = bench.path("huge");
    let huge = huge.to_str().unwrap();
    restic(&bench, server.port, &["backup", "--pack-size", "64", huge]);
    sound(&backups);
    bench.advance(1);
    fs::copy(huge, bench.path("data/huge")).unwrap();
    let report = run(&backups, "files");
    assert_eq!(report.outcome, Outcome::Ok, "{report:#?}");
    assert!(
        report.repositories[0].added < 20_000_000,
        "restic's data is found again: {report:#?}"
    );
}

#[test]
fn keys_and_buckets_that_are_wrong_are_told_with_what_to_do() {
    let bench = Bench::new();
    let Some(server) = s3_server(&bench) else {
        return;
    };
    files(&bench);
    let told = |backups: &Backups, kind: ErrorKind, code: &str, advice: &str| {
        for error in [
            backups.init("cloud", &quiet()).unwrap_err(),
            list_error(backups),
        ] {
            assert_eq!(error.kind(), kind, "{error}");
            assert!(error.to_string().contains(code), "{error}");
            assert!(
                error.help().unwrap_or_default().contains(advice),
                "{error:?}"
            );
            let all = format!("{error:?}{error}");
            assert!(!all.contains(SECRET) && !all.contains("WRONG"), "{all}");
        }
    };
    for (name, code) in [
        ("id", "InvalidAccessKeyId"),
        ("secret", "SignatureDoesNotMatch"),
    ] {
        let backups = cloud(&bench, server.port);
        fs::write(bench.path(name), "WRONG").unwrap();
        told(&backups, ErrorKind::Denied, code, "s3.secret_key");
        fs::remove_file(bench.path(name)).unwrap();
    }
    let backups = cloud_at(&bench, server.port, "shpo", "");
    told(
        &backups,
        ErrorKind::Io,
        "NoSuchBucket",
        "create the bucket `shpo`",
    );
    fs::write(bench.path("id"), "two words").unwrap();
    told(&backups, ErrorKind::Secret, "s3.access_key", "");
    fs::write(bench.path("id"), ID).unwrap();
    let nobody = cloud(&bench, free_port());
    let error = nobody.init("cloud", &quiet()).unwrap_err();
    assert!(error.help().unwrap().contains("s3.endpoint"), "{error:?}");
}

#[test]
fn odd_characters_in_a_prefix_are_signed_sent_and_read_again() {
    let bench = Bench::new();
    let Some(server) = s3_server(&bench) else {
        return;
    };
    odd_tree(&bench.path("data"));
    let prefix = "it's \"a\" <back up> & ä+ö=%25;ü/#1?x, (~*:$!)";
    let backups = cloud_at(&bench, server.port, "shop", prefix);
    backups.init("cloud", &quiet()).unwrap();
    run_ok(&backups, "files");
    assert!(bench.path("s3/shop").join(prefix).join("config").exists());
    let again = cloud_at(&bench, server.port, "shop", prefix);
    assert_eq!(listed(&again), 1);
    sound(&again);
    let into = bench.path("back");
    restore(&again, &request("files", Target::Into(into.clone()))).unwrap();
    assert!(look(&bench.path("data")) == look(&into), "the trees differ");
}

#[test]
fn lists_of_more_than_a_thousand_are_read_to_their_end() {
    let bench = Bench::new();
    let Some(server) = s3_server(&bench) else {
        return;
    };
    odd_tree(&bench.path("data"));
    let backups = cloud(&bench, server.port);
    backups.init("cloud", &quiet()).unwrap();
    run_ok(&backups, "files");
    drop(server);
    // A server gives a thousand at once. What lies there unused is told one by one.
    let more = 2345;
    for number in 0..more {
        let directory = bench.path(&format!("s3/shop/backup/all/data/{:02x}", number % 256));
        fs::create_dir_all(&directory).unwrap();
        let name = format!("{:02x}{number:062x}", number % 256);
        fs::write(directory.join(name), "").unwrap();
    }
    let server = s3_server(&bench).unwrap();
    let backups = cloud(&bench, server.port);
    let verified = backups.verify(&[], Depth::Structure, &quiet()).unwrap();
    let found = verified
        .repositories
        .iter()
        .find(|one| one.repository == "cloud")
        .unwrap();
    let unused = found
        .findings
        .iter()
        .filter(|finding| !finding.damage && finding.what.contains("not referenced"));
    assert_eq!(unused.count(), more, "{:?}", found.error);
}

/// What becomes of a request.
#[derive(Clone)]
enum Fate {
    /// It is passed on, and its answer back.
    Passed,
    /// It is answered without reading its body; then the connection is closed.
    Refused(String),
    /// The connection is closed in the midst of its body.
    CutOff,
    /// The connection is closed in the midst of its answer.
    HalfAnswered,
}

/// An answer with this status, and headers if any, and an error as S3 has it.
fn refusal(status: &str, code: &str, said: &str) -> Fate {
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code><Message>{said}</Message></Error>"
    );
    Fate::Refused(format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/xml\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    ))
}

/// A server before the real one, which decides what becomes of each request: by its number, its first
/// line, and how often that was there before.
struct Rogue {
    port: u16,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Rogue {
    fn before(
        real: u16,
        fate: impl Fn(usize, &str, usize) -> Fate + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen: Arc<Mutex<Vec<String>>> = Arc::default();
        let fate = Arc::new(fate);
        let known = Arc::clone(&seen);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (seen, fate) = (Arc::clone(&known), Arc::clone(&fate));
                std::thread::spawn(move || {
                    // What fails here is a connection that the other side has closed.
                    let _ = one(client, real, |line| {
                        let mut seen = seen.lock().unwrap();
                        let before = seen.iter().filter(|other| *other == line).count();
                        seen.push(line.to_owned());
                        fate(seen.len(), line, before)
                    });
                });
            }
        });
        Self { port, seen }
    }

    /// How often a request was there whose first line begins so.
    fn count(&self, start: &str) -> usize {
        let seen = self.seen.lock().unwrap();
        seen.iter().filter(|line| line.starts_with(start)).count()
    }
}

/// One request of one connection.
fn one(client: TcpStream, real: u16, fate: impl Fn(&str) -> Fate) -> std::io::Result<()> {
    let mut writer = client.try_clone()?;
    let mut reader = BufReader::new(client);
    let (mut head, mut length, mut asks) = (Vec::new(), 0, false);
    let mut first = String::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let lower = line.to_ascii_lowercase();
        if first.is_empty() {
            line.trim().clone_into(&mut first);
        }
        if let Some(value) = lower.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        if lower.starts_with("expect:") {
            asks = true;
        } else if line == "\r\n" {
            head.extend_from_slice(b"connection: close\r\n\r\n");
            break;
        } else {
            head.extend_from_slice(line.as_bytes());
        }
    }
    let fate = fate(&first);
    if let Fate::Refused(answer) = &fate {
        writer.write_all(answer.as_bytes())?;
        return Ok(());
    }
    if asks {
        writer.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
    }
    if let Fate::CutOff = fate {
        std::io::copy(&mut reader.take(length / 2), &mut std::io::sink())?;
        return Ok(());
    }
    let mut behind = TcpStream::connect(("127.0.0.1", real))?;
    behind.write_all(&head)?;
    std::io::copy(&mut reader.by_ref().take(length), &mut behind)?;
    if let Fate::HalfAnswered = fate {
        let mut answer = Vec::new();
        behind.read_to_end(&mut answer)?;
        writer.write_all(&answer[..answer.len() - 1])?;
    } else {
        std::io::copy(&mut behind, &mut writer)?;
    }
    writer.shutdown(Shutdown::Both)
}

/// A server with a repository, and the tree that is backed up to it.
fn with_repository(bench: &Bench) -> Option<Server> {
    let server = s3_server(bench)?;
    files(bench);
    cloud(bench, server.port).init("cloud", &quiet()).unwrap();
    Some(server)
}

#[test]
fn a_server_that_is_busy_now_and_then_is_asked_again() {
    let bench = Bench::new();
    let Some(server) = with_repository(&bench) else {
        return;
    };
    let busy = refusal(
        "503 Slow Down",
        "SlowDown",
        "Please reduce your request rate.",
    );
    let rogue = Rogue::before(server.port, move |number, _, before| {
        // The first of all, and then some of each kind; none too often.
        if number % 5 == 1 && before < 3 {
            busy.clone()
        } else {
            Fate::Passed
        }
    });
    let backups = cloud(&bench, rogue.port);
    run_ok(&backups, "files");
    sound(&backups);
    let into = bench.path("back");
    restore(&backups, &request("files", Target::Into(into.clone()))).unwrap();
    assert!(look(&bench.path("data")) == look(&into), "the trees differ");
    assert!(rogue.count("") > 20);
}

#[test]
fn a_server_that_stays_busy_or_is_full_ends_a_run_without_a_snapshot() {
    let bench = Bench::new();
    let Some(server) = with_repository(&bench) else {
        return;
    };
    for (fate, kind, said, advice, tries) in [
        (
            refusal("503 Slow Down\r\nretry-after: 1", "SlowDown", "Slower."),
            ErrorKind::Io,
            "SlowDown: Slower.",
            "try again later",
            6,
        ),
        // Refused before the body comes, and told all the same.
        (
            refusal("507 Insufficient Storage", "XMinioStorageFull", "Full."),
            ErrorKind::DiskFull,
            "XMinioStorageFull: Full.",
            "make room in the bucket `shop`",
            1,
        ),
    ] {
        bench.advance(1);
        let refused = fate.clone();
        let rogue = Rogue::before(server.port, move |_, line, _| {
            if line.starts_with("PUT /shop/backup/all/data/") {
                refused.clone()
            } else {
                Fate::Passed
            }
        });
        let backups = cloud(&bench, rogue.port);
        let report = run(&backups, "files");
        assert_eq!(report.outcome, Outcome::Failed, "{report:#?}");
        let error = report.repositories[0].error.as_ref().unwrap();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(said), "{error}");
        assert!(error.help().unwrap().contains(advice), "{error:?}");
        let seen = rogue.seen.lock().unwrap().clone();
        let first = seen.iter().find(|line| line.contains("/data/")).unwrap();
        assert_eq!(rogue.count(first), tries, "{seen:#?}");
        assert_eq!(listed(&backups), 0);
    }
    bench.advance(1);
    run_ok(&cloud(&bench, server.port), "files");
}

#[test]
fn connections_that_are_cut_are_made_again_and_end_without_a_snapshot() {
    let bench = Bench::new();
    let Some(server) = with_repository(&bench) else {
        return;
    };
    let pack = |line: &str| line.starts_with("PUT /shop/backup/all/data/");
    // For ever: the run fails, and the repository is sound.
    let rogue = Rogue::before(server.port, move |_, line, _| {
        if pack(line) {
            Fate::CutOff
        } else {
            Fate::Passed
        }
    });
    let report = run(&cloud(&bench, rogue.port), "files");
    assert_eq!(report.outcome, Outcome::Failed, "{report:#?}");
    let error = report.repositories[0].error.as_ref().unwrap();
    assert!(error.help().is_some(), "{error:?}");
    let direct = cloud(&bench, server.port);
    assert_eq!(listed(&direct), 0);
    // Twice each, and every answer once: nobody notices.
    bench.advance(1);
    let rogue = Rogue::before(server.port, move |_, line, before| match before {
        0 | 1 if pack(line) => Fate::CutOff,
        0 if line.starts_with("GET ") => Fate::HalfAnswered,
        _ => Fate::Passed,
    });
    let backups = cloud(&bench, rogue.port);
    run_ok(&backups, "files");
    sound(&backups);
    sound(&direct);
}

#[test]
fn a_clock_that_is_off_is_told() {
    let bench = Bench::new();
    files(&bench);
    let hour = jiff::Timestamp::now() + jiff::SignedDuration::from_mins(62);
    let date = jiff::fmt::rfc2822::to_string(&hour.to_zoned(jiff::tz::TimeZone::UTC)).unwrap();
    for (fate, words) in [
        (
            refusal("403 Forbidden", "RequestTimeTooSkewed", "Too far."),
            "set the clock of this machine:",
        ),
        // Some say no more than that it is not allowed.
        (
            refusal(
                &format!("403 Forbidden\r\ndate: {}", date.replace("+0000", "GMT")),
                "AccessDenied",
                "Request has expired",
            ),
            "minutes behind the server's)",
        ),
    ] {
        let rogue = Rogue::before(0, move |_, _, _| fate.clone());
        let error = cloud(&bench, rogue.port)
            .init("cloud", &quiet())
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
        assert!(error.help().unwrap().contains(words), "{error:?}");
        assert_eq!(rogue.count("GET "), 1);
    }
}

#[test]
fn what_is_no_server_of_s3_is_not_taken_for_an_empty_bucket() {
    let bench = Bench::new();
    files(&bench);
    let page = "<html><body>Please log in</body></html>";
    let rogue = Rogue::before(0, move |_, _, _| {
        Fate::Refused(format!(
            "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{page}",
            page.len()
        ))
    });
    let backups = cloud(&bench, rogue.port);
    for error in [
        backups.init("cloud", &quiet()).unwrap_err(),
        list_error(&backups),
    ] {
        assert_eq!(error.kind(), ErrorKind::Io, "{error}");
        assert!(
            error.to_string().contains("not answer with a list"),
            "{error}"
        );
        assert!(error.help().unwrap().contains("s3.endpoint"), "{error:?}");
    }
    assert_eq!(rogue.count("PUT "), 0);
}
