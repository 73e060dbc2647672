"""1.9: the original's bugs, which are not to be copied. Each row has an expectation for each side.

The first eight are the rows of 1.9, in its order; those behind them are further places where the
two sides are meant to differ.
"""

import os
import re
import socket
import subprocess
import sys
import xmlrpc.client

from checks.events import events_of, listener, send
from harness import wire
from harness.bench import free_port, program, sh, until
from harness.register import differs, expect


@differs(
    "differs.1.capture_tail",
    "with capture on, the last bytes before a pause or an exit are in the log too",
    original=(
        "the last bytes (up to the length of a mark) are missing",
        lambda log: log == "before" or "after" not in log,
    ),
    ours=("all is there: 'beforeafter\\n'", lambda log: log == "beforeafter\n"),
    weight=3,
)
def capture_tail(t):
    text = "printf 'before<!--XSUPERVISOR:BEGIN-->caught<!--XSUPERVISOR:END-->'; echo after; sleep 0.5"
    d = t.start(
        program(
            "x",
            sh(text),
            autostart="true",
            startsecs=0,
            autorestart="false",
            stdout_logfile=t.path("x.out"),
            stdout_capture_maxbytes="1KB",
        )
    )
    d.wait_state("x", "EXITED")
    return t.read("x.out")


@differs(
    "differs.2.rejected_elsewhere",
    "an event that one pool rejects is delivered again to that pool only",
    original=("the other pool gets it a second time", lambda count: count > 1),
    ours=("the other pool gets it once", lambda count: count == 1),
    weight=3,
)
def rejected_elsewhere(t):
    d = t.start(
        listener(t, "rejects", "REMOTE_COMMUNICATION", "--fail", 1, buffer_size=100),
        listener(t, "other", "REMOTE_COMMUNICATION", buffer_size=100),
    )
    send(d, 1)
    until(lambda: len(events_of(t, "rejects")) == 2, "the second delivery")
    # Whatever else comes to the other pool comes before this.
    send(d, 1, first=1)
    until(lambda: [e for e in events_of(t, "other") if "number 1." in e["payload"]], "the next event")
    return len([e for e in events_of(t, "other") if "number 0." in e["payload"]])


@differs(
    "differs.3.clear_log_line",
    "clearLog says `reopening log file` in the new log, not in the one it removed",
    original=("the new log is without the line", lambda log: "reopening log file" not in log),
    ours=("the new log has the line", lambda log: "reopening log file" in log),
    weight=2,
)
def clear_log_line(t):
    d = t.start()
    d.rpc.supervisor.clearLog()
    return d.log


@differs(
    "differs.4.rotation_overshoot",
    "a log file ends at the end of a line, at maxbytes or shortly before",
    original=(
        "a file is larger than maxbytes and a line, or a line is cut",
        lambda seen: seen[0] > 10000 + 100 or seen[1] > 0,
    ),
    ours=(
        "no file is larger than maxbytes and a line, no line is cut",
        lambda seen: seen[0] <= 10000 + 100 and seen[1] == 0,
    ),
    weight=3,
)
def rotation_overshoot(t):
    script = t.write(
        "burst.py", "import sys\nsys.stdout.write(''.join('line %06d %s\\n' % (i, 'x' * 80) for i in range(3000)))\n"
    )
    d = t.start(
        program(
            "x",
            f"{sys.executable} -S -E {script}",
            autostart="true",
            startsecs=0,
            autorestart="false",
            stdout_logfile=t.path("x.out"),
            stdout_logfile_maxbytes=10000,
            stdout_logfile_backups=100,
        )
    )
    d.wait_state("x", "EXITED")
    files = [open(t.path(name), "rb").read() for name in os.listdir(t.dir) if name.startswith("x.out")]
    return max(len(data) for data in files), sum(1 for data in files if data and not data.endswith(b"\n"))


@differs(
    "differs.5.dev_stdout_rotation",
    "a log to /dev/stdout that is a pipe works with the default maxbytes too",
    original=("output is lost: Illegal seek", lambda out: "three" not in out),
    ours=("all lines are there", lambda out: all(word in out for word in ["one", "two", "three"])),
    weight=3,
)
def dev_stdout_rotation(t):
    conf = t.conf(
        program(
            "x",
            sh("echo one; sleep 0.4; echo two; sleep 0.4; echo three; sleep 0.4; exec sleep 600"),
            autostart="true",
            startsecs=0,
            stdout_logfile="/dev/stdout",
            redirect_stderr="true",
        ),
        supervisord="silent=true",
    )
    return through_pipe(t, conf, subprocess.PIPE)


@differs(
    "differs.5.dev_stdout_socket",
    "a log to /dev/stdout that is a socket works",
    original=("the program cannot be started: ENXIO", lambda out: "three" not in out),
    ours=("all lines are there", lambda out: all(word in out for word in ["one", "two", "three"])),
    weight=3,
)
def dev_stdout_socket(t):
    conf = t.conf(
        program(
            "x",
            sh("echo one; sleep 0.2; echo two; sleep 0.2; echo three; exec sleep 600"),
            autostart="true",
            startsecs=0,
            startretries=0,
            stdout_logfile="/dev/stdout",
            stdout_logfile_maxbytes=0,
            redirect_stderr="true",
        ),
        supervisord="silent=true",
    )
    ours, theirs = socket.socketpair()
    try:
        return through_pipe(t, conf, theirs, ours)
    finally:
        ours.close()


