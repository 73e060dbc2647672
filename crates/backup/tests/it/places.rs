//! Repositories elsewhere: a directory behind a real SFTP server, and what breaks on the way there;
//! copies from one repository to the others.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use mainstay_backup::{
    Backups, Depth, Error, ErrorKind, Outcome, Progress, RestoreRequest, Selector, Target,
};

use crate::bench::{Bench, PASSWORD, look, noise, quiet, request, restore, run, run_ok};
use crate::trees::odd_tree;

const SFTP_SERVER: &str = "/usr/lib/openssh/sftp-server";

/// Ends its program when it goes.
pub(crate) struct Server {
    child: Child,
    pub(crate) port: u16,
}

impl Server {
    /// Starts it, and waits until it listens at that port.
    pub(crate) fn start(command: &mut Command, port: u16) -> Self {
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut server = Self { child, port };
        let deadline = Instant::now() + Duration::from_mins(1);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            let ended = server.child.try_wait().unwrap();
            assert!(ended.is_none(), "the server ended: {ended:?}");
            assert!(Instant::now() < deadline, "the server does not listen");
            std::thread::sleep(Duration::from_millis(50));
        }
        server
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

fn sftp_config(program: &[&str], path: &str) -> String {
    let program = program
        .iter()
        .map(|word| format!("'{word}'"))
        .collect::<Vec<_>>()
        .join(", ");
    format!(
        "[repository.far]\npassword = \"${{env.PASSWORD}}\"\nsftp = {{ host = \"nas\", path = \"{path}\", program = [{program}] }}\n\
         [backup.files]\nfiles = {{ path = \"@/data\" }}\nto = [\"far\"]\nkeep = {{ last = 1, verified = 0 }}\n"
    )
}

fn has_sftp_server() -> bool {
    let there = Path::new(SFTP_SERVER).exists();
    if !there {
        println!("SKIPPED: there is no {SFTP_SERVER} (package openssh-sftp-server)");
    }
    there
}

pub(crate) fn files(bench: &Bench) {
    odd_tree(&bench.path("data"));
    fs::write(bench.path("data/large"), noise(20_000_000, 1)).unwrap();
}

/// Everything that a repository is for.
pub(crate) fn whole_life(bench: &Bench, backups: &Backups, repository: &str) {
    let missing = run(backups, "files");
    let error = missing.repositories[0].error.as_ref().unwrap();
    assert_eq!(error.kind(), ErrorKind::NotInitialised, "{error}");
    assert!(error.help().unwrap().contains("backup init"), "{error:?}");
    backups.init(repository, &quiet()).unwrap();
    let again = backups.init(repository, &quiet()).unwrap_err();
    assert_eq!(again.kind(), ErrorKind::AlreadyInitialised, "{again}");
    run_ok(backups, "files");
    bench.advance(25);
    fs::write(bench.path("data/daily"), noise(300_000, 2)).unwrap();
    let report = run(backups, "files");
    assert_eq!(report.outcome, Outcome::Ok, "{report:#?}");
    assert!(report.repositories[0].added < 1_000_000, "{report:#?}");
    assert_eq!(report.repositories[0].forgotten.len(), 1);
    bench.advance(25);
    run_ok(backups, "files");
    backups.prune(repository, &quiet()).unwrap();
    let verified = backups.verify(&[], Depth::All, &quiet()).unwrap();
    let sound = verified
        .repositories
        .iter()
        .find(|one| one.repository == repository);
    let sound = sound.unwrap();
    assert!(
        sound.error.is_none() && !sound.findings.iter().any(|found| found.damage),
        "{sound:#?}"
    );
    let into = bench.path("back");
    restore(backups, &request("files", Target::Into(into.clone()))).unwrap();
    assert!(look(&bench.path("data")) == look(&into), "the trees differ");
}

#[test]
fn a_directory_behind_sftp_is_a_repository_that_stock_restic_reads() {
    if !has_sftp_server() {
        return;
    }
    let bench = Bench::new();
    files(&bench);
    let path = bench.path("nas/shop");
    let backups = bench.backups(&sftp_config(&[SFTP_SERVER], path.to_str().unwrap()));
    whole_life(&bench, &backups, "far");
    let output = Command::new("restic")
        .args([
            "--no-cache",
            "-o",
            &format!("sftp.command={SFTP_SERVER}"),
            "-r",
        ])
        .arg(format!("sftp:nas:{}", path.display()))
        .args(["check", "--read-data"])
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .env("HOME", bench.directory.path())
        .env("RESTIC_PASSWORD", PASSWORD)
        .output();
    if let Ok(output) = output {
        assert!(output.status.success(), "{output:?}");
    }
    for (path, mode) in [(path.join("data"), 0o700), (path.join("config"), 0o600)] {
        let found = fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(found, mode);
    }
}

/// A script in the place of `ssh`.
fn script(bench: &Bench, text: &str) -> String {
    let path = bench.path("way");
    fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn an_sftp_connection_that_breaks_off_is_made_again() {
    if !has_sftp_server() {
        return;
    }
    let bench = Bench::new();
    files(&bench);
    let path = bench.path("nas");
    let path = path.to_str().unwrap();
    bench
        .backups(&sftp_config(&[SFTP_SERVER], path))
        .init("far", &quiet())
        .unwrap();
    // Every connection ends in the middle of a pack: the run fails, and leaves no snapshot.
    let broken = script(
        &bench,
        &format!("stdbuf -o0 head -c 3000000 | {SFTP_SERVER}"),
    );
    let backups = bench.backups(&sftp_config(&[&broken], path));
    let report = run(&backups, "files");
    assert_eq!(report.outcome, Outcome::Failed, "{report:#?}");
    let error = report.repositories[0].error.as_ref().unwrap();
    assert!(error.to_string().contains("broke off"), "{error}");
    assert!(error.help().is_some());
    let whole = bench.backups(&sftp_config(&[SFTP_SERVER], path));
    assert!(
        whole
            .list(None, Some("far"), &quiet())
            .unwrap()
            .snapshots
            .is_empty()
    );
    // The first one does, the others do not.
    bench.advance(1);
    let once = script(
        &bench,
        &format!(
            "if mkdir {}/once 2>/dev/null; then stdbuf -o0 head -c 3000000 | {SFTP_SERVER}; else exec {SFTP_SERVER}; fi",
            bench.directory.path().display()
        ),
    );
    run_ok(&bench.backups(&sftp_config(&[&once], path)), "files");
    assert!(bench.path("once").exists());
    // The first one does, then nobody answers for a moment.
    bench.advance(1);
    fs::write(bench.path("data/large"), noise(20_000_000, 3)).unwrap();
    let away = script(
        &bench,
        &format!(
            "cd {}\nif mkdir cut 2>/dev/null; then stdbuf -o0 head -c 3000000 | {SFTP_SERVER}\n\
             elif mkdir away 2>/dev/null; then echo 'ssh: connect to host nas port 22: Connection refused' >&2; exit 255\n\
             else exec {SFTP_SERVER}; fi",
            bench.directory.path().display()
        ),
    );
    run_ok(&bench.backups(&sftp_config(&[&away], path)), "files");
    assert!(bench.path("away").exists());
    let verified = whole
        .verify(&["files".to_owned()], Depth::All, &quiet())
        .unwrap();
    assert!(verified.is_sound(), "{verified:#?}");
}

#[test]
fn what_ssh_says_is_told_with_advice() {
    let bench = Bench::new();
    fs::create_dir(bench.path("data")).unwrap();
    for (said, kind, advice) in [
        (
            "backup@nas: Permission denied (publickey).",
            ErrorKind::Denied,
            "authorized_keys",
        ),
        (
            "Host key verification failed.",
            ErrorKind::Denied,
            "connect once by hand",
        ),
        (
            "ssh: Could not resolve hostname nas",
            ErrorKind::Io,
            "sftp.host",
        ),
        (
            "subsystem request failed on channel 0",
            ErrorKind::Io,
            "see what this says",
        ),
    ] {
        let way = script(&bench, &format!("echo '{said}' >&2; exit 255"));
        let backups = bench.backups(&sftp_config(&[&way], "/x"));
        let error = backups.init("far", &quiet()).unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(said), "{error}");
        assert!(error.help().unwrap().contains(advice), "{error:?}");
    }
    let backups = bench.backups(&sftp_config(&["/no/such/ssh"], "/x"));
    let error = backups.init("far", &quiet()).unwrap_err();
    assert!(
        error.help().unwrap().contains("openssh-client"),
        "{error:?}"
    );
}

/// The whole way: a server of OpenSSH with a key of ours, and then one without.
#[test]
fn the_way_goes_through_a_real_sshd() {
    let sshd = Path::new("/usr/sbin/sshd");
    if !has_sftp_server() || !sshd.exists() || !rustix::process::geteuid().is_root() {
        println!(
            "SKIPPED: there is no {} (package openssh-server), or this is not root",
            sshd.display()
        );
        return;
    }
    let bench = Bench::new();
    files(&bench);
    let key = |name: &str| {
        let path = bench.path(name);
        let made = Command::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "", "-f"])
            .arg(&path)
            .status();
        assert!(made.unwrap().success());
        path
    };
    let (host, ours, other) = (key("host"), key("ours"), key("other"));
    fs::copy(bench.path("ours.pub"), bench.path("authorized")).unwrap();
    let _ = fs::create_dir_all("/run/sshd");
    let port = free_port();
    fs::write(
        bench.path("sshd"),
        format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {}\nAuthorizedKeysFile {}\nStrictModes no\nUsePAM no\nPidFile none\nPasswordAuthentication no\nPermitRootLogin yes\nSubsystem sftp internal-sftp\n",
            host.display(),
            bench.path("authorized").display()
        ),
    )
    .unwrap();
    let mut command = Command::new(sshd);
    command.args(["-D", "-e", "-f"]).arg(bench.path("sshd"));
    let _server = Server::start(&mut command, port);
    let known = bench.path("known");
    let way = |key: &PathBuf| {
        let words = [
            "ssh".to_owned(),
            "-oBatchMode=yes".to_owned(),
            "-oStrictHostKeyChecking=no".to_owned(),
            format!("-oUserKnownHostsFile={}", known.display()),
            "-oIdentitiesOnly=yes".to_owned(),
            format!("-i{}", key.display()),
            format!("-p{port}"),
            "-s".to_owned(),
            "127.0.0.1".to_owned(),
            "sftp".to_owned(),
        ];
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        bench.backups(&sftp_config(&words, bench.path("nas").to_str().unwrap()))
    };
    let error = way(&other).init("far", &quiet()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
    assert!(
        error.help().unwrap().contains("authorized_keys"),
        "{error:?}"
    );
    whole_life(&bench, &way(&ours), "far");
}

