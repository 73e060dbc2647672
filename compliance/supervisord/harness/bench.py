"""The bench: one temp dir, the daemons started in it, and the promise to end them.

Every process a bench starts carries a mark in its environment. When the bench is closed, what
still carries the mark is killed, wherever it has been reparented to; nothing else is touched.
"""

import itertools
import os
import pwd
import random
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import xmlrpc.client
from pathlib import Path

from . import wire
from .register import Failed, Skip

HERE = Path(__file__).resolve().parent.parent
PROGRAMS = HERE / "programs"
MARK = "SUPERVISORD_COMPLIANCE_BENCH"
STOCK_CTL = "/usr/bin/supervisorctl"

# How long a condition may take before the check fails. Far more than any of them needs: the
# machine may be busy with something else.
DEADLINE = 60.0
# How often a condition is looked at.
LOOK_EVERY = 0.03

_serial = itertools.count(1)
_port_lock = threading.Lock()
_ports_given = set()


def free_port():
    """A loopback port that was free a moment ago and that this run has not given out before.

    It is below the range the kernel takes the ports of outgoing connections from: those come
    and go by the thousand in the tests that run beside this one.
    """
    with open("/proc/sys/net/ipv4/ip_local_port_range") as file:
        lowest = int(file.read().split()[0])
    with _port_lock:
        while True:
            port = random.randrange(10000, lowest)
            if port in _ports_given:
                continue
            with socket.socket() as probe:
                try:
                    probe.bind(("127.0.0.1", port))
                except OSError:
                    continue
            _ports_given.add(port)
            return port


def until(condition, what, deadline=DEADLINE):
    """Waits until `condition()` is true and returns its value.

    Exceptions that mean "not yet" (connection refused, file missing) count as false.
    """
    end = time.monotonic() + deadline
    last = None
    while True:
        try:
            last = condition()
            if last:
                return last
        except (OSError, xmlrpc.client.ProtocolError, wire.Unfinished) as error:
            last = error
        if time.monotonic() > end:
            raise Failed(f"waited {deadline:.0f} s for {what}; last seen: {last!r}")
        time.sleep(LOOK_EVERY)


def python(script, *args):
    """The command line that runs one of our small programs, as it goes into a config."""
    words = [sys.executable, "-S", "-E", "-u", str(PROGRAMS / script), *map(str, args)]
    return " ".join(shlex.quote(word) for word in words).replace("%", "%%")


def sh(script):
    """The command line that runs `script` with /bin/sh, as it goes into a config."""
    return ("/bin/sh -c " + shlex.quote(script)).replace("%", "%%")


def program(name, command, **options):
    """A `[program:NAME]` section. By default quiet: no logs, and not started by itself."""
    values = {"command": command, "autostart": "false", "stdout_logfile": "NONE", "stderr_logfile": "NONE"}
    values.update({key: str(value) for key, value in options.items()})
    kind = values.pop("section", "program")
    lines = [f"[{kind}:{name}]"] + [f"{key}={value}" for key, value in values.items()]
    return "\n".join(lines) + "\n"


def command_line(text):
    """The words of a command line, the first one as a path that holds in every directory."""
    words = shlex.split(text)
    found = shutil.which(words[0]) if words else None
    if not found:
        sys.exit(f"{text!r} names no program that can be run")
    return [os.path.abspath(found), *words[1:]]


class Subject:
    """The two command lines under test."""

    def __init__(self, supervisord, supervisorctl, name):
        self.supervisord = command_line(supervisord)
        self.supervisorctl = command_line(supervisorctl)
        self.name = name
        self._shared = {}
        self._lock = threading.Lock()

    def shared(self, key, make):
        """The daemon that several checks use together, started by the first that asks."""
        with self._lock:
            slot = self._shared.setdefault(key, {"lock": threading.Lock()})
        with slot["lock"]:
            if "error" in slot:
                raise Failed(f"the shared daemon {key} did not start: {slot['error']}")
            if "daemon" not in slot:
                bench = slot["bench"] = Bench(self)
                try:
                    slot["daemon"] = make(bench)
                except Exception as error:
                    slot["error"] = error
                    raise
            return slot["daemon"]

    def close(self):
        for slot in self._shared.values():
            if "bench" in slot:
                slot["bench"].close()


class Result:
    """What a command that ran to its end left behind."""

    def __init__(self, code, out, err):
        self.code, self.out, self.err = code, out, err

    def __repr__(self):
        return f"exit {self.code}, stdout {self.out!r}, stderr {self.err!r}"

    @property
    def lines(self):
        return self.out.splitlines()


