//! Our `supervisorctl` beside the original's, each with a supervisord of its own: the same lines
//! must say the same and leave the same exit status.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use mainstay_base::secret::Secret;
use mainstay_supervisord::ctl::{Console, Ctl, Settings};
use tempfile::TempDir;

const SUPERVISORD: &str = "/usr/bin/supervisord";
const SUPERVISORCTL: &str = "/usr/bin/supervisorctl";

const CONFIG: &str = "
[unix_http_server]
file=%(here)s/s.sock
[supervisord]
logfile=%(here)s/s.log
pidfile=%(here)s/s.pid
childlogdir=%(here)s
nodaemon=true
[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface
[supervisorctl]
serverurl=unix://%(here)s/s.sock
[program:cat]
command=/bin/cat
startsecs=0
priority=5
[program:many]
command=/bin/cat
process_name=%(program_name)s_%(process_num)d
numprocs=2
startsecs=0
[program:off]
command=/bin/cat
autostart=false
startsecs=0
[program:say]
command=/bin/sh -c \"echo hello; echo oops >&2; exec cat\"
startsecs=0
[program:missing]
command=/nonexistent/program
autostart=false
[program:dies]
command=/bin/false
autostart=false
startretries=0
[program:directory]
command=/tmp
autostart=false
[program:nolog]
command=/bin/cat
stdout_logfile=NONE
startsecs=0
";

/// What is appended to the config before the lines of [`AFTER`].
const MORE: &str = "
[program:new]
command=/bin/cat
startsecs=0
[program:late]
command=/bin/cat
startsecs=0
";

const LINES: &[&str] = &[
    "version",
    "status",
    "status all",
    "status cat",
    "status cat many:many_1",
    "status many:*",
    "status nope",
    "status nope:* cat",
    "status off nope",
    "pid cat off",
    "pid nope cat",
    "pid all",
    "avail",
    "start cat",
    "start off",
    "start nope",
    "start nope:*",
    "start missing",
    "start dies",
    "start directory",
    "start many:* off",
    "start cat many:many_0",
    "stop off",
    "stop off nope",
    "stop nope:*",
    "stop many:*",
    "stop many:*",
    "status many:*",
    "restart many:*",
    "restart cat off",
    "restart nope:*",
    "start all",
    "signal NOPE cat",
    "signal CONT cat many:*",
    "signal CONT missing nope nope:*",
    "signal CONT all",
    "tail say",
    "tail -3 say",
    "tail say stderr",
    "tail nope",
    "tail nolog",
    "tail cat foo",
    "tail -x cat",
    "tail -f",
    "maintail foo",
    "clear say nope",
    "tail say",
    "clear all",
    "fg missing",
    "fg nope",
    "fg a b",
    "open ftp://x",
    "reread",
    "add nope cat",
    "remove nope cat",
    "help",
    "help nope",
    "foo bar",
    "quit",
    "stop all",
];

const AFTER: &[&str] = &[
    "reread",
    "add late",
    "update nope",
    "update",
    "update",
    "status",
    "stop late",
    "remove late",
    "update all",
    "start",
    "stop",
    "restart",
    "clear",
    "signal HUP",
    "tail",
    "tail a b c d",
    "avail x",
    "version x",
    "fg",
    "shutdown x",
    "shutdown",
];

const GONE: &[&str] = &["status", "start cat", "reread", "shutdown", "version"];

/// A supervisord in a directory of its own, ended with its programs when this is dropped.
struct Supervisord {
    dir: TempDir,
    child: Child,
}

impl Supervisord {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("s.conf"), CONFIG).unwrap();
        let child = Command::new(SUPERVISORD)
            .args(["-n", "-c", "s.conf"])
            .current_dir(dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self { dir, child }
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn ctl(&self) -> Ctl {
        let settings = Settings {
            serverurl: format!("unix://{}/s.sock", self.path().display()),
            ..Settings::default()
        };
        Ctl::new(settings, Box::new(Nobody), Arc::default())
    }

    fn ours(&self, line: &str) -> (String, i32) {
        let mut ctl = self.ctl();
        let mut out = Vec::new();
        ctl.line(line, &mut out);
        (String::from_utf8(out).unwrap(), ctl.status())
    }

    fn original(&self, line: &str) -> (String, i32) {
        let run = Command::new(SUPERVISORCTL)
            .args(["-c", "s.conf"])
            .args(line.split(' '))
            .env("PYTHONIOENCODING", "utf-8")
            .current_dir(self.path())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let said = String::from_utf8(run.stdout).unwrap();
        (said, run.status.code().unwrap())
    }

    /// Waits until all is running that is to be started, and has said what it says.
    fn wait_until_started(&self) {
        let deadline = Instant::now() + Duration::from_mins(1);
        loop {
            let (said, _) = self.ours("status cat many:* say nolog");
            let log = std::fs::read_dir(self.path())
                .unwrap()
                .flatten()
                .any(|file| {
                    file.file_name().to_string_lossy().starts_with("say-stderr")
                        && file.metadata().is_ok_and(|meta| meta.len() > 0)
                });
            if log && said.matches("RUNNING").count() == 5 {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "supervisord does not start: {said}"
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn wait_until_gone(&mut self) {
        let deadline = Instant::now() + Duration::from_mins(1);
        while self.child.try_wait().unwrap().is_none() {
            assert!(Instant::now() < deadline, "supervisord does not end");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Supervisord {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let pid = self.child.id().to_string();
            let _ = Command::new("kill").args(["-TERM", &pid]).status();
            let _ = self.child.wait();
        }
    }
}

struct Nobody;

impl Console for Nobody {
    fn ask(&mut self, _: &str) -> Option<String> {
        None
    }

    fn ask_secret(&mut self, _: &str) -> Option<Secret> {
        None
    }
}

/// The output without what differs between two daemons: paths, numbers of processes, times.
fn same(text: &str, dir: &Path) -> String {
    let text = text.replace(&dir.display().to_string(), "DIR");
    let line = |line: &str| {
        if let Some((before, _)) = line.split_once("uptime ") {
            let kept = before.trim_end_matches(|c: char| c.is_ascii_digit() || ", ".contains(c));
            return format!("{kept} N, uptime T");
        }
        if line.chars().all(|c| c.is_ascii_digit()) && line != "0" && !line.is_empty() {
            return "N".to_owned();
        }
        // The time of day at which something stopped.
        if line.ends_with(" AM") || line.ends_with(" PM") {
            return line[..line.len() - " 25 04:00 PM".len()].to_owned();
        }
        // A place in a source that is not ours.
        match line.split_once(": file: ") {
            Some((error, _)) => error.to_owned(),
            None => line.to_owned(),
        }
    };
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

fn compare(ours: &Supervisord, original: &Supervisord, line: &str) {
    let ((expected, expected_status), (said, status)) = std::thread::scope(|scope| {
        let original = scope.spawn(|| original.original(line));
        let ours = ours.ours(line);
        (original.join().unwrap(), ours)
    });
    let (mut expected, mut said) = (same(&expected, original.path()), same(&said, ours.path()));
    if expected.starts_with("Error: ") || expected.contains("\nfg <") {
        // The help that follows is in our words.
        let first = |text: &str| text.lines().next().unwrap_or("").to_owned();
        (expected, said) = (first(&expected), first(&said));
    }
    let same_order = expected == said;
    if line.ends_with(" all") || line.contains(":*") {
        // Groups are answered in the order in which their processes are done.
        let sorted = |text: &str| {
            let mut lines: Vec<&str> = text.lines().collect();
            lines.sort_unstable();
            lines.join("\n")
        };
        (expected, said) = (sorted(&expected), sorted(&said));
    }
    if expected.starts_with("error: ") {
        // Ours names the server too.
        said.truncate(expected.len());
    }
    assert_eq!(said, expected, "{line}");
    // Of several processes the last one says how it ends, and which one that is depends on which is
    // done last. The words are the same here; where they are in the same order, so is the status.
    if same_order || said.lines().count() < 2 {
        assert_eq!(status, expected_status, "{line}");
    }
}

/// What the original makes of lines from a pipe: prompts are shown, lines are not.
fn compare_shells(ours: &Supervisord, original: &Supervisord) {
    use std::io::Write as _;
    let lines = ["pid nope", "", "foo", "version", "help nope"];
    let mut child = Command::new(SUPERVISORCTL)
        .args(["-c", "s.conf"])
        .current_dir(original.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(lines.join("\n").as_bytes()).unwrap();
    drop(stdin);
    let run = child.wait_with_output().unwrap();
    let expected = String::from_utf8(run.stdout).unwrap();
    let out = Mutex::new(Vec::new());
    let mut rest = lines.into_iter();
    let read = |_: &Ctl, prompt: &str| {
        out.lock().unwrap().extend_from_slice(prompt.as_bytes());
        rest.next().map(str::to_owned)
    };
    ours.ctl().shell(read, &mut Shared(&out));
    let said = String::from_utf8(out.into_inner().unwrap()).unwrap();
    assert_eq!(same(&said, ours.path()), same(&expected, original.path()));
}

/// One output for prompts and answers.
struct Shared<'a>(&'a Mutex<Vec<u8>>);

impl std::io::Write for Shared<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn lines_say_what_they_say_in_the_original() {
    if !Path::new(SUPERVISORD).exists() || !Path::new(SUPERVISORCTL).exists() {
        println!("SKIPPED: {SUPERVISORD} is not installed");
        return;
    }
    let (mut ours, mut original) = (Supervisord::start(), Supervisord::start());
    ours.wait_until_started();
    original.wait_until_started();
    compare_shells(&ours, &original);
    for line in LINES {
        compare(&ours, &original, line);
    }
    for daemon in [&ours, &original] {
        let config = CONFIG.replace("[program:nolog]", "[program:changed]") + MORE;
        let config = config.replace("priority=5", "priority=6");
        std::fs::write(daemon.path().join("s.conf"), config).unwrap();
    }
    for line in AFTER {
        compare(&ours, &original, line);
    }
    ours.wait_until_gone();
    original.wait_until_gone();
    for line in GONE {
        compare(&ours, &original, line);
    }
}
