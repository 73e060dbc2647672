"""1.6: supervisorctl: every action with its texts and exit codes.

Each check talks through the client under test; those entered with `stock=True` run once more
through Debian's own client against the daemon under test, as `ctl_stock.*`.
"""

import os
import re
import signal
import subprocess

from harness.bench import alive, free_port, program, sh, until
from harness.register import Failed, contains, ctl_check, expect, lacks, same

CAT = dict(command="/bin/cat", startsecs=0)
UP = dict(command="/bin/cat", startsecs=0, autostart="true")

PROGRAMS = {
    "up": UP,
    "down": CAT,
    "starting": dict(command="/bin/cat", startsecs=600, autostart="true"),
    "fatal": dict(command=sh("exit 1"), startsecs=5, startretries=0, autostart="true"),
    "missing": dict(command="/no/such/program"),
    "not_exec": dict(command="/etc/passwd"),
    "dies": dict(command=sh("sleep 0.3; exit 1"), startsecs=3, startretries=0),
    "start1": CAT,
    "start2": CAT,
    "stop1": UP,
    "stop2": UP,
    "restart1": UP,
    "restart_down": CAT,
    "sig1": UP,
    "sig2": UP,
    "log": dict(
        command=sh(
            "i=0; while [ $i -lt 200 ]; do echo line $i of the log; i=$((i+1)); done; echo errors >&2; touch {dir}/log.up; exec sleep 600"
        ),
        startsecs=0,
        autostart="true",
        stdout_logfile="{dir}/log.out",
        stderr_logfile="{dir}/log.err",
    ),
    "follow": dict(command="/bin/cat", startsecs=0, autostart="true", stdout_logfile="{dir}/follow.out"),
    "clear1": dict(
        command=sh("echo x; exec sleep 600"), startsecs=0, autostart="true", stdout_logfile="{dir}/clear1.out"
    ),
    "clear2": dict(
        command=sh("echo x; exec sleep 600"), startsecs=0, autostart="true", stdout_logfile="{dir}/clear2.out"
    ),
    "fg": dict(
        command="/bin/cat", startsecs=0, autostart="true", stdout_logfile="{dir}/fg.out", stderr_logfile="{dir}/fg.err"
    ),
    "ga": CAT,
    "gb": CAT,
    "ha": UP,
    "hb": UP,
    "ka": UP,
    "kb": CAT,
    "la": UP,
    "lb": CAT,
    "ra": UP,
    "rb": CAT,
}
GROUPS = """
[group:starts]
programs=ga,gb
priority=77
[group:stops]
programs=ha,hb
[group:sigs]
programs=ka,kb
[group:shown]
programs=la,lb
[group:restarts]
programs=ra,rb
"""


def daemon(t):
    def make(bench):
        sections = []
        for name, options in PROGRAMS.items():
            options = {key: str(value).replace("{dir}", str(bench.dir)) for key, value in options.items()}
            sections.append(program(name, options.pop("command"), **options))
        d = bench.start(*sections, GROUPS)
        d.wait_state("fatal", "FATAL")
        return d

    return t.shared("ctl", make)


def gives(result, code, *lines):
    """Fails the check unless exactly these lines were printed, with this exit code."""
    if (result.lines, result.code) != (list(lines), code):
        raise Failed(f"expected exit {code} and {list(lines)!r}, saw {result!r}")


def begins(result, code, *lines):
    """As `gives`, but more lines may follow, and what helps is said in anybody's words."""
    seen = [line.split("\t")[0] for line in result.lines[: len(lines)]]
    if seen != [line.split("\t")[0] for line in lines] or result.code != code:
        raise Failed(f"expected exit {code} and first {list(lines)!r}, saw {result!r}")


# -- status ----------------------------------------------------------------------------------


@ctl_check("status.one", "status of a running program: exit 0", stock=True)
def status_one(t):
    d = daemon(t)
    pid = d.wait_state("up", "RUNNING")["pid"]
    result = d.ctl("status", "up")
    same(result.code, 0, "exit code")
    expect(re.fullmatch(rf"up {{31}}RUNNING   pid {pid}, uptime \d+:\d\d:\d\d\n", result.out), result.out)


@ctl_check("status.stopped", "status of a stopped program: exit 3", stock=True)
def status_stopped(t):
    gives(daemon(t).ctl("status", "down"), 3, "down                             STOPPED   Not started")


@ctl_check("status.fatal", "status of a fatal program: exit 3")
def status_fatal(t):
    gives(
        daemon(t).ctl("status", "fatal"),
        3,
        "fatal                            FATAL     Exited too quickly (process log may have details)",
    )