def through_pipe(t, conf, stdout, reader=None):
    """The daemon's stdout until the program's last word, or until it is clear that it is not coming."""
    child = t.popen(
        [*t.subject.supervisord, "-n", "-c", conf], stdin=subprocess.DEVNULL, stdout=stdout, stderr=subprocess.DEVNULL
    )
    fd = reader if reader else child.stdout
    if reader:
        stdout.close()
    os.set_blocking(fd.fileno(), False)
    out = b""

    def look():
        nonlocal out
        try:
            out += os.read(fd.fileno(), 65536)
        except BlockingIOError:
            pass
        log = t.read("d.log")
        lost = re.search("Illegal seek|uncaptured python exception|entered FATAL|making dispatchers", log)
        return b"three" in out or lost

    until(look, "the last word, or its loss")
    return out.decode()


@differs(
    "differs.6.wrong_password_lines",
    "a client with a wrong password prints one line",
    original=(
        "a second line with an exception follows",
        lambda lines: len(lines) == 2 and lines[1].startswith("error: "),
    ),
    ours=("one line", lambda lines: lines == ["Server requires authentication"]),
    weight=2,
)
def wrong_password(t):
    d = t.start(unix="username=user\npassword=pass")
    result = d.ctl("-u", "user", "-p", "wrong", "status")
    expect(result.code == 1, f"exit code {result}")
    return result.lines


@differs(
    "differs.7.start_that_failed",
    "startProcess with startsecs=0 of what cannot be executed is never answered with True",
    original=("it can be answered with True", lambda seen: True in seen),
    ours=("it is always fault 50 or 40", lambda seen: seen and all(value in (50, 40) for value in seen)),
    weight=3,
)
def start_that_failed(t):
    path = t.write("bad", "#!/no/such/interpreter\n", 0o755)
    d = t.start(program("x", path, startsecs=0, autorestart="false"))
    seen = []
    for _ in range(10):
        try:
            seen.append(d.rpc.supervisor.startProcess("x"))
        except xmlrpc.client.Fault as fault:
            seen.append(fault.faultCode)
        d.wait_state("x", "EXITED", "FATAL", "BACKOFF")
        if d.state("x") == "BACKOFF":
            d.rpc.supervisor.stopProcess("x")
    return seen


@differs(
    "differs.8.granularity",
    "a restart follows the death without a pause",
    original=("up to a second passes (the loop's turn)", lambda gaps: max(gaps) >= 0.4),
    ours=("the shortest of four pauses is under 0.4 s", lambda gaps: min(gaps) < 0.4),
    weight=9,
)
def granularity(t):
    # One clock for both ends: the program notes when it begins and when it ends.
    script = f"date +%s.%N >> {t.path('times')}; sleep 0.15; date +%s.%N >> {t.path('times')}; exit 1"
    t.start(program("x", sh(script), autostart="true", startsecs=0))
    # Only the file is looked at, since a question would wake the daemon.
    until(lambda: len(t.read("times").splitlines()) >= 10, "five runs")
    times = [float(line) for line in t.read("times").splitlines()[:10]]
    return [times[i + 1] - times[i] for i in range(1, 8, 2)]


# -- beyond 1.9 ------------------------------------------------------------------------------


@differs(
    "differs.cross_site_action",
    "an action that a browser marks as coming from another site is refused (1.8)",
    original=("the program is stopped", lambda state: state == "STOPPED"),
    ours=("the program runs on", lambda state: state == "RUNNING"),
    weight=3,
)
def cross_site(t):
    port = free_port()
    d = t.start(program("x", "/bin/cat", autostart="true", startsecs=0), inet=port)
    d.wait_up("x")
    headers = [
        ("Sec-Fetch-Site", "cross-site"),
        ("Sec-Fetch-Mode", "navigate"),
        ("Referer", "http://elsewhere.example/"),
    ]
    wire.request(f"http://127.0.0.1:{port}", "GET", "/index.html?processname=x&action=stop", headers=headers)
    return d.state("x")


@differs(
    "differs.logtail_truncated",
    "a log tail tells that the log was truncated, and goes on (1.8)",
    original=("the stream breaks off, the line never comes", lambda seen: seen == "ended"),
    ours=("the line comes, and what is written then", lambda seen: seen == "told"),
    weight=3,
)
def logtail_truncated(t):
    port = free_port()
    d = t.start(program("x", "/bin/cat", autostart="true", startsecs=0, stdout_logfile=t.path("x.out")), inet=port)
    d.wait_up("x")
    d.rpc.supervisor.sendProcessStdin("x", "a line before\n")
    s = wire.Stream(f"http://127.0.0.1:{port}", "/logtail/x")
    until(lambda: b"a line before" in s.read(), "the line")
    os.truncate(t.path("x.out"), 0)
    until(lambda: b"==> File truncated <==" in s.read() or s.ended, "the line, or the end")
    if s.ended and b"==> File truncated <==" not in s.data:
        return "ended"
    d.rpc.supervisor.sendProcessStdin("x", "a line after\n")
    until(lambda: b"a line after" in s.read() or s.ended, "the next line")
    return "told" if b"a line after" in s.data else "silent"


@differs(
    "differs.open_to_all",
    "a TCP server on all addresses without a password (CVE-2019-12105)",
    original=("answers whoever connects", lambda seen: seen == ("answers", "RUNNING")),
    ours=("is not opened, and the programs run", lambda seen: seen == ("refuses", "RUNNING")),
    weight=2,
)
def open_to_all(t):
    port = free_port()
    d = t.start(
        program("x", "/bin/cat", autostart="true", startsecs=0),
        f"[inet_http_server]\nport=*:{port}\n",
    )
    d.wait_up("x")
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=10):
            pass
        door = "answers"
    except ConnectionRefusedError:
        door = "refuses"
    return door, d.state("x")