/// Takes a file system away when it goes.
struct Unmount(PathBuf);
impl Drop for Unmount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_behind_sftp_is_told_and_leaves_nothing_half_done() {
    if !has_sftp_server() || !rustix::process::geteuid().is_root() {
        return;
    }
    let bench = Bench::new();
    files(&bench);
    let small = bench.path("small");
    fs::create_dir(&small).unwrap();
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=8m", "tmpfs"])
        .arg(&small)
        .status();
    if !mounted.is_ok_and(|status| status.success()) {
        println!("SKIPPED: nothing can be mounted here");
        return;
    }
    let _unmount = Unmount(small.clone());
    let backups = bench.backups(&sftp_config(
        &[SFTP_SERVER],
        small.join("repo").to_str().unwrap(),
    ));
    backups.init("far", &quiet()).unwrap();
    let report = run(&backups, "files");
    assert_eq!(report.outcome, Outcome::Failed, "{report:#?}");
    let error = report.repositories[0].error.as_ref().unwrap();
    assert_eq!(error.kind(), ErrorKind::DiskFull, "{error}");
    assert!(
        error.help().unwrap().contains("free space on nas"),
        "{error:?}"
    );
    assert!(
        backups
            .list(None, Some("far"), &quiet())
            .unwrap()
            .snapshots
            .is_empty()
    );
    fs::remove_dir_all(bench.path("data")).unwrap();
    fs::create_dir(bench.path("data")).unwrap();
    fs::write(bench.path("data/small"), "small").unwrap();
    bench.advance(1);
    run_ok(&backups, "files");
}

