//! Output of programs that die while no daemon lives.

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command as Process, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mainstay_supervise::{Autorestart, Backoff, Did, Event, Phase, ProgramSpec, Settings};
use mainstay_sys::passing;
use rustix::process::Signal;

use crate::bench::{Bench, alive, program, script, supervise_with, wait_for};

const ROLE: &str = "SUPERVISE_TEST_KEPT_DIR";
const SOCKET: &str = "keeper.sock";

/// Not a test: the keeper of the others, this binary again with this one test. Further words are names
/// of tests that there are not.
#[test]
#[ignore = "the keeper of the other tests"]
fn keeper_of_tests() {
    let words: Vec<_> = std::env::args_os().collect();
    if let Some(at) = words.iter().position(|word| word == "keeper") {
        mainstay_supervise::keep(Path::new(&words[at + 1])).unwrap();
    }
}

fn settings(dir: &Path) -> Settings {
    let mut settings = Settings::new(dir);
    let name = "keeping::keeper_of_tests";
    let words = ["test", "--exact", name, "--ignored", "keeper"];
    let mut words = words.map(Into::into).to_vec();
    words.push(dir.as_os_str().to_owned());
    settings.keeper = Some(words);
    settings
}

fn bench(dir: &Arc<tempfile::TempDir>, programs: Vec<ProgramSpec>) -> Bench {
    Bench::with(Arc::clone(dir), settings(dir.path()), programs)
}

/// Programs that write when they are told to and die then, each life with its number. One stream each,
/// one in which a child outlives its parent, one without an end of its last line.
fn programs(dir: &Path) -> Vec<ProgramSpec> {
    let life = "n=$(cat $MAINSTAY_PROCESS.n 2>/dev/null || echo 0); n=$((n+1)); \
                echo $n > $MAINSTAY_PROCESS.n; echo begin $n; \
                while [ ! -e go-$n ]; do sleep 0.01; done; ";
    let many = "i=0; while [ $i -lt 500 ]; do echo $n line $i; i=$((i+1)); done; ";
    [
        ("out", format!("{life} {many}")),
        ("err", format!("{life} {many}").replace("echo $n line", "echo >&2 $n line")),
        ("ragged", format!("{life} {many} printf last")),
        (
            "parent",
            format!("{life} {many} (trap '' TERM; while [ ! -e late ]; do sleep 0.01; done; echo late; touch said) & sleep 0.1"),
        ),
    ]
    .map(|(name, text)| {
        let mut spec = script(dir, name, &text);
        spec.dir = Some(dir.to_owned());
        // A child is to outlive its parent.
        spec.policy.kill_group = false;
        spec
    })
    .to_vec()
}

/// What the programs above write in a life.
fn lines(n: u32) -> String {
    let lines: Vec<String> = (0..500).map(|i| format!("{n} line {i}\n")).collect();
    lines.concat()
}

/// Not a test: the daemon that the next tests kill.
#[test]
#[ignore = "the victim of the other tests"]
fn daemon_with_keeper() {
    let Ok(dir) = std::env::var(ROLE) else { return };
    let dir = Path::new(&dir);
    let events = Arc::new(Mutex::new(Vec::new()));
    let _supervisor = supervise_with(settings(dir), programs(dir), &events);
    std::fs::write(dir.join("up"), "").unwrap();
    loop {
        std::thread::park();
    }
}

fn daemon(dir: &Path) -> std::process::Child {
    let _ = std::fs::remove_file(dir.join("up"));
    let child = Process::new(std::env::current_exe().unwrap())
        .args(["--exact", "keeping::daemon_with_keeper", "--ignored"])
        .env(ROLE, dir)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    wait_for("the daemon", || dir.join("up").exists().then_some(()));
    child
}

fn until_life(dir: &Path, n: u32) {
    for name in ["out", "err", "ragged", "parent"] {
        let log = dir.join("log").join(format!("{name}.stdout.log"));
        wait_for("the life", || {
            let all = std::fs::read_to_string(&log).unwrap_or_default();
            all.contains(&format!("begin {n}\n")).then_some(())
        });
    }
}

/// The processes whose `argv` says that they are the keeper of this directory.
fn keepers(dir: &Path) -> Vec<u32> {
    let wanted = format!("keeper\0{}\0", dir.display());
    std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|pid| {
            std::fs::read(format!("/proc/{pid}/cmdline"))
                .is_ok_and(|words| words.ends_with(wanted.as_bytes()))
        })
        .filter(|pid| alive(*pid))
        .collect()
}

fn signal(pid: u32, signal: Signal) {
    let pid = rustix::process::Pid::from_raw(pid.cast_signed()).unwrap();
    rustix::process::kill_process(pid, signal).unwrap();
}

