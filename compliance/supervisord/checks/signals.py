"""1.4: signals, start and stop of the daemon, limits, its files and its log."""

import grp
import os
import pwd
import re
import resource
import signal
import socket
import xmlrpc.client

from harness.bench import alive, free_port, program, require_root, sh, until
from harness.register import Skip, check, contains, expect, lacks, same

FOREVER = sh("exec sleep 600")


def unless_fault(call):
    """The call's answer, or None if it was a fault (as while the daemon restarts)."""
    try:
        return call()
    except xmlrpc.client.Fault:
        return None


def running(t, *sections, **options):
    d = t.start(program("x", FOREVER, autostart="true", startsecs=0), *sections, **options)
    return d, d.wait_up("x")["pid"]


for number in [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT]:

    @check(f"signals.exit.{number.name}", f"{number.name}: children stop, exit 0, pidfile and socket are gone", 3)
    def exit_signal(t, number=number):
        d, pid = running(t)
        same(t.read("d.pid"), f"{d.pid}\n", "pidfile")
        d.signal(number)
        same(d.wait_exit(), 0, "exit code")
        contains(d.log, f"WARN received {number.name} indicating exit request\n", "main log")
        expect(re.search(r"INFO waiting for x to die$", d.log, re.M), "no `waiting for` line")
        expect(re.search(r"WARN stopped: x \(terminated by SIGTERM\)$", d.log, re.M), "x was not stopped")
        expect(not alive(pid), "the child lives")
        expect(not os.path.exists(t.path("d.pid")), "the pidfile is still there")
        expect(not os.path.exists(t.path("s.sock")), "the socket is still there")


@check("signals.shutdown_state", "while it shuts down every call is fault 6, and it says whom it waits for", 5)
def shutdown_state(t):
    loop = sh(f"trap '' TERM; touch {t.path('up')}; while :; do sleep 0.1; done")
    d = t.start(
        program("slow", loop, autostart="true", startsecs=0, stopwaitsecs=600),
        program("also", loop, autostart="true", startsecs=0, stopwaitsecs=600),
    )
    until(lambda: os.path.exists(t.path("up")) and d.state("also") == "RUNNING", "both to run")
    d.signal(signal.SIGTERM)
    d.wait_log("received SIGTERM")
    for method in ["getState", "getPID", "getAllProcessInfo", "stopAllProcesses", "shutdown", "getAPIVersion"]:
        try:
            value = getattr(d.rpc.supervisor, method)()
            raise Exception(f"{method} answered {value!r}")
        except xmlrpc.client.Fault as fault:
            same((fault.faultCode, fault.faultString), (6, "SHUTDOWN_STATE"), method)
    found = d.wait_log(r"INFO waiting for (.*) to die$")
    same(sorted(found.group(1).split(", ")), ["also", "slow"])
    d.signal(signal.SIGHUP)
    d.wait_log(r"WARN ignored SIGHUP indicating restart request \(shutdown in progress\)$")


for kind in ["one", "all"]:

    @check(f"signals.stop_report.{kind}", f"a stop of {kind} that takes long is told in the log, again every two seconds", 5)
    def stop_report(t, kind=kind):
        loop = sh(f"trap '' TERM; touch {t.path('up')}; while :; do sleep 0.1; done")
        d = t.start(program("slow", loop, autostart="true", startsecs=0, stopwaitsecs=3))
        until(lambda: os.path.exists(t.path("up")) and d.state("slow") == "RUNNING", "it to run")
        if kind == "one":
            d.rpc.supervisor.stopProcess("slow")
        else:
            d.rpc.supervisor.stopAllProcesses()
        told = re.findall(r"INFO waiting for slow to stop$", d.log, re.M)
        same(len(told), 2, d.log)


@check("signals.hup", "HUP: all children stop, the config is read anew, same process", 5)
def hup(t):
    d, pid = running(t, supervisord="identifier=before")
    t.conf(program("y", FOREVER, autostart="true", startsecs=0), supervisord="identifier=after")
    d.signal(signal.SIGHUP)
    until(lambda: unless_fault(d.rpc.supervisor.getIdentification) == "after", "the new config")
    same(d.rpc.supervisor.getPID(), d.pid, "pid")
    expect(not alive(pid), "the old child lives")
    d.wait_state("y", "RUNNING")
    same([info["name"] for info in d.rpc.supervisor.getAllProcessInfo()], ["y"])
    contains(d.log, "WARN received SIGHUP indicating restart request\n", "main log")
    same(len(re.findall(f"supervisord started with pid {d.pid}", d.log)), 2, "starts in the log")
    same(t.read("d.pid"), f"{d.pid}\n", "pidfile")