/// The names of the steps of a run.
#[derive(Default)]
struct Steps(Mutex<Vec<String>>);

impl Progress for Steps {
    fn begin(&self, what: &str, _: Option<u64>) {
        self.0.lock().unwrap().push(what.to_owned());
    }
    fn advance(&self, _: u64) {}
    fn message(&self, _: &str) {}
    fn finish(&self) {}
}

const TWO: &str = "[repository.second]\npath = \"@/second\"\npassword = \"${env.PASSWORD}\"\n\
    [backup.files]\nfiles = { path = \"@/data\" }\nto = [\"local\", \"second\"]\n";

fn from_second(bench: &Bench, backups: &Backups, into: &str) -> Result<(), Error> {
    let into = bench.path(into);
    let wanted = RestoreRequest {
        repository: Some("second".to_owned()),
        ..request("files", Target::Into(into.clone()))
    };
    restore(backups, &wanted)?;
    assert!(look(&bench.path("data")) == look(&into), "the trees differ");
    Ok(())
}

#[test]
fn a_run_to_two_repositories_reads_the_source_once() {
    let bench = Bench::new();
    files(&bench);
    let backups = bench.ready(TWO);
    backups.init("second", &quiet()).unwrap();
    let steps = Arc::new(Steps::default());
    let watch: Arc<dyn Progress> = Arc::clone(&steps) as Arc<dyn Progress>;
    let report = backups.run("files", &watch).unwrap();
    assert_eq!(report.outcome, Outcome::Ok, "{report:#?}");
    let steps = steps.0.lock().unwrap().clone();
    assert!(
        steps.iter().any(|step| step == "Copying files to second"),
        "{steps:?}"
    );
    assert!(
        !steps
            .iter()
            .any(|step| step == "Backing up files to second"),
        "{steps:?}"
    );
    from_second(&bench, &backups, "back").unwrap();
    bench.advance(1);
    fs::write(bench.path("data/daily"), noise(100_000, 7)).unwrap();
    let report = run(&backups, "files");
    assert!(
        report.repositories.iter().all(|one| one.added < 500_000),
        "{report:#?}"
    );
    assert!(
        backups
            .verify(&[], Depth::All, &quiet())
            .unwrap()
            .is_sound()
    );
    assert!(backups.status().unwrap()[0].is_well());
}