@ctl_check("status.starting", "status of a starting program: exit 0")
def status_starting(t):
    daemon(t).wait_state("starting", "STARTING")
    gives(daemon(t).ctl("status", "starting"), 0, "starting                         STARTING  ")


@ctl_check("status.all", "status without names, and of all, lists all in order: exit 3 as some are down", stock=True)
def status_all(t):
    d = daemon(t)
    wanted = [
        f"{i['group']}:{i['name']}" if i["group"] != i["name"] else i["name"]
        for i in d.rpc.supervisor.getAllProcessInfo()
    ]
    for args in [[], ["all"]]:
        result = d.ctl("status", *args)
        same(result.code, 3, "exit code")
        same([line.split()[0] for line in result.lines], wanted, "names")


@ctl_check("status.group", "status of a group", stock=True)
def status_group(t):
    d = daemon(t)
    d.wait_state("shown:la", "RUNNING")
    result = d.ctl("status", "shown:*")
    same(result.code, 3, "exit code")
    same([line.split()[:2] for line in result.lines], [["shown:la", "RUNNING"], ["shown:lb", "STOPPED"]])
    same(
        [line.split()[0] for line in d.ctl("status", "shown:").lines],
        ["shown:la", "shown:lb"],
        "with nothing behind the colon",
    )


@ctl_check("status.several", "status of several names keeps their order")
def status_several(t):
    result = daemon(t).ctl("status", "up", "shown:lb", "down")
    same([line.split()[0] for line in result.lines], ["up", "shown:lb", "down"])


@ctl_check("status.unknown", "status of unknown names: exit 4", stock=True)
def status_unknown(t):
    d = daemon(t)
    gives(d.ctl("status", "nope"), 4, "nope: ERROR (no such process)")
    gives(d.ctl("status", "nope:*"), 4, "nope: ERROR (no such group)")
    gives(d.ctl("status", "shown:nope"), 4, "shown:nope: ERROR (no such process)")


@ctl_check("status.unknown_and_stopped", "unknown and stopped together: exit 3")
def status_mixed(t):
    gives(
        daemon(t).ctl("status", "nope", "down"),
        3,
        "nope: ERROR (no such process)",
        "down                             STOPPED   Not started",
    )


@ctl_check("status.width", "long names widen the first column", weight=2)
def status_width(t):
    name = "a" * 40
    d = t.start(program(name, "/bin/cat"), program("b", "/bin/cat"))
    gives(d.ctl("status"), 3, f"{name}   STOPPED   Not started", f"b{' ' * 42}STOPPED   Not started")


# -- start, stop, restart --------------------------------------------------------------------


@ctl_check("start.one", "start, and start again", stock=True)
def start_one(t):
    d = daemon(t)
    gives(d.ctl("start", "start1"), 0, "start1: started")
    same(d.state("start1"), "RUNNING")
    gives(d.ctl("start", "start1"), 0, "start1: ERROR (already started)")


@ctl_check("start.errors", "start of what cannot be started", stock=True)
def start_errors(t):
    d = daemon(t)
    gives(d.ctl("start", "nope"), 1, "nope: ERROR (no such process)")
    gives(d.ctl("start", "missing"), 1, "missing: ERROR (no such file)")
    gives(d.ctl("start", "not_exec"), 1, "not_exec: ERROR (file is not executable)")
    gives(d.ctl("start", "nope:*"), 2, "nope: ERROR (no such group)")
    gives(d.ctl("start", "starts:nope"), 1, "starts:nope: ERROR (no such process)")


@ctl_check("start.dies", "start of what dies at once: exit 7", weight=2, stock=True)
def start_dies(t):
    result = daemon(t).ctl("start", "dies")
    same(result.code, 7, "exit code")
    expect(result.out in ("dies: ERROR (spawn error)\n", "dies: ERROR (abnormal termination)\n"), result.out)


@ctl_check("start.no_name", "start without a name: exit 2, and the help")
def start_no_name(t):
    begins(daemon(t).ctl("start"), 2, "Error: start requires a process name", "start <name>\t\tStart a process")


@ctl_check("start.group", "start of a group", stock=True)
def start_group(t):
    d = daemon(t)
    result = d.ctl("start", "starts:*")
    same((sorted(result.lines), result.code), (["starts:ga: started", "starts:gb: started"], 0))
    # Nothing is left to start: nothing is printed.
    gives(d.ctl("start", "starts:*"), 0)


@ctl_check("start.several", "start goes on after an error, and its exit code is the error's")
def start_several(t):
    gives(daemon(t).ctl("start", "nope", "start2"), 1, "nope: ERROR (no such process)", "start2: started")