@check("signals.hup_restarts_all", "HUP starts unchanged programs anew too", 5)
def hup_restarts(t):
    d, pid = running(t)
    d.signal(signal.SIGHUP)

    def anew():
        info = unless_fault(lambda: d.info("x"))
        return info and info["statename"] == "RUNNING" and info["pid"] != pid

    until(anew, "x to run with another pid")
    expect(not alive(pid), "the old child lives")


@check("signals.hup_bad_config", "HUP with a config that has an error: the error on stderr, exit 2", 4)
def hup_bad(t):
    d, pid = running(t)
    t.conf("[program:x]\ncommand=/bin/cat\nstartsecs=soon\n")
    d.signal(signal.SIGHUP)
    same(d.wait_exit(), 2, "exit code")
    contains(d.stdout, "Error: invalid literal for int() with base 10: 'soon' in section 'program:x'", "stderr")
    expect(not alive(pid), "the old child lives")


@check("signals.usr2", "USR2 reopens the main log and the children's logs", 4)
def usr2(t):
    out = t.path("x.out")
    script = "while :; do echo tick; sleep 0.1; done"
    d = t.start(program("x", sh(script), autostart="true", startsecs=0, stdout_logfile=out))
    until(lambda: "tick" in t.read("x.out"), "output")
    os.rename(out, out + ".old")
    os.rename(t.path("d.log"), t.path("d.log.old"))
    d.signal(signal.SIGUSR2)
    until(lambda: "tick" in t.read("x.out"), "output in the new log")
    until(lambda: os.path.exists(t.path("d.log")), "the new main log")
    until(
        lambda: "INFO received SIGUSR2 indicating log reopen request" in t.read("d.log") + t.read("d.log.old"),
        "the line in the log",
    )
    d.rpc.supervisor.stopProcess("x")
    until(lambda: "stopped: x" in t.read("d.log"), "new lines in the new main log")
    lacks(t.read("d.log.old"), "stopped: x", "the old log")


@check("signals.chld_unknown", "a child that is not ours is reaped, and told", 4)
def chld_unknown(t):
    d = t.start(before="sleep 1.5 & \n sh -c 'sleep 1.5; exit 3' &")
    d.wait_log(r"INFO reaped unknown pid \d+ \(exit status 0\)$")
    d.wait_log(r"INFO reaped unknown pid \d+ \(exit status 3\)$")


@check("signals.killed", "a daemon that is killed leaves its children running", 3)
def daemon_killed(t):
    d, pid = running(t)
    d.signal(signal.SIGKILL)
    d.wait_exit()
    expect(alive(pid), "the child is dead")
    expect(os.path.exists(t.path("d.pid")), "the pidfile is gone")


@check("signals.restart_after_kill", "after a kill it can be started again: stale socket and pidfile do not matter", 4)
def restart_after_kill(t):
    d = t.start()
    d.signal(signal.SIGKILL)
    d.wait_exit()
    expect(os.path.exists(t.path("s.sock")), "no stale socket is left to test with")
    again = t.start()
    same(again.rpc.supervisor.getPID(), again.pid)
    contains(again.stdout, f"Unlinking stale socket {t.path('s.sock')}\n", "stderr")
    same(t.read("d.pid"), f"{again.pid}\n", "pidfile")


IN_USE = (
    "Error: Another program is already listening on a port that one of our HTTP servers is "
    "configured to use.  Shut this program down first before starting supervisord.\n"
)


@check("signals.in_use.unix", "a socket another daemon listens on: exit 2, and it is left alone", 3)
def in_use_unix(t):
    d = t.start()
    text = (
        open(t.conf(name="second.conf"))
        .read()
        .replace(t.path("d.pid"), t.path("2.pid"))
        .replace(t.path("d.log"), t.path("2.log"))
    )
    t.write("second.conf", text)
    seen = t.run_daemon("-n", "-c", t.path("second.conf"))
    same(seen.code, 2, "exit code")
    contains(seen.err, IN_USE, "stderr")
    same(d.rpc.supervisor.getPID(), d.pid, "the first one's pid")