#[test]
fn copies_are_complete_incremental_and_repeatable() {
    let bench = Bench::new();
    files(&bench);
    let only_local = TWO.replace(", \"second\"]", "]");
    let backups = bench.ready(&only_local);
    for day in 0..3 {
        fs::write(bench.path("data/daily"), noise(100_000, day)).unwrap();
        run_ok(&backups, "files");
        bench.advance(24);
    }
    let copy = |only: Option<&str>| {
        let only = only.map(Selector::from);
        backups.copy("files", only.as_ref(), "local", "second", &quiet())
    };
    let error = copy(None).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotInitialised, "{error}");
    backups.init("second", &quiet()).unwrap();
    let last = copy(Some("latest")).unwrap();
    assert_eq!((last.copied.len(), last.present), (1, 0));
    assert!(last.error.is_none() && last.added > 20_000_000, "{last:#?}");
    let rest = copy(None).unwrap();
    assert_eq!((rest.copied.len(), rest.present), (2, 1));
    assert!(rest.added < 1_000_000, "{rest:#?}");
    let none = copy(None).unwrap();
    assert_eq!((none.copied.len(), none.present, none.added), (0, 3, 0));
    from_second(&bench, &backups, "back").unwrap();
    let verified = backups.verify(&[], Depth::All, &quiet()).unwrap();
    assert!(verified.is_sound(), "{verified:#?}");
    let unknown = backups.copy("files", None, "local", "secnd", &quiet());
    assert_eq!(unknown.unwrap_err().kind(), ErrorKind::UnknownRepository);
    let same = backups.copy("files", None, "local", "local", &quiet());
    assert!(same.is_err());
    // What is damaged is not copied, and leaves no snapshot.
    bench.advance(24);
    fs::write(bench.path("data/new"), noise(3_000_000, 77)).unwrap();
    run_ok(&backups, "files");
    let mut packs = Vec::new();
    for directory in fs::read_dir(bench.path("repo/data")).unwrap().flatten() {
        packs.extend(
            fs::read_dir(directory.path())
                .unwrap()
                .flatten()
                .map(|pack| pack.path()),
        );
    }
    packs.sort_by_key(|pack| fs::metadata(pack).unwrap().modified().unwrap());
    for pack in packs.iter().rev().take(2) {
        let mut bytes = fs::read(pack).unwrap();
        bytes[200] ^= 1;
        fs::write(pack, bytes).unwrap();
    }
    let report = copy(None).unwrap();
    let error = report.error.unwrap();
    assert_eq!(error.kind(), ErrorKind::Damaged, "{error}");
    assert!(report.copied.is_empty());
}