@ctl_check("stop.one", "stop, and stop again", stock=True)
def stop_one(t):
    d = daemon(t)
    d.wait_up("stop1")
    gives(d.ctl("stop", "stop1"), 0, "stop1: stopped")
    same(d.state("stop1"), "STOPPED")
    gives(d.ctl("stop", "stop1"), 0, "stop1: ERROR (not running)")


@ctl_check("stop.errors", "stop of unknown names: exit 1")
def stop_errors(t):
    d = daemon(t)
    gives(d.ctl("stop", "nope"), 1, "nope: ERROR (no such process)")
    gives(d.ctl("stop", "nope:*"), 1, "nope: ERROR (no such group)")
    begins(d.ctl("stop"), 1, "Error: stop requires a process name", "stop <name>\t\tStop a process")


@ctl_check("stop.group", "stop of a group", stock=True)
def stop_group(t):
    d = daemon(t)
    for name in ["stops:ha", "stops:hb"]:
        d.wait_up(name)
    result = d.ctl("stop", "stops:*")
    same((sorted(result.lines), result.code), (["stops:ha: stopped", "stops:hb: stopped"], 0))
    gives(d.ctl("stop", "stops:*"), 0)


@ctl_check("stop.several", "stop of several names")
def stop_several(t):
    d = daemon(t)
    d.wait_up("stop2")
    gives(d.ctl("stop", "stop2", "down"), 0, "stop2: stopped", "down: ERROR (not running)")


@ctl_check("restart.one", "restart of a running program prints both", stock=True)
def restart_one(t):
    d = daemon(t)
    pid = d.wait_up("restart1")["pid"]
    gives(d.ctl("restart", "restart1"), 0, "restart1: stopped", "restart1: started")
    expect(d.info("restart1")["pid"] != pid, "the pid is the same")


@ctl_check("restart.stopped", "restart of a stopped program starts it")
def restart_stopped(t):
    gives(daemon(t).ctl("restart", "restart_down"), 0, "restart_down: ERROR (not running)", "restart_down: started")


@ctl_check("restart.group", "restart of a group stops what runs and starts all")
def restart_group(t):
    d = daemon(t)
    d.wait_up("restarts:ra")
    result = d.ctl("restart", "restarts:*")
    same(
        (result.lines[0], sorted(result.lines[1:]), result.code),
        ("restarts:ra: stopped", ["restarts:ra: started", "restarts:rb: started"], 0),
    )


@ctl_check("restart.errors", "restart without a name, and of an unknown one: exit 1")
def restart_errors(t):
    d = daemon(t)
    begins(d.ctl("restart"), 1, "Error: restart requires a process name", "restart <name>\t\tRestart a process")
    gives(d.ctl("restart", "nope"), 1, "nope: ERROR (no such process)", "nope: ERROR (no such process)")


@ctl_check("all", "start all, stop all, restart all, signal all, clear all, pid all", weight=6, stock=True)
def everything(t):
    d = t.start(program("a", **CAT), program("b", **CAT))

    def up():
        for name in ["a", "b"]:
            d.wait_up(name)

    def sorted_lines(*args):
        result = d.ctl(*args)
        return sorted(result.lines), result.code

    same(sorted_lines("start", "all"), (["a: started", "b: started"], 0))
    up()
    same(sorted_lines("signal", "CONT", "all"), (["a: signalled", "b: signalled"], 0))
    same(sorted_lines("clear", "all"), (["a: cleared", "b: cleared"], 0))
    same(d.ctl("pid", "all").lines, [str(d.info(name)["pid"]) for name in "ab"])
    same(sorted_lines("restart", "all"), (["a: started", "a: stopped", "b: started", "b: stopped"], 0))
    up()
    same(sorted_lines("stop", "all"), (["a: stopped", "b: stopped"], 0))
    same(d.ctl("pid", "all").lines, ["0", "0"])


# -- signal ----------------------------------------------------------------------------------


@ctl_check("signal.one", "signal of one program", stock=True)
def signal_one(t):
    d = daemon(t)
    d.wait_up("sig1")
    gives(d.ctl("signal", "CONT", "sig1"), 0, "sig1: signalled")
    gives(d.ctl("signal", "18", "sig1"), 0, "sig1: signalled")


@ctl_check("signal.several", "signal of several and of a group: only what runs")
def signal_several(t):
    d = daemon(t)
    for name in ["sig1", "sig2", "sigs:ka"]:
        d.wait_up(name)
    gives(d.ctl("signal", "CONT", "sig1", "sig2"), 0, "sig1: signalled", "sig2: signalled")
    gives(d.ctl("signal", "CONT", "sigs:*"), 0, "sigs:ka: signalled")