@check("signals.in_use.tcp", "a port another program listens on: exit 2", 2)
def in_use_tcp(t):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        seen = t.run_daemon("-n", "-c", t.conf(inet=other.getsockname()[1]))
    same(seen.code, 2, "exit code")
    contains(seen.err, IN_USE, "stderr")


@check("signals.in_use.daemonizing", "without -n the caller sees address-in-use too", 2)
def in_use_daemonizing(t):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        seen = t.run_daemon("-c", t.conf(inet=other.getsockname()[1]))
    same(seen.code, 2, "exit code")
    contains(seen.err, IN_USE, "stderr")


# -- limits ----------------------------------------------------------------------------------

ASK_FILES = "echo $(ulimit -Sn) $(ulimit -Hn) > {}; exec sleep 600"


@check("signals.limits.minfds_raises", "minfds raises the soft limit; children inherit it", 2)
def minfds_raises(t):
    d = t.start(
        program("x", sh(ASK_FILES.format(t.path("a"))), autostart="true", startsecs=0),
        supervisord="minfds=300",
        before="ulimit -Sn 200",
    )
    same(until(lambda: t.read("a").split(), "the answer")[0], "300")
    contains(d.log, "INFO Increased RLIMIT_NOFILE limit to 300\n", "main log")


@check("signals.limits.minfds_never_lowers", "minfds below the limit changes nothing", 2)
def minfds_never_lowers(t):
    d = t.start(
        program("x", sh(ASK_FILES.format(t.path("a"))), autostart="true", startsecs=0),
        supervisord="minfds=100",
        before="ulimit -Sn 250",
    )
    same(until(lambda: t.read("a").split(), "the answer")[0], "250")
    lacks(d.log, "RLIMIT_NOFILE", "main log")


@check("signals.limits.minfds_flag", "-a beats minfds in the file", 2)
def minfds_flag(t):
    d = t.start(supervisord="minfds=100", args=["-a", "310"], before="ulimit -Sn 200")
    contains(d.log, "INFO Increased RLIMIT_NOFILE limit to 310\n", "main log")


@check("signals.limits.minfds_impossible", "minfds that cannot be had is an error, exit 2")
def minfds_impossible(t):
    seen = t.run_daemon("-n", "-c", t.conf(supervisord="minfds=2000000000"))
    same(seen.code, 2, "exit code")
    contains(
        seen.err,
        'Error: The minimum number of file descriptors required to run this process is 2000000000 as per the "minfds" command-line argument or config file setting. The current environment will only allow you to open ',
        "stderr",
    )
    contains(
        seen.err,
        " file descriptors.  Either raise the number of usable file descriptors in your environment (see README.rst) or lower the minfds setting in the config file to allow the process to start.",
        "stderr",
    )


@check("signals.limits.minprocs_raises", "minprocs raises the soft limit of processes", 2)
def minprocs_raises(t):
    hard = resource.getrlimit(resource.RLIMIT_NPROC)[1]
    if os.getuid() != 0 or (hard != resource.RLIM_INFINITY and hard < 20000):
        raise Skip("needs root and a high limit of processes")
    d = t.start(supervisord="minprocs=20000", before="command -v prlimit >/dev/null && prlimit --pid $$ --nproc=19000:")
    contains(d.log, "INFO Increased RLIMIT_NPROC limit to 20000\n", "main log")


# -- user ------------------------------------------------------------------------------------


@check("signals.user.root_without", "root without user= gets a CRIT line")
def root_without(t):
    require_root()
    d = t.start()
    contains(
        d.log,
        "CRIT Supervisor is running as root.  Privileges were not dropped because no user is specified in "
        "the config file.  If you intend to run as root, you can set user=root in the config file to avoid "
        "this message.\n",
        "main log",
    )


@check("signals.user.root", "user=root says that root is meant")
def user_root(t):
    require_root()
    d = t.start(supervisord="user=root")
    lacks(d.log, "Supervisor is running as root", "main log")
    contains(d.log, "INFO Set uid to user 0 succeeded\n", "main log")


