"""Logs of programs: rotation, redirection, special files, capture, and that nothing is lost."""

import hashlib
import os
import re
import signal
import socket
import subprocess
import sys

from harness.bench import program, require_root, sh, until
from harness.register import Skip, check, expect, same

AUTO = dict(autostart="true", startsecs=0, autorestart="false")


def text_of(t, name):
    """A log with its backups, oldest first."""
    numbers = sorted(
        (
            int(n.rsplit(".", 1)[1])
            for n in os.listdir(t.dir)
            if n.startswith(name + ".") and n.rsplit(".", 1)[1].isdigit()
        ),
        reverse=True,
    )
    return "".join(t.read(f"{name}.{number}") for number in numbers) + t.read(name)


def numbered(count, pause=""):
    return sh(
        f'i=0; while [ $i -lt {count} ]; do echo "line $i of a log that rotates"; i=$((i+1)); {pause} done; exec sleep 600'
    )


@check("logs.rotation", "a log is rotated at maxbytes, backups are kept, nothing is lost between them", 3)
def rotation(t):
    t.start(
        program(
            "x",
            numbered(200, "sleep 0.005;"),
            stdout_logfile=t.path("x.out"),
            stdout_logfile_maxbytes="1KB",
            stdout_logfile_backups=50,
            **AUTO,
        )
    )
    wanted = "".join(f"line {i} of a log that rotates\n" for i in range(200))
    until(lambda: text_of(t, "x.out") == wanted, "all lines, in order")
    expect(os.path.exists(t.path("x.out.3")), "it was hardly rotated")
    for name in os.listdir(t.dir):
        if name.startswith("x.out"):
            # How far a file may overshoot is a check of its own (differs.rotation_overshoot).
            expect(os.path.getsize(t.path(name)) <= 1024 + 131072, f"{name} is too large")


@check("logs.rotation.backups", "no more than logfile_backups are kept", 3)
def rotation_backups(t):
    t.start(
        program(
            "x",
            numbered(200, "sleep 0.005;"),
            stdout_logfile=t.path("x.out"),
            stdout_logfile_maxbytes="1KB",
            stdout_logfile_backups=2,
            **AUTO,
        )
    )
    until(lambda: "line 199 " in text_of(t, "x.out"), "the last line")
    same(sorted(n for n in os.listdir(t.dir) if n.startswith("x.out.")), ["x.out.1", "x.out.2"])


@check("logs.rotation.no_backups", "with backups=0 the log begins anew at maxbytes", 3)
def rotation_none(t):
    t.start(
        program(
            "x",
            numbered(200, "sleep 0.005;"),
            stdout_logfile=t.path("x.out"),
            stdout_logfile_maxbytes="1KB",
            stdout_logfile_backups=0,
            **AUTO,
        )
    )
    until(lambda: "line 1" in t.read("x.out") and "line 0 " not in t.read("x.out"), "the first lines to be gone")
    same([n for n in os.listdir(t.dir) if n.startswith("x.out.")], [])


@check("logs.rotation.off", "with maxbytes=0 a log grows without end", 3)
def rotation_off(t):
    t.start(program("x", numbered(3000), stdout_logfile=t.path("x.out"), stdout_logfile_maxbytes=0, **AUTO))
    until(lambda: "line 2999 " in t.read("x.out"), "the last line")
    same([n for n in os.listdir(t.dir) if n.startswith("x.out.")], [])
    same(len(t.read("x.out").splitlines()), 3000)


@check("logs.redirect_stderr", "redirect_stderr puts both into one log, in order", 2)
def redirect(t):
    d = t.start(
        program(
            "x",
            sh("echo one; echo two >&2; echo three; exec sleep 600"),
            stdout_logfile=t.path("x.out"),
            stderr_logfile="AUTO",
            redirect_stderr="true",
            **AUTO,
        )
    )
    until(lambda: t.read("x.out").count("\n") == 3, "three lines")
    same(t.read("x.out"), "one\ntwo\nthree\n")
    same(d.info("x")["stderr_logfile"], "")


@check("logs.none", "NONE makes no file, and the program runs on", 2)
def none(t):
    d = t.start(program("x", sh(f"head -c 200000 /dev/zero; touch {t.path('written')}; exec sleep 600"), **AUTO))
    until(lambda: os.path.exists(t.path("written")), "it to have written")
    same(d.state("x"), "RUNNING")
    same([n for n in os.listdir(t.dir) if n.startswith("x")], [])