@ctl_check("signal.errors", "signal: bad signal 1, not running 7, unknown 1, too few arguments 1", stock=True)
def signal_errors(t):
    d = daemon(t)
    d.wait_up("sig1")
    gives(d.ctl("signal", "NOPE", "sig1"), 1, "sig1: ERROR (bad signal name)")
    gives(d.ctl("signal", "HUP", "down"), 7, "down: ERROR (not running)")
    gives(d.ctl("signal", "HUP", "nope"), 1, "nope: ERROR (no such process)")
    gives(d.ctl("signal", "HUP", "nope:*"), 1, "nope: ERROR (no such group)")
    begins(
        d.ctl("signal", "HUP"),
        1,
        "Error: signal requires a signal name and a process name",
        "signal <signal name> <name>\t\tSignal a process",
    )


# -- pid -------------------------------------------------------------------------------------


@ctl_check("pid", "pid of the daemon and of a program", stock=True)
def pid(t):
    d = daemon(t)
    info = d.wait_state("up", "RUNNING")
    gives(d.ctl("pid"), 0, str(d.pid))
    gives(d.ctl("pid", "up"), 0, str(info["pid"]))
    gives(d.ctl("pid", "up", "shown:la"), 0, str(info["pid"]), str(d.info("shown:la")["pid"]))


@ctl_check("pid.errors", "pid of a stopped program is 0, exit 7; unknown: exit 1")
def pid_errors(t):
    d = daemon(t)
    gives(d.ctl("pid", "down"), 7, "0")
    gives(d.ctl("pid", "nope"), 1, "No such process nope")


# -- logs ------------------------------------------------------------------------------------


def logged(t):
    d = daemon(t)
    until(lambda: d.bench.read("log.out").endswith("line 199 of the log\n") and d.bench.read("log.err"), "the output")
    return d


@ctl_check("tail", "tail prints the last 1600 bytes of stdout", stock=True)
def tail(t):
    d = logged(t)
    result = d.ctl("tail", "log")
    same((result.out, result.code), (d.bench.read("log.out")[-1600:] + "\n", 0))


@ctl_check("tail.bytes", "tail -N prints the last N bytes")
def tail_bytes(t):
    d = logged(t)
    same(d.ctl("tail", "-10", "log").out, d.bench.read("log.out")[-10:] + "\n")
    same(d.ctl("tail", "-100000", "log").out, d.bench.read("log.out") + "\n")


@ctl_check("tail.channel", "tail NAME stderr prints the other log")
def tail_channel(t):
    d = logged(t)
    same(d.ctl("tail", "log", "stderr").out, "errors\n\n")
    same(d.ctl("tail", "-4", "log", "stderr").out, "ors\n\n")
    same(d.ctl("tail", "log", "stdout").out, d.ctl("tail", "log").out)


@ctl_check("tail.errors", "tail: no log, unknown, bad channel, bad argument, too few, too many: exit 1", stock=True)
def tail_errors(t):
    d = daemon(t)
    gives(d.ctl("tail", "up"), 1, "up: ERROR (no log file)")
    gives(d.ctl("tail", "nope"), 1, "nope: ERROR (no such process name)")
    gives(d.ctl("tail", "log", "stdfoo"), 1, "Error: bad channel 'stdfoo'")
    gives(d.ctl("tail", "-x", "log"), 1, "Error: bad argument -x")
    gives(d.ctl("tail", "-5"), 1, "Error: tail requires process name")
    begins(d.ctl("tail"), 1, "Error: too few arguments", "tail [-f] <name> [stdout|stderr] (default stdout)")
    begins(d.ctl("tail", "-5", "a", "b", "c"), 1, "Error: too many arguments")


def follow(t, d, *args):
    """Starts a client that follows something; returns it and a function that reads its output."""
    path = t.path("follow.txt")
    child = t.popen(
        [*t.ctl_argv(), "-c", d.conf, *args],
        stdin=subprocess.DEVNULL,
        stdout=open(path, "wb"),
        env={"PYTHONUNBUFFERED": "1"},
    )
    return child, lambda: t.read("follow.txt")


@ctl_check("tail.follow", "tail -f prints what is there and what comes", weight=3, stock=True)
def tail_follow(t):
    d = daemon(t)
    d.wait_up("follow")
    d.rpc.supervisor.sendProcessStdin("follow", "first\n")
    until(lambda: "first\n" in d.bench.read("follow.out"), "the first line in the log")
    child, out = follow(t, d, "tail", "-f", "follow")
    until(lambda: "first\n" in out(), "the first line")
    expect(out().startswith("==> Press Ctrl-C to exit <==\n"), out())
    d.rpc.supervisor.sendProcessStdin("follow", "second Øresund\n")
    until(lambda: "second Øresund\n" in out(), "the second line")
    child.send_signal(signal.SIGINT)
    child.wait(timeout=60)