@check("signals.user.drops", "user=nobody drops for the daemon itself", 2)
def user_drops(t):
    require_root()
    os.chmod(t.dir, 0o777)
    d = t.start(supervisord="user=nobody")
    status = open(f"/proc/{d.pid}/status").read()
    nobody = pwd.getpwnam("nobody")
    same(re.search(r"^Uid:\s+(.*)$", status, re.M).group(1).split(), [str(nobody.pw_uid)] * 4)
    same(re.search(r"^Gid:\s+(.*)$", status, re.M).group(1).split(), [str(nobody.pw_gid)] * 4)
    same(os.stat(t.path("d.log")).st_uid, nobody.pw_uid, "owner of the log")


# -- files -----------------------------------------------------------------------------------


@check("signals.pidfile_not_writable", "a pidfile that cannot be written is a CRIT line, not the end")
def pidfile_not_writable(t):
    os.makedirs(t.path("adir"))
    d = t.start(args=["-j", t.path("adir")])
    d.wait_log(rf"CRIT could not write pidfile {re.escape(t.path('adir'))}$")


@check("signals.auto_logs.cleaned", "old AUTO logs of the same identifier are removed at the start, others stay", 2)
def auto_logs_cleaned(t):
    gone = [
        "x-stdout---supervisor-abcdefgh.log",
        "old-stderr---supervisor-12345678.log",
        "x-stdout---supervisor-abcdefgh.log.1",
        "x-stdout---supervisor-abcdefgh.log.10",
    ]
    kept = ["x-stdout---other-abcdefgh.log", "x-stdout-supervisor.log", "notes.txt", "supervisor.log"]
    for name in gone + kept:
        t.write(name, "old")
    t.start()
    for name in gone:
        expect(not os.path.exists(t.path(name)), f"{name} is still there")
    for name in kept:
        expect(os.path.exists(t.path(name)), f"{name} is gone")


@check("signals.auto_logs.nocleanup", "nocleanup=true keeps them", 2)
def auto_logs_kept(t):
    t.write("x-stdout---supervisor-abcdefgh.log", "old")
    t.start(supervisord="nocleanup=true")
    same(t.read("x-stdout---supervisor-abcdefgh.log"), "old")


@check("signals.auto_logs.written", "an AUTO log holds the child's output", 2)
def auto_logs_written(t):
    d = t.start(
        program(
            "x",
            sh("echo out; echo err >&2; exec sleep 600"),
            autostart="true",
            startsecs=0,
            stdout_logfile="AUTO",
            stderr_logfile="AUTO",
        )
    )
    info = d.wait_state("x", "RUNNING")
    until(lambda: open(info["stdout_logfile"]).read() == "out\n", "stdout in its log")
    until(lambda: open(info["stderr_logfile"]).read() == "err\n", "stderr in its log")
    same(info["logfile"], info["stdout_logfile"])


@check("signals.unix.chmod", "the unix socket is 0700, or what chmod says", 2)
def unix_chmod(t):
    d = t.start()
    same(oct(os.stat(d.sock).st_mode & 0o7777), "0o700")
    d.signal(signal.SIGKILL)
    d.wait_exit()
    t.start(unix="chmod=0770")
    same(oct(os.stat(d.sock).st_mode & 0o7777), "0o770")


@check("signals.unix.chown", "the unix socket belongs to whom chown says", 2)
def unix_chown(t):
    require_root()
    d = t.start(unix="chown=nobody:daemon")
    st = os.stat(d.sock)
    same((st.st_uid, st.st_gid), (pwd.getpwnam("nobody").pw_uid, grp.getgrnam("daemon").gr_gid))


@check("signals.unix.chown_user", "chown of a user only leaves the group", 2)
def unix_chown_user(t):
    require_root()
    d = t.start(unix="chown=nobody")
    st = os.stat(d.sock)
    same((st.st_uid, st.st_gid), (pwd.getpwnam("nobody").pw_uid, os.getgid()))