class Bench:
    """Temp dir, daemons and clients of one check (or of one shared daemon)."""

    def __init__(self, subject, client="test"):
        self.subject = subject
        self.client = client
        self.mark = f"{os.getpid()}.{next(_serial)}"
        self._dir = None
        self._open = []
        self._children = []

    # -- places ----------------------------------------------------------------------------

    @property
    def dir(self):
        if self._dir is None:
            # Short, because a unix socket's path must fit into 107 bytes; readable by other
            # users, because some checks change the user.
            self._dir = Path(tempfile.mkdtemp(prefix="svc", dir="/tmp"))
            os.chmod(self._dir, 0o755)
        return self._dir

    def path(self, name):
        return str(self.dir / name)

    def write(self, name, text, mode=0o644):
        path = self.dir / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        os.chmod(path, mode)
        return str(path)

    def read(self, name):
        """The text of a file in the bench's directory; empty when it is not there."""
        try:
            return (self.dir / name).read_text(errors="replace")
        except FileNotFoundError:
            return ""

    def env(self, extra=None):
        env = {k: v for k, v in os.environ.items() if not k.startswith("SUPERVISOR_")}
        env.update({MARK: self.mark, "TMPDIR": str(self.dir), "LC_ALL": "C.UTF-8", "HOME": str(self.dir)})
        env.pop("PYTHONWARNINGS", None)
        if extra:
            env.update(extra)
            env = {key: value for key, value in env.items() if value is not None}
        return env

    # -- configs ---------------------------------------------------------------------------

    def conf(self, *sections, supervisord="", unix="", inet=None, ctl="", name="s.conf", rpc=True):
        """Writes a usual config (own socket, own logs) plus `sections`, returns its path.

        `unix` holds further lines for [unix_http_server] (None: no such section), `inet` a port
        or lines for [inet_http_server].
        """
        parts = []
        if unix is not None:
            parts.append(f"[unix_http_server]\nfile={self.path('s.sock')}\n{unix}\n")
        if inet is not None:
            lines = inet if isinstance(inet, str) else f"port=127.0.0.1:{inet}"
            parts.append(f"[inet_http_server]\n{lines}\n")
        parts.append(
            "[supervisord]\n"
            f"logfile={self.path('d.log')}\npidfile={self.path('d.pid')}\n"
            f"childlogdir={self.dir}\n{supervisord}\n"
        )
        if rpc:
            parts.append(
                "[rpcinterface:supervisor]\nsupervisor.rpcinterface_factory = "
                "supervisor.rpcinterface:make_main_rpcinterface\n"
            )
        parts.append(f"[supervisorctl]\nserverurl=unix://{self.path('s.sock')}\n{ctl}\n")
        parts.extend(sections)
        return self.write(name, "\n".join(parts))

    # -- daemons ---------------------------------------------------------------------------

    def start(self, *sections, args=(), env=None, ready=True, before="", conf=None, **options):
        """Starts a daemon in the foreground and waits until it answers."""
        if conf is None:
            conf = self.conf(*sections, **options)
        argv = [*self.subject.supervisord, "-n", "-c", conf, *args]
        daemon = Daemon(self, argv, conf, env, before)
        self._open.append(daemon)
        if ready:
            daemon.wait_ready()
        return daemon

    def run_daemon(self, *args, env=None, timeout=DEADLINE, cwd=None, user=None, argv0=None):
        """Runs the daemon's command line to its end."""
        argv = [argv0] if argv0 else self.subject.supervisord
        return self.run([*argv, *args], env=env, timeout=timeout, cwd=cwd, user=user)

    def run(self, argv, env=None, timeout=DEADLINE, cwd=None, stdin=None, user=None):
        options = {}
        if user is not None:
            entry = pwd.getpwnam(user)
            options = {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
        child = subprocess.Popen(
            argv,
            stdin=subprocess.PIPE if stdin is not None else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self.env(env),
            cwd=cwd or self.dir,
            **options,
        )
        self._children.append(child)
        try:
            data = stdin.encode() if isinstance(stdin, str) else stdin
            out, err = child.communicate(data, timeout=timeout)
        except subprocess.TimeoutExpired:
            child.kill()
            out, err = child.communicate()
            raise Failed(f"{shlex.join(argv)} did not end within {timeout:.0f} s: {out!r} {err!r}")
        return Result(child.returncode, out.decode(errors="replace"), err.decode(errors="replace"))

    def popen(self, argv, env=None, **options):
        """Starts a client that runs beside the check; it is ended with the bench."""
        child = subprocess.Popen(argv, env=self.env(env), cwd=self.dir, **options)
        self._children.append(child)
        return child

    def ctl_argv(self):
        if self.client == "stock":
            if not os.path.exists(STOCK_CTL):
                raise Skip(f"{STOCK_CTL} is not installed")
            return [STOCK_CTL]
        return self.subject.supervisorctl

    def shared(self, key, make):
        return self.subject.shared((key, self.client), make)

    # -- the end ---------------------------------------------------------------------------

    def close(self):
        for daemon in self._open:
            daemon.end()
        for child in self._children:
            if child.poll() is None:
                child.kill()
        kill_marked(self.mark)
        for child in self._children + [daemon.child for daemon in self._open]:
            try:
                child.wait(timeout=10)
            except subprocess.TimeoutExpired:
                pass
            for stream in (child.stdin, child.stdout, child.stderr):
                if stream:
                    try:
                        stream.close()
                    except OSError:
                        pass
        if self._dir is not None and not os.environ.get("COMPLIANCE_KEEP"):
            shutil.rmtree(self._dir, ignore_errors=True)


def marked(mark):
    """The processes that carry the mark, as their ids."""
    wanted = f"{MARK}={mark}".encode()
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/environ", "rb") as file:
                    if wanted in file.read().split(b"\0"):
                        found.append(int(entry))
            except OSError:
                pass
    return found


def kill_marked(mark):
    """Kills what carries the mark, until nothing does (a daemon may start children meanwhile)."""
    for _ in range(50):
        pids = [pid for pid in marked(mark) if pid != os.getpid()]
        if not pids:
            return
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except OSError:
                pass
        time.sleep(0.01)


class Daemon:
    """A supervisord under test that runs as our child in the foreground."""

    def __init__(self, bench, argv, conf, env, before):
        self.bench = bench
        self.conf = conf
        self.sock = bench.path("s.sock")
        # To append: with logs to /dev/stdout the file is opened a second time.
        self.out = open(bench.path(f"out.{next(_serial)}"), "ab")
        if before:
            argv = ["/bin/sh", "-c", f'{before}\nexec "$@"', "sh", *argv]
        self.child = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=self.out,
            stderr=subprocess.STDOUT,
            env=bench.env(env),
            cwd=bench.dir,
        )

    @property
    def pid(self):
        return self.child.pid

    @property
    def log(self):
        """The main log's text."""
        return self.bench.read("d.log")

    @property
    def stdout(self):
        with open(self.out.name, "rb") as file:
            return file.read().decode(errors="replace")

    @property
    def rpc(self):
        """A client of the unix socket; a new one at each use, so that threads do not meet."""
        return self.proxy("unix://" + self.sock)

    def proxy(self, url, username=None, password=None):
        return wire.proxy(url, username, password)

    def wait_ready(self):
        def ready():
            if self.child.poll() is not None:
                raise Failed(f"the daemon ended with {self.child.returncode}: {self.stdout!r}")
            try:
                return self.rpc.supervisor.getState()
            except xmlrpc.client.ProtocolError as error:
                return error.errcode == 401

        until(ready, "the daemon to answer getState")

    def wait_log(self, pattern, deadline=DEADLINE):
        """Waits for a line of the main log and returns the match."""
        return until(lambda: re.search(pattern, self.log, re.M), f"{pattern!r} in the main log", deadline)

    def wait_out(self, pattern):
        return until(lambda: re.search(pattern, self.stdout, re.M), f"{pattern!r} on stdout")

    def info(self, name):
        return self.rpc.supervisor.getProcessInfo(name)

    def state(self, name):
        return self.info(name)["statename"]

    def wait_state(self, name, *states):
        """Waits until the process is in one of the states; returns its info."""

        def there():
            info = self.info(name)
            return info if info["statename"] in states else None

        try:
            return until(there, f"{name} to be {' or '.join(states)}")
        except Failed as failure:
            raise Failed(f"{failure}; it is {self.info(name)!r}")

    def ctl(self, *args, stdin=None, timeout=DEADLINE, env=None, conf=None):
        """Runs the client with this daemon's config."""
        argv = [*self.bench_client.ctl_argv(), "-c", conf or self.conf, *args]
        return self.bench_client.run(argv, stdin=stdin, timeout=timeout, env=env)

    def wait_up(self, name):
        """Waits until the process is RUNNING and has become the program it is meant to be.

        With startsecs=0 it is RUNNING before that; until the exec, a signal may be lost in the
        signal handlers that a forked child has inherited.
        """
        info = self.wait_state(name, "RUNNING")
        until(lambda: command_of(info["pid"]) != command_of(self.pid), f"the exec of {name}")
        return info

    # A shared daemon is asked through the bench of the check that uses it.
    _client = threading.local()

    @property
    def bench_client(self):
        return getattr(Daemon._client, "bench", None) or self.bench

    @staticmethod
    def use(bench):
        Daemon._client.bench = bench

    def signal(self, number):
        os.kill(self.child.pid, number)

    def wait_exit(self):
        """Waits for the daemon's end and returns its exit code."""
        try:
            return self.child.wait(timeout=DEADLINE)
        except subprocess.TimeoutExpired:
            raise Failed("the daemon did not end")

    def terminate(self):
        """The usual end: TERM, and its exit code."""
        self.signal(signal.SIGTERM)
        return self.wait_exit()

    def end(self):
        if self.child.poll() is None:
            self.child.kill()
        self.out.close()


def command_of(pid):
    """The command line of a process."""
    with open(f"/proc/{pid}/cmdline", "rb") as file:
        return file.read()


def alive(pid):
    """Whether a process exists and is not just a zombie."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def require_root():
    if os.getuid() != 0:
        raise Skip("needs root")