@ctl_check("maintail", "maintail prints the last 1600 bytes of the main log; -N the last N", stock=True)
def maintail(t):
    d = t.start()
    d.wait_log("started with pid")
    log = d.log
    same(d.ctl("maintail").out, log[-1600:] + "\n")
    same(d.ctl("maintail", "-20").out, log[-20:] + "\n")


@ctl_check("maintail.errors", "maintail: bad arguments, too many: exit 1; no log: exit 1")
def maintail_errors(t):
    d = t.start()
    gives(d.ctl("maintail", "-x"), 1, "Error: bad argument -x")
    gives(d.ctl("maintail", "x"), 1, "Error: bad argument x")
    begins(d.ctl("maintail", "-1", "-2"), 1, "Error: too many arguments")
    os.unlink(t.path("d.log"))
    gives(d.ctl("maintail"), 1, "supervisord: ERROR (no log file)")


@ctl_check("maintail.follow", "maintail -f follows the main log", weight=3)
def maintail_follow(t):
    d = t.start(program("x", **CAT))
    child, out = follow(t, d, "maintail", "-f")
    until(lambda: "supervisord started with pid" in out(), "the old lines")
    d.rpc.supervisor.startProcess("x")
    until(lambda: "INFO spawned: 'x' with pid" in out(), "the new line")


@ctl_check("clear", "clear of one and of several", stock=True)
def clear(t):
    d = daemon(t)
    until(lambda: d.bench.read("clear1.out") and d.bench.read("clear2.out"), "output")
    gives(d.ctl("clear", "clear1", "clear2"), 0, "clear1: cleared", "clear2: cleared")
    same(d.bench.read("clear1.out") + d.bench.read("clear2.out"), "")


@ctl_check("clear.errors", "clear of an unknown name, and without one: exit 1")
def clear_errors(t):
    d = daemon(t)
    gives(d.ctl("clear", "nope"), 1, "nope: ERROR (no such process)")
    begins(d.ctl("clear"), 1, "Error: clear requires a process name", "clear <name>\t\tClear a process' log files.")


# -- fg --------------------------------------------------------------------------------------


@ctl_check("fg", "fg sends lines to the program and shows its output", weight=3, stock=True)
def foreground(t):
    d = daemon(t)
    d.wait_up("fg")
    path = t.path("fg.txt")
    child = t.popen(
        [*t.ctl_argv(), "-c", d.conf, "fg", "fg"],
        stdin=subprocess.PIPE,
        stdout=open(path, "wb"),
        env={"PYTHONUNBUFFERED": "1"},
    )
    for line in ["hello", "Malmö"]:
        child.stdin.write(f"{line}\n".encode())
        child.stdin.flush()
        until(lambda: line in t.read("fg.txt"), f"{line} to come back")
    contains(t.read("fg.txt"), "==> Press Ctrl-C to exit <==\n")
    child.send_signal(signal.SIGINT)
    until(lambda: "Exiting foreground" in t.read("fg.txt"), "the end")


@ctl_check("fg.errors", "fg: not running, unknown, none, too many: exit 1", stock=True)
def foreground_errors(t):
    d = daemon(t)
    gives(d.ctl("fg", "down"), 1, "ERROR: process not running")
    gives(d.ctl("fg", "nope"), 1, "ERROR: bad process name supplied")
    begins(d.ctl("fg"), 1, "ERROR: no process name supplied", "fg <process>\tConnect to a process in foreground mode")
    gives(d.ctl("fg", "a", "b"), 1, "ERROR: too many process names supplied")


# -- config ----------------------------------------------------------------------------------


@ctl_check("avail", "avail lists what is configured, in use or not", weight=2, stock=True)
def avail(t):
    d = t.start(
        program("a", "/bin/cat", autostart="true", priority=5),
        program("b", "/bin/cat"),
        "[group:g]\nprograms=b\npriority=7\n",
    )
    t.conf(
        program("a", "/bin/cat", autostart="true", priority=5),
        program("b", "/bin/cat"),
        program("c", "/bin/cat"),
        "[group:g]\nprograms=b\npriority=7\n",
    )
    d.rpc.supervisor.reloadConfig()
    result = d.ctl("avail")
    same(result.code, 0, "exit code")
    same(
        sorted(result.lines),
        [
            "a                                in use    auto      5:5",
            "c                                avail     manual    999:999",
            "g:b                              in use    manual    7:999",
        ],
    )