@check("signals.unix.path", "file= of the unix socket may be relative and is normalised", 2)
def unix_path(t):
    text = open(t.conf(name="x.conf")).read().replace(f"file={t.path('s.sock')}", "file=sub/../s.sock")
    os.makedirs(t.path("sub"))
    section = program(
        "x", "/usr/bin/env", autostart="true", startsecs=0, autorestart="false", stdout_logfile=t.path("env")
    )
    t.start(conf=t.write("s.conf", text + section))
    until(lambda: f"SUPERVISOR_SERVER_URL=unix://{t.path('s.sock')}\n" in t.read("env"), "the normalised path")


@check("signals.inet.several", "several [inet_http_server:x] listen at once, beside the unix socket", 2)
def inet_several(t):
    first, second = free_port(), free_port()
    d = t.start(
        f"[inet_http_server:one]\nport=127.0.0.1:{first}\n",
        f"[inet_http_server:two]\nport=localhost:{second}\nusername=u\npassword=p\n",
    )
    same(d.proxy(f"http://127.0.0.1:{first}").supervisor.getPID(), d.pid)
    same(d.proxy(f"http://127.0.0.1:{second}", "u", "p").supervisor.getPID(), d.pid)
    same(d.rpc.supervisor.getPID(), d.pid)


@check("signals.inet.all_addresses", "port=*:N and port=N listen on all addresses (with a password)", 3)
def inet_all(t):
    star, bare = free_port(), free_port()
    d = t.start(
        f"[inet_http_server:one]\nport=*:{star}\nusername=u\npassword=p\n",
        f"[inet_http_server:two]\nport={bare}\nusername=u\npassword=p\n",
    )
    for port in [star, bare]:
        same(d.proxy(f"http://127.0.0.2:{port}", "u", "p").supervisor.getPID(), d.pid)


@check("signals.inet.server_url", "without a unix socket children get the URL of the TCP server", 2)
def inet_server_url(t):
    port = free_port()
    conf = t.conf(
        program("x", "/usr/bin/env", autostart="true", startsecs=0, autorestart="false", stdout_logfile=t.path("env")),
        unix=None,
        inet=port,
    )
    t.start(conf=conf, ready=False)
    until(lambda: f"SUPERVISOR_SERVER_URL=http://127.0.0.1:{port}\n" in t.read("env"), "the URL")


@check("signals.no_servers", "without any server it runs all the same", 2)
def no_servers(t):
    d = t.start(conf=t.conf(program("x", FOREVER, autostart="true", startsecs=0), unix=None), ready=False)
    d.wait_log("success: x entered RUNNING state")
    same(d.terminate(), 0, "exit code")


# -- the main log ----------------------------------------------------------------------------

LINE = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} (CRIT|ERRO|WARN|INFO|DEBG|TRAC|BLAT) .*$")


@check("signals.log.format", "each line of the main log is time, level and message", 2)
def log_format(t):
    d, _ = running(t)
    same(d.terminate(), 0)
    for line in d.log.splitlines():
        expect(LINE.match(line), f"the line {line!r}")


@check("signals.log.start_lines", "the start is told: rpc interface, open server, pid", 2)
def log_start(t):
    d = t.start(inet=free_port())
    contains(d.log, "INFO RPC interface 'supervisor' initialized\n", "main log")
    contains(d.log, "CRIT Server 'inet_http_server' running without any HTTP authentication checking\n", "main log")
    contains(d.log, "CRIT Server 'unix_http_server' running without any HTTP authentication checking\n", "main log")
    d.wait_log(rf"INFO supervisord started with pid {d.pid}$")


@check("signals.log.no_auth_line", "a server with a password has no CRIT line", 2)
def log_no_auth(t):
    d = t.start(unix="username=u\npassword=p")
    lacks(d.log, "running without any HTTP authentication", "main log")


def levels_seen(t, level):
    d = t.start(
        program("x", sh("echo hello; exec sleep 600"), autostart="true", startsecs=0), supervisord=f"loglevel={level}"
    )
    d.wait_up("x")
    d.rpc.supervisor.stopProcess("x")
    d.terminate()
    return set(re.findall(r"^\S+ \S+ ([A-Z]{4}) ", d.log, re.M))