/// How many pipes a process has open.
fn pipes_of(pid: u32) -> usize {
    let Ok(fds) = std::fs::read_dir(format!("/proc/{pid}/fd")) else {
        return 0;
    };
    fds.filter_map(|fd| std::fs::read_link(fd.ok()?.path()).ok())
        .filter(|to| to.to_string_lossy().starts_with("pipe:"))
        .count()
}

fn processes(dir: &Path) -> Vec<u32> {
    let own = dir.as_os_str();
    std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|pid| {
            std::fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd.as_os_str() == own)
        })
        .filter(|pid: &u32| alive(*pid))
        .collect()
}

#[test]
fn what_was_written_before_a_death_that_nobody_saw_is_logged_first() {
    let dir = Arc::new(tempfile::tempdir().unwrap());
    let at = |name: &str| dir.path().join(name);
    let log = |name: &str| std::fs::read_to_string(at("log").join(name)).unwrap_or_default();
    let mut victim = daemon(dir.path());
    for n in 1..=2 {
        until_life(dir.path(), n);
        victim.kill().unwrap();
        victim.wait().unwrap();
        std::fs::write(at(&format!("go-{n}")), "").unwrap();
        // Only the children of `parent` are left.
        let left = n as usize;
        wait_for("their ends", || {
            let mut all = processes(dir.path());
            all.retain(|pid| {
                std::fs::read_to_string(format!("/proc/{pid}/comm"))
                    .is_ok_and(|name| name == "sh\n")
            });
            (all.len() <= left).then_some(())
        });
        assert_eq!(keepers(dir.path()).len(), 1);
        victim = daemon(dir.path());
    }
    until_life(dir.path(), 3);
    let twice = |end: &str| -> String {
        let lives = [1, 2].map(|n| format!("begin {n}\n{}{end}", lines(n)));
        lives.concat()
    };
    assert_eq!(log("out.stdout.log"), twice("") + "begin 3\n");
    assert_eq!(log("parent.stdout.log"), twice("") + "begin 3\n");
    assert_eq!(log("ragged.stdout.log"), twice("last") + "begin 3\n");
    assert_eq!(log("err.stdout.log"), "begin 1\nbegin 2\nbegin 3\n");
    assert_eq!(log("err.stderr.log"), lines(1) + &lines(2));
    // Whoever outlived its parent is still heard.
    std::fs::write(at("late"), "").unwrap();
    wait_for("the children", || {
        log("parent.stdout.log")
            .ends_with("begin 3\nlate\nlate\n")
            .then_some(())
    });
    victim.kill().unwrap();
    victim.wait().unwrap();
    let last = bench(&dir, programs(dir.path()));
    last.until("out", Phase::Running);
    last.shut_down();
    wait_for("the end of the keeper", || {
        keepers(dir.path()).is_empty().then_some(())
    });
    assert!(!at(SOCKET).exists());
}

#[test]
fn a_program_that_left_the_config_is_heard_to_its_end() {
    let dir = Arc::new(tempfile::tempdir().unwrap());
    let at = |name: &str| dir.path().join(name);
    let mut victim = daemon(dir.path());
    let log = at("log").join("out.stdout.log");
    let log = || std::fs::read_to_string(&log).unwrap_or_default();
    until_life(dir.path(), 1);
    victim.kill().unwrap();
    victim.wait().unwrap();
    std::fs::write(at("late"), "").unwrap();
    std::fs::write(at("go-1"), "").unwrap();
    wait_for("their ends", || {
        processes(dir.path()).is_empty().then_some(())
    });
    let bench = bench(&dir, Vec::new());
    // A zombie is taken over for the moment that its end takes.
    wait_for("nothing", || bench.all().is_empty().then_some(()));
    assert_eq!(log(), format!("begin 1\n{}", lines(1)));
}

#[test]
fn a_keeper_that_is_killed_has_a_successor_that_gets_everything() {
    let dir = Arc::new(tempfile::tempdir().unwrap());
    let mut victim = daemon(dir.path());
    let at = |name: &str| dir.path().join(name);
    let log = at("log").join("out.stdout.log");
    let log = || std::fs::read_to_string(&log).unwrap_or_default();
    until_life(dir.path(), 1);
    let first = keepers(dir.path());
    assert_eq!(first.len(), 1);
    signal(first[0], Signal::KILL);
    // Four programs with two streams each.
    wait_for("the next keeper with all the pipes", || {
        let pid = *keepers(dir.path()).iter().find(|pid| **pid != first[0])?;
        (pipes_of(pid) >= 8).then_some(())
    });
    victim.kill().unwrap();
    victim.wait().unwrap();
    std::fs::write(at("late"), "").unwrap();
    std::fs::write(at("go-1"), "").unwrap();
    wait_for("their ends", || {
        processes(dir.path()).is_empty().then_some(())
    });
    let bench = bench(&dir, programs(dir.path()));
    wait_for("the next life", || {
        log().ends_with("begin 2\n").then_some(())
    });
    assert_eq!(log(), format!("begin 1\n{}begin 2\n", lines(1)));
    bench.shut_down();
    wait_for("the end of the keeper", || {
        keepers(dir.path()).is_empty().then_some(())
    });
}