@ctl_check("reread", "reread tells what is available, changed and gone, sorted", weight=2, stock=True)
def reread(t):
    d = t.start(program("a", **CAT), program("b", **CAT), program("c", **CAT))
    gives(d.ctl("reread"), 0, "No config updates to processes")
    t.conf(program("a", **CAT), program("b", "/bin/cat", priority=3), program("d", **CAT))
    gives(d.ctl("reread"), 0, "b: changed", "c: disappeared", "d: available")
    same([i["name"] for i in d.rpc.supervisor.getAllProcessInfo()], ["a", "b", "c"], "what runs is unchanged")


@ctl_check("reread.error", "reread of a config with an error: exit 1", weight=2, stock=True)
def reread_error(t):
    d = t.start(program("a", **CAT))
    t.conf("[program:a]\ncommand=/bin/cat\nstartsecs=soon\n")
    gives(
        d.ctl("reread"),
        1,
        f"ERROR: CANT_REREAD: invalid literal for int() with base 10: 'soon' in section 'program:a' (file: '{d.conf}')",
    )


@ctl_check("update", "update stops and removes, restarts what changed, adds", weight=4, stock=True)
def update(t):
    d = t.start(program("a", **UP), program("b", **UP), program("c", **UP))
    pids = {name: d.wait_up(name)["pid"] for name in "abc"}
    gives(d.ctl("update"), 0)
    t.conf(program("a", **UP), program("b", "/bin/cat", startsecs=0, autostart="true", priority=3), program("d", **UP))
    gives(
        d.ctl("update"),
        0,
        "c: stopped",
        "c: removed process group",
        "b: stopped",
        "b: updated process group",
        "d: added process group",
    )
    same(d.wait_state("a", "RUNNING")["pid"], pids["a"], "the pid of what did not change")
    expect(d.wait_state("b", "RUNNING")["pid"] != pids["b"], "b was not restarted")
    d.wait_state("d", "RUNNING")
    expect(not alive(pids["c"]), "c is alive")


@ctl_check("update.named", "update of named groups leaves the others", weight=3)
def update_named(t):
    d = t.start(program("a", **CAT), program("b", **CAT))
    t.conf(
        program("a", "/bin/cat", priority=3),
        program("b", "/bin/cat", priority=3),
        program("c", **CAT),
        program("d", **CAT),
    )
    result = d.ctl("update", "a", "d", "nope")
    same(
        sorted(result.lines),
        ["ERROR: no such group: nope", "a: stopped", "a: updated process group", "d: added process group"],
    )
    same(result.code, 1, "exit code")
    same(sorted(d.ctl("update", "all").lines), ["b: stopped", "b: updated process group", "c: added process group"])


@ctl_check("add_remove", "add and remove, with their errors", weight=3, stock=True)
def add_remove(t):
    d = t.start(program("a", **UP))
    t.conf(program("a", **UP), program("b", **CAT))
    gives(d.ctl("add", "b"), 1, "ERROR: no such process/group: b")
    d.ctl("reread")
    gives(d.ctl("add", "b"), 0, "b: added process group")
    gives(d.ctl("add", "b"), 0, "ERROR: process group already active")
    gives(d.ctl("remove", "b"), 0, "b: removed process group")
    gives(d.ctl("remove", "b"), 1, "ERROR: no such process/group: b")
    d.wait_up("a")
    gives(d.ctl("remove", "a"), 1, "ERROR: process/group still running: a")
    gives(d.ctl("add", "nope", "b"), 1, "ERROR: no such process/group: nope", "b: added process group")


@ctl_check("reload", "reload restarts the daemon", weight=4, stock=True)
def reload_it(t):
    d = t.start(program("x", **UP))
    old = d.wait_up("x")["pid"]
    gives(d.ctl("reload"), 0, "Restarted supervisord")
    until(lambda: d.log.count(f"supervisord started with pid {d.pid}") == 2, "the second start")
    expect(d.wait_state("x", "RUNNING")["pid"] != old, "x was not restarted")


@ctl_check("shutdown", "shutdown ends the daemon", weight=3, stock=True)
def shutdown(t):
    d = t.start(program("x", **UP))
    d.wait_up("x")
    gives(d.ctl("shutdown"), 0, "Shut down")
    same(d.wait_exit(), 0, "the daemon's exit code")


@ctl_check("no_arguments", "actions that take no arguments refuse them: exit 1")
def no_arguments(t):
    d = daemon(t)
    for action in ["shutdown", "reload", "avail", "reread", "version"]:
        begins(d.ctl(action, "x"), 1, f"Error: {action} accepts no arguments")


# -- the rest --------------------------------------------------------------------------------


@ctl_check("version", "version is the daemon's", stock=True)
def version(t):
    d = daemon(t)
    gives(d.ctl("version"), 0, d.rpc.supervisor.getSupervisorVersion())


ACTIONS = "add avail clear exit fg maintail open pid quit reload remove reread restart shutdown signal start status stop tail update version".split()