@check("logs.appends", "a log is appended to, over restarts of program and daemon", 4)
def appends(t):
    t.write("x.out", "from before\n")
    d = t.start(program("x", sh("echo started; exec sleep 600"), stdout_logfile=t.path("x.out"), **AUTO))
    until(lambda: t.read("x.out") == "from before\nstarted\n", "the first start")
    d.wait_up("x")
    d.rpc.supervisor.stopProcess("x")
    d.rpc.supervisor.startProcess("x")
    until(lambda: t.read("x.out") == "from before\nstarted\nstarted\n", "the second start")


@check("logs.partial_line", "what has no newline yet is in the log at once", 2)
def partial(t):
    t.start(program("x", sh("printf 'no newline'; exec sleep 600"), stdout_logfile=t.path("x.out"), **AUTO))
    until(lambda: t.read("x.out") == "no newline", "the text")


@check("logs.last_words", "what is written just before the exit is in the log", 2)
def last_words(t):
    d = t.start(
        program(
            "x",
            sh("echo first; echo last words; echo and errors >&2"),
            stdout_logfile=t.path("x.out"),
            stderr_logfile=t.path("x.err"),
            **AUTO,
        )
    )
    d.wait_state("x", "EXITED")
    same((t.read("x.out"), t.read("x.err")), ("first\nlast words\n", "and errors\n"))


@check("logs.last_words.stop", "what is written at a stop is in the log", 3)
def last_words_stop(t):
    d = t.start(
        program(
            "x",
            sh("trap 'echo goodbye; exit 0' TERM; echo up; while :; do sleep 0.1; done"),
            stdout_logfile=t.path("x.out"),
            **AUTO,
        )
    )
    until(lambda: t.read("x.out") == "up\n", "it to be up")
    d.rpc.supervisor.stopProcess("x")
    same(t.read("x.out"), "up\ngoodbye\n")


@check("logs.binary", "any bytes arrive as they are", 2)
def binary(t):
    script = "import sys; sys.stdout.buffer.write(bytes(range(256)) * 4)"
    d = t.start(program("x", f"{sys.executable} -S -E -c '{script}'", stdout_logfile=t.path("x.out"), **AUTO))
    d.wait_state("x", "EXITED")
    same(open(t.path("x.out"), "rb").read(), bytes(range(256)) * 4)


@check("logs.large", "twenty megabytes arrive complete", 5)
def large(t):
    script = "import sys\nfor i in range(20): sys.stdout.buffer.write(bytes([65 + i]) * 1048576)"
    path = t.write("large.py", script)
    d = t.start(
        program(
            "x", f"{sys.executable} -S -E {path}", stdout_logfile=t.path("x.out"), stdout_logfile_maxbytes=0, **AUTO
        )
    )
    d.wait_state("x", "EXITED")
    wanted = hashlib.md5(b"".join(bytes([65 + i]) * 1048576 for i in range(20))).hexdigest()
    same(hashlib.md5(open(t.path("x.out"), "rb").read()).hexdigest(), wanted)


@check("logs.many_writers", "ten programs that write at once do not mix up their logs", 4)
def many(t):
    d = t.start(
        *[
            program(
                f"x{n}",
                sh(f"i=0; while [ $i -lt 500 ]; do echo program {n} line $i; i=$((i+1)); done"),
                stdout_logfile=t.path(f"x{n}.out"),
                **AUTO,
            )
            for n in range(10)
        ]
    )
    for n in range(10):
        d.wait_state(f"x{n}", "EXITED")
        same(t.read(f"x{n}.out"), "".join(f"program {n} line {i}\n" for i in range(500)), f"log of x{n}")


@check("logs.dev_stdout", "/dev/stdout with maxbytes=0 puts output on the daemon's stdout", 2)
def dev_stdout(t):
    d = t.start(
        program(
            "x",
            sh("echo to stdout; echo to stderr >&2; exec sleep 600"),
            stdout_logfile="/dev/stdout",
            stdout_logfile_maxbytes=0,
            stderr_logfile="/dev/stderr",
            stderr_logfile_maxbytes=0,
            **AUTO,
        ),
        supervisord="silent=true",
    )
    d.wait_out("^to stdout$")
    d.wait_out("^to stderr$")