/// More is said than a keeper that does not listen has room for.
#[test]
fn a_keeper_that_stands_still_holds_nobody_up() {
    let dir = Arc::new(tempfile::tempdir().unwrap());
    let mut late = program(dir.path(), "late", &["sleep", "1000"]);
    late.autostart = false;
    let mut restless = script(dir.path(), "restless", "echo life");
    restless.policy.start_secs = Duration::ZERO;
    restless.policy.backoff = Backoff::Exponential {
        min: Duration::from_millis(1),
        max: Duration::from_millis(1),
    };
    let bench = bench(&dir, vec![late, restless]);
    let lives = || bench.log("restless.stdout.log").lines().count();
    wait_for("a life", || (lives() > 0).then_some(()));
    let pid = wait_for("the keeper", || keepers(dir.path()).first().copied());
    signal(pid, Signal::STOP);
    wait_for("many lives", || (lives() > 200).then_some(()));
    assert_eq!(bench.start("late"), [Did::Started]);
    assert_eq!(bench.stop("restless"), [Did::Stopped]);
    signal(pid, Signal::CONT);
    // The two of `late`: whatever is over is let go.
    let seen = || (keepers(dir.path()) == [pid] && pipes_of(pid) == 2).then_some(());
    wait_for("the pipes that are open", seen);
    bench.shut_down();
    wait_for("its end", || keepers(dir.path()).is_empty().then_some(()));
}

#[test]
fn without_need_there_is_no_keeper_and_one_that_cannot_be_is_told_once() {
    let dir = Arc::new(tempfile::tempdir().unwrap());
    let mut job = program(dir.path(), "job", &["echo", "hello"]);
    job.autostart = false;
    job.policy.autorestart = Autorestart::Never;
    let idle = bench(&dir, vec![job.clone()]);
    assert!(idle.all().len() == 1 && !dir.path().join(SOCKET).exists());
    idle.shut_down();

    // Something is in the way that is no file.
    std::fs::create_dir(dir.path().join(SOCKET)).unwrap();
    let bench = bench(&dir, vec![job]);
    for lives in 1..4 {
        bench.start("job");
        wait_for("the output", || {
            (bench.log("job.stdout.log") == "hello\n".repeat(lives)).then_some(())
        });
        bench.until("job", Phase::Exited);
    }
    let told =
        |event: &&Event| matches!(event, Event::Said { text, .. } if text.contains("keeps output"));
    assert_eq!(bench.events().iter().filter(told).count(), 1);
}

#[test]
fn nobody_else_is_told_what_is_kept() {
    if mainstay_sys::users::effective_uid() != 0 {
        println!("SKIPPED: only root can be somebody else");
        return;
    }
    let dir = Arc::new(tempfile::tempdir().unwrap());
    let bench = bench(&dir, vec![program(dir.path(), "web", &["sleep", "1000"])]);
    bench.until("web", Phase::Running);
    let path = dir.path().join(SOCKET);
    wait_for("the keeper", || path.exists().then_some(()));
    // As if somebody had opened the way; the daemon itself goes away, as the keeper serves one.
    let open = |path: &Path| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o777)).unwrap();
    };
    open(dir.path());
    open(&path);
    let dir = bench.abandon();
    let look = |uid: u32| {
        Process::new(std::env::current_exe().unwrap())
            .args(["--exact", "keeping::stranger", "--ignored"])
            .env(ROLE, dir.path())
            .uid(uid)
            .stdout(Stdio::null())
            .status()
            .unwrap()
            .code()
    };
    assert_eq!((look(0), look(65534)), (Some(ANSWERED), Some(REFUSED)));
    Bench::within(dir, vec![]).stop("web");
}

const ANSWERED: i32 = 40;
const REFUSED: i32 = 41;

/// Not a test: asks the keeper what it has.
#[test]
#[ignore = "the stranger of the test above"]
fn stranger() {
    let Ok(dir) = std::env::var(ROLE) else { return };
    let socket = passing::connect(Path::new(&dir), SOCKET).unwrap();
    let mut get = vec![1, 3, 0];
    get.extend([0; 8]);
    // It may have been sent away already.
    let _ = passing::send(&socket, &get, None);
    let mut buffer = [0; 64];
    let answer = wait_for("an answer", || {
        match passing::receive(&socket, &mut buffer) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            Ok((1.., Some(_))) => Some(ANSWERED),
            _ => Some(REFUSED),
        }
    });
    std::process::exit(answer);
}