@ctl_check("help", "help lists all actions; help ACTION explains one; help of none says so")
def help_action(t):
    d = daemon(t)
    result = d.ctl("help")
    for action in ACTIONS:
        expect(re.search(rf"\b{action}\b", result.out), f"{action} is not in {result.out!r}")
    for action in ACTIONS:
        contains(d.ctl("help", action).out, action, f"help {action}")
    contains(d.ctl("help", "nope").out, "*** No help on nope")


@ctl_check("help_flag", "-h prints the usage and exits 0")
def help_flag(t):
    for flag in ["-h", "--help", "-?"]:
        result = t.run([*t.ctl_argv(), flag])
        same(result.code, 0, "exit code")
        contains(result.out, "supervisorctl -- ")
        for option in ["configuration", "help", "interactive", "serverurl", "username", "password", "history-file"]:
            contains(result.out, f"--{option}")


@ctl_check("unknown_action", "an unknown action: exit 1")
def unknown_action(t):
    gives(daemon(t).ctl("frobnicate", "x"), 1, "*** Unknown syntax: frobnicate x")


@ctl_check("usage_errors", "wrong flags are usage errors, exit 2")
def usage_errors(t):
    for args, message in [
        (["-Z"], "option -Z not recognized"),
        (["-s", "foo", "status"], "invalid value for -s 'foo': value 'foo' is not a URL"),
        (["-c", "/nope/x.conf", "status"], "could not find config file /nope/x.conf"),
        (["-c", t.write("x.conf", "[supervisord]\n"), "status"], ".ini file does not include supervisorctl section"),
    ]:
        result = t.run([*t.ctl_argv(), *args])
        same(result.code, 2, "exit code")
        contains(result.err, f"Error: {message}\nFor help, use ", "stderr")


@ctl_check("no_server.tcp", "nobody listens on the port: status exits 4, other actions 4 too", stock=True)
def no_server_tcp(t):
    url = f"http://127.0.0.1:{free_port()}"
    conf = t.conf()
    for action in [["status"], ["start", "x"], ["version"]]:
        result = t.run([*t.ctl_argv(), "-c", conf, "-s", url, *action])
        gives(result, 4, f"{url} refused connection")


@ctl_check("no_server.unix", "the socket is not there: status exits 4, other actions 7", stock=True)
def no_server_unix(t):
    conf = t.conf()
    url = "unix://" + t.path("s.sock")
    gives(t.run([*t.ctl_argv(), "-c", conf, "status"]), 4, f"{url} no such file")
    gives(t.run([*t.ctl_argv(), "-c", conf, "stop", "x"]), 7, f"{url} no such file")


@ctl_check("no_server.shutdown", "shutdown without a daemon: exit 1, and the guess that it is down", stock=True)
def no_server_shutdown(t):
    conf = t.conf()
    gives(
        t.run([*t.ctl_argv(), "-c", conf, "shutdown"]),
        1,
        f"ERROR: unix://{t.path('s.sock')} no such file (already shut down?)",
    )
    url = f"http://127.0.0.1:{free_port()}"
    gives(
        t.run([*t.ctl_argv(), "-c", conf, "-s", url, "shutdown"]),
        1,
        f"ERROR: {url} refused connection (already shut down?)",
    )


@ctl_check("flags", "-s, -u and -p beat the config; http:// works", weight=2, stock=True)
def flags(t):
    port = free_port()
    d = t.start(
        program("x", **CAT),
        inet=f"port=127.0.0.1:{port}\nusername=user\npassword=pass",
        ctl="username=wrong\npassword=wrong",
    )
    result = d.ctl("-s", f"http://127.0.0.1:{port}", "-u", "user", "-p", "pass", "status")
    gives(result, 3, "x                                STOPPED   Not started")
    result = d.ctl(f"--serverurl=http://127.0.0.1:{port}", "--username", "user", "--password=pass", "pid")
    gives(result, 0, str(d.pid))


@ctl_check("config_credentials", "username and password of [supervisorctl] are used", weight=2, stock=True)
def config_credentials(t):
    d = t.start(
        unix="username=user\npassword={SHA}9d4e1e23bd5b727046a9e3b4b7db57bd8d6ee684", ctl="username=user\npassword=pass"
    )
    gives(d.ctl("pid"), 0, str(d.pid))


@ctl_check("wrong_password", "a wrong password: the server requires authentication, exit 1", weight=2)
def wrong_password(t):
    d = t.start(unix="username=user\npassword=pass")
    for args in [["-u", "user", "-p", "wrong"], []]:
        result = d.ctl(*args, "status")
        same(result.code, 1, "exit code")
        same(result.lines[:1], ["Server requires authentication"])