for level, wanted, unwanted in [
    ("critical", {"CRIT"}, {"ERRO", "WARN", "INFO", "DEBG"}),
    ("error", {"CRIT"}, {"WARN", "INFO", "DEBG"}),
    ("warn", {"WARN"}, {"INFO", "DEBG"}),
    ("info", {"INFO", "WARN"}, {"DEBG", "TRAC", "BLAT"}),
    ("debug", {"DEBG", "INFO"}, {"TRAC", "BLAT"}),
    ("TRACE", {"TRAC", "DEBG"}, {"BLAT"}),
    ("blather", {"BLAT"}, set()),
]:

    @check(f"signals.log.level.{level.lower()}", f"loglevel={level} shows that level and above", 3)
    def log_level(t, level=level, wanted=wanted, unwanted=unwanted):
        seen = levels_seen(t, level)
        expect(wanted <= seen, f"expected {wanted} among {seen}")
        expect(not (unwanted & seen), f"did not expect {unwanted & seen}")


@check("signals.log.debug_output", "at debug level the output of children is in the main log", 2)
def log_debug_output(t):
    d = t.start(
        program("x", sh("echo hello there; exec sleep 600"), autostart="true", startsecs=0),
        supervisord="loglevel=debug",
    )
    d.wait_log(r"DEBG 'x' stdout output:\nhello there$")


@check("signals.log.rotation", "the main log is rotated at logfile_maxbytes, with logfile_backups", 3)
def log_rotation(t):
    # At debug level what a child writes is in the main log: that fills it.
    script = "for i in $(seq 80); do echo a line of some length; sleep 0.01; done; exec sleep 600"
    d = t.start(
        program("x", sh(script), autostart="true", startsecs=0),
        supervisord="loglevel=debug\nlogfile_maxbytes=1KB\nlogfile_backups=2",
    )
    until(lambda: os.path.exists(t.path("d.log.2")), "the second backup")
    d.terminate()
    names = sorted(name for name in os.listdir(t.dir) if name.startswith("d.log"))
    same(names, ["d.log", "d.log.1", "d.log.2"])
    for name in names[1:]:
        size = os.path.getsize(t.path(name))
        expect(1024 - 400 <= size <= 1024 + 4000, f"{name} has {size} bytes")


@check("signals.log.dev_null", "logfile=/dev/null with maxbytes=0 works", 2)
def log_dev_null(t):
    d = t.start(supervisord="logfile=/dev/null\nlogfile_maxbytes=0")
    d.wait_out(r"INFO supervisord started with pid \d+$")


@check("signals.log.dev_stdout", "logfile=/dev/stdout with maxbytes=0 works", 2)
def log_dev_stdout(t):
    d = t.start(supervisord="silent=true\nlogfile=/dev/stdout\nlogfile_maxbytes=0")
    d.wait_out(r"INFO supervisord started with pid \d+$")


@check("signals.strip_ansi", "strip_ansi=true takes colour sequences out of children's logs", 2)
def strip_ansi(t):
    script = sh(r"printf '\033[31mred\033[0m \033[1;32mgreen\033[0m\033[2K\033[10;5Hplain\n'; exec sleep 600")
    t.start(
        program("x", script, autostart="true", startsecs=0, stdout_logfile=t.path("x.out")),
        supervisord="strip_ansi=true",
    )
    until(lambda: t.read("x.out").endswith("\n"), "output")
    same(t.read("x.out"), "red greenplain\n")


@check("signals.strip_ansi.all", "every kind of terminal sequence is taken out", 2)
def strip_ansi_all(t):
    text = "".join(f"<\\033[1;2{letter}>" for letter in "HfABCDRsuJKhlpm")
    script = sh(f"printf '{text}\\n'; exec sleep 600")
    t.start(program("x", script, autostart="true", startsecs=0, stdout_logfile=t.path("x.out")), args=["-t"])
    until(lambda: t.read("x.out").endswith("\n"), "output")
    same(t.read("x.out"), "<>" * 15 + "\n")


@check("signals.no_strip_ansi", "without it they stay", 2)
def no_strip_ansi(t):
    t.start(
        program(
            "x",
            sh(r"printf '\033[31mred\033[0m\n'; exec sleep 600"),
            autostart="true",
            startsecs=0,
            stdout_logfile=t.path("x.out"),
        )
    )
    until(lambda: t.read("x.out").endswith("\n"), "output")
    same(t.read("x.out"), "\x1b[31mred\x1b[0m\n")