@check("logs.dev_stdout.pipe", "also when that stdout is a pipe", 3)
def dev_stdout_pipe(t):
    conf = t.conf(
        program(
            "x",
            sh("echo one; sleep 0.3; echo two; exec sleep 600"),
            stdout_logfile="/dev/stdout",
            stdout_logfile_maxbytes=0,
            redirect_stderr="true",
            **AUTO,
        ),
        supervisord="silent=true",
    )
    child = t.popen(
        [*t.subject.supervisord, "-n", "-c", conf],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    same([child.stdout.readline(), child.stdout.readline()], [b"one\n", b"two\n"])


@check("logs.dev_fd", "/dev/fd/1 is the same", 2)
def dev_fd(t):
    d = t.start(
        program(
            "x",
            sh("echo via fd; exec sleep 600"),
            stdout_logfile="/dev/fd/1",
            stdout_logfile_maxbytes=0,
            redirect_stderr="true",
            **AUTO,
        ),
        supervisord="silent=true",
    )
    d.wait_out("^via fd$")


@check("logs.dev_null", "/dev/null is a log like any other", 2)
def dev_null(t):
    d = t.start(
        program("x", sh("echo gone; exec sleep 600"), stdout_logfile="/dev/null", stdout_logfile_maxbytes=0, **AUTO)
    )
    d.wait_up("x")
    same(d.rpc.supervisor.readProcessStdoutLog("x", 0, 0), "")


@check("logs.capture.off", "without capture_maxbytes the marks are text like any other", 2)
def capture_off(t):
    text = "a<!--XSUPERVISOR:BEGIN-->b<!--XSUPERVISOR:END-->c"
    t.start(program("x", sh(f"echo '{text}'; exec sleep 600"), stdout_logfile=t.path("x.out"), **AUTO))
    until(lambda: t.read("x.out") == text + "\n", "the text")


@check("logs.capture.rotates", "a captured program's log is still rotated", 3)
def capture_rotates(t):
    t.start(
        program(
            "x",
            numbered(200, "sleep 0.005;"),
            stdout_logfile=t.path("x.out"),
            stdout_logfile_maxbytes="1KB",
            stdout_capture_maxbytes="1KB",
            **AUTO,
        )
    )
    until(lambda: os.path.exists(t.path("x.out.1")), "a backup")


@check("logs.removed", "a log that was removed comes back with a clear", 2)
def removed(t):
    d = t.start(program("x", "/bin/cat", stdout_logfile=t.path("x.out"), **AUTO))
    d.wait_up("x")
    os.unlink(t.path("x.out"))
    d.rpc.supervisor.clearProcessLogs("x")
    d.rpc.supervisor.sendProcessStdin("x", "hello\n")
    until(lambda: t.read("x.out") == "hello\n", "new output")


@check("logs.home", "a log's path may begin with ~", 2)
def home(t):
    t.start(program("x", sh("echo hello; exec sleep 600"), stdout_logfile="~/x.out", **AUTO))
    until(lambda: t.read("x.out") == "hello\n", "output")


def received(log):
    """What has come at the system's log within a moment: (priority, tag, text) of each message."""
    found = []
    try:
        while True:
            message = log.recv(65536).decode()
            match = re.fullmatch(r"<(\d+)>(\w{3} [ \d]\d \d\d:\d\d:\d\d) ([^:]+): (.*?)[\n\0]*", message, re.S)
            expect(match, f"no message of a system log: {message!r}")
            found.append((int(match.group(1)), match.group(3), match.group(4)))
    except TimeoutError:
        return found


@check("logs.syslog", "output and the daemon's own log arrive at /dev/log, a message for each line", 6)
def syslog(t):
    require_root()
    if os.path.exists("/dev/log"):
        raise Skip("this machine has a system log of its own")
    talk = sh("echo one; echo; echo two >&2; printf 'three\\nfour\\n'; exec sleep 600")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as log:
        log.bind("/dev/log")
        try:
            log.settimeout(1.5)
            os.chmod("/dev/log", 0o666)
            d = t.start(program("talks", talk, stdout_syslog="true", stderr_syslog="true", **AUTO))
            d.wait_up("talks")
            lines = [message for message in received(log) if message[2].startswith("talks ")]
            tags = {(priority, tag) for priority, tag, _ in lines}
            same(tags, {(14, os.path.basename(t.subject.supervisord[0]))}, "priority and tag")
            same(sorted(text for _, _, text in lines if text != "talks "), ["talks four", "talks one", "talks three", "talks two"])
            d.signal(signal.SIGTERM)
            d.wait_exit()
            received(log)
            d = t.start(program("quiet", sh("exec sleep 600"), **AUTO), args=["-l", "syslog"])
            d.wait_up("quiet")
            texts = [text for _, _, text in received(log)]
            expect(
                any(re.fullmatch(r"[-\d]{10} [:\d]{8},\d{3} INFO spawned: 'quiet' with pid \d+", text) for text in texts),
                f"no line about the start: {texts}",
            )
        finally:
            os.unlink("/dev/log")