@ctl_check("search", "without -c the config is searched like the daemon searches", weight=2)
def search(t):
    d = t.start()
    os.makedirs(t.path("cwd/etc"))
    os.rename(d.conf, t.path("cwd/etc/supervisord.conf"))
    result = t.run([*t.ctl_argv(), "pid"], cwd=t.path("cwd"))
    gives(result, 0, str(d.pid))


@ctl_check("serverurl_here", "serverurl may contain %(here)s", weight=2)
def serverurl_here(t):
    d = t.start()
    conf = t.write("ctl.conf", "[supervisorctl]\nserverurl=unix://%(here)s/./s.sock\n")
    gives(t.run([*t.ctl_argv(), "-c", conf, "pid"]), 0, str(d.pid))


# -- the interactive shell ---------------------------------------------------------------------


def shell(d, text, *args, **options):
    return d.ctl(*args, stdin=text, **options)


@ctl_check("shell.status_first", "without an action the shell shows the status first, and quits", weight=2, stock=True)
def shell_status(t):
    d = t.start(program("x", **CAT))
    result = shell(d, "quit\n")
    same(result.code, 0, "exit code")
    same(result.lines[0], "x                                STOPPED   Not started")
    contains(result.out, "supervisor> ", "the prompt")


@ctl_check("shell.actions", "actions in the shell; empty lines do nothing; unknown ones are told", weight=2, stock=True)
def shell_actions(t):
    d = t.start(program("x", **CAT))
    result = shell(d, "start x\n\n   \nfrobnicate\npid\nstop nope\nexit\npid\n")
    same(result.code, 0, "exit code of a shell is always 0")
    for text in ["x: started\n", "*** Unknown syntax: frobnicate\n", "nope: ERROR (no such process)\n"]:
        contains(result.out, text)
    same(result.out.count(f"{d.pid}\n"), 1, "how often pid was run (not after exit)")


@ctl_check("shell.eof", "the end of the input ends the shell", weight=2)
def shell_eof(t):
    result = shell(daemon(t), "version\n")
    same(result.code, 0, "exit code")
    contains(result.out, daemon(t).rpc.supervisor.getSupervisorVersion() + "\n")


@ctl_check("shell.prompt", "prompt= of [supervisorctl] is the prompt", weight=2)
def shell_prompt(t):
    d = t.start(ctl="prompt=my shop")
    contains(shell(d, "quit\n").out, "my shop> ")


@ctl_check("shell.questions", "shutdown and reload ask first, and no is no", weight=2, stock=True)
def shell_questions(t):
    d = t.start()
    result = shell(d, "shutdown\nn\nreload\nN\nquit\n")
    contains(result.out, "Really shut the remote supervisord process down y/N? ")
    contains(result.out, "Really restart the remote supervisord process y/N? ")
    lacks(result.out, "Shut down")
    same(d.rpc.supervisor.getPID(), d.pid)
    result = shell(d, "shutdown\nyes\n")
    contains(result.out, "Shut down\n")
    same(d.wait_exit(), 0)


@ctl_check("shell.open", "open connects to another daemon and shows its status", weight=2)
def shell_open(t):
    d = t.start(program("here", **CAT))
    port = free_port()
    other = t.start(
        conf=t.write(
            "o.conf",
            f"[inet_http_server]\nport=127.0.0.1:{port}\n[supervisord]\nlogfile={t.path('o.log')}\npidfile={t.path('o.pid')}\nchildlogdir={t.dir}\n"
            "[rpcinterface:supervisor]\nsupervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface\n"
            + program("there", **CAT),
        ),
        ready=False,
    )
    until(lambda: other.proxy(f"http://127.0.0.1:{port}").supervisor.getPID(), "the other daemon")
    result = shell(d, f"open http://127.0.0.1:{port}\npid\nopen ftp://nope\nquit\n")
    contains(result.out, "there                            STOPPED   Not started\n")
    contains(result.out, f"{other.pid}\n")
    contains(result.out, "ERROR: url must be http:// or unix://\n")


@ctl_check("shell.history", "history_file= keeps what was typed", weight=2)
def shell_history(t):
    d = t.start(ctl=f"history_file={t.path('history')}")
    same(shell(d, "version\nquit\n").code, 0)
    # Without a terminal nothing is typed into it; the file itself is made.
    until(lambda: os.path.exists(t.path("history")), "the history file")


@ctl_check("shell.then_action", "with -i and an action the action is run and its exit code counts", weight=2)
def shell_then_action(t):
    gives(
        daemon(t).ctl("-i", "status", "down", stdin="quit\n"),
        3,
        "down                             STOPPED   Not started",
    )
